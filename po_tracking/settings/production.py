"""For the real thing. Refuses to start when something is missing, all reasons at once."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from po_tracking.databases import application_database
from po_tracking.environment import env

from .base import *  # noqa: F403  # a settings module is its names
from .base import ALLOWED_HOSTS, DATABASES, ENV_FILE, SECRET_KEY

_database_url = env.str("DATABASE_URL", default="")
_database: dict[str, Any] = {}
_problems = []
if len(SECRET_KEY) < 50 or SECRET_KEY.startswith("django-insecure-"):
    _problems.append(
        "SECRET_KEY is missing or shorter than 50 characters. Make one with: "
        'python -c "import secrets; print(secrets.token_urlsafe(60))"'
    )
if env.bool("DEBUG", default=False):
    _problems.append("DEBUG is on. Remove DEBUG from the environment and from .env.")
if not ALLOWED_HOSTS:
    _problems.append("ALLOWED_HOSTS is missing. Name the host names users type, comma separated.")
if not _database_url:
    _problems.append("DATABASE_URL is missing. See .env.example for one line per engine.")
else:
    try:
        _database = application_database(_database_url)
    except ImproperlyConfigured as error:
        _problems.append(f"DATABASE_URL cannot be understood: {error}")
if _database.get("ENGINE") == "django.db.backends.sqlite3" and not env.bool(
    "ALLOW_SQLITE_IN_PRODUCTION", default=False
):
    _problems.append(
        "DATABASE_URL names an SQLite file. Use SQL Server or PostgreSQL, or set "
        "ALLOW_SQLITE_IN_PRODUCTION=true if one small installation on one machine is what you want."
    )
if _problems:
    raise ImproperlyConfigured(
        f"Production settings refuse to start ({ENV_FILE} or the environment):\n- "
        + "\n- ".join(_problems)
    )

DATABASES["default"] = _database

# A monitor on this machine asks by address, and over http: IIS and the probe of a load balancer.
ALLOWED_HOSTS = [*ALLOWED_HOSTS, "localhost", "127.0.0.1", "[::1]"]
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]

# Names with a hash of the content, so that browsers may keep the files for good.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# No SECURE_PROXY_SSL_HEADER and no USE_X_FORWARDED_HOST: Waitress makes scheme and host right for
# WEB_TRUSTED_PROXY (manage.py serve), and a header that anybody can send is believed nowhere.
SECURE_SSL_REDIRECT: bool = env.bool("SECURE_SSL_REDIRECT", default=True)
SECURE_HSTS_SECONDS: int = env.int("SECURE_HSTS_SECONDS", default=365 * 24 * 3600)
SECURE_HSTS_INCLUDE_SUBDOMAINS: bool = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=True)
SECURE_HSTS_PRELOAD: bool = env.bool("SECURE_HSTS_PRELOAD", default=True)
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
