"""Keeps the ERP's tables on the ERP connection and everything else off it."""

from typing import Any

from django.db.models import Model

ERP_ALIAS = "erp"
ERP_APP_LABEL = "erp"


class ErpWriteRefusedError(RuntimeError):
    """Somebody tried to write to the ERP."""


class ErpRouter:
    """Django's database router: ERP models are read from the ERP, never written or migrated."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        return ERP_ALIAS if model._meta.app_label == ERP_APP_LABEL else None

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        if model._meta.app_label == ERP_APP_LABEL:
            raise ErpWriteRefusedError(
                f"{model._meta.db_table} belongs to the ERP and is only read."
            )
        return None

    def allow_relation(self, first: Model, second: Model, **hints: Any) -> bool | None:
        labels = {first._meta.app_label, second._meta.app_label}
        if ERP_APP_LABEL in labels:
            return labels == {ERP_APP_LABEL}
        return None

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return False if ERP_ALIAS in (db, app_label) else None
