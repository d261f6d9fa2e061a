"""For the second, read-only instance: a replica of the application database and no ERP."""

from po_tracking.databases import application_database
from po_tracking.environment import env

from .production import *  # noqa: F403  # a settings module is its names
from .production import DATABASES

DATABASES.pop("erp", None)
ERP_DATABASE_URL = ""
ERP_MAPPING_FILE = ""
DATABASES["default"] = application_database(env.str("DATABASE_URL"), read_only=True)

# The replica stores no sessions.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
