"""A page that says how it was asked for, for tests of what stands in front of the application."""

import sys
import time

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.urls import path


def echo(request: HttpRequest) -> JsonResponse:
    """What the application sees of a request, and a token for the next POST."""
    forwarded = sorted(name for name in request.META if "FORWARDED" in name)
    return JsonResponse(
        {
            "scheme": request.scheme,
            "host": request.get_host(),
            "browser": request.META["REMOTE_ADDR"],
            "proxy_said": forwarded,
            "token": get_token(request),
        }
    )


def slow(request: HttpRequest) -> HttpResponse:
    """An answer that takes a second, and tells the process that waits when it has begun."""
    sys.stdout.write("at work\n")
    sys.stdout.flush()
    time.sleep(1)
    return HttpResponse("in the end")


urlpatterns = [
    path("echo", login_not_required(echo)),
    path("slow", login_not_required(slow)),
]
