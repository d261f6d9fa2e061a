"""How SQL Server is reached: driver, encryption, intent and time-outs, from the environment.

mssql-django speaks through one of two Python drivers: pyodbc, which needs an ODBC driver on the
machine (Microsoft's, or FreeTDS), or mssql-python, which brings Microsoft's driver along. What the
MSSQL_* variables say holds for both databases; an address may say otherwise for its own
(`mssql://...?encrypt=no`).
"""

import importlib.util
import re
from typing import Any

import environ

from po_tracking.environment import env

PYODBC, MSSQL_PYTHON = "pyodbc", "mssql-python"
FREETDS = "FreeTDS"
_NEWEST_MICROSOFT = "ODBC Driver 18 for SQL Server"
_MICROSOFT = re.compile(r"ODBC Driver (\d+) for SQL Server")
# FreeTDS calls encryption by other words.
_FREETDS_ENCRYPTION = {"yes": "require", "no": "off", "strict": "strict"}


def configure(config: dict[str, Any], *, intent: str | None) -> None:
    """Completes the settings of a database on SQL Server.

    `intent` is the ApplicationIntent, None for the server's default. Raises ImproperlyConfigured
    for a value that means nothing.
    """
    options = config["OPTIONS"]
    driver = _driver(options)
    encrypt = _encryption(options.pop("encrypt", env.str("MSSQL_ENCRYPT", default="yes")))
    trust = options.pop(
        "trust_server_certificate", env.str("MSSQL_TRUST_SERVER_CERTIFICATE", default="false")
    )
    intent = options.pop("application_intent", intent)
    if driver == FREETDS:
        keywords = {"TDS_Version": "7.4", "Encryption": _FREETDS_ENCRYPTION[encrypt]}
        options["host_is_server"] = True
    else:
        keywords = {"Encrypt": encrypt, "TrustServerCertificate": _yes_or_no(trust)}
    if intent:
        keywords["ApplicationIntent"] = intent
    options["extra_params"] = _with(keywords, options.get("extra_params") or "")
    options.setdefault("connection_timeout", env.int("MSSQL_CONNECT_TIMEOUT", default=15))
    options.setdefault("query_timeout", env.int("MSSQL_QUERY_TIMEOUT", default=0))
    # What is worth another attempt, and when, the ingestion decides; a page shall not hang.
    options.setdefault("connection_retries", 0)
    # Tables with audit triggers cannot hand back row ids from a bulk insert.
    options.setdefault("return_rows_bulk_insert", False)


def _driver(options: dict[str, Any]) -> str:
    """Chooses the driver, puts it into the options, and returns the name of the ODBC driver, or
    "mssql-python"."""
    wanted = options.pop("python_driver", None) or env.str("MSSQL_DRIVER", default="auto")
    wanted = str(wanted).lower().replace("_", "-")
    if wanted not in ("auto", PYODBC, MSSQL_PYTHON):
        raise environ.ImproperlyConfigured(
            f'MSSQL_DRIVER is "{wanted}". Write auto, pyodbc or mssql-python.'
        )
    named = options.get("driver") or env.str("MSSQL_ODBC_DRIVER", default="")
    if wanted == "auto":
        found = named or _installed_odbc_driver()
        wanted = (
            PYODBC if found or importlib.util.find_spec("mssql_python") is None else MSSQL_PYTHON
        )
    if wanted == MSSQL_PYTHON:
        options.pop("driver", None)
        options["python_driver"] = "mssql_python"  # as mssql-django writes it
        return MSSQL_PYTHON
    options["driver"] = named or _installed_odbc_driver() or _NEWEST_MICROSOFT
    return str(options["driver"])


def _installed_odbc_driver() -> str:
    """The newest of Microsoft's, else FreeTDS, else "", as this machine's ODBC manager says."""
    try:
        import pyodbc
    except ImportError:
        return ""
    installed: list[str] = pyodbc.drivers()
    microsoft = [name for name in installed if _MICROSOFT.fullmatch(name)]
    if microsoft:
        return max(microsoft, key=lambda name: int(_MICROSOFT.sub(r"\1", name)))
    return FREETDS if FREETDS in installed else ""


def _encryption(told: Any) -> str:
    value = _yes_or_no(told)
    if value not in _FREETDS_ENCRYPTION:
        raise environ.ImproperlyConfigured(f'MSSQL_ENCRYPT is "{value}". Write yes, no or strict.')
    return value


def _yes_or_no(told: Any) -> str:
    """Yes and no as the drivers write them, whatever way a person wrote them."""
    value = str(told).lower()
    return {"true": "yes", "1": "yes", "false": "no", "0": "no"}.get(value, value)


def _with(keywords: dict[str, str], given: str) -> str:
    """The keywords behind those of the administrator, who knows better where both speak."""
    said = {part.partition("=")[0].strip().lower() for part in given.split(";")}
    added = [f"{name}={value}" for name, value in keywords.items() if name.lower() not in said]
    return ";".join(filter(None, [given, *added]))
