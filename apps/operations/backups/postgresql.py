"""PostgreSQL: pg_dump's custom format out, pg_restore and psql back in, in one transaction.

The dump and the manifest's numbers come from one snapshot of the server. On the way back pg_restore
turns the dump into statements, and psql runs them between a BEGIN that empties the schema and a
COMMIT that we send only when every statement has arrived and the rows are the backup's. Whoever is
killed on the way, the server sees a connection end without COMMIT and keeps the old state.
pg_restore alone could not do that: its --clean drops what is in the dump, and stops at a table that
a newer version of the product has added and tied to the others.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO

from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.operations.backups.archive import Backup, Draft, sized
from apps.operations.backups.content import COUNTED, asking, content_of, count_sql
from apps.operations.backups.copy import Copy
from apps.operations.backups.errors import BackupError, refusals
from apps.operations.backups.postgresql_tools import Tools, first_error

ENGINE = "postgresql"

_DATA = "data.dump"
_LOCK_TIMEOUT_SECONDS = 60

# The database belongs to PO Tracking (docs/operations.md), so whatever stands in its schema goes,
# whichever version of the product made it; but for what extensions brought.
_EMPTY_THE_SCHEMA = """
DO $empty$
DECLARE
    found record;
    here oid := (SELECT oid FROM pg_namespace WHERE nspname = current_schema());
BEGIN
    FOR found IN
        SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                            WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END
                   AS kind,
               format('%I.%I', current_schema(), relname) AS name
        FROM pg_class
        WHERE relnamespace = here AND relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
              AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
        ORDER BY relkind = 'S'  -- most sequences go with their table
    LOOP
        EXECUTE format('DROP %s IF EXISTS %s CASCADE', found.kind, found.name);
    END LOOP;
    FOR found IN
        SELECT oid::regprocedure AS name
        FROM pg_proc
        WHERE pronamespace = here
              AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
    LOOP
        EXECUTE format('DROP ROUTINE IF EXISTS %s CASCADE', found.name);
    END LOOP;
