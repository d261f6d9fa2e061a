"""The third barrier in front of the ERP: only single reads pass (requirements NFR11, NFR20)."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from django.db import OperationalError, connections

from apps.ingestion.erp.guard import is_read, read_only
from apps.ingestion.erp.router import ERP_ALIAS, ErpWriteRefusedError
from apps.ingestion.tests.erp_table import ErpTable


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "  select * from orders;",
        'SELECT "update", [delete], "a;b" FROM [insert into]',
        "SELECT 'it''s; DROP TABLE orders' AS remark",
        "SELECT 1 -- ; DELETE FROM orders",
        "SELECT /* INTO x; */ 1",
        "WITH recent AS (SELECT 1 AS n) SELECT n FROM recent",
        "SELECT REPLACE(code, ' ', '') FROM orders",
        "SELECT updated_at, deleted, created_on, exec_time FROM orders",
        'PRAGMA table_info("orders")',
        "BEGIN",
        "SET TRANSACTION ISOLATION LEVEL SNAPSHOT",
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    ],
)
def test_a_single_read_passes(sql: str) -> None:
    assert is_read(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO orders VALUES (1)",
        "UPDATE orders SET status = 'C'",
        "DELETE FROM orders",
        "MERGE orders USING x ON 1 = 1 WHEN MATCHED THEN DELETE",
        "TRUNCATE TABLE orders",
        "DROP TABLE orders",
        "ALTER TABLE orders ADD x int",
        "CREATE TABLE x (y int)",
        "REPLACE INTO orders VALUES (1)",
        "SELECT * INTO copy FROM orders",
        "SELECT 1; DELETE FROM orders",
        "SELECT 1;SELECT 2",
        "WITH old AS (SELECT 1 AS n) DELETE FROM orders",
        "WITH old AS (SELECT 1 AS n) UPDATE orders SET status = 'C'",
        "WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone",
        "EXEC sp_who",
        "EXECUTE ('DELETE FROM orders')",
        "SELECT * FROM OPENQUERY(other, 'DELETE FROM orders')",
        "SELECT * FROM OPENROWSET('x', 'y', 'z')",
        "CALL clean_up()",
        "COPY orders TO 'orders.csv'",
        "DO $$ BEGIN DELETE FROM orders; END $$",
        "GRANT ALL ON orders TO public",
        "ATTACH DATABASE 'x' AS y",
        "VACUUM",
        "PRAGMA journal_mode=WAL",
        "PRAGMA table_info(orders); DELETE FROM orders",
        "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
        "SET IDENTITY_INSERT orders ON",
        "COMMIT",
        "EXPLAIN ANALYZE DELETE FROM orders",
        "SELECT 'never closed; DELETE FROM orders",
        "SELECT 1 /* never closed; DELETE FROM orders",
        'SELECT 1 FROM "a;b; DELETE FROM orders',
        "",
    ],
)
def test_everything_else_is_refused(sql: str) -> None:
    assert not is_read(sql)


@pytest.mark.parametrize(
    "sql",
    [
        # Nested block comments: PostgreSQL and SQL Server nest them, so this DELETE is not inside.
        "SELECT 1 /* a /* b */ DELETE FROM orders",
        # PostgreSQL's escape strings: \' does not end the text.
        r"SELECT E'\'; DELETE FROM orders --'",
        # PostgreSQL's dollar quotes may hide a quote mark.
        "SELECT $$'$$; DELETE FROM orders --'",
        "SELECT * FROM orders FOR UPDATE",
    ],
)
def test_a_write_or_a_lock_in_the_clothes_of_a_read_is_refused(sql: str) -> None:
    assert not is_read(sql)


def test_many_statements_in_one_call_are_refused_with_the_text_of_the_first() -> None:
    def execute(*_: object) -> None:
        pytest.fail("it reached the database")

    with pytest.raises(ErpWriteRefusedError, match="only reads: SELECT 1"):
        read_only(execute, "SELECT 1", [(1,), (2,)], True, {})
    with pytest.raises(ErpWriteRefusedError, match="only reads: DELETE FROM orders"):
        read_only(execute, "DELETE FROM orders", None, False, {})


def test_the_connection_itself_refuses_writes_without_the_guard(erp: ErpTable) -> None:
    erp.add("A1")
    with erp.connected(), connections[ERP_ALIAS].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM orders")
        assert cursor.fetchone() == (1,)
        with pytest.raises(OperationalError, match="readonly"):
            cursor.execute("DELETE FROM orders")


def test_a_night_leaves_the_erp_byte_for_byte_as_it_was(erp: ErpTable, tmp_path: Path) -> None:
    erp.read_receipts()
    erp.add("A1")
    erp.add("A2")
    erp.add("A3")
    erp.add("A4")
    erp.receive("R1", "A1", 10, "2025-03-01")
    before = erp.file.read_bytes()
    erp.night(1)
    with closing(sqlite3.connect(erp.file)) as connection, connection:
        connection.execute("UPDATE orders SET status = 'C' WHERE po_number = 'A1'")
    after_their_change = erp.file.read_bytes()
    erp.night(2)
    assert erp.file.read_bytes() == after_their_change != before
    assert [path.name for path in tmp_path.iterdir()] == ["erp.sqlite3"]
