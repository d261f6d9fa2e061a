"""Passwords, addresses and SECRET_KEY appear nowhere, whatever goes wrong.

Real processes under production settings, each with a fault of its own; then everything that they
printed and everything that they left in files is searched: log files, and the database with its
reports and audit events.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from po_tracking.settings import base

pytestmark = pytest.mark.process

ROOT = base.BASE_DIR
# With what must be written in percent-encoding, and one piece that stays the same however it is.
PASSWORD = "Zq9hunter/2@x;y"
SECRET_KEY = "k3y-of-nobody-else-" + "k" * 50
PIECES = (b"Zq9hunter", b"k3y-of-nobody-else")
USER = f"po:{quote(PASSWORD, safe='')}"

COMMANDS = (["run_ingestion"], ["check_erp", "--json"], ["doctor"])
AS_WELL = (["run_ingestion", "--json"], ["check_erp"], ["doctor", "--json"])


class Installation:
    """The product as an administrator installs it, in a folder of its own."""

    def __init__(self, folder: Path, database: Path) -> None:
        self.folder = folder
        shutil.copy(database, folder / "po.sqlite3")
        others = {
            name: value
            for name, value in os.environ.items()
            if not re.fullmatch(_DOCUMENTED, name) and name != "DJANGO_SETTINGS_MODULE"
        }
        self.environment = {
            **others,
            "ENV_FILE": os.devnull,
            "COLUMNS": "1000",  # so that no line is broken in the middle of a secret
            "SECRET_KEY": SECRET_KEY,
            "ALLOWED_HOSTS": "po.example.com",
            "ALLOW_SQLITE_IN_PRODUCTION": "true",
            "LOG_DIR": str(folder / "log"),
            "DATABASE_URL": _sqlite(folder / "po.sqlite3"),
            "ERP_MAPPING_FILE": str(ROOT / "apps" / "demo" / "erp_mapping.toml"),
            "INGESTION_RETRY_ATTEMPTS": "2",
            "INGESTION_RETRY_BACKOFF_SECONDS": "0",
            "DJANGO_SETTINGS_MODULE": "po_tracking.settings.production",
        }
        self.printed: list[str] = []

    def start(self, *arguments: str) -> int:
        """Runs Python in the project with these arguments, and keeps what it prints."""
        ended = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        self.printed += [ended.stdout, ended.stderr]
        return ended.returncode

    def everything(self) -> dict[str, bytes]:
        """What was printed, and each file that is there now."""
        files = {str(f): f.read_bytes() for f in self.folder.rglob("*") if f.is_file()}
        return {"printed": "".join(self.printed).encode(), **files}

    def events(self) -> str:
        """The audit events' data."""
        with closing(sqlite3.connect(self.folder / "po.sqlite3")) as database:
            return str(database.execute("SELECT data FROM audit_auditevent").fetchall())


_DOCUMENTED = "|".join(
    re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
)


