"""Django's command line; development settings unless DJANGO_SETTINGS_MODULE or --settings says otherwise."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "po_tracking.settings.development")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
