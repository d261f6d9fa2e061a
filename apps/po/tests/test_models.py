"""What the database itself holds of lines and custom columns."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.po.models import (
    APPLICATION_OWNED_FIELDS,
    COMPUTED_FIELDS,
    CUSTOM_SLOTS,
    DERIVED_FIELDS,
    ERP_OWNED_FIELDS,
    POLine,
    Presence,
)
from tests.factories import CustomColumnFactory, POLineFactory

KEY = {"po_number": "PO1", "line_number": "10"}


@pytest.mark.django_db
@pytest.mark.parametrize("presence", [p for p in Presence if p != Presence.RETIRED])
def test_a_key_has_one_line_that_is_not_retired(presence: Presence) -> None:
    POLineFactory.create(**KEY, generation=1, presence=presence)
    with pytest.raises(IntegrityError), transaction.atomic():
        POLineFactory.create(**KEY, generation=2)


@pytest.mark.django_db
def test_a_key_that_is_used_again_begins_a_new_generation_beside_the_retired_one() -> None:
    POLineFactory.create(**KEY, generation=1, presence=Presence.RETIRED)
    POLineFactory.create(**KEY, generation=2, presence=Presence.RETIRED)
    POLineFactory.create(**KEY, generation=3)
    assert POLine.objects.current().get().generation == 3
    with pytest.raises(IntegrityError), transaction.atomic():
        POLineFactory.create(**KEY, generation=1, presence=Presence.RETIRED)


@pytest.mark.django_db
@pytest.mark.parametrize("other", [{"po_number": "po1"}, {"line_number": "010"}])
def test_keys_are_compared_exactly(other: dict[str, str]) -> None:
    POLineFactory.create(**KEY)
    POLineFactory.create(**(KEY | other))
    assert POLine.objects.filter(**KEY).count() == 1


@pytest.mark.django_db
def test_quantities_keep_three_decimals_exactly() -> None:
    # 15 digits: SQLite, which knows no decimals, keeps no more.
    line = POLineFactory.create(ordered_quantity=Decimal("123456789012.345"))
    line.refresh_from_db()
    assert line.ordered_quantity == Decimal("123456789012.345")


@pytest.mark.parametrize(
    ("ordered", "delivered", "outstanding", "over"),
    [(100, 0, 100, 0), (100, 40, 60, 0), (100, 100, 0, 0), (100, 120, 0, 20), (0, 5, 0, 5)],
)
def test_outstanding_and_over_delivered_are_at_least_zero(
    ordered: int, delivered: int, outstanding: int, over: int
) -> None:
    line = POLine(ordered_quantity=Decimal(ordered), delivered_quantity=Decimal(delivered))
    assert line.outstanding == Decimal(outstanding)
    assert line.over_delivered == Decimal(over)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "values", [{"source": "erp", "erp_column": ""}, {"source": "user", "erp_column": "Remark"}]
)
def test_a_custom_column_names_an_erp_column_exactly_when_the_erp_fills_it(
    values: dict[str, Any],
) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        CustomColumnFactory.create(**values)
    CustomColumnFactory.create(source="erp", erp_column="Remark")


def test_every_field_has_one_owner() -> None:
    owned = [
        *ERP_OWNED_FIELDS,
        *DERIVED_FIELDS,
        *COMPUTED_FIELDS,
        *APPLICATION_OWNED_FIELDS,
        *CUSTOM_SLOTS,
    ]
    assert len(owned) == len(set(owned))
    fields = {field.name for field in POLine._meta.get_fields()}
    assert set(owned) - fields == {"supplier_code"}  # read from the ERP, stored as the supplier
