"""What drivers, servers and tracebacks say is passed on without secrets."""

import time

import pytest
from django.db import connections
from django.test import override_settings

from apps.core.redaction import first_line, names_a_secret, redacted

SECRET = "s3cr3t;p@ss/word"


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("postgres://po_app:hunter2@db.example.com/po", "postgres://po_app:***@db.example.com/po"),
        ("mssql://a:p@ss/w:rd@host:1433/erp?x=y", "mssql://a:***@host:1433/erp?x=y"),
        ("DRIVER=x;UID=po;PWD=hunter2;Encrypt=yes", "DRIVER=x;UID=po;PWD=***;Encrypt=yes"),
        ("UID=po;PWD={hun;t}}er2};Encrypt=yes", "UID=po;PWD=***;Encrypt=yes"),
        ("host=db password='hun ter2' user=po", "host=db password='***' user=po"),
        ("Password = hunter2", "Password = ***"),
        ("{'PASSWORD': 'hun\\'ter2', 'PORT': 1}", "{'PASSWORD': '***', 'PORT': 1}"),
        ('{"password": "hunter2"}', '{"password": "***"}'),
        ("SECRET_KEY=hunter2", "SECRET_KEY=***"),
        ("PGPASSWORD=hunter2 pg_dump po", "PGPASSWORD=*** pg_dump po"),
        ("DB_PASSWORD=hunter2", "DB_PASSWORD=***"),
        ("new_password1=hunter2&user=po", "new_password1=***"),
        ("password: hunter2", "password: ***"),
        ("AccessToken=hunter2;Encrypt=yes", "AccessToken=***;Encrypt=yes"),
        ("access_key: hunter2", "access_key: ***"),
        ("UID=po;PWD=hun,ter2;Encrypt=yes", "UID=po;PWD=***;Encrypt=yes"),
        ("UID=po;PWD={hun, ter2};Encrypt=yes", "UID=po;PWD=***;Encrypt=yes"),
        ("UID=po;PWD={hunter2 and the rest was cut\nnext", "UID=po;PWD=***\nnext"),
        ("Password='hun''t, er2';User=po", "Password='***';User=po"),
        ('Password="hun""t, er2";User=po', 'Password="***";User=po'),
        ("connect(password=hunt)er'2, host=db)", "connect(password=***, host=db)"),
        ("connect('PWD=hunter2', 5)", "connect('PWD=***', 5)"),
        ("if password == 'hun ter2':", "if password == '***':"),
        ("{'password': b'hun ter2', 'port': 1}", "{'password': '***', 'port': 1}"),
        ('{"token":12345678,"port":1}', '{"token":***,"port":1}'),
        ('{"dsn":"PWD=hunter2","port":1}', '{"dsn":"PWD=***","port":1}'),
        ('{"a": "{\\"password\\": \\"hun, ter2\\"}"}', '{"a": "{\\"password\\": \\"***\\"}"}'),
        ('\\"password\\": \\"hun\\\\\\"ter2\\", \\"b\\"', '\\"password\\": \\"***\\", \\"b\\"'),
        ("mssql://user@srv:short@h/erp", "mssql://user@srv:***@h/erp"),
        ("see https://h/x,postgres://po:hunter2@h/po", "see https://h/x,postgres://po:***@h/po"),
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
        "https://example.com/lines?seen=12:30@noon",
        "postgres://reader@db.example.com:5432/po",
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


@pytest.mark.parametrize(
    "written",
    [
        "hun ter/2+ü",
        "hun+ter%2F2%2B%C3%BC",  # quote_plus
        "hun%20ter%2F2%2B%C3%BC",  # quote
        "hun%20ter/2%2B%C3%BC",  # quote of a path
        "hun+ter%2f2%2b%c3%bc",  # other programs write the digits small
        "hun%20ter%2f2%2b%c3%bc",
        r"hun ter/2+\u00fc",  # JSON
    ],
)
def test_a_password_of_ours_is_hidden_in_every_way_of_writing_it(
    written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections.settings, "erp", {"PASSWORD": "hun ter/2+ü"})
    assert redacted(f"cannot parse {written} at 3") == "cannot parse *** at 3"


@pytest.mark.parametrize(
    "written",
    [
        r"""hun\"\\ter'}""",  # JSON
        r"""hun"\\ter\'}""",  # Python
        r"""hun"\ter'}}""",  # in braces of ODBC
    ],
)
def test_a_password_of_ours_is_hidden_where_its_signs_are_escaped(
    written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections.settings, "erp", {"PASSWORD": r"""hun"\ter'}"""})
    assert redacted(f"cannot parse {written} at 3") == "cannot parse *** at 3"


@pytest.mark.parametrize(
    ("start", "unit"),
    [
        ("", "a"), ("", "a://"), ("", "://a:"), ("", "://a@b:c"), ("://a:", "b"), ("", "password"),
        ("", "password="), ("", "password:'"), ("", "pwd={"), ("", "pwd={}}"), ("password={", "}}"),
        ("password='", "'"), ('password="', '\\"'), ("password=", ","), ("password=", "\\"),
        ("", "\\'pwd\\':\\'"), ("password", " "), ("", "password=,"),
    ],
)  # fmt: skip
def test_a_megabyte_of_anything_is_cleaned_in_no_time(start: str, unit: str) -> None:
    text = start + unit * (1_000_000 // len(unit))
    started = time.process_time()
    redacted(text)
    assert time.process_time() - started < 1  # a pattern that goes back and forth takes hours


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("password", True), ("PGPASSWORD", True), ("new_password1", True), ("AccessToken", True),
        ("client-secret", True), ("pwd", True), ("api_key", True), ("csrftoken", True),
        ("po_number", False), ("key", False), ("user_id", False), ("passed", False),
    ],
)  # fmt: skip
def test_the_name_of_a_field_tells_whether_its_value_is_secret(name: str, secret: bool) -> None:
    assert names_a_secret(name) is secret


def test_the_first_line_of_an_error_is_what_people_read() -> None:
    assert first_line(ValueError("\nPWD=hunter2 refused\nDETAIL: long")) == "PWD=*** refused"
    assert first_line(ValueError()) == "ValueError"


@pytest.mark.parametrize(
    "text",
    [
        "CREATE LOGIN po WITH PASSWORD = N'it''s hunter2'",
        'options = {"password" => "hunter2"}',
        "PWD%3dhunter2%3b",
        "[('user', 'po'), ('password', 'hunter2')]",
        "password\xa0= hunter2",
    ],
)
def test_a_password_is_found_as_other_languages_write_it(text: str) -> None:
    assert "hunter2" not in redacted(text)
