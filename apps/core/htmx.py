"""What views need to know of htmx, which fetches parts of a page."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import (
    HttpResponseClientRedirect,
    HttpResponseClientRefresh,
    trigger_client_event,
)
from django_htmx.middleware import HtmxDetails

# More than any list of ours has; where one goes on must fit into the header of an answer, escaped.
_LONGEST_ADDRESS = 5_000

ToastLevel = Literal["success", "info", "warning", "error"]


def is_htmx(request: HttpRequest) -> bool:
    """Whether htmx asks, for whatever reason. False as well where the middleware has not been yet:
    an error may come before it."""
    return bool(_details(request))


def wants_fragment(request: HttpRequest) -> bool:
    """Whether the answer goes into a page that is there already.

    A boosted link wants a whole page, and so does a Back button whose page the browser has
    forgotten, although htmx asks for both.
    """
    details = _details(request)
    if not details:
        return False
    return not details.boosted and not details.history_restore_request


def page_or_fragment(
    request: HttpRequest, page: str, fragment: str, context: dict[str, Any]
) -> HttpResponse:
    """The template that the request wants, marked so that no cache gives the one for the other."""
    response = render(request, fragment if wants_fragment(request) else page, context)
    patch_vary_headers(response, ("HX-Request", "HX-Boosted", "HX-History-Restore-Request"))
    return response


def add_toast(response: HttpResponse, level: ToastLevel, text: str) -> HttpResponse:
    """Lets the page show a message, at the top right, when it gets this answer."""
    return trigger_client_event(response, "toast", {"level": level, "text": text})


def toast_only(level: ToastLevel, text: str, *, status: int) -> HttpResponse:
    """An answer that leaves the page as it is and shows a message."""
    response = HttpResponse(status=status)
    response["HX-Reswap"] = "none"
    return add_toast(response, level, text)


def redirect_whole_page(url: str) -> HttpResponse:
    """Lets the browser, and not only the part that asked, go somewhere else."""
    return HttpResponseClientRedirect(url)


def reload_whole_page() -> HttpResponse:
    """Lets the browser load the page again: more of it has changed than the part that asked."""
    return HttpResponseClientRefresh()


def page_of(request: HttpRequest) -> str:
    """The path of the page on which the person is, to come back to; "" if nobody can know it.

    For a part of a page and for a form it is the page around them, as far as it is our own: the
    address itself may answer nothing but a POST.
    """
    if details := _details(request):
        return own_path(request, details.current_url or "")
    if request.method in ("GET", "HEAD"):
        return own_path(request, request.get_full_path())
    return page_before(request)


def page_before(request: HttpRequest) -> str:
    """The path of the page from which the request was made; "" if nobody can know it."""
    return own_path(request, request.headers.get("Referer", ""))


def own_path(request: HttpRequest, url: str) -> str:
    """Path and query of the address if it is one of ours and no longer than ours are, else ""."""
    hosts, https = {request.get_host()}, request.is_secure()
    # Before its query an address has said where it leads; Django refuses to look at longer ones.
    place = url.partition("?")[0]
    if len(url) > _LONGEST_ADDRESS or not url_has_allowed_host_and_scheme(
        place, allowed_hosts=hosts, require_https=https
    ):
        return ""
    parts = urlsplit(url)
    path = parts.path or "/"
    # What is left without the host must be a path, too, and no address of its own (//evil).
    if not url_has_allowed_host_and_scheme(path, allowed_hosts=None) or not path.startswith("/"):
        return ""
    return f"{path}?{parts.query}" if parts.query else path


def _details(request: HttpRequest) -> HtmxDetails | None:
    details: HtmxDetails | None = getattr(request, "htmx", None)
    return details or None
