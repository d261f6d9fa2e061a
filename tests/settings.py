"""Settings of the test suite: the development ones, in an environment that the tests own.

pytest-django loads this module before anything else of the project, so neither a developer's .env
nor the variables of a shell reach the tests or the processes that tests start. TEST_POSTGRES_URL or
TEST_MSSQL_URL puts the suite on that server instead of SQLite in memory (tests/README.md).
"""

import atexit
import os
import re
import shutil
import tempfile
from pathlib import Path

_example = Path(__file__).resolve().parent.parent / ".env.example"
for _name in re.findall(r"^#?([A-Z_]+)=", _example.read_text(encoding="utf-8"), re.MULTILINE):
    if not _name.startswith("MSSQL_"):  # which driver this machine has, and how it is to connect
        os.environ.pop(_name, None)

_folder = Path(tempfile.mkdtemp(prefix="po_tracking_tests_"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
os.environ.update(
    ENV_FILE=os.devnull,
    SECRET_KEY="only-for-tests-and-not-a-secret-but-fifty-characters-long",
    LOG_DIR=str(_folder / "log"),
    BACKUP_DIR=str(_folder / "backup"),
    STATIC_ROOT=str(_folder),  # whitenoise warns of a folder that is not there
    # The suite's own database is in memory; this keeps a process that names none away from the
    # developer's.
    DATABASE_URL=os.environ.get("TEST_POSTGRES_URL")
    or os.environ.get("TEST_MSSQL_URL")
    or f"sqlite:///{_folder.as_posix()}/po.sqlite3",
    ERP_DATABASE_URL="",  # a test that needs an ERP names its own (tests/erp.py)
    BUSINESS_TIME_ZONE="UTC",
    INGESTION_RETRY_BACKOFF_SECONDS="0",
    # Processes that tests start run under the product's settings, not under these.
    DJANGO_SETTINGS_MODULE="po_tracking.settings.development",
)

from po_tracking.settings.development import *  # noqa: E402, F403  # after the environment is set

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # fast; nothing to protect
# A pooled connection would keep SQL Server from dropping the suite's database.
DATABASE_CONNECTION_POOLING = False
