"""How old the ERP's data are, for every page's navbar, and what to say when a night is missing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _

from apps.ingestion.history import Standing


@dataclass(frozen=True, kw_only=True)
class DataAge:
    """`moment` is when the ERP was read for what the pages show, None before the first night;
    `warning` is empty while all is well."""

    moment: datetime | None
    warning: str


def data_age(request: HttpRequest) -> dict[str, Any]:
    """Asks the database only where a template shows it: parts of a page do not."""
    return {"data_age": SimpleLazyObject(_data_age)}


def _data_age() -> DataAge:
    standing = Standing.now()
    moment = standing.applied.effective_at if standing.applied else None
    return DataAge(moment=moment, warning=_warning(standing))


def _warning(standing: Standing) -> str:
    if standing.applied is None and standing.has_failed_since:
        return _("The first ingestion failed, so there are no ERP data yet.")
    if standing.has_failed_since:
        return _("The last ingestion failed. What you see is from the one before.")
    if standing.is_overdue and standing.is_at_work:
        return _("The ingestion is late and at work now. What you see is older than it should be.")
    if standing.is_overdue:
        return _("The last ingestion is missing. What you see is older than it should be.")
    return ""
