"""Django's command line; with the development settings unless told otherwise."""

import io
import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "po_tracking.settings.development")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the console's encoding lacks must not end a run.
            stream.reconfigure(errors="backslashreplace")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
