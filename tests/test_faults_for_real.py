"""What an administrator is told when the ERP cannot be used: by real drivers, within 20 seconds.

No SQL Server is needed for a server that is down, nor for one whose certificate has expired: that
one is played by a socket, since both drivers check the certificate before anything else. What only
a real SQL Server says stands in test_erp_on_sql_server.py.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from apps.ingestion import erp_check, pipeline
from apps.ingestion.context import RunOptions
from apps.ingestion.erp.preflight import connect
from apps.ingestion.errors import ErpError
from apps.ingestion.models import RunStatus
from tests.erp import use_erp

SECRET = "pa55word-of-the-reader"
WRONG = "wr0ng-one-of-the-reader"
DRIVERS = {
    "psycopg": "postgres://reader:{secret}@{address}/erp",
    "pyodbc": "mssql://reader:{secret}@{address}/erp?python_driver=pyodbc&driver=FreeTDS"
    "&connection_timeout=3",
    "mssql-python": "mssql://reader:{secret}@{address}/erp?python_driver=mssql-python"
    "&connection_timeout=3",
}


def told_within_20_seconds(url: str) -> ErpError:
    """What connecting says; the password must not be in it."""
    started = time.monotonic()
    try:
        with use_erp(url, "unused"), pytest.raises(ErpError) as caught:
            connect()
    except ImproperlyConfigured as error:
        pytest.skip(f"the driver is not on this machine: {error}")
    assert time.monotonic() - started < 20
    told = f"{caught.value.message} {caught.value.remedy}"
    for missing in ("Can't open lib", "Failed to load the driver"):
        if missing in told:
            pytest.skip(f"the driver is not on this machine: {told}")
    assert SECRET not in told
    assert WRONG not in told
    return caught.value


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Of nobody who listens. It stays taken, so that no other process begins to."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield one.getsockname()[1]


@pytest.mark.django_db
@pytest.mark.parametrize("url", DRIVERS.values(), ids=DRIVERS.keys())
def test_a_server_that_is_down_is_told_so_with_what_to_check(url: str, silent_port: int) -> None:
    error = told_within_20_seconds(url.format(secret=SECRET, address=f"127.0.0.1:{silent_port}"))
    assert "up and reachable from this machine" in error.remedy


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("driver", "options"),
    [
        ("psycopg", "?sslmode=verify-full&sslrootcert={authority}"),
        ("mssql-python", "&encrypt=strict"),
    ],
)
def test_a_certificate_that_has_expired_is_told_with_who_can_mend_it(
    driver: str, options: str, expired: tuple[int, Path]
) -> None:
    port, authority = expired
    url = (DRIVERS[driver] + options).format(
        secret=SECRET, address=f"127.0.0.1:{port}", authority=authority.as_posix()
    )
    error = told_within_20_seconds(url)
    assert "certificate" in error.message
    assert "valid certificate" in error.remedy


@pytest.fixture
def login(transactional_db: None) -> Iterator[str]:
    """A login of PostgreSQL that .ci/run lets in with its password only."""
    name = "needs_password"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{SECRET}'")
    yield name
    with connection.cursor() as cursor:
        cursor.execute(f"DROP ROLE {name}")


@pytest.fixture
def reader(transactional_db: None) -> Iterator[str]:
    """A login of PostgreSQL, and the table of an ERP that it may read."""
    # Logins belong to the whole server, which may serve several test processes.
    name = f"reader_of_faults_in_{connection.settings_dict['NAME']}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{SECRET}'")
        cursor.execute("CREATE SCHEMA erp_side")
        cursor.execute(
            "CREATE TABLE erp_side.lines (po text, line int, vendor text, item text,"
            " ordered numeric, delivered numeric, state text)"
        )
        cursor.execute(f"GRANT USAGE ON SCHEMA erp_side TO {name}")
        cursor.execute(f"GRANT SELECT ON erp_side.lines TO {name}")
        cursor.execute("INSERT INTO erp_side.lines VALUES ('A1', 1, 'V1', 'BOLT', 10, 0, 'O')")
    yield name
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA erp_side CASCADE")
        cursor.execute(f"DROP OWNED BY {name}")
        cursor.execute(f"DROP ROLE {name}")


def address_for(login: str, password: str) -> str:
    """Of the database that the tests themselves use."""
    given = connection.settings_dict
    host = f"/{given['HOST']}" if given["HOST"].startswith("/") else given["HOST"]
    port = f":{given['PORT']}" if given["PORT"] else ""
    return f"postgres://{login}:{password}@{host}{port}/{given['NAME']}"


MAPPING = """
[lines]
table = "erp_side.lines"
[lines.columns]
po_number = "po"
line_number = "line"
supplier_code = "vendor"
item_code = "item"
ordered_quantity = "ordered"
delivered_quantity = "delivered"
status = "state"
"""


@pytest.mark.skipif(connection.vendor != "postgresql", reason="asks a PostgreSQL server")
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "ALTER TABLE erp_side.lines RENAME delivered TO delivered_qty",
            'table erp_side.lines has no column "delivered", did you mean "delivered_qty"?',
        ),
        ("GRANT UPDATE ON erp_side.lines TO {reader}", "may only SELECT"),
    ],
    ids=["a renamed column", "a login that can write"],
)
def test_what_has_changed_at_the_erp_is_told_by_run_and_check_within_20_seconds(
    reader: str, change: str, told: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(change.format(reader=reader))
    with use_erp(address_for(reader, SECRET), MAPPING):
        for say in (_said_by_run, _said_by_check):
            started = time.monotonic()
            said = say()
            assert time.monotonic() - started < 20
            assert told in said
            assert SECRET not in said


def _said_by_run() -> str:
    report = pipeline.run(options=RunOptions())
    assert report.status == RunStatus.FAILED
    return str(report.errors_encountered)


def _said_by_check() -> str:
    return str(erp_check.check().problems)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="asks a PostgreSQL server")
def test_a_wrong_password_is_told_with_what_to_correct(login: str) -> None:
    try:
        told = told_within_20_seconds(address_for(login, WRONG))
    except pytest.fail.Exception:
        pytest.skip("this server lets everybody in without a password")
    assert "Correct user and password" in told.remedy


@pytest.fixture
def expired(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A server whose certificate has expired: its port, and the file of the certificate."""
    certificate, key = _make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["tds/8.0"])
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_serve, args=(listener, context), daemon=True)
    thread.start()
    yield listener.getsockname()[1], certificate
    listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for somebody to come
    listener.close()
    thread.join(timeout=5)


def _serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Takes up TLS with whoever comes, after PostgreSQL's request for it if there is one."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return  # closed: the test is over
        with client, suppress(OSError):
            client.settimeout(5)
            if client.recv(8, socket.MSG_PEEK) == struct.pack("!II", 8, 80877103):
                client.recv(8)
                client.sendall(b"S")
            context.wrap_socket(client, server_side=True).close()


def _make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine, signed by itself, valid until yesterday; and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now - timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "server.crt", folder / "server.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files
