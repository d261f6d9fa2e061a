"""The guard: refuses what cannot be true before it does harm (rules.md "Guard")."""

from __future__ import annotations

from django.conf import settings
from django.db.models import Exists, OuterRef

from apps.ingestion.context import RunContext
from apps.ingestion.errors import RefusedError
from apps.ingestion.models import ERPSnapshot, ReceiptSnapshot, RejectedRow
from apps.ingestion.snapshot_rows import receipts_of_tonights_lines, vanished
from apps.po.models import POLine, Presence

# Of fewer receipts any share may vanish or be broken; of so many it is the relation that is wrong.
_RECEIPTS_THAT_PROVE = 20


def check_lines(context: RunContext) -> None:
    """Refuses an extract that is empty, far too small or full of broken rows."""
    run, extract = context.run, context.extract
    extract.rejected = RejectedRow.objects.filter(run=run).count()
    before = POLine.objects.filter(presence=Presence.PRESENT).count() - _aged_tonight(context)
    if extract.accepted == 0 and extract.rejected == 0:
        _refuse(context, "The ERP shows no active line at all")
    read = extract.accepted + extract.rejected
    if extract.rejected > settings.INGESTION_MAX_REJECTED_SHARE * read:
        example = RejectedRow.objects.filter(run=run).order_by("pk").first()
        _refuse(
            context,
            f"{extract.rejected:,} of {read:,} rows cannot be used, more than the allowed share "
            f"of {settings.INGESTION_MAX_REJECTED_SHARE:.0%}; the first: {example}",
        )
    if before - extract.accepted > settings.INGESTION_MAX_DROP_SHARE * before:
        _refuse(
            context,
            f"The ERP shows {extract.accepted:,} active lines, but {before:,} were active before: "
            f"a fall of {1 - extract.accepted / before:.0%}, more than the allowed "
            f"{settings.INGESTION_MAX_DROP_SHARE:.0%}",
        )


def check_receipts(context: RunContext) -> None:
    """Refuses receipts that are mostly broken, or have mostly vanished."""
    run = context.run
    rejected = RejectedRow.objects.filter(run=run, relation="deliveries").count()
    read = ReceiptSnapshot.objects.filter(run=run).count() + rejected
    if read >= _RECEIPTS_THAT_PROVE and rejected > settings.INGESTION_MAX_REJECTED_SHARE * read:
        _refuse(context, f"{rejected:,} of {read:,} receipts cannot be used")
    known = receipts_of_tonights_lines(run)
    count, gone = known.count(), vanished(known, run).count()
    if count >= _RECEIPTS_THAT_PROVE and gone > settings.INGESTION_MAX_DROP_SHARE * count:
        _refuse(context, f"{gone:,} of {count:,} receipts known before are no longer in the ERP")


def _aged_tonight(context: RunContext) -> int:
    """Lines that were active until now and age out tonight: they did not go missing."""
    if context.mapping.lookback_days is None:
        return 0
    was_present = POLine.objects.filter(
        presence=Presence.PRESENT,
        po_number=OuterRef("po_number"),
        line_number=OuterRef("line_number"),
    )
    aged = ERPSnapshot.objects.filter(run=context.run, presence=Presence.AGED_OUT)
    return aged.filter(Exists(was_present)).count()


def _refuse(context: RunContext, why: str) -> None:
    """Raises RefusedError, or remembers what --accept-drop let pass."""
    if not context.options.accept_drop:
        raise RefusedError(
            f"{why}. The run was refused; nothing was changed.",
            "Look at the ERP with check_erp and correct the rows or the mapping. If the ERP is "
            "right, run once with --accept-drop.",
        )
    context.extract.overridden.append(why)
