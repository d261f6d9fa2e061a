"""configure_custom_column says what a slot means, checks it, and tells the history."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from apps.audit.models import AuditEvent, EventType
from apps.audit.services import Actor
from apps.ingestion.tests.erp_table import ErpTable, line_of
from apps.po.models import CUSTOM_SLOTS, CustomColumn
from apps.po.services import configure_custom_column
from tests.erp import use_erp
from tests.factories import CustomColumnFactory

pytestmark = pytest.mark.django_db

_ACTOR = Actor(name="the administrator", source="command")


def _configure(slot: str = "custom_text_1", **settings: Any) -> bool:
    return configure_custom_column(slot=slot, actor=_ACTOR, **settings)[1]


def _stored(slot: str = "custom_text_1") -> tuple[str, str, str, bool]:
    column = CustomColumn.objects.get(slot=slot)
    return column.label, column.source, column.erp_column, column.active


def _run_command(*arguments: str) -> tuple[str, str, int]:
    output, errors = io.StringIO(), io.StringIO()
    try:
        call_command("configure_custom_column", *arguments, stdout=output, stderr=errors)
    except SystemExit as end:
        return output.getvalue(), errors.getvalue(), int(str(end.code))
    return output.getvalue(), errors.getvalue(), 0


# --- the service ------------------------------------------------------------------------------


def test_a_new_column_is_stored_and_told_with_one_event() -> None:
    assert _configure(label=" Buyer ", source="erp", erp_column=" head.Buyer ")
    assert _stored() == ("Buyer", "erp", "head.Buyer", True)
    event = AuditEvent.objects.get()
    assert event.event_type == EventType.CUSTOM_COLUMN_CONFIGURED
    assert event.actor_name == "the administrator"
    assert event.data == {
        "slot": "custom_text_1",
        "previous": None,
        "new": {"label": "Buyer", "source": "erp", "erp_column": "head.Buyer", "active": True},
    }


def test_only_what_is_given_changes_and_the_event_has_old_and_new() -> None:
    _configure(label="Buyer", source="erp", erp_column="Buyer")
    assert _configure(label="Purchaser")
    assert _stored() == ("Purchaser", "erp", "Buyer", True)
    event = AuditEvent.objects.order_by("-pk")[0]
    assert event.data["previous"]["label"] == "Buyer"
    assert event.data["new"]["label"] == "Purchaser"


def test_the_same_settings_again_are_no_change_and_no_event() -> None:
    assert _configure(label="Remark", source="user")
    assert not _configure(label="Remark", source="user", active=True)
    assert AuditEvent.objects.count() == 1


def test_a_deactivated_column_keeps_its_settings() -> None:
    _configure(label="Buyer", source="erp", erp_column="Buyer")
    _configure(active=False)
    assert _stored() == ("Buyer", "erp", "Buyer", False)
    _configure(active=True)
    assert _stored() == ("Buyer", "erp", "Buyer", True)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"label": "Buyer", "source": "erp"}, "needs the ERP's column"),
        ({"label": "Buyer", "source": "user", "erp_column": "Buyer"}, "Only a column with the"),
        ({"label": "  ", "source": "user"}, "needs a label"),
        ({"source": "user"}, "needs a label"),
        ({"label": "x" * 61, "source": "user"}, "at most 60 characters"),
        ({"label": "two\nlines", "source": "user"}, "one line"),
        ({"label": "Buyer"}, 'The source is "erp"'),
        ({"label": "Buyer", "source": "excel"}, 'The source is "erp"'),
        ({"label": "remark", "source": "user"}, 'custom_text_2 has the label "Remark" already'),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], told: str) -> None:
    CustomColumnFactory.create(slot="custom_text_2", label="Remark")
    with pytest.raises(ValidationError) as caught:
        _configure(**settings)
    assert told in " ".join(caught.value.messages)
    assert not CustomColumn.objects.filter(slot="custom_text_1").exists()
    assert not AuditEvent.objects.exists()


def test_a_slot_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        ValidationError, match='no slot "custom_txt_1", did you mean "custom_text_1"'
    ):
        _configure("custom_txt_1", label="Buyer", source="user")


def test_without_its_event_a_column_does_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("no history, no change")

    monkeypatch.setattr("apps.po.services.audit.record", fail)
    with pytest.raises(RuntimeError):
        _configure(label="Remark", source="user")
    assert not CustomColumn.objects.exists()


# --- with the ERP -----------------------------------------------------------------------------


def test_a_column_that_the_erp_has_is_filled_by_the_next_run(erp: ErpTable) -> None:
    erp.add("A1", remark="fragile")
    erp.night(1)
    with erp.connected():
        output, _, code = _run_command(
            "custom_text_1", "--label", "Remark", "--source", "erp", "--erp-column", "remark"
        )
    assert code == 0
    assert "No ERP is configured" not in output
    erp.night(2)
    assert line_of("A1").custom_text_1 == "fragile"


def test_a_column_that_the_erp_lacks_is_refused_with_the_nearest(erp: ErpTable) -> None:
    with erp.connected():
        _, errors, code = _run_command(
            "custom_text_1", "--label", "Remark", "--source", "erp", "--erp-column", "remrk"
        )
    assert code == 2
    assert 'no column "remrk", did you mean "remark"?' in errors
    assert not CustomColumn.objects.exists()


def test_activating_a_column_that_the_erp_lost_is_refused(erp: ErpTable) -> None:
    CustomColumnFactory.create(source="erp", erp_column="gone", active=False)
    with erp.connected():
        _, errors, code = _run_command("custom_text_1", "--activate")
    assert code == 2
    assert 'no column "gone"' in errors
    assert not CustomColumn.objects.get().active


def test_an_erp_that_cannot_be_asked_is_no_yes(erp: ErpTable) -> None:
    with use_erp(erp.file.with_name("nowhere.sqlite3"), erp.mapping()):
        _, errors, code = _run_command(
            "custom_text_1", "--label", "Remark", "--source", "erp", "--erp-column", "remark"
        )
    assert code == 1
    assert "The ERP could not be read" in errors
    assert not CustomColumn.objects.exists()


def test_a_column_that_people_fill_from_now_on_keeps_what_the_erp_said(erp: ErpTable) -> None:
    erp.add("A1", remark="fragile")
    _configure(label="Remark", source="erp", erp_column="remark")
    erp.night(1)
    _run_command("custom_text_1", "--source", "user")
    assert _stored() == ("Remark", "user", "", True)
    erp.change("A1", remark="heavy")
    erp.night(2)
    assert line_of("A1").custom_text_1 == "fragile"


# --- the command ------------------------------------------------------------------------------


def test_without_a_slot_the_command_shows_what_is_configured_and_free() -> None:
    CustomColumnFactory.create(
        slot="custom_date_2", label="Packed on", source="erp", erp_column="Packed"
    )
    output, _, code = _run_command()
    assert code == 0
    row = next(line for line in output.splitlines() if "custom_date_2" in line)
    assert row.split("  ")[0].strip() == "custom_date_2"
    assert "Packed on" in row
    assert "the ERP" in row
    free = output[output.index("Free:") :]
    assert all((slot in free) == (slot != "custom_date_2") for slot in CUSTOM_SLOTS)


@pytest.mark.parametrize(
    "arguments", [["custom_text_1"], ["--label", "Buyer"], ["custom_text_1", "--active", "maybe"]]
)
def test_a_call_without_sense_changes_nothing(arguments: list[str]) -> None:
    CustomColumnFactory.create(slot="custom_text_1", label="Remark")
    try:
        code = _run_command(*arguments)[2]
    except CommandError:
        code = 2  # what argparse ends with on a command line
    assert code == 2
    assert _stored()[0] == "Remark"
