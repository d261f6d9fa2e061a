"""/healthz says whether the application works, to anybody, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import pytest_django
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection, connections
from django.test import Client, override_settings
from django.utils import timezone

from apps.ingestion.lease import Lease
from apps.ingestion.models import IngestionRun, RunStatus
from apps.operations import health, waiting
from tests.factories import IngestionRunFactory, UserFactory

# A server is asked in a thread of its own, which sees only what is committed.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def probe() -> Client:
    """As a monitor asks: nobody is signed in, over http."""
    return Client(raise_request_exception=False)


def _run(hours_ago: float, **fields: Any) -> IngestionRun:
    return IngestionRunFactory.create(
        finished_at=timezone.now() - timedelta(hours=hours_ago), **fields
    )


def test_after_a_night_all_is_well(probe: Client) -> None:
    ended = _run(2).finished_at
    assert ended is not None
    answer = probe.get("/healthz")
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    assert not answer.cookies
    told = answer.json()
    age = told["last_run"].pop("age_seconds")
    assert told == {
        "status": "ok",
        "database": "ok",
        "last_run": {"status": "success", "finished_at": ended.isoformat()},
    }
    assert 7_200 <= age <= 7_260


def test_a_partial_night_is_fine(probe: Client) -> None:
    _run(2, status=RunStatus.PARTIAL)
    assert probe.get("/healthz").json()["status"] == "ok"


def test_before_the_first_night_it_is_degraded_but_up(probe: Client) -> None:
    answer = probe.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["last_run"] is None


def test_a_newer_run_that_failed_degrades_and_its_error_is_not_told(probe: Client) -> None:
    _run(20)
    error = {"stage": "snapshot", "message": "PWD=hunter2 at host erp", "remedy": "Call Bob."}
    _run(1, status=RunStatus.FAILED, errors_encountered=[error])
    answer = probe.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["last_run"]["status"] == "success"
    assert b"erp" not in answer.content


def test_a_newer_run_that_stopped_unexpectedly_degrades(probe: Client) -> None:
    _run(20)
    IngestionRunFactory.create(status=RunStatus.RUNNING, finished_at=None)
    assert probe.get("/healthz").json()["status"] == "degraded"


def test_a_run_that_is_working_is_fine(probe: Client) -> None:
    _run(20)
    run = IngestionRunFactory.create(status=RunStatus.RUNNING, finished_at=None)
    Lease.acquire().assign(run)
    assert probe.get("/healthz").json()["status"] == "ok"


@pytest.mark.parametrize(("hours", "status"), [(25.9, 200), (26.1, 503)])
def test_data_that_are_too_old_are_an_error(probe: Client, hours: float, status: int) -> None:
    _run(hours)
    answer = probe.get("/healthz")
    assert answer.status_code == status
    assert answer.json()["database"] == "ok"


def test_how_old_is_too_old_is_a_setting(probe: Client) -> None:
    _run(30)
    with override_settings(INGESTION_EXPECTED_EVERY_HOURS=7 * 24):
        assert probe.get("/healthz").status_code == 200


def test_a_database_that_refuses_is_unreachable_and_nothing_more_is_told(
    probe: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> health.Health:
        raise OperationalError("postgres://po:hunter2@db refused")

    monkeypatch.setattr(health, "look", refuse)
    answer = probe.get("/healthz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "error", "database": "unreachable", "last_run": None}


@pytest.fixture
def hanging_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A server that answers when the event is set."""
    wakes = threading.Event()

    def hang() -> health.Health:
        wakes.wait(30)
        return health.Health(status="ok", database="ok")

    monkeypatch.setattr(health, "look", hang)
    monkeypatch.setattr(health, "ANSWER_WITHIN_SECONDS", 0.2)
    monkeypatch.setattr(connections["default"], "vendor", "postgresql")
    yield wakes
    wakes.set()
    _wait_until_nobody_asks()


def _wait_until_nobody_asks() -> None:
    deadline = time.monotonic() + 10
    while _askers():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _askers() -> int:
    return [thread.name for thread in threading.enumerate()].count("healthz")


def test_a_server_that_hangs_is_unreachable_within_the_time(
    probe: Client, hanging_server: threading.Event
) -> None:
    started = time.monotonic()
    assert probe.get("/healthz").status_code == 503
    assert time.monotonic() - started < 5


