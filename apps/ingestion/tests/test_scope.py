"""The records of the nightly run are for administrators, and for nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser

from apps.accounts.models import Role
from apps.ingestion.models import IngestionRun, RejectedRow, XrefGap
from tests.factories import RejectedRowFactory, SupplierFactory, UserFactory, XrefGapFactory

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("model", [IngestionRun, RejectedRow, XrefGap])
@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({"role": Role.ADMIN}, 1),
        ({"role": Role.ADMIN, "is_active": False}, 0),
        ({"role": Role.PLANNER}, 0),
        ({"role": Role.EXPEDITOR}, 0),
        ({"role": ""}, 0),
        ({"role": "", "is_superuser": True}, 0),
    ],
)
def test_only_an_active_administrator_sees_them(
    model: Any, fields: dict[str, Any], seen: int
) -> None:
    RejectedRowFactory.create()
    supplier = SupplierFactory.create()
    XrefGapFactory.create(supplier=supplier)
    user = UserFactory.create(suppliers=[supplier], **fields)
    assert model.objects.for_user(user).count() == seen


@pytest.mark.parametrize("nobody", [None, AnonymousUser()])
def test_nobody_sees_none(nobody: Any) -> None:
    RejectedRowFactory.create()
    assert not IngestionRun.objects.for_user(nobody).exists()