def _sqlite(file: Path) -> str:
    return f"sqlite:///{quote(file.as_posix())}"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated one, made once."""
    folder = tmp_path_factory.mktemp("migrated")
    empty = folder / "empty.sqlite3"
    empty.touch()
    made = Installation(folder, empty)
    assert made.start("manage.py", "migrate") == 0, made.printed
    return folder / "po.sqlite3"


@pytest.fixture
def installation(tmp_path: Path, database: Path) -> Installation:
    return Installation(tmp_path, database)


@contextmanager
def a_server_that_says_the_password() -> Iterator[str]:
    """Speaks as much of PostgreSQL's protocol as it takes to ask for a password, refuse it, and be
    so careless as to repeat it. Yields its address."""
    listening = socket.create_server(("127.0.0.1", 0))

    def message(kind: bytes, content: bytes) -> bytes:
        return kind + (len(content) + 4).to_bytes(4, "big") + content

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return  # the test is over
            with connection, suppress(ConnectionError):  # a client that only looks
                connection.recv(4096)  # who wants in, where to
                connection.sendall(message(b"R", (3).to_bytes(4, "big")))  # a password, please
                given = connection.recv(4096)[5:-1]
                told = b'password authentication failed for user "po" with password=' + given
                fields = b"SFATAL\0C28P01\0M" + told + b"\0\0"
                connection.sendall(message(b"E", fields))

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    with closing(listening):
        yield f"postgres://{USER}@127.0.0.1:{listening.getsockname()[1]}/erp?sslmode=disable"
        # Wakes the server, which would wait for one more client.
        socket.create_connection(listening.getsockname()).close()
    server.join(10)


def _closed_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _assert_nothing_secret(installation: Installation) -> None:
    for place, content in installation.everything().items():
        for piece in PIECES:
            assert piece not in content, f"{piece!r} stands in {place}"


def _run_all(installation: Installation, said: str, commands: Sequence[list[str]]) -> None:
    """Each command fails, for the reason that the test is about, and tells no secret."""
    for command in commands:
        before = len(installation.printed)
        assert installation.start("manage.py", *command) == 1, installation.printed[before:]
        told = "".join(installation.printed[before:])
        assert re.search(said, told), (command, told)
    _assert_nothing_secret(installation)


def test_a_refused_password_of_the_erp_is_not_told_even_if_the_server_repeats_it(
    installation: Installation,
) -> None:
    with a_server_that_says_the_password() as address:
        installation.environment["ERP_DATABASE_URL"] = address
        _run_all(installation, "password authentication failed", COMMANDS + AS_WELL)
    assert "password=***" in installation.events()
    assert (installation.folder / "log" / "ingestion.log").is_file()


def test_a_refused_password_of_the_application_is_not_told(installation: Installation) -> None:
    with a_server_that_says_the_password() as address:
        installation.environment["DATABASE_URL"] = address
        _run_all(installation, "password authentication failed", COMMANDS)


@pytest.mark.parametrize("whose", ["ERP_DATABASE_URL", "DATABASE_URL"])
def test_the_address_of_a_server_that_is_down_is_told_without_its_password(
    installation: Installation, whose: str
) -> None:
    installation.environment[whose] = f"postgres://{USER}@127.0.0.1:{_closed_port()}/erp"
    _run_all(installation, "(?i)connection refused|could not connect", COMMANDS)


@pytest.mark.parametrize("options", ["", "&driver=ODBC%20Driver%20of%20Nobody"])
@pytest.mark.parametrize(
    ("whose", "said", "commands"),
    [
        ("ERP_DATABASE_URL", "ERP could not be read|driver of the ERP's engine", COMMANDS),
        (
            "DATABASE_URL",
            "application's database (refused|cannot be used)",
            (*COMMANDS, ["backup"], ["backup", "--check"], ["ingestion_history"]),
        ),
    ],
)
def test_neither_sql_servers_driver_nor_its_absence_tells_the_password(
    installation: Installation,
    whose: str,
    said: str,
    commands: Sequence[list[str]],
    options: str,
) -> None:
    pytest.importorskip("pyodbc", exc_type=ImportError)
    installation.environment[whose] = (
        f"mssql://{USER}@127.0.0.1:{_closed_port()}/erp?timeout=2{options}"
    )
    _run_all(installation, said, commands)
    told = "".join(installation.printed)
    assert "Traceback" not in told
    assert "fault in PO Tracking" not in told
    if options:
        assert told.count("Install the ODBC driver") >= len(commands)


@pytest.mark.parametrize("whose", ["ERP_DATABASE_URL", "DATABASE_URL"])
@pytest.mark.parametrize(
    "address",
    [
        f"postgres://po:{PASSWORD}@127.0.0.1/erp",
        f"oracle://{USER}@127.0.0.1/erp",
        f"nonsense://{USER}@127.0.0.1/erp",
        f"postgres://{USER}@127.0.0.1:port/erp",
    ],
)
def test_an_address_that_cannot_be_read_is_not_told(
    installation: Installation, whose: str, address: str
) -> None:
    installation.environment[whose] = address
    for command in (["run_ingestion", "--json"], ["doctor"]):
        assert installation.start("manage.py", *command) == 1
    assert "ImproperlyConfigured" in "".join(installation.printed)
    _assert_nothing_secret(installation)


_BREAKS = """
import sys
from django.conf import settings
from django.core.management import execute_from_command_line
import django
django.setup()
from apps.ingestion import pipeline, erp_check
from apps.operations.checks import machine

def breaks(*arguments):
    password = settings.DATABASES["erp"]["PASSWORD"]
    raise {error}(f"DRIVER=x;UID=po;PWD={{{{{{password}}}}}};SECRET={{settings.SECRET_KEY}}")

pipeline.load_compared_mapping = breaks
machine.shutil.disk_usage = breaks
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""


@pytest.mark.parametrize("error", ["RuntimeError", "__import__('django.db').db.DatabaseError"])
@pytest.mark.parametrize("command", [["run_ingestion"], ["run_ingestion", "--json"], ["doctor"]])
def test_an_error_that_nobody_foresaw_tells_no_secret_though_its_text_holds_them(
    installation: Installation, command: list[str], error: str
) -> None:
    installation.environment["ERP_DATABASE_URL"] = f"postgres://{USER}@127.0.0.1:1/erp"
    assert installation.start("-c", _BREAKS.format(error=error), *command) == 1
    told = installation.everything()
    assert b"PWD=***" in told["printed"]
    log = "ingestion.log" if command[0] == "run_ingestion" else "application.log"
    assert b"Traceback" in told[str(installation.folder / "log" / log)]
    _assert_nothing_secret(installation)


def test_the_search_would_find_a_secret(installation: Installation) -> None:
    places: list[Callable[[], object]] = [
        lambda: installation.printed.append(PASSWORD),
        lambda: (installation.folder / "any.log").write_text(SECRET_KEY, encoding="utf-8"),
    ]
    for leak in places:
        leak()
        with pytest.raises(AssertionError, match="stands in"):
            _assert_nothing_secret(installation)
        installation.printed.clear()
