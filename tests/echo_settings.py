"""Production's settings with the pages of tests/echo.py, for a process that a test starts."""

from po_tracking.settings.production import *  # noqa: F403  # a settings module is its names

ROOT_URLCONF = "tests.echo"
