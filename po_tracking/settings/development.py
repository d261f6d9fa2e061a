"""For developers, the demo and the test suite: SQLite beside the code, no secrets needed."""

from urllib.parse import quote

from po_tracking.databases import application_database, erp_database
from po_tracking.environment import env

from .base import *  # noqa: F403  # a settings module is its names
from .base import BASE_DIR, DATABASES, INSTALLED_APPS, STATIC_ROOT

DEBUG = True
SECRET_KEY = env.str("SECRET_KEY", default="development-only-not-a-secret")
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
# whitenoise serves the static files under runserver, too, so that there is one way only.
INSTALLED_APPS = ["whitenoise.runserver_nostatic", *INSTALLED_APPS, "apps.demo"]

# Static files from where they lie, without collectstatic, also where the demo switches DEBUG off.
WHITENOISE_USE_FINDERS = True
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # whitenoise warns of a folder that is not there

# Without an environment: the demo's databases, in a folder of their own.
_var = BASE_DIR / "var"
_var.mkdir(exist_ok=True)
DATABASES["default"] = application_database(
    env.str("DATABASE_URL", default=f"sqlite:///{quote((_var / 'po_tracking.sqlite3').as_posix())}")
)
ERP_DATABASE_URL = env.str(
    "ERP_DATABASE_URL", default=f"sqlite:///{quote((_var / 'demo_erp.sqlite3').as_posix())}"
)
if ERP_DATABASE_URL:
    DATABASES["erp"] = erp_database(ERP_DATABASE_URL)
ERP_MAPPING_FILE = env.str(
    "ERP_MAPPING_FILE", default=str(BASE_DIR / "apps" / "demo" / "erp_mapping.toml")
)
