"""What proves on SQL Server that a login cannot write, for each way in which it could."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from apps.ingestion.erp.mapping import ErpMapping, parse_mapping
from apps.ingestion.erp.places import allows_snapshot, places_of
from apps.ingestion.erp.preflight import databases_with_moving_reads
from apps.ingestion.erp.rights import WriteProof, unproven_login, write_proof
from tests.played_server import Database, PlayedServer, Thing

SELECT = {"SELECT"}


def _mapping(*tables: str) -> ErpMapping:
    """The lines are in the first table, the rest are joined."""
    joins = "".join(
        f"[lines.joins.j{n}]\ntable = '{table}'\non = {{ A = 'A' }}\n"
        for n, table in enumerate(tables[1:])
    )
    fields = (
        "po_number", "line_number", "supplier_code", "item_code", "ordered_quantity",
        "delivered_quantity", "status",
    )  # fmt: skip
    columns = "".join(f"{name} = 'A'\n" for name in fields)
    return parse_mapping(
        f"[lines]\ntable = '{tables[0]}'\n{joins}[lines.columns]\n{columns}", "erp.toml"
    )


def _proof(server: PlayedServer, *tables: str) -> WriteProof:
    return write_proof(_mapping(*tables), server.connection)


def _erp(**things: Thing) -> Database:
    return Database({("dbo", name): thing for name, thing in things.items()})


def test_a_login_that_may_only_select_cannot_write() -> None:
    proof = _proof(PlayedServer(erp=_erp(Lines=Thing(SELECT))), "Lines")
    assert proof == WriteProof(
        False, "the server grants this login no writing to the mapped tables"
    )


@pytest.mark.parametrize(
    "right", ["INSERT", "UPDATE", "DELETE", "ALTER", "CONTROL", "TAKE OWNERSHIP"]
)
@pytest.mark.parametrize("table", ["Lines", "dbo.Lines", "erp.dbo.Lines"])
def test_each_right_that_changes_rows_or_rights_counts(right: str, table: str) -> None:
    proof = _proof(PlayedServer(erp=_erp(Lines=Thing({"SELECT", right}))), table)
    assert proof == WriteProof(True, "the server grants it writing through erp.dbo.Lines")


def test_a_single_column_that_may_be_updated_counts() -> None:
    server = PlayedServer(erp=_erp(Lines=Thing(SELECT, writable_columns={"A"})))
    assert _proof(server, "Lines").can_write is True


def test_a_table_of_another_database_is_asked_about_there() -> None:
    erp, other = _erp(Lines=Thing(SELECT)), _erp(Lines=Thing({"SELECT", "UPDATE"}))
    assert _proof(PlayedServer(erp=erp, other=other), "dbo.Lines").can_write is False
    proof = _proof(PlayedServer(erp=erp, other=other), "dbo.Lines", "other.dbo.Lines")
    assert proof == WriteProof(True, "the server grants it writing through other.dbo.Lines")


@pytest.mark.parametrize(
    "power",
    [
        "db_owner", "db_datawriter", "db_ddladmin", "db_securityadmin", "db_accessadmin",
        "CONTROL", "TAKE OWNERSHIP", "ALTER ANY ROLE", "ALTER ANY USER",
    ],
)  # fmt: skip
def test_a_power_over_the_database_counts_only_where_a_mapped_table_is(power: str) -> None:
    erp, other = _erp(Lines=Thing(SELECT)), _erp(Heads=Thing(SELECT))
    other.powers = {power}
    server = PlayedServer(erp=erp, other=other)
    assert _proof(server, "dbo.Lines").can_write is False
    proof = _proof(server, "dbo.Lines", "other.dbo.Heads")
    assert proof.can_write is True
    assert f"{power} in other" in proof.statement


@pytest.mark.parametrize(
    "power",
    [
        "sysadmin", "securityadmin", "dbcreator", "CONTROL SERVER", "ALTER ANY LOGIN",
        "IMPERSONATE ANY LOGIN", "ALTER ANY SERVER ROLE", "ALTER ANY DATABASE",
    ],
)  # fmt: skip
def test_a_power_over_the_server_counts(power: str) -> None:
    server = PlayedServer(erp=_erp(Lines=Thing(SELECT)))
    server.powers = {power}
    proof = _proof(server, "Lines")
    assert proof.can_write is True
    assert power in proof.statement


def test_a_login_that_may_act_as_somebody_else_counts() -> None:
    server = PlayedServer(erp=_erp(Lines=Thing(SELECT)))
    server.databases["erp"].acts_as = ["dbo"]
    assert "EXECUTE AS dbo in erp" in _proof(server, "Lines").statement
    server.acts_as = ["sa"]
    assert "EXECUTE AS sa" in _proof(server, "Lines").statement


def test_a_server_that_lists_no_logins_is_not_asked_for_them() -> None:
    server = PlayedServer(erp=_erp(Lines=Thing(SELECT)))
    server.lists_logins = False
    assert _proof(server, "Lines").can_write is False


@pytest.mark.parametrize("base", ["other.dbo.Lines", "other..Lines", "dbo.Real", "Real"])
def test_behind_a_synonym_the_table_itself_is_asked_about(base: str) -> None:
    def server(right: str) -> PlayedServer:
        real = Thing({"SELECT", right})
        return PlayedServer(
            erp=_erp(Lines=Thing(SELECT, base=base), Real=real), other=_erp(Lines=real)
        )

    assert _proof(server("SELECT"), "dbo.Lines").can_write is False
    proof = _proof(server("DELETE"), "dbo.Lines")
    assert proof.can_write is True
    assert ("other.dbo.Lines" if "other" in base else "erp.dbo.Real") in proof.statement


def test_a_synonym_through_which_one_may_write_counts() -> None:
    synonym = Thing({"SELECT", "INSERT"}, base="dbo.Real")
    server = PlayedServer(erp=_erp(Lines=synonym, Real=Thing(SELECT)))
    assert _proof(server, "Lines").statement.endswith("through erp.dbo.Lines")


def test_the_tables_that_a_view_reads_are_asked_about_through_further_views() -> None:
    server = PlayedServer(
        erp=_erp(
            Lines=Thing(SELECT, reads=[("dbo", "Inner")]),
            Inner=Thing(SELECT, reads=[("dbo", "Table"), ("dbo", "Lines")]),
            Table=Thing({"UPDATE"}),
        )
    )
    assert _proof(server, "Lines").statement.endswith("through erp.dbo.Table")


def _on_a_linked_server() -> tuple[PlayedServer, str]:
    return PlayedServer(erp=_erp()), "far.erp.dbo.Lines"


def _synonym_to_a_linked_server() -> tuple[PlayedServer, str]:
    return PlayedServer(erp=_erp(Lines=Thing(SELECT, base="far.erp.dbo.Lines"))), "dbo.Lines"


def _synonym_to_what_the_login_does_not_see() -> tuple[PlayedServer, str]:
    return PlayedServer(erp=_erp(Lines=Thing(SELECT, base="erp.dbo.Hidden"))), "dbo.Lines"


def _no_answer() -> tuple[PlayedServer, str]:
    return PlayedServer(erp=_erp(Lines=Thing(SELECT, answers=False))), "dbo.Lines"


def _no_access_to_the_other_database() -> tuple[PlayedServer, str]:
    other = _erp(Lines=Thing(SELECT))
    other.accessible = False
    return PlayedServer(erp=_erp(), other=other), "other.dbo.Lines"


@pytest.mark.parametrize(
    "situation",
    [
        _on_a_linked_server,
        _synonym_to_a_linked_server,
        _synonym_to_what_the_login_does_not_see,
        _no_answer,
        _no_access_to_the_other_database,
    ],
)
def test_what_the_server_does_not_tell_is_not_proven_and_comes_with_a_cure(
    situation: Callable[[], tuple[PlayedServer, str]],
) -> None:
    server, table = situation()
    proof = _proof(server, table)
    assert proof.can_write is None
    error = unproven_login(proof)
    assert "Nothing proves" in error.message
    assert "erp.dbo" in error.message or "other.dbo" in error.message
    assert "ERP_ALLOW_WRITABLE_LOGIN=true" in error.remedy


def test_in_a_database_that_is_read_only_nothing_can_be_written() -> None:
    erp, other = _erp(Lines=Thing({"INSERT"})), _erp(Lines=Thing(SELECT))
    erp.read_only, erp.powers = True, {"db_owner"}
    server = PlayedServer(erp=erp, other=other)
    assert _proof(server, "Lines") == WriteProof(False, "the server says that erp is read-only")
    assert _proof(server, "Lines", "other.dbo.Lines").can_write is False
    other.powers = {"db_datawriter"}
    assert _proof(server, "Lines", "other.dbo.Lines").can_write is True
    assert _proof(server, "Lines", "far.erp.dbo.Lines").can_write is None


# --- one view of the data -----------------------------------------------------------------------


def _reads_in_snapshot(server: PlayedServer, *tables: str) -> bool:
    return allows_snapshot(places_of(tables, server.connection), server.connection)


def test_snapshot_is_chosen_only_where_every_database_that_is_read_allows_it() -> None:
    erp = _erp(Lines=Thing(SELECT), Other=Thing(SELECT, base="other.dbo.Lines"))
    server = PlayedServer(erp=erp, other=_erp(Lines=Thing(SELECT)))
    assert _reads_in_snapshot(server, "Lines", "other.dbo.Lines")
    assert not _reads_in_snapshot(server, "Lines", "far.erp.dbo.Lines")
    server.databases["other"].snapshot = False
    assert _reads_in_snapshot(server, "Lines")
    assert not _reads_in_snapshot(server, "Lines", "other.dbo.Lines")
    assert not _reads_in_snapshot(server, "Lines", "Other")


def test_rows_move_where_one_of_the_databases_keeps_no_versions() -> None:
    server = PlayedServer(erp=_erp(Lines=Thing(SELECT)), other=_erp(Lines=Thing(SELECT)))
    mapping = _mapping("Lines", "other.dbo.Lines")
    assert databases_with_moving_reads(server.connection, mapping) == []
    server.databases["other"].snapshot = False
    assert databases_with_moving_reads(server.connection, mapping) == []
    server.databases["other"].read_committed_snapshot = False
    assert databases_with_moving_reads(server.connection, mapping) == ["other"]
    assert databases_with_moving_reads(server.connection, _mapping("Lines")) == []
    # Without SNAPSHOT for both, the first one's READ COMMITTED counts, too.
    server.databases["other"].read_committed_snapshot = True
    server.databases["erp"].read_committed_snapshot = False
    assert databases_with_moving_reads(server.connection, mapping) == ["other"]
