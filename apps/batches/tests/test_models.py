"""Batches stay: nothing that a batch speaks of can be deleted from under it."""

import pytest
from django.db.models import ProtectedError

from apps.batches.models import Batch
from tests.factories import BatchFactory, ReceiptDateNoteFactory

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["po_line", "supplier", "run"])
def test_what_a_batch_speaks_of_cannot_be_deleted(path: str) -> None:
    batch = BatchFactory.create()
    with pytest.raises(ProtectedError):
        getattr(batch, path).delete()
    assert Batch.objects.filter(pk=batch.pk).exists()


def test_a_batch_whose_date_was_moved_cannot_be_deleted() -> None:
    note = ReceiptDateNoteFactory.create()
    with pytest.raises(ProtectedError):
        note.batch.delete()
