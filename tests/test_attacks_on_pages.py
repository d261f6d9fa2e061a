"""What somebody sends who means harm, or whose browser does: refused in words, without an error."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import quote, urlencode

import pytest
from django.test import Client

from apps.accounts.models import Role
from apps.po.columns import all_columns
from apps.po.models import POLine, SavedView
from tests.factories import (
    AuditEventFactory,
    BatchFactory,
    CustomColumnFactory,
    IngestionRunFactory,
    POLineFactory,
    RejectedRowFactory,
    StatusChangeFactory,
    SupplierFactory,
    UserFactory,
)
from tests.test_pages import ADDRESSES, HTMX, NUMBERED, filled, person, read_to_its_end, sign_in

pytestmark = pytest.mark.django_db


def part_of_a_form(name: str, value: bytes) -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
    return head.encode() + value + b"\r\n"


# --- encodings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("charset", ["punycode", "utf-7", "zlib", "idna", "utf-16", "nonsense"])
def test_a_form_in_an_encoding_that_no_browser_sends_is_refused_before_it_is_read(
    client: Client, charset: str
) -> None:
    """Punycode takes 200 seconds for two megabytes, others end in errors of Python."""
    body = part_of_a_form("username", b"a" * 1000 + b"-" + b"b" * 1000) + b"--x--\r\n"
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    answer = client.generic("POST", "/sign-in/", body, content_type=kind)
    assert answer.status_code == 400
    assert "The request was not understood" in answer.content.decode()
    assert client.get("/sign-in/", CONTENT_TYPE=kind).status_code == 400


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"', "utf8"])
def test_a_form_in_utf_8_is_read_whether_it_says_so_or_not(client: Client, charset: str) -> None:
    body = part_of_a_form("username", "Wéi".encode()) + b"--x--\r\n"
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    answer = client.generic("POST", "/sign-in/", body, content_type=kind)
    assert answer.status_code == 200
    assert 'value="Wéi"' in answer.content.decode()


# --- methods --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
def test_no_page_answers_a_method_that_no_browser_uses(method: str) -> None:
    client = person(Role.ADMIN)
    answers = {name: client.generic(method, filled(name)).status_code for name in ADDRESSES}
    del answers["sign_in"]  # who is signed in is led away from there in any case
    assert set(answers.values()) == {405}


# --- texts ----------------------------------------------------------------------------------------

# What every text of the ERP and of people may be, without being taken for anything else.
HOSTILE = """'"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 }}%(x)s\u202e"""


class Markup(HTMLParser):
    """What a page consists of that none of our templates has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.foreign: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        names = [name for name, _value in attributes]
        ours = tag != "script" or "src" in names
        ours = ours and ("src", "x") not in attributes
        if not ours or [name for name in names if name.startswith("on") or not name.isprintable()]:
            self.foreign.append(f"{tag} {attributes}")


@pytest.fixture
def hostile_line(monkeypatch: pytest.MonkeyPatch) -> POLine:
    """A line, its history, its night, and people's settings, in which every text is hostile."""
    supplier = SupplierFactory.create(code=HOSTILE[:64], name=HOSTILE)
    texts = dict.fromkeys(("erp_item", "item", "final_customer", "custom_text_1"), HOSTILE)
    codes = dict.fromkeys(("erp_item_code", "sku"), HOSTILE)
    line = POLineFactory.create(
        supplier=supplier,
        po_number=HOSTILE[:64],
        line_number=HOSTILE[:32],
        erp_status=HOSTILE[:64],
        custom_sources={"custom_text_1": "user"},
        **texts,
        **codes,
    )
    CustomColumnFactory.create(label=HOSTILE[:60])
    told = {"field": "final_customer", "previous": HOSTILE, "new": f"{HOSTILE}!"}
    error = {"stage": "snapshot", "message": HOSTILE, "remedy": HOSTILE}
    gap = {"supplier": HOSTILE, "item_code": HOSTILE, "lines": 1}
    run = IngestionRunFactory.create(errors_encountered=[error], unmapped_item_codes=[gap])
    RejectedRowFactory.create(run=run, reason=HOSTILE, raw_values={HOSTILE: HOSTILE})
    AuditEventFactory.create(
        po_line=line,
        actor_name=HOSTILE,
        reason=HOSTILE,
        correlation_id=run.identifier,
        data={"changes": [told]},
    )
    StatusChangeFactory.create(po_line=line, reason=HOSTILE)
    BatchFactory.create(po_line=line, run=run, note=HOSTILE, receipt_id=HOSTILE[:64])
    for words in NUMBERED:
        row = run if words.startswith("ingestion") else line
        monkeypatch.setitem(NUMBERED, words, lambda row=row: row)
    return line


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "part"])
def test_no_text_of_anybody_is_taken_for_markup_on_any_page(
    hostile_line: POLine, headers: dict[str, str]
) -> None:
    user = UserFactory.create(role=Role.ADMIN, first_name=HOSTILE[:150])
    client = Client()
    sign_in(client, user)
    SavedView.objects.create(user=user, name=HOSTILE[:60], query="preset=all")
    columns = ",".join(all_columns())
    queries = {
        "po_list": f"?preset=all&columns={columns}",
        "po_columns": f"?item={quote(HOSTILE)}",
    }
    shown = set()
    for name in ADDRESSES:
        for query in {queries.get(name, ""), f"?{urlencode({'item': HOSTILE, 'next': HOSTILE})}"}:
            answer = client.get(f"{filled(name)}{query}", headers=headers)
            if answer.streaming:
                read_to_its_end(answer)
                continue
            page = answer.content.decode()
            assert Markup(page).foreign == [], name
            if "&lt;script&gt;" in page:
                shown.add(name)
    assert shown >= {
        "po_list", "po_columns", "custom_value", "po_detail", "po_timeline", "po_status_history",
        "po_batches", "ingestion_run_changes", "ingestion_run_rejected", "ingestion_run_gaps",
    }  # fmt: skip
