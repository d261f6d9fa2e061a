"""PostgreSQL's own programs, called with the configured connection.

Everything about the connection goes through libpq's environment variables, never through a command
line, which other users of the machine can read.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import IO, Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.operations.backups.errors import BackupError


@dataclass(frozen=True)
class Tools:
    """pg_dump and its kin, and the environment in which they find the database."""

    environment: dict[str, str]
    assumed_role: str | None
    server: int  # its major version

    @classmethod
    def of(cls, connection: BaseDatabaseWrapper) -> Tools:
        """Raises BackupError where a setting of the connection cannot be handed on."""
        wrapper: Any = connection  # what only PostgreSQL's has
        wrapper.ensure_connection()
        return cls(
            environment=os.environ | _environment(wrapper.get_connection_params()),
            assumed_role=wrapper.settings_dict["OPTIONS"].get("assume_role"),
            server=wrapper.pg_version // 10_000,
        )

    def role(self, form: str) -> list[str]:
        """The role that the application takes on, if it does, in this form."""
        role = self.assumed_role
        return [form.format(role.replace('"', '""') if '"' in form else role)] if role else []

    def program(self, name: str) -> str:
        """Its path. Raises BackupError if it is not there, or older than the server."""
        folder: str = settings.BACKUP_POSTGRES_BIN
        path = shutil.which(name, path=folder or None)
        install = (
            f"Install PostgreSQL's client programs of version {self.server} or newer (Debian and "
            "Ubuntu: apt-get install postgresql-client; Windows: PostgreSQL's installer with only "
            '"Command Line Tools"), or name their folder in BACKUP_POSTGRES_BIN.'
        )
        if path is None:
            where = f"in {folder} (BACKUP_POSTGRES_BIN)" if folder else "on the PATH"
            raise BackupError(f"The program {name} was not found {where}.", install)
        version = self._version(path)
        if version < self.server:
            raise BackupError(
                f"{path} is of version {version}, older than the server's {self.server}.", install
            )
        return path

    def run(self, name: str, *arguments: str, output: IO[bytes] | int | None = None) -> None:
        """Runs it to its end. Raises BackupError with its own words if it fails."""
        ended = subprocess.run(  # noqa: S603  # a program of the configured folder, without a shell
            [self.program(name), *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if output is None else output,
            stderr=subprocess.PIPE,
            check=False,
        )
        if ended.returncode == 0:
            return
        words = ended.stderr.decode(errors="replace")
        reason = first_error(words) or f"it ended with {ended.returncode}"
        remedy = "Cure that, then start again; nothing was changed."
        if re.search(r"no space left", words, re.IGNORECASE):
            remedy = "The disk is full: make room there, then start again."
        raise BackupError(f"{name} failed: {reason}.", remedy)

    def _version(self, path: str) -> int:
        answer = subprocess.run(  # noqa: S603  # as above
            [path, "--version"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        ).stdout.decode(errors="replace")
        found = re.search(r"\) (\d+)", answer)  # pg_dump (PostgreSQL) 15.6 (Debian ...)
        if found is None:
            raise BackupError(
                f"{path} does not tell its version.", "Correct BACKUP_POSTGRES_BIN, or install it."
            )
        return int(found.group(1))


def first_error(words: str) -> str:
    """The first error among what a program said, without what only a programmer wants to know."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b(error|fatal):", line, re.IGNORECASE)]
    chosen = (errors or lines or [""])[0]
    return re.sub(r"^.*?\b(error|fatal):\s*", "", chosen, count=1, flags=re.IGNORECASE).rstrip(".")


def _environment(parameters: dict[str, Any]) -> dict[str, str]:
    """Django's parameters of the connection as libpq's variables; those of Python stay out."""
    from psycopg.pq import Conninfo  # only installed where PostgreSQL is used

    variables = {"LC_ALL": "C"}  # we look for words in what the programs say
    for option in Conninfo.get_defaults():
        keyword = option.keyword.decode()
        value = parameters.get(keyword)
        if value is None or value == "":
            continue
        if option.envvar is not None:
            variables[option.envvar.decode()] = str(value)
        elif option.dispchar == b"*":
            raise BackupError(
                f'"{keyword}" of DATABASE_URL cannot be handed to pg_dump unseen by others.',
                "Use a key file without a password that only the account of PO Tracking can read.",
            )
    return variables
