"""What every request gets: an id, and one line in the log."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from apps.core.logs import correlation

logger = logging.getLogger(__name__)


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
    fields = {
        "method": request.method,
        "path": request.path,
        "status": response.status_code,
        "milliseconds": milliseconds,
        "user_id": getattr(user, "pk", None),
    }
    probe = request.path_info in settings.PROBE_PATHS and response.status_code < 400
    logger.log(
        logging.DEBUG if probe else logging.INFO,
        "%s %s: %s in %s ms",
        request.method,
        request.path,
        response.status_code,
        milliseconds,
        extra=fields,
    )
