"""The mapping file: what it may say, and that everything wrong with it is told at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.test import override_settings

from apps.ingestion.erp.mapping import (
    DEFAULT_NULL_DATES,
    Column,
    MappingError,
    load_mapping,
    parse_mapping,
)
from apps.ingestion.errors import ErpError
from apps.ingestion.tests.erp_table import ErpTable, feed_slot, line_of, messages_of
from apps.po.lifecycle import Status

COLUMNS = {
    "po_number": "PONumber",
    "line_number": "LineNo",
    "supplier_code": "Vendor",
    "item_code": "ItemCode",
    "ordered_quantity": "QtyOrdered",
    "delivered_quantity": "QtyReceived",
    "status": "Status",
}


def mapping_text(rest: str = "", *, table: str = "Lines", without: str = "", **columns: str) -> str:
    """A valid mapping and more; `columns` are TOML values, `without` takes a field away."""
    merged = {name: json.dumps(column) for name, column in COLUMNS.items()} | columns
    fields = "\n".join(f"{name} = {value}" for name, value in merged.items() if name != without)
    return f"[lines]\ntable = '{table}'\n[lines.columns]\n{fields}\n{rest}"


def problems_of(text: str) -> list[str]:
    with pytest.raises(MappingError) as error:
        parse_mapping(text, "erp.toml")
    return error.value.problems


class TestWhatItSays:
    def test_required_fields_alone_are_a_mapping(self) -> None:
        mapping = parse_mapping(mapping_text(), "erp.toml")
        assert {name: str(source) for name, source in mapping.lines.fields.items()} == COLUMNS
        assert (mapping.lookback_days, mapping.recheck_days) == (None, 60)
        assert mapping.closed_statuses == frozenset()
        assert mapping.deliveries is None
        assert mapping.dates.null_dates == set(DEFAULT_NULL_DATES)

    def test_the_defaults_of_values_are_the_documented_ones(self) -> None:
        with override_settings(BUSINESS_TIME_ZONE="Asia/Shanghai"):
            mapping = parse_mapping(mapping_text(), "erp.toml")
        assert str(mapping.dates.zone) == "Asia/Shanghai"
        assert not mapping.empty_delivered_is_zero

    def test_values_say_how_the_erp_writes_its_values(self) -> None:
        mapping = parse_mapping(
            mapping_text(
                "[values]\nnull_dates = ['1970-01-01']\ntime_zone = 'Europe/Berlin'\n"
                "date_formats = ['%Y%m%d']\nempty_delivered_is_zero = true"
            ),
            "erp.toml",
        )
        assert mapping.dates.null_dates == {"1970-01-01"}
        assert str(mapping.dates.zone) == "Europe/Berlin"
        assert mapping.dates.formats == ("%Y%m%d",)
        assert mapping.empty_delivered_is_zero

    def test_a_null_date_may_be_a_number_or_zeros_that_are_no_date(self) -> None:
        told = "null_dates = [0, '00000000', 99999999, '0000-00-00', '00.00.0000', 1900-01-01]"
        mapping = parse_mapping(mapping_text(f"[values]\n{told}"), "erp.toml")
        expected = {"0", "99999999", "0000-00-00", "00.00.0000", "1900-01-01"}
        assert mapping.dates.null_dates == expected

    def test_codes_may_be_numbers_or_padded_texts(self) -> None:
        mapping = parse_mapping(
            mapping_text(
                "[lines.active]\nclosed_statuses = [4, 'C  ']\n"
                "[lines.status_map]\n4 = 'closed'\n'C  ' = 'cancelled'\n1 = 'planned'"
            ),
            "erp.toml",
        )
        assert mapping.closed_statuses == {"4", "C"}
        assert mapping.status_map == {
            "4": Status.CLOSED,
            "C": Status.CANCELLED,
            "1": Status.PLANNED,
        }

    @pytest.mark.parametrize(
        ("path", "join", "name"),
        [
            ("Number", "", "Number"),
            ("[PO Number]", "", "PO Number"),
            ('"PO Number"', "", "PO Number"),
            ("[Line]]No]", "", "Line]No"),
            ('"5"" tube"', "", '5" tube'),
            ("head.[Buyer.Name]", "head", "Buyer.Name"),
            ('[head]."Buyer"', "head", "Buyer"),
            ("[head.Buyer]", "", "head.Buyer"),
            ("other.Buyer", "", "other.Buyer"),
            ("Line]No", "", "Line]No"),
            ("[PO] Number", "", "[PO] Number"),
        ],
    )
    def test_a_column_is_meant_with_or_without_brackets_and_quotes(
        self, path: str, join: str, name: str
    ) -> None:
        assert Column.parse(path, ["head"]) == Column(join, name)

    def test_a_quantity_may_be_the_difference_of_two_columns(self) -> None:
        text = mapping_text(delivered_quantity="{ column = 'Received', minus = 'Rejected' }")
        source = parse_mapping(text, "erp.toml").lines.fields["delivered_quantity"]
        assert (source.column, source.minus) == (Column("", "Received"), Column("", "Rejected"))

    def test_a_column_of_a_joined_table_is_named_with_the_join(self) -> None:
        text = mapping_text(
            "[lines.joins.head]\ntable = 'Heads'\non = { ID = 'HeadID' }\n"
            "[lines.joins.vendor]\ntable = 'Vendors'\non = { ID = 'head.VendorID' }",
            status="'head.Status'",
            supplier_code="'vendor.Code'",
            item_code="'Item.Code'",
        )
        lines = parse_mapping(text, "erp.toml").lines
        assert lines.fields["status"].column == Column("head", "Status")
        assert lines.fields["supplier_code"].column == Column("vendor", "Code")
        assert lines.fields["item_code"].column == Column("", "Item.Code")
        assert lines.joins["vendor"].on == (("ID", Column("head", "VendorID")),)

    @pytest.mark.parametrize(
        "table",
        ["Lines", "dbo.Lines", "[dbo].[PO Lines]", '"erp"."PO.Lines"', "server.erp.dbo.Lines"],
    )
    def test_a_table_may_have_a_schema_and_any_quotes(self, table: str) -> None:
        assert parse_mapping(mapping_text(table=table), "erp.toml").lines.table == table

    def test_a_file_with_windows_byte_order_mark_is_read(self, tmp_path: Path) -> None:
        file = tmp_path / "erp.toml"
        file.write_text(mapping_text(), encoding="utf-8-sig")
        with override_settings(ERP_MAPPING_FILE=str(file)):
            assert load_mapping().source == str(file)


class TestWhatIsWrong:
    def test_all_problems_are_told_at_once_with_file_table_key_and_nearest_name(self) -> None:
        text = mapping_text(
            "[lines.active]\nclosed_statuses = ['C']\nlookback_day = 5\n"
            "[lines.status_map]\nO = 'planed'\n[delivery]\nx = 1",
            promissed_date="'Promised'",
            without="item_code",
        )
        with pytest.raises(MappingError) as error:
            parse_mapping(text, "/etc/erp.toml")
        assert error.value.message.startswith("The mapping file /etc/erp.toml has 6 problem(s):\n")
        assert set(error.value.problems) == {
            'the file has an unknown key "delivery", did you mean "deliveries"?',
            '[lines.columns] has an unknown key "promissed_date", did you mean "promised_date"?',
            '[lines.columns] lacks the required key "item_code"',
            '[lines.active] has an unknown key "lookback_day", did you mean "lookback_days"?',
            '[lines.status_map] sends "O" to the unknown status "planed", did you mean "planned"? '
            f"(known: {', '.join(Status.values)})",
            '[lines.active] closed_statuses has "C", which [lines.status_map] must send to '
            '"closed" or "cancelled"',
        }
        assert all(f"- {problem}" in error.value.message for problem in error.value.problems)
        assert "check_erp" in error.value.remedy

    @pytest.mark.parametrize("field", COLUMNS)
    def test_each_required_field_is_required(self, field: str) -> None:
        assert problems_of(mapping_text(without=field)) == [
            f'[lines.columns] lacks the required key "{field}"'
        ]

    @pytest.mark.parametrize("status", ["planned", "fully_delivered"])
    def test_a_closed_code_must_be_sent_to_closed_or_cancelled(self, status: str) -> None:
        rest = f"[lines.active]\nclosed_statuses = ['C']\n[lines.status_map]\nC = '{status}'"
        (problem,) = problems_of(mapping_text(rest))
        assert problem.startswith('[lines.active] closed_statuses has "C"')

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "[lines] is missing"),
            ("[lines]\ntable = ", "not valid TOML"),
            ("lines = 5", "[lines] must be a table of keys"),
            (mapping_text(table=""), "is not a table name"),
            (mapping_text(table="dbo.[Lines"), "is not a table name"),
            (mapping_text(table="Lines; DROP TABLE x]"), "is not a table name"),
            (mapping_text(status="5"), '"status" must name a column'),
            (mapping_text(status="''"), '"status" must name a column'),
            (
                mapping_text(status="{ column = 'A', minus = 'B' }"),
                '"status": "minus" is for quantities',
            ),
            (
                mapping_text(delivered_quantity="{ column = 'A', less = 'B' }"),
                'unknown key "less"',
            ),
            (
                mapping_text("[lines.active]\nclosed_statuses = 'C'"),
                "must be a list of status codes",
            ),
            (mapping_text("[lines.active]\nclosed_statuses = [true]"), "must be a list of status"),
            (mapping_text("[lines.active]\nlookback_days = -1"), "lookback_days must be a number"),
            (mapping_text("[lines.active]\nrecheck_days = 'x'"), "recheck_days must be a number"),
            (
                mapping_text("[values]\ntime_zone = 'Shanghai'"),
                'time_zone "Shanghai" is not a zone',
            ),
            (mapping_text("[values]\nnull_dates = ['1.1.1900']"), "which is not YYYY-MM-DD"),
            (mapping_text("[values]\nnull_dates = ['1900-13-01']"), "which is not YYYY-MM-DD"),
            (mapping_text("[values]\nnull_dates = ['']"), "which is not YYYY-MM-DD"),
            (mapping_text("[values]\nnull_dates = [true]"), "which is not YYYY-MM-DD"),
            (mapping_text("[values]\nnull_dates = '1900-01-01'"), "null_dates must be a list"),
            (
                mapping_text("[values]\nempty_delivered_is_zero = 'yes'"),
                "empty_delivered_is_zero must be true or false",
            ),
            (mapping_text("[lines.joins.head]\ntable = 'H'"), "must say which columns meet"),
            (mapping_text("[lines.joins.head]\non = { A = 'B' }"), 'lacks "table"'),
            (mapping_text("[deliveries]\ntable = 'R'"), "[deliveries.columns] is missing"),
            (
                mapping_text("[deliveries]\ntable = 'R'\n[deliveries.columns]\nreceipt_id = 'ID'"),
                '[deliveries.columns] lacks the required key "quantity"',
            ),
        ],
    )
    def test_a_wrong_value_is_told_with_its_section_and_key(self, text: str, problem: str) -> None:
        assert any(problem in found for found in problems_of(text))

    def test_a_table_name_that_cannot_be_read_hides_nothing_else(self, erp: ErpTable) -> None:
        erp.add("A1")
        erp.table = "orders..lines"
        erp.status_map["O"] = "planed"
        told = messages_of(erp.refused_night(1))
        assert '[lines] table: "orders..lines" is not a table name' in told
        assert 'the unknown status "planed"' in told

    def test_no_mapping_is_an_error_that_names_the_setting(self) -> None:
        with override_settings(ERP_MAPPING_FILE=""), pytest.raises(ErpError) as error:
            load_mapping()
        assert "ERP_MAPPING_FILE" in error.value.remedy

    def test_a_file_that_is_not_there_is_an_error_that_names_it(self, tmp_path: Path) -> None:
        file = tmp_path / "gone.toml"
        with override_settings(ERP_MAPPING_FILE=str(file)), pytest.raises(ErpError) as error:
            load_mapping()
        assert str(file) in error.value.message
        assert "ERP_MAPPING_FILE" in error.value.remedy

    def test_a_file_that_is_not_utf8_is_an_error_that_says_so(self, tmp_path: Path) -> None:
        file = tmp_path / "erp.toml"
        file.write_bytes(b"# M\xfcller")
        with override_settings(ERP_MAPPING_FILE=str(file)), pytest.raises(MappingError) as error:
            load_mapping()
        assert error.value.problems == ["the file is not UTF-8 (byte 3)"]


class TestAgainstTheErp:
    def test_columns_the_erp_does_not_have_are_told_at_once_with_the_nearest(
        self, erp: ErpTable
    ) -> None:
        erp.add("A1")
        erp.fields["promised_date"] = "promise_date"
        erp.fields["ordered_quantity"] = {"column": "ordered_quantity", "minus": "rejected"}
        erp.read_receipts()
        erp.receipts["quantity"] = "quantities"
        feed_slot("custom_text_1", "remarks")
        report = erp.refused_night(1)
        told = messages_of(report)
        assert "4 problem(s)" in told
        assert (
            '[lines] promised_date: table orders has no column "promise_date", did you mean '
            '"promised_date"?'
        ) in told
        assert '[lines] ordered_quantity: table orders has no column "rejected"' in told
        assert (
            '[lines] custom column custom_text_1: table orders has no column "remarks", did you '
            'mean "remark"?'
        ) in told
        assert (
            '[deliveries] quantity: table receipts has no column "quantities", did you mean '
            '"quantity"?'
        ) in told

    @pytest.mark.parametrize(("before", "after"), ["[]", '""'], ids=["brackets", "quotes"])
    def test_columns_may_be_written_in_brackets_or_quotes(
        self, erp: ErpTable, before: str, after: str
    ) -> None:
        def written(name: str) -> str:
            return f"{before}{name.replace(after, after * 2)}{after}"

        odd = [
            "PO No.", "Line]No", 'Ven"dor', "Article", "Qty.Ordered", "Qty Received", "State",
        ]  # fmt: skip
        names = ", ".join('"' + name.replace('"', '""') + '"' for name in odd)
        erp.run_sql(f"CREATE TABLE items ({names})")
        erp.run_sql("INSERT INTO items VALUES (7, 1, 3, 'BOLT', 10, 4, 'O')")
        erp.run_sql('CREATE TABLE vendors ("Vendor No.", "Name 1")')
        erp.run_sql("INSERT INTO vendors VALUES (3, 'Acme')")
        fields = dict(zip(COLUMNS, map(written, odd), strict=True))
        fields["supplier_name"] = f"vendor.{written('Name 1')}"
        columns = "\n".join(f"{field} = {json.dumps(path)}" for field, path in fields.items())
        text = (
            "[lines]\ntable = 'items'\n[lines.joins.vendor]\ntable = 'vendors'\n"
            f"on = {{ {json.dumps(written('Vendor No.'))} = {json.dumps(written(odd[2]))} }}\n"
            f"[lines.columns]\n{columns}\n[lines.status_map]\nO = 'planned'"
        )
        erp.mapping = lambda: text  # type: ignore[method-assign]  # instead of the usual one
        feed_slot("custom_text_1", f"{written('vendor')}.{written('Name 1')}")
        erp.night(1)
        line = line_of("7", "1")
        assert line.ordered_quantity == 10
        assert line.delivered_quantity == 4
        assert (line.supplier.code, line.supplier.name, line.custom_text_1) == ("3", "Acme", "Acme")

    def test_two_tables_of_an_order_and_a_difference_make_one_line(self, erp: ErpTable) -> None:
        erp.run_sql("CREATE TABLE heads (id, state, vendor)")
        erp.run_sql("INSERT INTO heads VALUES (7, 2, 'ACME')")
        erp.run_sql("CREATE TABLE items (head, pos, article, qty, received, rejected)")
        erp.run_sql("INSERT INTO items VALUES (7, 1, 'BOLT', 10, 8, 3)")
        text = (
            "[lines]\ntable = 'items'\n[lines.joins.head]\ntable = 'heads'\non = { id = 'head' }\n"
            "[lines.columns]\npo_number = 'head'\nline_number = 'pos'\n"
            "supplier_code = 'head.vendor'\nitem_code = 'article'\nordered_quantity = 'qty'\n"
            "delivered_quantity = { column = 'received', minus = 'rejected' }\n"
            "status = 'head.state'\n[lines.status_map]\n2 = 'in_production'"
        )
        erp.mapping = lambda: text  # type: ignore[method-assign]  # instead of the usual one
        erp.night(1)
        line = line_of("7", "1")
        assert (line.supplier.code, line.erp_status) == ("ACME", "2")
        assert line.ordered_quantity == 10
        assert line.delivered_quantity == 5
        assert line.status == Status.PART_DELIVERED
