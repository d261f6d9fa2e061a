"""What the ERP's fields of a line are called: in the list, the timeline and the monitor alike."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from apps.core.words import StrOrPromise

# The fields of ERP_OWNED_FIELDS (apps/po/models.py).
ERP_LABELS: dict[str, StrOrPromise] = {
    "supplier_code": _("Supplier"),
    "erp_item_code": _("ERP item code"),
    "ordered_quantity": _("Ordered"),
    "delivered_quantity": _("Delivered"),
    "erp_status": _("ERP status"),
    "promised_date": _("Promised"),
    "in_date": _("Last receipt in the ERP"),
    "erp_item": _("Item in the ERP"),
    "po_insert_date": _("PO insert date"),
    "final_customer": _("Final customer"),
    "erp_sku": _("SKU in the ERP"),
    "erp_updated_at": _("Last saved in the ERP"),
}
