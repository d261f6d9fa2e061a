"""What somebody sends who means harm, or whose browser does: refused in words, without an error."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.accounts.models import Role
from tests.test_pages import ADDRESSES, filled, person

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
