"""Django's command line; development settings unless DJANGO_SETTINGS_MODULE or --settings differ."""

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