def test_further_probes_do_not_pile_up_behind_a_server_that_hangs(
    probe: Client, hanging_server: threading.Event
) -> None:
    for _ in range(5):
        assert probe.get("/healthz").json()["database"] == "unreachable"
    assert _askers() == 1


def test_once_the_server_answers_again_so_does_the_probe(
    probe: Client, hanging_server: threading.Event
) -> None:
    probe.get("/healthz")
    hanging_server.set()
    deadline = time.monotonic() + 10
    while probe.get("/healthz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_probes_that_come_together_share_one_answer(
    hanging_server: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "ANSWER_WITHIN_SECONDS", 10)
    together = threading.Barrier(5)

    def probe() -> health.Health:
        together.wait(10)
        return health._asked_in_time()  # other threads have the suite's own engine

    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(probe) for _ in range(5)]
        time.sleep(0.2)  # by now all of them wait, and one has asked
        assert _askers() == 1
        hanging_server.set()
        assert [answer.result(10).status for answer in answers] == ["ok"] * 5


@pytest.mark.parametrize("error", [OperationalError("link lost"), RuntimeError("a bug")])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_connection_that_cannot_be_closed_does_not_stop_the_next_answer(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse() -> None:
        raise error

    monkeypatch.setattr(connections["default"], "vendor", "postgresql")
    monkeypatch.setattr(health, "look", lambda: health.Health(status="ok", database="ok"))
    with monkeypatch.context() as broken:
        broken.setattr(connections, "close_all", refuse)
        assert health.health().status == "ok"
        _wait_until_nobody_asks()
    assert health.health().status == "ok"
    _wait_until_nobody_asks()


def test_a_question_that_was_never_answered_is_asked_again_after_a_while(
    hanging_server: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert health.health() == health.UNREACHABLE
    monkeypatch.setattr(health, "look", lambda: health.Health(status="ok", database="ok"))
    assert health.health() == health.UNREACHABLE, "the first question is still waited for"
    monkeypatch.setattr(waiting, "GIVEN_UP_AFTER_SECONDS", 0.0)
    assert health.health().status == "ok", "nobody asked again"
    # The answer that comes late at last disturbs nobody.
    hanging_server.set()
    _wait_until_nobody_asks()
    assert health.health().status == "ok"


def test_the_number_of_queries_does_not_grow(
    django_assert_num_queries: pytest_django.DjangoAssertNumQueries,
) -> None:
    with django_assert_num_queries(3):
        health.look()
    for hours in (60, 40, 20):
        _run(hours)
    _run(1, status=RunStatus.FAILED)
    with django_assert_num_queries(3):
        health.look()


def test_head_is_answered_and_nothing_else(probe: Client) -> None:
    _run(2)
    assert probe.head("/healthz").status_code == 200
    checked = Client(enforce_csrf_checks=True)
    for method in ("post", "put", "patch", "delete"):
        assert getattr(checked, method)("/healthz").status_code == 405


def test_a_person_who_asks_keeps_the_session_as_it_is(probe: Client) -> None:
    probe.force_login(UserFactory.create())
    before = Session.objects.get()
    with override_settings(SESSION_COOKIE_AGE=10 * 24 * 3600):
        answer = probe.get("/healthz")
    assert not answer.cookies
    after = Session.objects.get()
    assert (after.expire_date, after.session_data) == (before.expire_date, before.session_data)


def test_nothing_is_written(probe: Client) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("a server is asked on another connection, which this test does not see")
    _run(2)
    written: list[str] = []

    def only_reading(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not sql.lstrip().upper().startswith("SELECT"):
            written.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(only_reading):
        assert probe.get("/healthz").status_code == 200
    assert written == []


def test_in_production_a_probe_over_http_is_not_sent_to_https(probe: Client) -> None:
    _run(2)
    with override_settings(SECURE_SSL_REDIRECT=True, SECURE_REDIRECT_EXEMPT=[r"^healthz$"]):
        # The middleware reads these once, when it is made for a client.
        assert Client().get("/healthz", headers={"Host": "127.0.0.1:8000"}).status_code == 200
        assert Client().get("/healthz/lines").status_code == 301
