"""What all settings share. Everything that differs per place comes from the environment or .env."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF
from django.contrib.messages import constants as messages
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from po_tracking.databases import erp_database
from po_tracking.environment import env

BASE_DIR = Path(__file__).resolve().parent.parent.parent

ENV_FILE: str = env.str("ENV_FILE", default=str(BASE_DIR / ".env"))
# The real environment wins over the file. "utf-8-sig" because Windows editors may write a mark.
env.read_env(ENV_FILE, encoding="utf-8-sig")

SECRET_KEY: str = env.str("SECRET_KEY", default="")
DEBUG = False
ALLOWED_HOSTS: list[str] = [host.strip() for host in env.list("ALLOWED_HOSTS", default=[])]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "csp",
    "django_filters",
    "django_htmx",
    "js_lib_bootstrap5",
    "js_lib_bootstrap_icons",
    "apps.core",
    "apps.accounts",
    "apps.audit",
    "apps.po",
    "apps.batches",
    "apps.ingestion",
    "apps.operations",
    "apps.exports",
    "apps.admin_portal",
]
MIDDLEWARE = [
    "apps.core.middleware.RequestLog",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "apps.core.middleware.Utf8Only",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "apps.core.middleware.IdleSession",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "apps.core.middleware.SignInRequired",
    "apps.core.middleware.ReadOnlyInstance",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "po_tracking.urls"
WSGI_APPLICATION = "po_tracking.wsgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "apps.core.context_processors.frame",
                "apps.ingestion.context_processors.data_age",
            ],
        },
    }
]
# In a cookie, because reading a page must not write to the database.
MESSAGE_STORAGE = "django.contrib.messages.storage.cookie.CookieStorage"
MESSAGE_TAGS = {messages.DEBUG: "info", messages.ERROR: "error"}  # the kinds of our toasts

# Nothing from elsewhere and nothing inline. `data:` is for the small pictures (check marks, arrows)
# that Bootstrap's own style sheet contains.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
CSRF_FAILURE_VIEW = "apps.core.views.page_too_old"

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "apps.accounts.backends.ExactName",
]
LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = "start"
LOGOUT_REDIRECT_URL = "sign_in"

# A session ends after 30 idle minutes (apps.core.middleware.IdleSession), and after twelve hours
# in any case. Its row is written when somebody signs in or out and at no other time: reading a page
# writes nothing, so no page waits for a night that is being applied.
SESSION_IDLE_SECONDS = 30 * 60
SESSION_LONGEST_SECONDS = 12 * 3600
SESSION_COOKIE_AGE = SESSION_LONGEST_SECONDS

# The tables of django-axes as they are now, in one migration: the package's own path there alters
# columns and drops indexes, which not every server does. makemigrations --check tells when they
# change.
MIGRATION_MODULES = {"axes": "apps.accounts.axes.migrations"}

# Who guesses passwords: after five failures for one name from one address, this pair has to wait.
# By pair, because nobody shall be able to lock out somebody else, nor a whole office behind one
# address. Waitress has made the address right (WEB_TRUSTED_PROXY).
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_LOCKOUT_CALLABLE = "apps.accounts.views.locked_out"
AXES_SENSITIVE_PARAMETERS = ["username"]  # in logs: people type passwords into the wrong field
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

# True where the database is a replica: then whatever writes is refused.
READ_ONLY = False

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Where collectstatic puts the files and whitenoise finds them.
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(BASE_DIR / "var" / "static")))

# The web server (manage.py serve), which alone reads what a proxy in front forwards.
WEB_LISTEN: str = env.str("WEB_LISTEN", default="127.0.0.1:8000")
WEB_THREADS: int = env.int("WEB_THREADS", default=8)
WEB_TRUSTED_PROXY: str = env.str("WEB_TRUSTED_PROXY", default="")

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English"))]
LOCALE_PATHS = [BASE_DIR / "locale"]

# "Today" is the date in this zone, for everybody (rules.md "Reading").
BUSINESS_TIME_ZONE: str = env.str("BUSINESS_TIME_ZONE", default="UTC")
TIME_ZONE = BUSINESS_TIME_ZONE
# Days that are not business days although Monday to Friday, as YYYY-MM-DD.
BUSINESS_HOLIDAYS: list[str] = [day.strip() for day in env.list("BUSINESS_HOLIDAYS", default=[])]
# Defaults until the settings page exists.
AT_RISK_DAYS: int = env.int("AT_RISK_DAYS", default=7)
AGEING_BUSINESS_DAYS: int = env.int("AGEING_BUSINESS_DAYS", default=3)
STALE_BUSINESS_DAYS: int = env.int("STALE_BUSINESS_DAYS", default=5)
RECENT_HOURS: int = env.int("RECENT_HOURS", default=24)

# The ERP connection exists only where an ERP is configured.
DATABASES: dict[str, dict[str, Any]] = {}
ERP_DATABASE_URL: str = env.str("ERP_DATABASE_URL", default="")
if ERP_DATABASE_URL:
    try:
        DATABASES["erp"] = erp_database(ERP_DATABASE_URL)
    except ImproperlyConfigured as error:
        raise ImproperlyConfigured(f"ERP_DATABASE_URL cannot be understood: {error}") from None
DATABASE_ROUTERS = ["apps.ingestion.erp.router.ErpRouter"]
ERP_MAPPING_FILE: str = env.str("ERP_MAPPING_FILE", default="")
# Only for an ERP whose login cannot be restricted: check_erp then warns instead of refusing.
ERP_ALLOW_WRITABLE_LOGIN: bool = env.bool("ERP_ALLOW_WRITABLE_LOGIN", default=False)

INGESTION_RETRY_ATTEMPTS: int = env.int("INGESTION_RETRY_ATTEMPTS", default=3)
INGESTION_RETRY_BACKOFF_SECONDS: float = env.float("INGESTION_RETRY_BACKOFF_SECONDS", default=5.0)
INGESTION_MAX_DROP_SHARE: float = env.float("INGESTION_MAX_DROP_SHARE", default=0.3)
INGESTION_MAX_REJECTED_SHARE: float = env.float("INGESTION_MAX_REJECTED_SHARE", default=0.05)
# At least ten times the longest apply measured (docs/performance.md).
INGESTION_LEASE_SECONDS: int = env.int("INGESTION_LEASE_SECONDS", default=1800)
INGESTION_SNAPSHOTS_KEPT: int = env.int("INGESTION_SNAPSHOTS_KEPT", default=30)
# doctor and /healthz call older data too old: a day, and two hours for a night that takes longer.
INGESTION_EXPECTED_EVERY_HOURS: int = env.int("INGESTION_EXPECTED_EVERY_HOURS", default=26)
# The days on which the schedule starts a run; on the others none is missing.
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
INGESTION_EXPECTED_WEEKDAYS: list[str] = [
    day.strip().lower() for day in env.list("INGESTION_EXPECTED_WEEKDAYS", default=[*WEEKDAYS])
]
if not INGESTION_EXPECTED_WEEKDAYS or not {*INGESTION_EXPECTED_WEEKDAYS} <= {*WEEKDAYS}:
    raise ImproperlyConfigured(
        "INGESTION_EXPECTED_WEEKDAYS cannot be understood. Write the days on which a run is "
        f"scheduled, separated by commas: {','.join(WEEKDAYS)}."
    )

# Monitors ask for these every few seconds: the log has a line only where the answer is bad.
PROBE_PATHS = ("/healthz",)

# Where backup writes, and how it reaches the engines' own tools (docs/operations.md).
BACKUP_DIR: str = env.str("BACKUP_DIR", default=str(BASE_DIR / "var" / "backup"))
BACKUP_SQLSERVER_DIR: str = env.str("BACKUP_SQLSERVER_DIR", default="")
BACKUP_POSTGRES_BIN: str = env.str("BACKUP_POSTGRES_BIN", default="")

LOG_DIR = Path(env.str("LOG_DIR", default=str(BASE_DIR / "var" / "log")))
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"correlation": {"()": "apps.core.logs.CorrelationFilter"}},
    "formatters": {
        "json": {
            "()": "apps.core.logs.JsonFormatter",
            "fmt": "%(asctime)s %(levelname)s %(name)s %(correlation_id)s %(message)s",
            "json_ensure_ascii": False,
        },
    },
    "handlers": {
        name: {
            "class": "apps.core.logs.RotatingFile",
            "filename": str(LOG_DIR / f"{name}.log"),
            "formatter": "json",
            "filters": ["correlation"],
        }
        for name in ("application", "ingestion")
    },
    "root": {"handlers": ["application"], "level": "INFO"},
    "loggers": {
        "apps.ingestion": {"handlers": ["ingestion"], "level": "INFO", "propagate": False},
    },
}
