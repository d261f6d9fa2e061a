"""Whether the ERP's login could write what the mapping names, as the server itself says it
(requirement NFR11). What the server does not say is not proven.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from apps.ingestion.erp.guard import read_only
from apps.ingestion.erp.mapping import ErpMapping
from apps.ingestion.erp.places import Place, places_of
from apps.ingestion.erp.reader import explained
from apps.ingestion.erp.tables import quoted_table
from apps.ingestion.errors import ErpError


@dataclass(frozen=True)
class WriteProof:
    """What the server says about writing through the login; None where it does not tell."""

    can_write: bool | None
    statement: str


def write_proof(mapping: ErpMapping, connection: BaseDatabaseWrapper) -> WriteProof:
    """Asks the server whether the login could write to the mapped tables, all of which exist.

    Raises ErpError when the server cannot be asked.
    """
    if connection.vendor == "sqlite":
        return WriteProof(False, "the file is opened with mode=ro, SQLite refuses every write")
    with explained():
        if connection.vendor == "postgresql":
            return _proof(_powers_on_postgresql(mapping.tables, connection))
        return _on_sql_server(mapping.tables, connection)


def unproven_login(proof: WriteProof) -> ErpError:
    """The error of a login that may do more than read, or of which nobody can tell."""
    if proof.can_write:
        return ErpError(
            f"The ERP's login can write: {proof.statement}.",
            "Use a login that may only SELECT (docs/operations.md), or, if the ERP cannot "
            "restrict it, set ERP_ALLOW_WRITABLE_LOGIN=true.",
        )
    return ErpError(
        f"Nothing proves that the ERP's login cannot write: {proof.statement}.",
        "Map tables or views of the ERP's own server, and let its administrator grant the login "
        "SELECT on them. If that is impossible and the login surely may only read there, set "
        "ERP_ALLOW_WRITABLE_LOGIN=true.",
    )


def _proof(powers: list[str], untold: Iterable[Place] = ()) -> WriteProof:
    if powers:
        return WriteProof(True, f"the server grants it writing through {', '.join(powers)}")
    if untold:
        names = ", ".join(map(str, untold))
        return WriteProof(None, f"the server does not say what this login may do with {names}")
    return WriteProof(False, "the server grants this login no writing to the mapped tables")


# --- PostgreSQL ---------------------------------------------------------------------------------

# The roles whose rights the login has or may take: by SET ROLE, or by a grant to itself. Before
# version 16 every member may SET ROLE; since then the membership says so.
_ROLES = """
SELECT oid, rolname, CASE
    WHEN rolsuper THEN 'a superuser'
    WHEN rolcreaterole AND current_setting('server_version_num')::int < 160000
        THEN 'which may grant itself any role'
    WHEN rolname IN ('pg_execute_server_program', 'pg_write_server_files')
        THEN 'which reaches the files of the server' END AS ruler
FROM pg_roles
WHERE pg_has_role(session_user, oid, CASE
    WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER'
    ELSE 'USAGE, SET, MEMBER WITH ADMIN OPTION' END)
"""
_RULERS = f"SELECT rolname, ruler FROM ({_ROLES}) AS roles WHERE ruler IS NOT NULL ORDER BY rolname"  # noqa: S608  # constants
# A view's tables and a table's partitions count like the table itself; the catalogue, on parts of
# which everybody may write, does not.
_WRITABLE = f"""
WITH RECURSIVE roles AS ({_ROLES}), steps AS (
    SELECT ev_class AS above, refobjid AS below FROM pg_rewrite
    JOIN pg_depend ON classid = 'pg_rewrite'::regclass AND objid = pg_rewrite.oid
    WHERE refclassid = 'pg_class'::regclass
    UNION ALL SELECT inhparent, inhrelid FROM pg_inherits
), found AS (
    SELECT to_regclass(%s)::oid AS relation
    UNION SELECT below FROM found JOIN steps ON above = relation
)
SELECT relation::regclass::text, bool_or(rolname = session_user), min(rolname)
FROM found JOIN pg_class ON pg_class.oid = relation
JOIN pg_namespace ON pg_namespace.oid = relnamespace CROSS JOIN roles
WHERE nspname NOT IN ('pg_catalog', 'information_schema') AND (
    roles.oid IN (relowner, nspowner)
    OR has_any_column_privilege(roles.oid, relation, 'INSERT, UPDATE')
    OR has_table_privilege(roles.oid, relation, 'DELETE, TRUNCATE'))
