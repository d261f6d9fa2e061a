"""What all settings share. Everything that differs per place comes from the environment or .env."""

from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

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
    "django.contrib.staticfiles",
    "apps.core",
    "apps.accounts",
    "apps.audit",
    "apps.po",
    "apps.batches",
    "apps.ingestion",
    "apps.operations",
]
MIDDLEWARE = [
    "apps.core.middleware.RequestLog",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "po_tracking.urls"
WSGI_APPLICATION = "po_tracking.wsgi.application"
TEMPLATES: list[dict[str, Any]] = []

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
SESSION_COOKIE_AGE = 30 * 60
SESSION_SAVE_EVERY_REQUEST = True  # 30 idle minutes, not 30 minutes after signing in

STATIC_URL = "static/"
# Where collectstatic puts the files and whitenoise finds them.
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(BASE_DIR / "var" / "static")))

# The web server (manage.py serve), which alone reads what a proxy in front forwards.
WEB_LISTEN: str = env.str("WEB_LISTEN", default="127.0.0.1:8000")
WEB_THREADS: int = env.int("WEB_THREADS", default=8)
WEB_TRUSTED_PROXY: str = env.str("WEB_TRUSTED_PROXY", default="")

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
LANGUAGE_CODE = "en-us"

# "Today" is the date in this zone, for everybody (rules.md "Reading").
BUSINESS_TIME_ZONE: str = env.str("BUSINESS_TIME_ZONE", default="UTC")
TIME_ZONE = BUSINESS_TIME_ZONE
# Days that are not business days although Monday to Friday, as YYYY-MM-DD.
BUSINESS_HOLIDAYS: list[str] = [day.strip() for day in env.list("BUSINESS_HOLIDAYS", default=[])]
# Defaults until the settings page exists.
AT_RISK_DAYS: int = env.int("AT_RISK_DAYS", default=7)
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
