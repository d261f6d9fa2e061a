"""What drivers, servers and tracebacks say is passed on without secrets."""

import pytest
from django.db import connections
from django.test import override_settings

from apps.core.redaction import first_line, redacted

SECRET = "s3cr3t;p@ss/word"


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("postgres://po_app:hunter2@db.example.com/po", "postgres://po_app:***@db.example.com/po"),
        ("mssql://a:p@ss/w:rd@host:1433/erp?x=y", "mssql://a:***@host:1433/erp?x=y"),
        ("DRIVER=x;UID=po;PWD=hunter2;Encrypt=yes", "DRIVER=x;UID=po;PWD=***;Encrypt=yes"),
        ("UID=po;PWD={hun;t}}er2};Encrypt=yes", "UID=po;PWD=***;Encrypt=yes"),
        ("host=db password='hun ter2' user=po", "host=db password=*** user=po"),
        ("Password = hunter2", "Password = ***"),
        ("{'PASSWORD': 'hun\\'ter2', 'PORT': 1}", "{'PASSWORD': '***', 'PORT': 1}"),
        ('{"password": "hunter2"}', '{"password": "***"}'),
        ("SECRET_KEY=hunter2", "SECRET_KEY=***"),
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_hidden_and_the_rest_stays(told: str, kept: str) -> None:
    assert redacted(told) == kept


@pytest.mark.parametrize(
    "told",
    [
        'FATAL:  password authentication failed for user "reader"',
        "Correct user and password in ERP_DATABASE_URL; ask whether the login is locked.",
        "https://po-tracking.example.com:8443/lines?mail=x",
        "sqlite:///D:/po-tracking/po_tracking.sqlite3",
        "SECRET_KEY is shorter than 50 characters.",
    ],
)
def test_a_message_without_secrets_stays_as_it_is(told: str) -> None:
    assert redacted(told) == told


@pytest.mark.parametrize(
    "told",
    [
        f"cannot parse {SECRET} at position 3",
        "cannot parse s3cr3t%3Bp%40ss%2Fword at position 3",
        f"invalid address mssql://po:{SECRET}@host/erp",
        "key k3y-of-this-installation-and-of-no-other is wrong",
        "the address was: mssql://po:with blanks in it@host/erp",
    ],
)
def test_this_installations_own_secrets_are_hidden_wherever_they_stand(
    told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections.settings, "erp", {"PASSWORD": SECRET})
    monkeypatch.setitem(connections.settings, "other", {"PASSWORD": "a"})
    with override_settings(
        ERP_DATABASE_URL="mssql://po:with blanks in it@host/erp",
        SECRET_KEY="k3y-of-this-installation-and-of-no-other",
    ):
        said = redacted(told)
    assert "***" in said
    for secret in (SECRET, "p%40ss", "k3y-of", "with blanks"):
        assert secret not in said


def test_the_first_line_of_an_error_is_what_people_read() -> None:
    assert first_line(ValueError("\nPWD=hunter2 refused\nDETAIL: long")) == "PWD=*** refused"
    assert first_line(ValueError()) == "ValueError"
