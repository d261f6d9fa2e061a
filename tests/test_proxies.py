"""The proxies in front: IIS by scripts/windows/web.config, nginx by the example in the docs."""

import re
from xml.etree import ElementTree as ET

import pytest
from django.conf import settings

from apps.core.management.commands.serve import LARGEST_REQUEST
from apps.po.forms import SaveViewForm
from po_tracking.settings import base

CONFIG = ET.fromstring(  # noqa: S314  # our own file
    (settings.BASE_DIR / "scripts" / "windows" / "web.config").read_bytes()
)
DEPLOYMENT = (settings.BASE_DIR / "docs" / "deployment.md").read_text(encoding="utf-8")


def found(path: str) -> ET.Element:
    element = CONFIG.find(f"system.webServer/{path}")
    assert element is not None, path
    return element


@pytest.fixture(scope="module")
def nginx() -> str:
    block = re.search(r"```nginx\n(.*?)```", DEPLOYMENT, re.DOTALL)
    assert block is not None
    return block[1]


def test_iis_sends_every_request_to_where_the_application_listens() -> None:
    (rule,) = found("rewrite/rules").findall("rule")
    match, action = rule.find("match"), rule.find("action")
    assert match is not None
    assert action is not None
    assert match.get("url") == "(.*)"
    assert rule.find("conditions") is None
    assert action.attrib == {
        "type": "Rewrite",
        "url": f"http://{base.WEB_LISTEN}/{{R:1}}",
        "appendQueryString": "true",
    }


def test_iis_tells_scheme_host_and_browser_itself() -> None:
    variables = found("rewrite/rules/rule/serverVariables").findall("set")
    assert {variable.get("name"): variable.get("value") for variable in variables} == {
        "HTTP_X_FORWARDED_PROTO": "{Scheme:{HTTPS}}",
        "HTTP_X_FORWARDED_HOST": "{HTTP_HOST}",
        "HTTP_X_FORWARDED_FOR": "{REMOTE_ADDR}",
    }
    schemes = found("rewrite/rewriteMaps/rewriteMap")
    assert schemes.get("name") == "Scheme"
    assert {add.get("key"): add.get("value") for add in schemes} == {"on": "https", "off": "http"}
    for variable in variables:  # IIS refuses to set a variable that nobody has allowed
        assert f"[name='{variable.get('name')}']" in DEPLOYMENT


def test_iis_hands_out_no_secrets_and_shows_no_folder() -> None:
    hidden = found("security/requestFiltering/hiddenSegments").findall("add")
    assert {".env", ".git"} <= {segment.get("segment") for segment in hidden}
    assert found("directoryBrowse").get("enabled") == "false"


def test_errors_of_the_application_reach_the_browser_through_iis() -> None:
    assert found("httpErrors").get("existingResponse") == "PassThrough"


def test_all_servers_allow_requests_of_the_same_size(nginx: str) -> None:
    limits = found("security/requestFiltering/requestLimits")
    assert limits.get("maxAllowedContentLength") == str(LARGEST_REQUEST)
    assert f"client_max_body_size {LARGEST_REQUEST // 1024**2}m;" in nginx


def test_no_proxy_refuses_the_longest_address_of_a_saved_view(nginx: str) -> None:
    """In a request, and in the headers of an answer that leads there; escaped, it is three times as
    long at most."""
    longest = 3 * (SaveViewForm.base_fields["query"].max_length or 0)  # type: ignore[attr-defined]  # it is a text's
    limits = found("security/requestFiltering/requestLimits")
    assert int(limits.get("maxQueryString", "2048")) > longest > 0
    buffer = re.search(r"proxy_buffer_size (\d+)k;", nginx)
    assert buffer is not None
    assert int(buffer[1]) * 1024 > longest
    # nginx wants room for more than one of that size.
    assert f"proxy_buffers 8 {buffer[1]}k;" in nginx


def test_nginx_tells_scheme_host_and_browser_itself(nginx: str) -> None:
    headers = dict(re.findall(r"proxy_set_header (\S+) (\S+);", nginx))
    assert headers == {
        "X-Forwarded-Proto": "$scheme",
        "X-Forwarded-Host": "$http_host",
        "X-Forwarded-For": "$remote_addr",
    }
    assert f"proxy_pass http://{base.WEB_LISTEN};" in nginx
