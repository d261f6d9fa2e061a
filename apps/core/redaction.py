"""Takes secrets out of texts that somebody else wrote: drivers, servers, tracebacks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

from django.conf import settings
from django.db import connections

HIDDEN = "***"

# Shorter ones are found by the patterns only: as plain text they would hide half of a sentence.
_SHORTEST = 6
_NAMES = r"pwd|password|passwd|secret_key"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # scheme://user:password@host, up to the last @: a password may hold one that is not encoded.
    (re.compile(r"([a-z][a-z0-9+.-]*://[^\s:/?#@]*):\S*@", re.IGNORECASE), rf"\1:{HIDDEN}@"),
    # PWD={...}; of ODBC, where }} stands for a brace; password='...' of libpq; SECRET_KEY=...
    (
        re.compile(
            rf"\b({_NAMES})(\s*=\s*)"
            r"(?:\{(?:[^}]|\}\})*\}|'(?:[^'\\]|\\.)*'|\"[^\"]*\"|[^\s;,)'\"]+)",
            re.IGNORECASE,
        ),
        rf"\1\2{HIDDEN}",
    ),
    # {"PASSWORD": "..."} as Python and JSON write it.
    (
        re.compile(rf"""(['"](?:{_NAMES})['"]\s*:\s*)(['"])(?:\\.|(?!\2).)*\2""", re.IGNORECASE),
        rf"\1\2{HIDDEN}\2",
    ),
)


def redacted(text: str) -> str:
    """The text without this installation's own secrets, and without whatever looks like one."""
    for secret in _own_secrets():
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def first_line(error: BaseException) -> str:
    """What an error says, for people: its first line, without secrets; its type if it is silent."""
    lines = redacted(str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _own_secrets() -> Iterator[str]:
    """The whole addresses before their passwords, so that nothing of them is left over."""
    if not settings.configured:
        return
    passwords = [str(given.get("PASSWORD") or "") for given in connections.settings.values()]
    written = [quote(password, safe="") for password in passwords]
    for secret in (settings.ERP_DATABASE_URL, *passwords, *written, settings.SECRET_KEY):
        # An address without a password, as that of an SQLite file, is no secret.
        if len(secret) >= _SHORTEST and ("://" not in secret or "@" in secret):
            yield secret
