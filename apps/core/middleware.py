"""What every request gets: an id and a line in the log; an encoding that we read; a session that
ends when nobody uses it; a user; and, on the read-only instance, no writing."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore
from django.core import signing
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.crypto import salted_hmac
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from apps.core.htmx import (
    is_htmx,
    page_before,
    page_of,
    redirect_whole_page,
    toast_only,
    wants_fragment,
)
from apps.core.logs import correlation, shortened

logger = logging.getLogger(__name__)

_LONGEST_PATH = 500  # in the log; ours are far shorter


class RequestLog:
    """Gives the request an id of its own, which its log lines and the answer (X-Request-ID) carry,
    and writes one line when it is answered. Stands first among the middlewares.

    An id that comes with the request is ignored: whoever sends it could pass for another request.
    The line has the path without its query, in which people and other programs put anything.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        identifier = uuid.uuid4()
        request.correlation_id = identifier  # type: ignore[attr-defined]  # ours, for whoever audits
        started = time.perf_counter()
        with correlation(str(identifier)):
            response = self.get_response(request)
            _log(request, response, round((time.perf_counter() - started) * 1000))
        response["X-Request-ID"] = str(identifier)
        return response


def _log(request: HttpRequest, response: HttpResponse, milliseconds: int) -> None:
    # Who it was only where somebody asked already: looking it up now could read the database.
    user = getattr(request, "_cached_user", None)
    # Of a stranger, both may be as long as the server lets a request be.
    method, path = shortened(request.method or "", 20), shortened(request.path, _LONGEST_PATH)
    fields = {
        "method": method,
        "path": path,
        "status": response.status_code,
        "milliseconds": milliseconds,
        "user_id": getattr(user, "pk", None),
    }
    probe = request.path_info in settings.PROBE_PATHS and response.status_code < 400
    logger.log(
        logging.DEBUG if probe else logging.INFO,
        "%s %s: %s in %s ms",
        method,
        path,
        response.status_code,
        milliseconds,
        extra=fields,
    )


class Utf8Only:
    """Refuses a request that says it is written in anything but UTF-8, which is what browsers send.

    Django reads forms and queries in whatever encoding a request names, and Python knows one that
    takes minutes for a megabyte (punycode): a few such requests, which need no signing in, would
    keep every thread of the server busy.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        named = (request.content_params or {}).get("charset", "utf-8")
        if named.strip().lower() not in ("utf-8", "utf8"):
            raise BadRequest("the request is not written in UTF-8")
        return self.get_response(request)


class IdleSession:
    """Ends a session in which nobody asked for anything for SESSION_IDLE_SECONDS.

    The moment of the last request is in a signed cookie of its own, which each answer renews, and
    not in the session's row: reading a page must not write, and a page must not wait for a night
    that is being applied. Without that cookie, or with one that is too old or of another session,
    the session counts for nothing.
    """

    COOKIE = "last_seen"
    SALT = "apps.core.middleware.IdleSession"

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if settings.SESSION_COOKIE_NAME in request.COOKIES and not self._is_awake(request):
            request.session = SessionStore()
        response = self.get_response(request)
        session: SessionBase | None = getattr(request, "session", None)  # /healthz removes it
        if session is not None and SESSION_KEY in session:
            response.set_signed_cookie(
                self.COOKIE,
                _mark_of(session),
                salt=self.SALT,
                max_age=settings.SESSION_IDLE_SECONDS,
                secure=settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Lax",
            )
        elif session is not None and self.COOKIE in request.COOKIES:
            response.delete_cookie(self.COOKIE, samesite="Lax")
        return response

    def _is_awake(self, request: HttpRequest) -> bool:
        try:
            seen = request.get_signed_cookie(
                self.COOKIE, salt=self.SALT, max_age=settings.SESSION_IDLE_SECONDS
            )
        except (KeyError, signing.BadSignature):  # SignatureExpired is one
            return False
        return seen == _mark_of(request.session)


def _mark_of(session: SessionBase) -> str:
    """What stands for the session without giving it away."""
    return salted_hmac(IdleSession.SALT, session.session_key or "").hexdigest()


class LongestSession:
    """Ends a session SESSION_LONGEST_SECONDS after it began, however much it is used.

    For the read-only instance, in place of IdleSession: its sessions are signed cookies, which each
    answer renews, and which signing out cannot take back. So one that somebody copied would be good
    for ever.
    """

    BEGAN = "began"

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        now = int(time.time())
        began = request.session.get(self.BEGAN, now)
        if now - began > settings.SESSION_LONGEST_SECONDS:
            request.session.flush()
        response = self.get_response(request)
        session: SessionBase | None = getattr(request, "session", None)  # /healthz removes it
        if session is not None and SESSION_KEY in session:
            session.setdefault(self.BEGAN, now)
        return response


class SignInRequired:
    """Nothing without signing in, but for views marked `login_not_required`; and what was shown to
    somebody is kept by no cache, where the Back button would show it to the next person.

    A person whose session ended in the middle of a page signs in and comes back to that page.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        user = getattr(request, "_cached_user", None)  # only if somebody asked, as in _log
        if user is not None and user.is_authenticated and "Cache-Control" not in response:
            response["Cache-Control"] = "private, no-store"
        return response

    def process_view(
        self, request: HttpRequest, view_func: Any, args: Any, kwargs: Any
    ) -> HttpResponse | None:
        # The mark first: /healthz must answer without a database, and so without a user.
        if not getattr(view_func, "login_required", True) or request.user.is_authenticated:
            return None
        is_file = getattr(view_func, "gives_file", False)
        page = page_before(request) if is_file else page_of(request)
        url = reverse(settings.LOGIN_URL)
        if page not in ("", "/"):
            url = f"{url}?{urlencode({'next': page})}"
        return redirect_whole_page(url) if is_htmx(request) else redirect(url)


class ReadOnlyInstance:
    """On an instance whose database is a replica, refuses what would write, and says so."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view_func: Any, args: Any, kwargs: Any
    ) -> HttpResponse | None:
        if not settings.READ_ONLY or request.method in ("GET", "HEAD", "OPTIONS"):
            return None
        if getattr(view_func, "works_read_only", False):
            return None
        if wants_fragment(request):
            text = _("This is the read-only copy: nothing can be changed here. Nothing was saved.")
            return toast_only("error", text, status=403)
        return render(request, "read_only.html", status=403)
