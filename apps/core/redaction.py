"""Takes secrets out of texts that somebody else wrote: drivers, servers, tracebacks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import quote, quote_plus

from django.conf import settings
from django.db import connections

HIDDEN = "***"

# Shorter ones are found by the patterns only: as plain text they would hide half of a sentence.
_SHORTEST = 6
# How the name of a secret ends: PGPASSWORD, DB_PASSWORD, AccessToken. What stands before it is not
# searched for, and no part of a pattern can fail after a long way: so any text takes linear time.
_NAME = (
    r"(?:pwd|password|passwd|passphrase|secret|token|(?:secret|access|api|private)[_-]?key)\d{0,2}"
)
_NAME_AT_END = re.compile(rf"{_NAME}\Z", re.IGNORECASE)
_ESCAPE = re.compile("%[0-9A-F]{2}")
# scheme://user:rest. A user may hold an @ (user@server), a password even a / or a further @.
_ADDRESS = re.compile(r"(://[^\s:/?#]*:)(\S+)")
# PWD={...}; of ODBC, where }} stands for a brace; password='...' of libpq; "password": "..." of
# JSON and Python, where JSON in JSON has backslashes before its quotes; PGPASSWORD=... and
# password: ... up to a blank or semicolon. What is opened and never closed ends with its line.
_ASSIGNMENT = re.compile(
    rf"""({_NAME}(?:(?:\\*["'])?[ \t\xa0]*(?:[:=]{{1,2}}>?|%3d)[ \t\xa0]*"""
    r"""|\\*["'][ \t]*,[ \t]*(?=\\*["'])))"""
    r"""(?:"""
    r"""\{(?:[^}\r\n]|\}\})*\}?"""
    r"""|[bnru]?(?P<quote>\\*["'])"""
    r"""(?:(?<!\\)(?P=quote){2}|(?!(?<!\\)(?P=quote))[^\r\n])*(?P=quote)?"""
    r"""|(?:(?!["'][,})\]]|,["'])[^\s;])*[^\s;,)}\]"']"""
    r""")""",
    re.IGNORECASE,
)


def names_a_secret(name: str) -> bool:
    """Whether what stands under this name, of a field or a setting, is not to be shown."""
    return _NAME_AT_END.search(name) is not None


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
        if "://" in text:
            text = _ADDRESS.sub(_without_password, text)
        return _ASSIGNMENT.sub(rf"\1\g<quote>{HIDDEN}\g<quote>", text)

    return clean


def first_line(error: BaseException) -> str:
    """What an error says, for people: its first line, without secrets; its type if it is silent."""
    lines = redacted(str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _without_password(address: re.Match[str]) -> str:
    """Up to the last @: a password may hold one that is not encoded. Without any, as in host:port,
    there is no password."""
    _, at, host = address[2].rpartition("@")
    return f"{address[1]}{HIDDEN}@{host}" if at else address[0]


@lru_cache(maxsize=8)
def _finder(address: str, *secrets: str) -> re.Pattern[str] | None:
    """Finds the address and the secrets, however they are written; made once per content of the
    settings."""
    # An address without a password, as that of an SQLite file, is no secret.
    wanted = {address} if "@" in address else set()
    wanted.update(*map(_written, secrets))
    # The longest first, so that nothing of an address is left over.
    found = sorted((secret for secret in wanted if len(secret) >= _SHORTEST), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, found))) if found else None


def _written(secret: str) -> set[str]:
    """A secret as it is, in an address, in braces of ODBC, in JSON and in Python."""
    encoded = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    encoded |= {_ESCAPE.sub(lambda escape: escape[0].lower(), form) for form in encoded}
    quoted = {json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret)}
    return {secret, secret.replace("}", "}}"), *encoded, *(form[1:-1] for form in quoted)}
