# ruff: noqa: DTZ001  # drivers return datetimes without a zone
"""Canonical values, from what the drivers of three engines return (rules.md "Reading")."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ingestion.erp.mapping import DEFAULT_NULL_DATES
from apps.ingestion.erp.values import (
    MAX_QUANTITY,
    Canonical,
    DateRules,
    Memory,
    UnreadableError,
    date_reader,
    key,
    moment_reader,
    optional_quantity,
    quantity,
    text,
)

SHANGHAI = ZoneInfo("Asia/Shanghai")
PLUS_8, MINUS_5 = timezone(timedelta(hours=8)), timezone(timedelta(hours=-5))


def rules(*formats: str, zone: ZoneInfo = SHANGHAI) -> DateRules:
    return DateRules(zone, frozenset(DEFAULT_NULL_DATES), formats)


def refusal(read: Callable[[Any], Canonical], raw: Any) -> str:
    with pytest.raises(UnreadableError) as error:
        read(raw)
    return str(error.value)


class TestTexts:
    @pytest.mark.parametrize(
        ("raw", "canonical"),
        [
            ("bolt  ", "bolt"),
            ("  bolt", "  bolt"),
            ("bolt\0\0", "bolt"),
            ("bolt  \0", "bolt"),
            ("bolt\r\n", "bolt"),
            ("   ", ""),
            ("", ""),
            (None, ""),
            ("0010", "0010"),
            (UUID("6f9619ff-8b86-d011-b42d-00cf4fc964ff"), "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
            (date(2025, 3, 1), "2025-03-01"),
        ],
    )
    def test_a_text_is_right_trimmed_and_null_is_empty(self, raw: Any, canonical: str) -> None:
        assert text(64)(raw) == canonical

    @pytest.mark.parametrize(
        ("raw", "canonical"),
        [
            (10, "10"),
            (10.0, "10"),
            (Decimal("10.000"), "10"),
            (Decimal(10), "10"),
            (Decimal("1E+3"), "1000"),
            (Decimal("10.50"), "10.5"),
            (-0.0, "0"),
            (Decimal(0), "0"),
            (100, "100"),
            (4500001234567890123, "4500001234567890123"),
        ],
    )
    def test_a_number_loses_leading_zeros_and_empty_decimals(
        self, raw: Any, canonical: str
    ) -> None:
        assert text(64)(raw) == canonical
        assert key(64)(raw) == canonical

    def test_a_text_counts_its_length_as_sql_server_does(self) -> None:
        assert text(4)("泵泵泵泵") == "泵泵泵泵"
        assert text(4)("🔩🔩") == "🔩🔩"
        assert "longer than 4 characters" in refusal(text(4), "🔩🔩🔩")
        assert "longer than 4 characters" in refusal(text(4), "bolts")
        assert text(4)("bolt     ") == "bolt"

    @pytest.mark.parametrize("raw", ["bo\0lt", "bolt\ud83d", b"bolt", bytearray(b"bolt"), object()])
    def test_what_no_database_can_keep_as_a_text_is_refused(self, raw: Any) -> None:
        assert refusal(text(64), raw)

    @pytest.mark.parametrize("raw", [None, "", "   ", "\0", "\t\r\n"])
    def test_a_key_must_not_be_empty(self, raw: Any) -> None:
        assert refusal(key(64), raw) == "is empty"

    @pytest.mark.parametrize("raw", [float("nan"), float("inf"), Decimal("NaN"), Decimal("sNaN")])
    def test_a_number_that_is_none_is_no_key(self, raw: Any) -> None:
        assert "is not a number" in refusal(key(64), raw)

    @pytest.mark.parametrize("zone", [UTC, PLUS_8, MINUS_5])
    def test_a_moment_with_an_offset_is_a_text_in_utc(self, zone: timezone) -> None:
        moment = datetime(2025, 3, 1, 0, 30, tzinfo=UTC).astimezone(zone)
        assert text(64)(moment) == "2025-03-01T00:30:00+00:00"
        assert "outside the calendar" in refusal(text(64), datetime(1, 1, 1, tzinfo=PLUS_8))
        assert text(64)(datetime(2025, 3, 1, 8, 30)) == "2025-03-01T08:30:00"


class TestQuantities:
    @pytest.mark.parametrize(
        ("raw", "canonical"),
        [
            (100, "100.000"),
            (Decimal("12.5"), "12.500"),
            (12.345, "12.345"),
            (0.1 + 0.2, "0.300"),
            (" 12.5 ", "12.500"),
            ("+.5", "0.500"),
            ("-3", "-3.000"),
            ("007", "7.000"),
            (-0.0, "0.000"),
            ("-0", "0.000"),
            (MAX_QUANTITY, "999999999999.999"),
            (-MAX_QUANTITY, "-999999999999.999"),
        ],
    )
    def test_a_quantity_is_exact_to_three_decimals(self, raw: Any, canonical: str) -> None:
        assert quantity(raw) == canonical

    @pytest.mark.parametrize("raw", ["ten", "1,000", "12,5", "1e3", "12 pcs", "٣", "NaN", "1_000"])
    def test_a_quantity_that_is_text_is_refused(self, raw: str) -> None:
        assert "is not a number" in refusal(quantity, raw)

    @pytest.mark.parametrize(
        "raw", [float("nan"), float("-inf"), Decimal("Infinity"), b"1", date.max]
    )
    def test_what_is_no_number_is_refused(self, raw: Any) -> None:
        assert "is not a number" in refusal(quantity, raw)

    @pytest.mark.parametrize("raw", [Decimal("1.0005"), "0.1234", 2.71828])
    def test_more_than_three_decimals_are_refused_not_rounded(self, raw: Any) -> None:
        assert "more than three decimals" in refusal(quantity, raw)

    @pytest.mark.parametrize("raw", [MAX_QUANTITY + 1, "1000000000000", 1e300, 10**40])
    def test_a_quantity_no_engine_keeps_exactly_is_refused(self, raw: Any) -> None:
        assert "is too large" in refusal(quantity, raw)

    @pytest.mark.parametrize("raw", [None, "", "  "])
    def test_an_empty_quantity_is_refused_where_one_must_be_and_none_where_not(
        self, raw: Any
    ) -> None:
        assert refusal(quantity, raw) == "is empty"
        assert optional_quantity(raw) is None

    @given(st.decimals(-MAX_QUANTITY, MAX_QUANTITY, places=3))
    def test_the_same_number_reads_the_same_from_every_driver(self, number: Decimal) -> None:
        canonical = quantity(number)
        assert canonical is not None
        assert Decimal(canonical) == number
        assert quantity(float(number)) == canonical
        assert quantity(str(number)) == canonical
        assert quantity(canonical) == canonical


class TestDates:
    @pytest.mark.parametrize(
        ("raw", "day"),
        [
            (date(2025, 3, 1), "2025-03-01"),
            (datetime(2025, 3, 1, 23, 59), "2025-03-01"),
            (datetime(2025, 3, 1, 0, 30), "2025-03-01"),
            ("2025-03-01", "2025-03-01"),
            ("2025-03-01 00:30:00", "2025-03-01"),
            ("2025-03-01T23:59:59.9999999", "2025-03-01"),
            (" 2025-03-01 ", "2025-03-01"),
        ],
    )
    def test_a_date_is_its_calendar_day_never_shifted(self, raw: Any, day: str) -> None:
        assert date_reader(rules())(raw) == day

    @pytest.mark.parametrize(
        ("raw", "day"),
        [
            (datetime(2025, 3, 1, 20, 0, tzinfo=UTC), "2025-03-02"),
            (datetime(2025, 3, 1, 0, 30, tzinfo=PLUS_8), "2025-03-01"),
            ("2025-03-01T20:00:00Z", "2025-03-02"),
            ("2025-03-01 20:00:00 -05:00", "2025-03-02"),
            ("2025-03-01 20:00:00.1234567 +00:00", "2025-03-02"),
            ("2025-03-01 00:30:00 +08:00", "2025-03-01"),
        ],
    )
    def test_a_date_with_an_offset_is_converted_to_the_erps_zone_then_cut(
        self, raw: Any, day: str
    ) -> None:
        assert date_reader(rules())(raw) == day

    @pytest.mark.parametrize(
        "raw",
        [
            None,
            "",
            "   ",
            *DEFAULT_NULL_DATES,
            "1900-01-01 00:00:00.000",
            date(1753, 1, 1),
            datetime(9999, 12, 31, 23, 59, 59),
            datetime(1, 1, 1, tzinfo=PLUS_8),
            datetime(9999, 12, 31, 23, tzinfo=MINUS_5),
            "0001-01-01T00:00:00+08:00",
        ],
    )
    def test_the_null_dates_are_no_date(self, raw: Any) -> None:
        assert date_reader(rules())(raw) is None

    @pytest.mark.parametrize(
        "raw", ["01/03/2025", "2025-3-1", "2025-02-29", "soon", 45000, 1.5, True]
    )
    def test_what_is_no_date_is_refused(self, raw: Any) -> None:
        assert "is not a date" in refusal(date_reader(rules()), raw)

    def test_a_date_beyond_the_calendar_is_refused(self) -> None:
        last = datetime(9999, 12, 31, 20, tzinfo=MINUS_5)
        read = date_reader(DateRules(SHANGHAI, frozenset()))
        assert "outside the calendar" in refusal(read, last)
        written = "9999-12-31T20:00:00-05:00"
        assert refusal(read, written) == f"'{written}' is outside the calendar"

    @pytest.mark.parametrize("raw", ["20250301", 20250301])
    def test_further_formats_are_tried_beside_iso(self, raw: Any) -> None:
        read = date_reader(rules("%d.%m.%Y", "%Y%m%d"))
        assert read(raw) == "2025-03-01"
        assert read("01.03.2025") == "2025-03-01"
        assert read("2025-03-01") == "2025-03-01"
        assert "is not a date" in refusal(date_reader(rules()), raw)

    @pytest.mark.parametrize(
        "raw", [20260131, 20260131.0, Decimal(20260131), Decimal("20260131.00"), "20260131"]
    )
    def test_a_date_stored_as_a_number_of_any_type_is_read(self, raw: Any) -> None:
        assert date_reader(rules("%Y%m%d"))(raw) == "2026-01-31"
        assert moment_reader(rules("%Y%m%d"))(raw) == "2026-01-30T16:00:00.000000+00:00"

    @pytest.mark.parametrize(
        ("raw", "pattern", "day"),
        [
            (1022026, "%d%m%Y", "2026-02-01"),  # and not the 10th of February
            (Decimal(50131), "%y%m%d", "2005-01-31"),
            ("1022026", "%d%m%Y", "2026-02-01"),
            (20260131235959, "%Y%m%d%H%M%S", "2026-01-31"),
        ],
    )
    def test_a_number_has_lost_its_leading_zeros(self, raw: Any, pattern: str, day: str) -> None:
        assert date_reader(rules(pattern))(raw) == day

    @pytest.mark.parametrize(
        "raw",
        [
            20261301, 2026111, "2026111", 2021111, 202601311, -20260131, 20260131.5,
            Decimal("20260131.5"), Decimal("1E+400000"), Decimal("sNaN"), Decimal("Infinity"),
            float("nan"), float("inf"), 10**40, True, 0, "00000000", "0000-00-00",
        ],
    )  # fmt: skip
    def test_a_number_that_is_no_date_is_refused_and_not_guessed_at(self, raw: Any) -> None:
        assert "is not a date" in refusal(date_reader(rules("%Y%m%d")), raw)
        assert "is not a date" in refusal(moment_reader(rules("%Y%m%d")), raw)

    @pytest.mark.parametrize(
        "raw",
        [0, 0.0, Decimal(0), Decimal("0.00"), "0", "00000000", " 00000000 ", 99999999, "99999999",
         "0000-00-00"],
    )  # fmt: skip
    @pytest.mark.parametrize("formats", [(), ("%Y%m%d",)])
    def test_what_stands_for_no_date_need_not_be_one(
        self, raw: Any, formats: tuple[str, ...]
    ) -> None:
        null_dates = frozenset({"0", "99999999", "0000-00-00"})
        none = DateRules(SHANGHAI, null_dates, formats)
        assert date_reader(none)(raw) is None
        assert moment_reader(none)(raw) is None

    @pytest.mark.parametrize("raw", [19000101, Decimal(99991231), "00010101", 10101])
    def test_a_null_date_may_be_written_in_a_further_format(self, raw: Any) -> None:
        assert date_reader(rules("%Y%m%d"))(raw) is None

    @given(
        st.datetimes(
            min_value=datetime(1800, 1, 1),
            max_value=datetime(2200, 1, 1),
            timezones=st.sampled_from([UTC, PLUS_8, MINUS_5]),
        )
    )
    def test_text_and_value_of_one_moment_are_the_same_day(self, moment: datetime) -> None:
        read = date_reader(rules())
        day = moment.astimezone(SHANGHAI).date().isoformat()
        if {day, moment.date().isoformat()}.isdisjoint(DEFAULT_NULL_DATES):
            assert read(moment) == read(moment.isoformat()) == day


class TestMoments:
    @pytest.mark.parametrize(
        ("raw", "moment"),
        [
            (datetime(2025, 3, 1, 8, 30), "2025-03-01T00:30:00.000000+00:00"),
            ("2025-03-01 08:30:00", "2025-03-01T00:30:00.000000+00:00"),
            ("2025-03-01T08:30:00.1234567", "2025-03-01T00:30:00.123456+00:00"),
            (datetime(2025, 3, 1, 8, 30, tzinfo=UTC), "2025-03-01T08:30:00.000000+00:00"),
            (date(2025, 3, 1), "2025-02-28T16:00:00.000000+00:00"),
            (datetime(1900, 1, 1), None),
            ("9999-12-31", None),
            (None, None),
            ("  ", None),
        ],
    )
    def test_a_moment_is_in_the_erps_zone_unless_it_names_its_own(
        self, raw: Any, moment: str | None
    ) -> None:
        assert moment_reader(rules())(raw) == moment

    @pytest.mark.parametrize("raw", ["08:30", 12, b"2025"])
    def test_what_is_no_moment_is_refused(self, raw: Any) -> None:
        assert refusal(moment_reader(rules()), raw)


def test_a_refusal_shows_the_value_but_not_all_of_a_long_one() -> None:
    assert "'soon'" in refusal(date_reader(rules()), "soon")
    assert len(refusal(text(10), "x" * 5_000)) < 120


def test_what_was_read_before_is_remembered_and_a_refusal_is_not() -> None:
    asked: list[Any] = []

    def convert(raw: Any) -> Canonical:
        asked.append(raw)
        return quantity(raw)

    read = Memory(convert)
    assert read["7"] == read["7"]
    assert asked == ["7"]
    for _ in range(2):
        with pytest.raises(UnreadableError):
            read["seven"]
    assert asked == ["7", "seven", "seven"]


@pytest.mark.parametrize("make", [text(64), date_reader(rules()), moment_reader(rules())])
def test_what_is_remembered_does_not_depend_on_what_was_read_before(
    make: Callable[[Any], Canonical],
) -> None:
    # One moment, but only the first of the two stands for "no date".
    null = datetime(1900, 1, 1, tzinfo=timezone(timedelta(hours=12)))
    other = null.astimezone(UTC)
    assert null == other
    for order in ([null, other], [other, null]):
        read = Memory(make)
        assert {raw.tzinfo: read[raw] for raw in order} == {raw.tzinfo: make(raw) for raw in order}
