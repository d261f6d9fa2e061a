"""The second instance as it really runs: production_eu's settings on a database it cannot write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

pytestmark = pytest.mark.process

PASSWORD = "a long and unusual one"

# The database, made where it can be written. The password's hash is an old one, of fewer rounds,
# which Django would like to replace when its owner signs in.
MAKE = f"""
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.core.management import call_command
from apps.accounts.models import User
call_command("migrate", verbosity=0)
for name in ("katrin", "wei"):
    hashed = PBKDF2PasswordHasher().encode({PASSWORD!r}, "salt", iterations=1000)
    User.objects.create(username=name, role="planner", password=hashed)
"""

COLLECT = """
from django.core.management import call_command
call_command("collectstatic", interactive=False, verbosity=0)
"""

# A visit, told as one JSON object.
VISIT = f"""
import json, os, sqlite3, time
from contextlib import closing
from unittest import mock
from django.test import Client
from apps.accounts.models import User

def client():
    return Client(headers={{"Host": "po.example.com"}})

def sign_in(c, name, password={PASSWORD!r}):
    data = {{"username": name, "password": password}}
    return c.post("/sign-in/", data, secure=True).status_code

def get(c, path="/po/"):
    return c.get(path, secure=True)

said = {{}}
katrin = client()
said["sign in"] = sign_in(katrin, "katrin")
said["start"] = get(katrin).status_code
said["says so"] = "read-only copy" in get(katrin).content.decode()
said["new password"] = katrin.post("/password/", {{}}, secure=True).status_code
said["cookie age"] = katrin.cookies["sessionid"]["max-age"]

start = time.time
with mock.patch("time.time", lambda: start() + 29 * 60):
    said["after 29 minutes"] = get(katrin).status_code
with mock.patch("time.time", lambda: start() + 58 * 60):
    said["29 minutes later"] = get(katrin).status_code
with mock.patch("time.time", lambda: start() + 89 * 60):
    said["31 minutes later"] = get(katrin).status_code

katrin = client()
sign_in(katrin, "katrin")
copied = client()
copied.cookies.update(katrin.cookies)
katrin.post("/sign-out/", secure=True)
for minutes in range(0, 13 * 60, 25):
    with mock.patch("time.time", lambda: start() + minutes * 60):
        if get(copied).status_code != 200:
            break
    said["a copied cookie lasts"] = minutes

said["wrong passwords"] = [sign_in(client(), "wei", "wrong") for _ in range(6)]
said["then the right one"] = sign_in(client(), "wei")

katrin = client()
sign_in(katrin, "katrin")
said["sign out"] = katrin.post("/sign-out/", secure=True).status_code
said["then"] = get(katrin).status_code

user = User.objects.get(username="katrin")
said["untouched"] = user.last_login is None and "$1000$" in user.password

# What was changed in the original arrives with the replica.
def arrives(change):
    with closing(sqlite3.connect(os.environ["REPLICA"])) as replica, replica:
        replica.execute(f"UPDATE accounts_user SET {{change}} WHERE username = 'katrin'")

for name, there, back in (
    ("deactivated", "is_active = 0", "is_active = 1"),
    ("another password", "password = password || 'x'", None),
):
    sign_in(katrin, "katrin")
    said["before"] = get(katrin).status_code
    arrives(there)
    said[name] = get(katrin).status_code
    if back:
        arrives(back)
print(json.dumps(said))
"""


def run(code: str, module: str, database: Path, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup()\n{code}"],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": module,
            "ENV_FILE": os.devnull,
            "DATABASE_URL": f"sqlite:///{database.as_posix()}",
            "REPLICA": str(database),
            "ALLOW_SQLITE_IN_PRODUCTION": "true",
            "ALLOWED_HOSTS": "po.example.com",
            "SECRET_KEY": "k" * 60,
            "LOG_DIR": str(folder / "log"),
            "STATIC_ROOT": str(folder / "static"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("europe")
    database = folder / "replica.sqlite3"
    run(MAKE, "po_tracking.settings.development", database, folder)
    run(COLLECT, "po_tracking.settings.production_eu", database, folder)
    said: dict[str, Any] = json.loads(
        run(VISIT, "po_tracking.settings.production_eu", database, folder)
    )
    return said


def test_people_sign_in_and_look_although_nothing_can_be_written(visit: dict[str, Any]) -> None:
    assert (visit["sign in"], visit["start"], visit["says so"]) == (302, 200, True)
    assert visit["untouched"]


def test_what_would_write_is_refused(visit: dict[str, Any]) -> None:
    assert visit["new password"] == 403


def test_a_session_ends_after_30_idle_minutes_there_too(visit: dict[str, Any]) -> None:
    assert visit["cookie age"] == 1800
    assert (visit["after 29 minutes"], visit["29 minutes later"]) == (200, 200)
    assert visit["31 minutes later"] == 302


def test_a_cookie_that_somebody_copied_is_good_for_twelve_hours_at_most(
    visit: dict[str, Any],
) -> None:
    """Signing out cannot take it back: there is no table of sessions."""
    assert 11 * 60 < visit["a copied cookie lasts"] <= 12 * 60


def test_failures_are_throttled_without_a_table(visit: dict[str, Any]) -> None:
    assert visit["wrong passwords"] == [200, 200, 200, 200, 429, 429]
    assert visit["then the right one"] == 429


def test_signing_out_ends_the_session_there_too(visit: dict[str, Any]) -> None:
    assert (visit["sign out"], visit["then"]) == (302, 302)


def test_a_session_ends_with_the_account_or_its_password(visit: dict[str, Any]) -> None:
    assert visit["before"] == 200
    assert (visit["deactivated"], visit["another password"]) == (302, 302)
