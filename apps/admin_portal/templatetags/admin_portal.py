"""How a run looks on the admin pages: its status as icon and words, its time in words."""

from __future__ import annotations

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.admin_portal import monitor
from apps.core.templatetags.interface import EMPTY, icon
from apps.core.words import StrOrPromise
from apps.ingestion.history import STOPPED
from apps.ingestion.models import IngestionRun, RunStatus

register = template.Library()

# Icon, colour, words.
_STATUS: dict[str, tuple[str, str, StrOrPromise]] = {
    RunStatus.RUNNING.value: ("arrow-repeat", "blue", gettext_lazy("Running")),
    RunStatus.SUCCESS.value: ("check-circle-fill", "green", gettext_lazy("Success")),
    RunStatus.PARTIAL.value: ("exclamation-triangle-fill", "amber", gettext_lazy("Partial")),
    RunStatus.FAILED.value: ("x-octagon-fill", "red", gettext_lazy("Failed")),
    STOPPED: ("plug-fill", "red", gettext_lazy("Stopped unexpectedly")),
}


@register.simple_tag
def run_status(status: str) -> SafeString:
    """A badge for the status of a run, as SeenRun has it."""
    picture, colour, words = _STATUS[status]
    return format_html('<span class="badge badge-{}">{} {}</span>', colour, icon(picture), words)


@register.filter
def counts(run: IngestionRun) -> list[int]:
    """The numbers of a run that its row in the list shows, in the order of the head."""
    return [counter.of(run) for counter in monitor.LISTED]


@register.filter
def stage(name: str) -> str:
    """What a stage does, in words."""
    return str(monitor.stage_in_words(name))


@register.filter
def duration(seconds: float | None) -> str:
    """0.13 s, 4.2 s, 48 s, 3 min 05 s, 1 h 02 min; an em dash for none."""
    if seconds is None:
        return EMPTY
    if seconds < 60:
        digits = 2 if seconds < 1 else 1 if seconds < 10 else 0
        if round(seconds, digits) < 60:
            return _("%(n)s s") % {"n": f"{seconds:.{digits}f}"}
    whole = round(seconds)
    if whole < 3600:
        return _("%(minutes)d min %(seconds)02d s") % {
            "minutes": whole // 60,
            "seconds": whole % 60,
        }
    minutes = round(whole / 60)
    return _("%(hours)d h %(minutes)02d min") % {"hours": minutes // 60, "minutes": minutes % 60}
