"""For the second, read-only instance: a replica of the application database and no ERP."""

import os

from po_tracking.databases import application_database
from po_tracking.environment import env

# Before the settings of all instances are read: whatever a copied .env says about the ERP, also if
# it makes no sense, is not looked at here.
os.environ.update(ERP_DATABASE_URL="", ERP_MAPPING_FILE="")

from .production import *  # noqa: F403  # a settings module is its names
from .production import DATABASES, MIDDLEWARE, SESSION_IDLE_SECONDS

DATABASES["default"] = application_database(env.str("DATABASE_URL"), read_only=True)

# Nothing can be written: each view that would is refused, and says so.
READ_ONLY = True

# The replica stores no sessions: they are signed cookies, whose age Django checks itself. Each
# answer renews them, for twelve hours at most.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
SESSION_COOKIE_AGE = SESSION_IDLE_SECONDS
SESSION_SAVE_EVERY_REQUEST = True
MIDDLEWARE = [
    "apps.core.middleware.LongestSession" if name == "apps.core.middleware.IdleSession" else name
    for name in MIDDLEWARE
]

# Nor failed sign-ins: they are counted in memory. There is one process (manage.py serve), so all of
# it sees the same numbers, which is what axes.W001 is in doubt about. The room is for many names: a
# full cache would forget failures.
AXES_HANDLER = "axes.handlers.cache.AxesCacheHandler"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}
SILENCED_SYSTEM_CHECKS = ["axes.W001"]
