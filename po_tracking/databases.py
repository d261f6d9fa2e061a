"""Turns database addresses from the environment into Django's settings, hardened per engine."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import environ

from po_tracking import sqlserver

_ENGINES = {"django.db.backends.sqlite3", "django.db.backends.postgresql", "mssql"}


def _parse(url: str) -> dict[str, Any]:
    try:
        config: dict[str, Any] = environ.Env.db_url_config(url)
    except ValueError:
        # Not with the error's own text: it quotes a part of the password.
        raise environ.ImproperlyConfigured(
            "The database address cannot be read. In user and password write special characters "
            "percent-encoded (/ is %2F, @ is %40, # is %23); see .env.example."
        ) from None
    if config.get("ENGINE") not in _ENGINES:
        raise environ.ImproperlyConfigured(
            "The database address must start with sqlite:///, postgres:// or mssql://. "
            "See .env.example for one of each."
        )
    config["OPTIONS"] = dict(config.get("OPTIONS") or {})
    return config


def _sqlite_read_only_name(name: str) -> str:
    """The URI under which SQLite itself refuses every write."""
    return f"file:{quote(Path(name).absolute().as_posix())}?mode=ro"


def application_database(url: str, *, read_only: bool = False) -> dict[str, Any]:
    """Settings of the application database.

    SQLite runs in WAL with immediate transactions, so that a reader never waits for a night being
    applied and two writers queue instead of failing half-way; `recursive_triggers` lets the
    append-only triggers see INSERT OR REPLACE.
    """
    config = _parse(url)
    if config["ENGINE"] == "django.db.backends.sqlite3":
        pragmas = [
            "PRAGMA recursive_triggers=ON",
            "PRAGMA temp_store=MEMORY",
            "PRAGMA cache_size=-65536",  # 64 MB: a night joins its whole snapshot with the lines
        ]
        if read_only:
            config["NAME"] = _sqlite_read_only_name(config["NAME"])
        else:
            pragmas += ["PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL"]
            # A night writes about so much at once; a checkpoint in its midst would only cost time.
            pragmas += ["PRAGMA wal_autocheckpoint=16000"]
            config["OPTIONS"]["transaction_mode"] = "IMMEDIATE"
        config["OPTIONS"].setdefault("timeout", 20)
        config["OPTIONS"]["init_command"] = "; ".join(pragmas)
    elif config["ENGINE"] == "mssql":
        sqlserver.configure(config, intent="ReadOnly" if read_only else None)
    else:
        config["OPTIONS"].setdefault("connect_timeout", 15)
    if read_only and config["ENGINE"] == "django.db.backends.postgresql":
        config["OPTIONS"]["options"] = "-c default_transaction_read_only=on"
    return config


def erp_database(url: str) -> dict[str, Any]:
    """Settings of the ERP connection: read-only at the connection (requirement NFR11), and one
    consistent view of the data for all reads of a transaction where the engine offers it."""
    config = _parse(url)
    if config["ENGINE"] == "django.db.backends.sqlite3":
        config["NAME"] = _sqlite_read_only_name(config["NAME"])
        config["OPTIONS"].setdefault("timeout", 20)
        # Values as they are stored: Django's date converters would read a broken date as "none".
        config["OPTIONS"]["detect_types"] = 0
    elif config["ENGINE"] == "mssql":
        sqlserver.configure(config, intent="ReadOnly")
    else:
        config["OPTIONS"]["options"] = (
            "-c default_transaction_read_only=on "
            r"-c default_transaction_isolation=repeatable\ read"
        )
        config["OPTIONS"].setdefault("connect_timeout", 15)
    # The test runner must never create, copy or flush somebody else's ERP.
    config["TEST"] = {"MIGRATE": False}
    return config
