"""Production's settings with the pages of tests/echo.py, for a process that a test starts."""

from po_tracking.settings.production import *  # noqa: F403  # a settings module is its names
from po_tracking.settings.production import STORAGES

ROOT_URLCONF = "tests.echo"
CSRF_FAILURE_VIEW = "django.views.csrf.csrf_failure"  # ours leads to pages that are not there
# Error pages without collectstatic.
STORAGES = {
    **STORAGES,
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
