"""Takes secrets out of texts that somebody else wrote: drivers, servers, tracebacks."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import quote

from django.conf import settings
from django.db import connections

HIDDEN = "***"

# Shorter ones are found by the patterns only: as plain text they would hide half of a sentence.
_SHORTEST = 6
_NAMES = r"pwd|password|passwd|secret_key"
# What a text must hold to be worth a search, the search, and what is put there instead.
_PATTERNS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    # scheme://user:password@host, up to the last @: a password may hold one that is not encoded.
    (
        "://",
        re.compile(r"([a-z][a-z0-9+.-]*://[^\s:/?#@]*):\S*@", re.IGNORECASE),
        rf"\1:{HIDDEN}@",
    ),
    # PWD={...}; of ODBC, where }} stands for a brace; password='...' of libpq; SECRET_KEY=...
    (
        "=",
        re.compile(
            rf"\b({_NAMES})(\s*=\s*)"
            r"(?:\{(?:[^}]|\}\})*\}|'(?:[^'\\]|\\.)*'|\"[^\"]*\"|[^\s;,)'\"]+)",
            re.IGNORECASE,
        ),
        rf"\1\2{HIDDEN}",
    ),
    # {"PASSWORD": "..."} as Python and JSON write it.
    (
        ":",
        re.compile(rf"""(['"](?:{_NAMES})['"]\s*:\s*)(['"])(?:\\.|(?!\2).)*\2""", re.IGNORECASE),
        rf"\1\2{HIDDEN}\2",
    ),
)


def redacted(text: str) -> str:
    """The text without this installation's own secrets, and without whatever looks like one."""
    return redactor()(text)


def redactor() -> Callable[[str], str]:
    """`redacted` for many texts at once: the secrets are looked up once for all of them."""
    own = None
    if settings.configured:
        passwords = (str(given.get("PASSWORD") or "") for given in connections.settings.values())
        own = _finder(settings.ERP_DATABASE_URL, settings.SECRET_KEY, *passwords)

    def clean(text: str) -> str:
        if own is not None:
            text = own.sub(HIDDEN, text)
        for sign, pattern, replacement in _PATTERNS:
            if sign in text:
                text = pattern.sub(replacement, text)
        return text

    return clean


def first_line(error: BaseException) -> str:
    """What an error says, for people: its first line, without secrets; its type if it is silent."""
    lines = redacted(str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@lru_cache(maxsize=8)
def _finder(address: str, *secrets: str) -> re.Pattern[str] | None:
    """Finds the address and the secrets, also as they stand in an address; made once per content
    of the settings."""
    # An address without a password, as that of an SQLite file, is no secret.
    wanted = {address} if "@" in address else set()
    wanted |= {*secrets, *(quote(secret, safe="") for secret in secrets)}
    # The longest first, so that nothing of an address is left over.
    found = sorted((secret for secret in wanted if len(secret) >= _SHORTEST), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, found))) if found else None
