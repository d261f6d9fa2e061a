"""What the preflight asks a PostgreSQL ERP, asked of a real one: names, types, rights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, connections

from apps.ingestion.erp.mapping import ErpMapping, parse_mapping
from apps.ingestion.erp.preflight import examine, server_of
from apps.ingestion.erp.reader import ErpReader
from apps.ingestion.erp.rights import write_proof
from apps.ingestion.erp.router import ERP_ALIAS
from tests.erp import use_erp

_PASSWORD = "only-for-tests"
_MAPPING = """
[lines]
table = "erp_side.[PO Lines]"
[lines.columns]
po_number = "PONo"
line_number = "LineNo"
supplier_code = "Vendor"
item_code = "Item"
ordered_quantity = "Ordered"
delivered_quantity = "Delivered"
status = "Status"
"""
_TABLE = """
CREATE TABLE erp_side."PO Lines" ("PONo" char(10), "LineNo" int, "Vendor" varchar(8), "Item" text,
"Ordered" numeric(18, 3), "Delivered" numeric(18, 3), "Status" smallint, "Price" money)
"""
_MAPPED = '"PONo", "LineNo", "Vendor", "Item", "Ordered", "Delivered", "Status"'


def _login() -> str:
    """Logins belong to the whole server, which may serve several test processes."""
    return f"reader_of_{connection.settings_dict['NAME']}"


@pytest.fixture(autouse=True)
def login(transactional_db: None) -> Iterator[None]:
    """A login with a table of its own schema that it may not even see."""
    if connection.vendor != "postgresql":
        pytest.skip("asks a PostgreSQL server (TEST_POSTGRES_URL)")
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {_login()} LOGIN PASSWORD '{_PASSWORD}'")
        cursor.execute("CREATE SCHEMA erp_side")
        cursor.execute(_TABLE)
        cursor.execute(f"GRANT USAGE ON SCHEMA erp_side TO {_login()}")
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA erp_side CASCADE")
        cursor.execute(f"DROP OWNED BY {_login()}")
        cursor.execute(f"DROP ROLE {_login()}")


def _grant(rights: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f'GRANT {rights} ON erp_side."PO Lines" TO {_login()}')


@contextmanager
def _reading(mapping_text: str = _MAPPING) -> Iterator[ErpMapping]:
    """Inside the transaction in which a run reads."""
    given = connection.settings_dict
    host = given["HOST"] if not given["HOST"].startswith("/") else f"/{given['HOST']}"
    port = f":{given['PORT']}" if given["PORT"] else ""
    url = f"postgres://{_login()}:{_PASSWORD}@{host}{port}/{given['NAME']}"
    with use_erp(url, mapping_text):
        mapping = parse_mapping(mapping_text, "mapping.toml")
        with ErpReader(mapping, {}).reading():
            yield mapping


def test_the_granted_columns_are_found_with_the_types_of_the_server() -> None:
    _grant(f"SELECT ({_MAPPED})")
    with _reading() as mapping:
        found = examine(mapping, {}, connections[ERP_ALIAS])
        server = server_of(connections[ERP_ALIAS])
    assert found.problems == []
    assert found.tables["lines", ""].columns == {
        "PONo": "character(10)",
        "LineNo": "integer",
        "Vendor": "character varying(8)",
        "Item": "text",
        "Ordered": "numeric(18,3)",
        "Delivered": "numeric(18,3)",
        "Status": "smallint",
    }
    assert server.product.startswith("PostgreSQL ")
    assert server.login == _login()


def test_a_name_in_another_case_is_another_name_to_the_server() -> None:
    _grant("SELECT")
    with _reading(_MAPPING.replace('"PONo"', '"pono"')) as mapping:
        found = examine(mapping, {}, connections[ERP_ALIAS])
    assert found.problems == [
        '[lines] po_number: table erp_side.[PO Lines] has no column "pono", did you mean "PONo"?'
    ]


def test_all_tables_are_told_although_a_failed_statement_would_end_the_transaction() -> None:
    _grant("SELECT")
    misspelt = _MAPPING.replace("PO Lines", "PO Line") + (
        '[lines.joins.head]\ntable = "heads"\non = { "PONo" = "PONo" }\n'
    )
    with _reading(misspelt) as mapping:
        found = examine(mapping, {}, connections[ERP_ALIAS])
    assert len(found.problems) == 2
    assert 'did you mean "erp_side.[PO Lines]"?' in found.problems[0]
    assert found.problems[1].startswith("[lines.joins.head] table:")


def test_a_table_without_the_right_to_read_it_is_a_problem() -> None:
    with _reading() as mapping:
        found = examine(mapping, {}, connections[ERP_ALIAS])
    assert "that this login may read" in found.problems[0]


@pytest.mark.parametrize(
    ("rights", "can_write"),
    [
        ("SELECT", False),
        ("SELECT, REFERENCES", False),
        ('UPDATE ("Status"), SELECT', True),
        ("INSERT, SELECT", True),
        ("DELETE, SELECT", True),
        ("TRUNCATE, SELECT", True),
    ],
)
def test_the_server_itself_says_whether_the_login_can_write(rights: str, can_write: bool) -> None:
    _grant(rights)
    with _reading() as mapping:
        assert write_proof(mapping, connections[ERP_ALIAS]).can_write == can_write


_BY_ROLE = {
    "a role that reads": ("", False),
    "a role that writes": ('GRANT UPDATE ("Status") ON erp_side."PO Lines" TO {role}', True),
    "the owner of the table": ('ALTER TABLE erp_side."PO Lines" OWNER TO {role}', True),
    "the owner of the schema": ("ALTER SCHEMA erp_side OWNER TO {role}", True),
    "a superuser": ("ALTER ROLE {role} SUPERUSER", True),
    "a member of pg_write_all_data": ("GRANT pg_write_all_data TO {role}", True),
    "a member of pg_execute_server_program": ("GRANT pg_execute_server_program TO {role}", True),
}


@pytest.fixture
def role(login: None) -> Iterator[str]:
    """A role that the login is a member of, but whose rights it only has after SET ROLE."""
    name = f"role_of_{connection.settings_dict['NAME']}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {name}")
        cursor.execute(f"ALTER ROLE {_login()} NOINHERIT")
        cursor.execute(f"GRANT {name} TO {_login()}")
    yield name
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA erp_side CASCADE")
        cursor.execute("CREATE SCHEMA erp_side")
        cursor.execute(f"DROP OWNED BY {name}")
        cursor.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize(("statement", "can_write"), _BY_ROLE.values(), ids=_BY_ROLE.keys())
def test_a_role_that_the_login_may_take_on_counts_as_the_login(
    role: str, statement: str, can_write: bool
) -> None:
    _grant("SELECT")
    with connection.cursor() as cursor:
        cursor.execute(statement.format(role=role) or "SELECT 1")
    with _reading() as mapping:
        proof = write_proof(mapping, connections[ERP_ALIAS])
    assert proof.can_write == can_write
    assert (role in proof.statement or "pg_" in proof.statement) == can_write


def test_a_login_that_may_grant_itself_any_role_counts_as_writing() -> None:
    _grant("SELECT")
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int")
        if cursor.fetchone()[0] >= 160_000:
            pytest.skip("since version 16 CREATEROLE reaches the login's own roles only")
        cursor.execute(f"ALTER ROLE {_login()} CREATEROLE")
    with _reading() as mapping:
        proof = write_proof(mapping, connections[ERP_ALIAS])
    assert "may grant itself any role" in proof.statement


@pytest.mark.parametrize(
    ("table", "setup"),
    [
        ("erp_side.shown", ['CREATE VIEW erp_side.shown AS SELECT * FROM erp_side."PO Lines"']),
        (
            "erp_side.outer",
            [
                'CREATE VIEW erp_side.shown AS SELECT * FROM erp_side."PO Lines"',
                "CREATE VIEW erp_side.outer AS SELECT shown.* FROM erp_side.shown, pg_settings",
            ],
        ),
        ("erp_side.parent", [
            'CREATE TABLE erp_side.parent (LIKE erp_side."PO Lines")',
            'ALTER TABLE erp_side."PO Lines" INHERIT erp_side.parent',
        ]),
    ],
    ids=["a view", "a view of a view", "a part"],
)  # fmt: skip
def test_the_tables_behind_the_mapped_one_count(table: str, setup: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in setup:
            cursor.execute(statement)
        cursor.execute(f"GRANT SELECT ON {table} TO {_login()}")
    with _reading(_MAPPING.replace("erp_side.[PO Lines]", table)) as mapping:
        assert write_proof(mapping, connections[ERP_ALIAS]).can_write is False
    _grant("UPDATE")
    with _reading(_MAPPING.replace("erp_side.[PO Lines]", table)) as mapping:
        proof = write_proof(mapping, connections[ERP_ALIAS])
    assert proof.statement == 'the server grants it writing through erp_side."PO Lines"'
