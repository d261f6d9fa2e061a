"""Each request has an id and a line in the log."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import path

from apps.core.logs import CorrelationFilter, JsonFormatter
from apps.core.middleware import RequestLog

logger = logging.getLogger("apps.core.tests")


def says_who_asks(request: HttpRequest) -> HttpResponse:
    logger.info("working")
    return HttpResponse(str(request.correlation_id))  # type: ignore[attr-defined]  # set by ours


def breaks(request: HttpRequest) -> HttpResponse:
    raise ValueError("postgres://po:hunter2@host/po")


def is_out_of_order(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=503)


urlpatterns = [
    path("works", login_not_required(says_who_asks)),
    path("breaks", login_not_required(breaks)),
    path("out-of-order", login_not_required(is_out_of_order)),
    path("healthz", login_not_required(says_who_asks)),
]


class _Kept(logging.Handler):
    """What the application's log file would hold."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter("%(levelname)s %(name)s %(correlation_id)s %(message)s"))
        self.addFilter(CorrelationFilter())
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture
def kept() -> Iterator[_Kept]:
    handler = _Kept()
    root = logging.getLogger()
    root.addHandler(handler)
    with override_settings(ROOT_URLCONF=__name__):
        yield handler
    root.removeHandler(handler)


@pytest.fixture
def browser() -> Client:
    return Client(raise_request_exception=False)


def test_answer_view_and_log_lines_share_one_id(kept: _Kept, browser: Client) -> None:
    answer = browser.get("/works")
    identifier = answer["X-Request-ID"]
    assert uuid.UUID(identifier).version == 4
    assert answer.content.decode() == identifier
    assert [line["correlation_id"] for line in kept.lines] == [identifier] * 2


def test_each_request_has_another_id_and_one_that_comes_with_it_is_ignored(
    kept: _Kept, browser: Client
) -> None:
    ids = {browser.get("/works", headers={"X-Request-ID": "mine"})["X-Request-ID"] for _ in "ab"}
    assert len(ids) == 2
    assert "mine" not in ids


def test_the_line_has_method_path_status_and_time_but_not_the_query(
    kept: _Kept, browser: Client
) -> None:
    browser.get("/works?token=hunter2")
    line = kept.lines[-1]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/works", 200)
    assert line["milliseconds"] >= 0
    assert line["user_id"] is None
    assert "hunter2" not in json.dumps(kept.lines)


def test_a_request_of_a_stranger_takes_little_room_however_long_its_path(
    kept: _Kept, browser: Client
) -> None:
    browser.generic("X" * 20_000, "/lines/" + "x" * 200_000)
    (line,) = [line for line in kept.lines if line["name"] == "apps.core.middleware"]
    assert line["path"].startswith("/lines/xxx")
    assert "characters cut" in line["path"]
    assert len(json.dumps(line)) < 2_000
    # Django has a line of its own about a path that does not exist.
    assert {line["name"] for line in kept.lines} >= {"django.request"}
    assert max(len(json.dumps(line)) for line in kept.lines) < 3_000


def test_an_error_is_logged_with_the_id_and_without_its_secrets(
    kept: _Kept, browser: Client
) -> None:
    answer = browser.get("/breaks?token=hunter2")
    assert answer.status_code == 500
    (told,) = [line for line in kept.lines if line["levelname"] == "ERROR"]
    assert told["name"] == "django.request"
    assert told["correlation_id"] == answer["X-Request-ID"]
    assert "ValueError" in told["exc_info"]
    assert "hunter2" not in json.dumps(kept.lines)


def test_what_django_logs_after_the_middlewares_has_the_id_too(
    kept: _Kept, browser: Client
) -> None:
    answer = browser.get("/out-of-order")
    (told,) = [line for line in kept.lines if line["name"] == "django.request"]
    assert told["correlation_id"] == answer["X-Request-ID"]


def test_a_probe_that_goes_well_leaves_no_line(kept: _Kept, browser: Client) -> None:
    browser.get("/healthz")
    assert [line for line in kept.lines if line["name"] == "apps.core.middleware"] == []


@pytest.mark.parametrize("asked", [True, False])
def test_the_user_is_named_only_where_somebody_asked_who_it_is(kept: _Kept, asked: bool) -> None:
    user = get_user_model()(pk=7)

    def answer(request: HttpRequest) -> HttpResponse:
        if asked:
            request._cached_user = user  # type: ignore[attr-defined]  # as Django does on request.user
        return HttpResponse()

    RequestLog(answer)(RequestFactory().get("/works"))
    assert kept.lines[-1]["user_id"] == (7 if asked else None)