END
$empty$;
"""

# Whether the login may fill the schema, and what in it neither the login nor a role of its own
# could drop; the owner of the schema may drop everything.
_RIGHTS = """
SELECT has_schema_privilege(here.oid, 'CREATE'),
       (SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_class
        WHERE relnamespace = here.oid AND relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
              AND NOT pg_has_role(relowner, 'USAGE') AND NOT pg_has_role(nspowner, 'USAGE')
              AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e'))
FROM pg_namespace here WHERE nspname = current_schema()
"""


def identity(connection: BaseDatabaseWrapper) -> str:
    """Which database it is."""
    given = connection.settings_dict
    address = ":".join(filter(None, [given["HOST"] or "localhost", str(given["PORT"] or "")]))
    return f"postgresql {address}/{given['NAME']}"


def exists(connection: BaseDatabaseWrapper) -> bool:
    """Always: where it does not, connecting says so better."""
    return True


def is_damage(error: DatabaseError) -> bool:
    """Never: a server that cannot be asked cannot be restored either."""
    return False


def back_up(connection: BaseDatabaseWrapper, draft: Draft) -> Copy:
    """Dumps the database into the draft and reads the dump once. Raises BackupError."""
    tools = Tools.of(connection)
    file = draft.new_file(_DATA)
    with transaction.atomic(using=connection.alias, durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # Our transaction waits for the dump: the snapshot lives as long as it does.
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        cursor.execute(
            "SELECT pg_export_snapshot(), current_schema(), current_setting('server_version')"
        )
        snapshot, schema, server = cursor.fetchone()
        content = content_of(asking(connection))
        tools.run(
            "pg_dump",
            "--format=custom",
            f"--file={file}",
            f"--snapshot={snapshot}",
            f"--schema={_pattern(schema)}",
            "--no-owner",
            "--no-privileges",
            "--no-password",
            f"--lock-wait-timeout={_LOCK_TIMEOUT_SECONDS * 1000}",
            *tools.role("--role={}"),
        )
    tools.run("pg_restore", f"--file={os.devnull}", str(file))
    size, checksum = sized(file)
    return Copy(
        data=_DATA,
        content=content,
        server=f"PostgreSQL {server}",
        bytes=size,
        sha256=checksum,
    )


def restore(connection: BaseDatabaseWrapper, backup: Backup) -> None:
    """Puts the backup in the place of what is there, all or nothing. Raises BackupError."""
    tools = Tools.of(connection)
    schema = _schema_to_replace(connection)
    connection.close()
    with _psql(tools) as statements:
        statements.write(_before(tools).encode())
        statements.flush()
        tools.run(
            "pg_restore",
            "--file=-",
            f"--schema={schema}",
            "--no-owner",
            "--no-privileges",
            str(backup.data),
            output=statements,
        )
        statements.write(_after(backup).encode())


def lacks(connection: BaseDatabaseWrapper, folder: Path) -> Iterator[BackupError]:
    """Programs, and rights over everything that a restore replaces."""
    try:
        tools = Tools.of(connection)
    except BackupError as error:
        yield error
        return
    yield from refusals(
        *(partial(tools.program, name) for name in ("pg_dump", "pg_restore", "psql")),
        lambda: _ensure_replaceable(connection, _schema_to_replace(connection)),
    )


def _schema_to_replace(connection: BaseDatabaseWrapper) -> str:
    """Its name. Raises BackupError where the connection may only read."""
    ((read_only, schema),) = asking(connection)(
        "SELECT current_setting('transaction_read_only'), current_schema()"
    )
    if read_only == "on":
        raise BackupError(
            "This installation may only read its database; nothing was changed.",
            "Restore where the database is written, with the production settings.",
        )
    return str(schema)


def _ensure_replaceable(connection: BaseDatabaseWrapper, schema: str) -> None:
    """Raises BackupError where the login could not empty the schema and fill it again."""
    ((may_create, foreign),) = asking(connection)(_RIGHTS)
    missing = [] if may_create else ["it may not make tables there"]
    if foreign:
        missing.append(f"others own {foreign}")
    if missing:
        raise BackupError(
            f"The login could not restore into the schema {schema}: {'; '.join(missing)}.",
            f'As the owner or a superuser: ALTER SCHEMA "{schema}" OWNER TO the login of '
            "DATABASE_URL, which then may replace everything in it.",
        )


def _before(tools: Tools) -> str:
    role = "".join(f"SET ROLE {name};\n" for name in tools.role('"{}"'))
    return (
        f"{role}BEGIN;\nSET LOCAL lock_timeout = '{_LOCK_TIMEOUT_SECONDS}s';\n"
        f"SET LOCAL client_min_messages = warning;\n{_EMPTY_THE_SCHEMA}"
    )


def _after(backup: Backup) -> str:
    """Nothing is committed unless the rows are there."""
    checks = "".join(
        f"IF ({count_sql(model)}) <> {backup.manifest.rows[name]:d} THEN RAISE EXCEPTION "
        f"'the {backup.manifest.rows[name]:d} {name} of the backup did not all arrive'; END IF;\n"
        for name, model in COUNTED.items()
    )
    # The dump's statements leave the connection without a search path.
    return f"RESET search_path;\nDO $check$ BEGIN\n{checks}END $check$;\nCOMMIT;\n"


def _pattern(schema: str) -> str:
    """pg_dump takes names as patterns, and as plain ones in quotation marks."""
    return '"' + schema.replace('"', '""') + '"'


@contextmanager
def _psql(tools: Tools) -> Iterator[IO[bytes]]:
    """Its standard input. Whatever ends it before the COMMIT leaves the database as it was.

    Raises BackupError, in psql's own words where a statement failed.
    """
    command = [tools.program("psql"), "--no-psqlrc", "--no-password", "--quiet"]
    failed: Exception | None = None
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(  # noqa: S603  # a program of the configured folder, without a shell
            [*command, "--set=ON_ERROR_STOP=1"],
            env=tools.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
        ) as process,
    ):
        assert process.stdin is not None
        try:
            yield process.stdin
            process.stdin.close()
        except (BackupError, OSError) as error:  # OSError: psql has stopped reading
            failed = error
        finally:
            with suppress(OSError):  # what it did not read, it does not need
                process.stdin.close()
        code = process.wait()
        said.seek(0)
        reason = first_error(said.read().decode(errors="replace"))
    if code == 0 and failed is None:
        return
    if code == 0 and isinstance(failed, BackupError):
        raise failed  # psql did all it got, which was not all
    reasons = [reason or f"psql ended with {code}"]
    if isinstance(failed, BackupError):
        reasons.append(failed.message.rstrip("."))
    raise BackupError(
        f"The backup cannot be restored: {'; '.join(reasons)}. The database is as it was.",
        "If it waited for a lock, stop PO Tracking's services first. If the server does not know a "
        "statement, use client programs of the server's own version (BACKUP_POSTGRES_BIN).",
    ) from failed
