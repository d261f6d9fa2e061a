"""How lists of the admin pages are narrowed down."""

from __future__ import annotations

from collections.abc import Collection

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.ingestion.models import RunStatus
from apps.ingestion.querysets import IngestionRunQuerySet

# Not a status of its own in the database: a run marked running on which nobody works.
STOPPED = "stopped"


class _Day(forms.DateInput):
    input_type = "date"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%d")


class RunFilter(forms.Form):
    """By outcome, and by the run's business date."""

    status = forms.ChoiceField(
        label=_("Status"),
        required=False,
        choices=[
            ("", _("Any")),
            (RunStatus.SUCCESS, _("Success")),
            (RunStatus.PARTIAL, _("Partial")),
            (RunStatus.FAILED, _("Failed")),
            (RunStatus.RUNNING, _("Running")),
            (STOPPED, _("Stopped unexpectedly")),
        ],
    )
    since = forms.DateField(label=_("From"), required=False, widget=_Day)
    until = forms.DateField(label=_("To"), required=False, widget=_Day)

    @property
    def is_active(self) -> bool:
        """Whether it leaves anything out."""
        return self.is_valid() and any(self.cleaned_data.values())

    def narrow(
        self, runs: IngestionRunQuerySet, *, stopped: Collection[int]
    ) -> IngestionRunQuerySet:
        """The runs that are asked for; `stopped` has the numbers of those that stopped
        unexpectedly. A value that makes no sense narrows nothing down; the form says so."""
        self.full_clean()
        wanted = self.cleaned_data
        status = wanted.get("status")
        if status == STOPPED:
            runs = runs.filter(pk__in=stopped)
        elif status:
            runs = runs.filter(status=status).exclude(pk__in=stopped)
        if since := wanted.get("since"):
            runs = runs.filter(run_date__gte=since)
        if until := wanted.get("until"):
            runs = runs.filter(run_date__lte=until)
        return runs


def chosen(value: str | None, known: Collection[str]) -> str:
    """The value if it is one of those that are known, else "", which stands for all."""
    return value if value is not None and value in known else ""
