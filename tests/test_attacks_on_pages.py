"""What somebody sends who means harm, or whose browser does: refused in words, by no error of ours."""

from __future__ import annotations

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


def part_of_a_form(name: str, value: bytes) -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)


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
