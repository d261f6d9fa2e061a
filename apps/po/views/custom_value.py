"""One value of a custom column: shown, changed, given back to the ERP."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import trigger_client_event

from apps.core.htmx import page_or_fragment, toast_only
from apps.po import services
from apps.po.cells import custom_sign, custom_value, may_edit
from apps.po.columns import Column, all_columns
from apps.po.custom_values import as_text, form_field
from apps.po.models import POLine


class ValueForm(forms.Form):
    """The value, and the one that the person saw before."""

    seen = forms.CharField(widget=forms.HiddenInput, required=False, strip=False)

    def __init__(self, column: Column, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["value"] = form_field(column)


@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, pk: int, slot: str) -> HttpResponse:
    """The form in the cell (GET), the value itself (GET with `shown`), or a new value (POST)."""
    if "shown" in request.GET:
        return _shown(*_found(request, pk, slot))
    line, column = _found_to_change(request, pk, slot)
    if request.method != "POST":
        seen = as_text(getattr(line, slot))
        form = ValueForm(column, initial={"value": getattr(line, slot), "seen": seen})
        return _form(request, form, line, column)
    form = ValueForm(column, request.POST)
    if not form.is_valid():
        return _form(request, form, line, column)
    user: Any = request.user
    try:
        services.enter_custom_value(
            actor=services.acting(user, source="inline"),
            act=request.correlation_id,  # type: ignore[attr-defined]  # the middleware's
            line=line,
            column=column,
            value=form.cleaned_data["value"],
            seen=form.cleaned_data["seen"],
        )
    except services.ValueChangedMeanwhile as changed:
        # What was typed stays; saving again is now a decision with open eyes.
        now = as_text(changed.current)
        form.data = {**request.POST.dict(), "seen": now}
        text = _("Somebody changed this meanwhile: it is “%(now)s” now. Save again to replace it.")
        form.add_error("value", text % {"now": now or "—"})
        return _form(request, form, line, column)
    except POLine.DoesNotExist:
        raise Http404 from None  # it went to another supplier meanwhile
    return _saved(request, pk, slot)


@require_POST
def give_back(request: HttpRequest, pk: int, slot: str) -> HttpResponse:
    """The ERP's value stands again."""
    line, column = _found_to_change(request, pk, slot)
    user: Any = request.user
    try:
        services.give_back_to_erp(
            actor=services.acting(user, source="inline"),
            act=request.correlation_id,  # type: ignore[attr-defined]  # the middleware's
            line=line,
            column=column,
        )
    except ValidationError as error:
        return toast_only("error", " ".join(error.messages), status=422)
    except POLine.DoesNotExist:
        raise Http404 from None  # it went to another supplier meanwhile
    return _saved(request, pk, slot)


def _found(request: HttpRequest, pk: int, slot: str) -> tuple[POLine, Column]:
    """The line and its custom column, to be looked at. 404 outside of the scope."""
    user: Any = request.user
    line = get_object_or_404(POLine.objects.for_user(user).current(), pk=pk)
    column = all_columns().get(slot)
    if column is None or not column.is_custom:
        raise Http404
    return line, column


def _found_to_change(request: HttpRequest, pk: int, slot: str) -> tuple[POLine, Column]:
    """As _found, and 403 for a value that is not the person's to change."""
    user: Any = request.user
    line, column = _found(request, pk, slot)
    if not may_edit({"custom_sources": line.custom_sources}, column, user.role):
        raise PermissionDenied
    return line, column


def _saved(request: HttpRequest, pk: int, slot: str) -> HttpResponse:
    # A value that was given back is the ERP's, and not the person's to change any more.
    line, column = _found(request, pk, slot)
    # The same value may be on the page twice, in the list and in the panel.
    return trigger_client_event(
        _shown(line, column), "custom-value-saved", {"address": request.path}
    )


def _shown(line: POLine, column: Column) -> HttpResponse:
    row = {"custom_sources": line.custom_sources}
    return HttpResponse(f"{custom_value(getattr(line, column.key))}{custom_sign(row, column)}")


def _form(request: HttpRequest, form: ValueForm, line: POLine, column: Column) -> HttpResponse:
    is_persons_in_erp_column = (
        not column.entered_by_people and line.custom_sources.get(column.key) == "user"
    )
    context = {
        "form": form,
        "line": line,
        "column": column,
        "can_be_given_back": is_persons_in_erp_column,
    }
    return page_or_fragment(request, "po/custom_value.html", "po/_custom_value.html", context)