GROUP BY relation ORDER BY 1
"""  # noqa: S608  # constants


def _powers_on_postgresql(tables: list[str], connection: BaseDatabaseWrapper) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(_RULERS)
        rulers = [f"the role {name}, {ruler}" for name, ruler in cursor.fetchall()]
        if rulers:
            return rulers
        powers: dict[str, None] = {}  # two tables may share a part
        for table in tables:
            cursor.execute(_WRITABLE, [quoted_table(table, connection)])
            for relation, by_itself, role in cursor.fetchall():
                powers[relation if by_itself else f"{relation} as {role}"] = None
    return list(powers)


# --- SQL Server ---------------------------------------------------------------------------------

# Who has one of these may change any row, or give himself the right to.
_SERVER_ROLES = ("sysadmin", "securityadmin", "dbcreator")
_SERVER_PERMISSIONS = (
    "CONTROL SERVER",
    "ALTER ANY LOGIN",
    "IMPERSONATE ANY LOGIN",
    "ALTER ANY SERVER ROLE",
    "ALTER ANY DATABASE",
)
_DATABASE_ROLES = (
    "db_owner",
    "db_datawriter",
    "db_ddladmin",
    "db_securityadmin",
    "db_accessadmin",
)
_DATABASE_PERMISSIONS = ("CONTROL", "TAKE OWNERSHIP", "ALTER ANY ROLE", "ALTER ANY USER")
_IN_SERVER = {f"the role {role}": f"IS_SRVROLEMEMBER('{role}')" for role in _SERVER_ROLES} | {
    f"the permission {name}": f"HAS_PERMS_BY_NAME(NULL, NULL, '{name}')"
    for name in _SERVER_PERMISSIONS
}
_IN_DATABASE = {f"the role {role}": f"IS_ROLEMEMBER('{role}')" for role in _DATABASE_ROLES} | {
    f"the permission {name}": f"HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', '{name}')"
    for name in _DATABASE_PERMISSIONS
}
# Writing itself first: where the server answers NULL to one of these, nothing is proven.
_WRITING = ("INSERT", "UPDATE", "DELETE")
_RULING = ("ALTER", "CONTROL", "TAKE OWNERSHIP")
# Whom a login may act as: where they are listed, and the question for those.
_LOGINS = (
    "sys.server_principals",
    "SELECT name FROM sys.server_principals WHERE name <> SUSER_SNAME() "
    "AND HAS_PERMS_BY_NAME(QUOTENAME(name), 'LOGIN', 'IMPERSONATE') = 1",
)
_USERS = (
    "sys.database_principals",
    "SELECT name FROM sys.database_principals WHERE name <> USER_NAME() "
    "AND HAS_PERMS_BY_NAME(QUOTENAME(name), 'USER', 'IMPERSONATE') = 1",
)


def _on_sql_server(tables: list[str], connection: BaseDatabaseWrapper) -> WriteProof:
    """Each database is asked for itself: roles and rights are those of where one is."""
    places = places_of(tables, connection)
    untold = [place for place in places if not place.known]
    powers: list[str] = []
    read_only_databases = []
    by_database: dict[str, list[Place]] = {}
    for place in places:
        if place.known:
            by_database.setdefault(place.database, []).append(place)
    for database, there in by_database.items():
        with _inside(database, connection) as own, own.cursor() as cursor:
            if _is_read_only(cursor):
                read_only_databases.append(database)
                continue
            powers += _powers_over(cursor, _IN_DATABASE, _USERS, f" in {database}")
            for place in there:
                may_write = _may_write(cursor, place.quoted(own))
                if may_write is None:
                    untold.append(place)
                elif may_write:
                    powers.append(str(place))
    if len(read_only_databases) < len(by_database):
        with connection.cursor() as cursor:
            # Who rules the server rules all the rest.
            powers = _powers_over(cursor, _IN_SERVER, _LOGINS, "") or powers
    elif not untold:
        names = ", ".join(read_only_databases)
        return WriteProof(False, f"the server says that {names} is read-only")
    return _proof(powers, untold)


@contextmanager
def _inside(database: str, connection: BaseDatabaseWrapper) -> Iterator[BaseDatabaseWrapper]:
    """The connection, or one more with the same login where it is in another database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT DB_NAME()")
        (here,) = cursor.fetchone()
    if here == database:
        yield connection
        return
    other = connection.copy(f"{connection.alias} in {database}")
    other.settings_dict["NAME"] = database
    try:
        with other.execute_wrapper(read_only):
            yield other
    finally:
        other.close()


def _is_read_only(cursor: Any) -> bool:
    """A database that is read-only itself, or a readable secondary: nothing can be written."""
    cursor.execute("SELECT CAST(DATABASEPROPERTYEX(DB_NAME(), 'Updateability') AS nvarchar(60))")
    return bool(cursor.fetchone()[0] == "READ_ONLY")


def _powers_over(
    cursor: Any, questions: dict[str, str], principals: tuple[str, str], where: str
) -> list[str]:
    """The roles and permissions that the login has, or else whom it may act as."""
    cursor.execute(f"SELECT {', '.join(questions.values())}")  # the names are those above
    answers = zip(questions, cursor.fetchone(), strict=True)
    held = [f"{power}{where}" for power, answer in answers if answer == 1]
    if held:
        return held
    catalogue, question = principals
    cursor.execute("SELECT OBJECT_ID(%s)", [catalogue])
    if cursor.fetchone()[0] is None:
        return []  # Azure's databases stand alone, without logins of a server
    cursor.execute(question)
    return [f"EXECUTE AS {name}{where}" for (name,) in cursor.fetchall()]


def _may_write(cursor: Any, name: str) -> bool | None:
    """By the effective permissions, which include those of the login's roles."""
    asked = [f"HAS_PERMS_BY_NAME(%s, 'OBJECT', '{right}')" for right in (*_WRITING, *_RULING)]
    cursor.execute(f"SELECT {', '.join(asked)}", [name] * len(asked))
    answers = cursor.fetchone()
    if 1 in answers:
        return True
    if None in answers[: len(_WRITING)]:
        return None
    # UPDATE can be granted on single columns, which the answer for the table does not tell.
    cursor.execute(
        "SELECT COALESCE(MAX(HAS_PERMS_BY_NAME(%s, 'OBJECT', 'UPDATE', name, 'COLUMN')), 0) "
        "FROM sys.columns WHERE object_id = OBJECT_ID(%s)",
        [name, name],
    )
    return bool(cursor.fetchone()[0])
