"""The list of PO lines, and what people set up for themselves there."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import (
    require_GET,
    require_http_methods,
    require_POST,
    require_safe,
)

from apps.core.htmx import (
    is_htmx,
    page_of,
    page_or_fragment,
    redirect_whole_page,
    toast_only,
    wants_fragment,
)
from apps.po import services
from apps.po.columns import all_columns, chosen_columns, usable
from apps.po.forms import SaveViewForm
from apps.po.list_page import LineList, ListPage
from apps.po.list_state import ListState
from apps.po.models import SavedView
from apps.po.presets import landing_preset

# The preset that a person looked at last, in their browser: remembering it writes nothing here.
_PRESET_COOKIE = "preset"
_PRESET_LASTS = 365 * 24 * 3600


@require_safe
def line_list(request: HttpRequest) -> HttpResponse:
    """The list, or the parts of it that changed."""
    user: Any = request.user
    asked = LineList.asked_for(user, request.GET, remembered=_remembered(request))
    page = ListPage(asked)
    address = f"{reverse('po_list')}?{page.state.query()}"
    # Sorting, filtering and paging leave the row of filters alone: somebody may be typing there.
    rows_only = wants_fragment(request) and request.headers.get("HX-Target") == "rows"
    context = {
        "page": page,
        "state": page.state,
        "rows_only": rows_only,
        "refreshed": rows_only and request.headers.get("HX-Trigger") == "refresh",
    }
    response = page_or_fragment(request, "po/list.html", "po/_list.html", context)
    if is_htmx(request):
        response["HX-Push-Url"] = "false" if page_of(request) == address else address
    response.set_cookie(
        _PRESET_COOKIE,
        f"{user.pk}:{page.state.preset}",
        max_age=_PRESET_LASTS,
        httponly=True,
        secure=request.is_secure(),
        samesite="Lax",
    )
    return response


def _remembered(request: HttpRequest) -> str:
    """The preset in the cookie, if the same person left it there."""
    owner, _colon, preset = request.COOKIES.get(_PRESET_COOKIE, "").partition(":")
    return preset if owner == str(request.user.pk) else ""


# --- columns --------------------------------------------------------------------------------------


@require_GET
def choose_columns(request: HttpRequest) -> HttpResponse:
    """The dialog in which columns are chosen and put in order."""
    user: Any = request.user
    known = all_columns()
    shown = usable(request.GET.get("columns", "").split(","), known) or chosen_columns(user, known)
    context = {
        "shown": [known[key] for key in shown],
        "hidden": [column for key, column in known.items() if key not in shown],
        "query": _without_columns(request.GET),
    }
    return page_or_fragment(request, "po/columns.html", "po/_columns.html", context)


@require_POST
def save_columns(request: HttpRequest) -> HttpResponse:
    """Remembers the choice; `reset` forgets it."""
    user: Any = request.user
    columns = [] if "reset" in request.POST else request.POST.getlist("column")
    if not columns and "reset" not in request.POST:
        return _refused(request, _("Choose at least one column."))
    try:
        services.choose_columns(actor=services.acting(user, source="list"), columns=columns)
    except ValidationError as error:
        return _refused(request, " ".join(error.messages))
    params = QueryDict(request.POST.get("query", ""))
    return _go(request, _list_address(_without_columns(params)))


def _without_columns(params: QueryDict) -> str:
    kept = params.copy()
    for name in ("columns", "page"):
        kept.pop(name, None)
    return kept.urlencode()


# --- saved views ----------------------------------------------------------------------------------


@require_GET
def shared_view(request: HttpRequest, identifier: UUID) -> HttpResponse:
    """The list through somebody's saved view: their filters and columns, one's own lines."""
    user: Any = request.user
    view = get_object_or_404(SavedView.objects.for_user(user), identifier=identifier)
    return redirect(_list_address(view.query))


@require_http_methods(["GET", "HEAD", "POST"])
def save_view(request: HttpRequest) -> HttpResponse:
    """The dialog that asks for a name (GET), and keeping the view under it (POST)."""
    user: Any = request.user
    if request.method != "POST":
        form = SaveViewForm(initial={"query": _state_of(request, request.GET).query(page=1)})
        return page_or_fragment(request, "po/save_view.html", "po/_save_view.html", {"form": form})
    form = SaveViewForm(request.POST)
    if form.is_valid():
        name, sent = form.cleaned_data["name"], QueryDict(form.cleaned_data["query"])
        try:
            view = services.save_view(
                actor=services.acting(user, source="list"),
                name=name,
                query=_state_of(request, sent).query(page=1),
                replace=form.cleaned_data["taken"] == name,
            )
        except ValidationError as error:
            form.add_error("name", error)
            # With the same name, a second click on Save means it.
            form.data = {**request.POST.dict(), "taken": name}
        else:
            return _go(request, _list_address(view.query))
    return page_or_fragment(request, "po/save_view.html", "po/_save_view.html", {"form": form})


@require_POST
def delete_view(request: HttpRequest, identifier: UUID) -> HttpResponse:
    user: Any = request.user
    view = get_object_or_404(SavedView.objects.for_user(user).owned_by(user), identifier=identifier)
    services.delete_view(actor=services.acting(user, source="list"), view=view)
    return _go(request, page_of(request) or reverse("po_list"))


def _state_of(request: HttpRequest, params: QueryDict) -> ListState:
    user: Any = request.user
    known = all_columns()
    chosen = chosen_columns(user, known)
    return ListState.parsed(params, known, chosen=chosen, preset=landing_preset(user.role))


# --- where to go on -------------------------------------------------------------------------------


def _list_address(query: str) -> str:
    return f"{reverse('po_list')}?{query}" if query else reverse("po_list")


def _go(request: HttpRequest, address: str) -> HttpResponse:
    return redirect_whole_page(address) if is_htmx(request) else redirect(address)


def _refused(request: HttpRequest, text: str) -> HttpResponse:
    if is_htmx(request):
        return toast_only("error", text, status=422)
    messages.error(request, text)
    return redirect(page_of(request) or reverse("po_list"))
