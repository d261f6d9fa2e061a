"""Is everything in order? Looks at what the application and its nightly run need, changes nothing.

Each check stands for itself: one that finds trouble, or breaks, does not keep the others from
looking. Only where a check means nothing without an earlier one, it is left out: a database that
does not answer is waited for once, and missing tables are told once.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from apps.core.redaction import first_line, redacted
from apps.operations.checks import backups, configuration, database, erp, machine, night
from apps.operations.finding import Finding, Status, error

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Check:
    """One subject of the screen; `needs` names an earlier one that must be without error."""

    name: str
    look: Callable[[], Iterable[Finding]]
    needs: str = ""


CHECKS = (
    Check("settings", configuration.look_at_settings),
    Check("deployment", configuration.look_at_deployment),
    Check("calendar", configuration.look_at_calendar),
    Check("database", database.look_at_database),
    Check("migrations", database.look_at_migrations, needs="database"),
    Check("append-only", database.look_at_history, needs="migrations"),
    Check("size", database.look_at_size, needs="database"),
    Check("engine", database.look_at_engine, needs="database"),
    Check("users", database.look_at_users, needs="migrations"),
    Check("last run", night.look_at_last_run, needs="migrations"),
    Check("mapping", erp.look_at_mapping),
    Check("ERP", erp.look_at_erp),
    Check("backups", backups.look_at_backups, needs="migrations"),
    Check("log folder", machine.look_at_log_folder),
    Check("disk", machine.look_at_disk),
    Check("clock", machine.look_at_clock, needs="migrations"),
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A finding under the name of its check, and how long that check took."""

    name: str
    status: Status
    message: str
    remedy: str
    seconds: float


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was found, in the order of the checks."""

    checks: list[Line]

    @property
    def status(self) -> Status:
        """The worst of all."""
        found = {line.status for line in self.checks}
        return next(s for s in (Status.ERROR, Status.WARNING, Status.OK) if s in found)

    def as_json(self) -> str:
        lines = [asdict(line) for line in self.checks]
        return json.dumps({"status": self.status, "checks": lines}, ensure_ascii=False)

    def print_to(self, console: Console) -> None:
        """A table on a terminal, a line per finding elsewhere, and the verdict last.

        `console` must not read markup: names of files and tables are printed as they are.
        """
        if console.is_terminal:
            self._print_table(console)
        else:
            self._print_lines(console)
        console.print()
        console.print(self._verdict(), style=f"bold {_STYLES[self.status]}")

    def _print_table(self, console: Console) -> None:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for line in self.checks:
            table.add_row(Text(line.status, style=_STYLES[line.status]), line.name, line.message)
            if line.remedy:
                table.add_row("", "", Text(f"-> {line.remedy}", style="dim"))
        console.print(table)

    def _print_lines(self, console: Console) -> None:
        width = max(len(line.name) for line in self.checks)
        for line in self.checks:
            told = f"{line.status:<7}  {line.name:<{width}}  {line.message}"
            console.print(told, soft_wrap=True)
            if line.remedy:
                console.print(f"{'':<7}  {'':<{width}}  -> {line.remedy}", soft_wrap=True)

    def _verdict(self) -> str:
        counts = dict.fromkeys(Status, 0)
        for line in self.checks:
            counts[line.status] += 1
        if self.status is Status.OK:
            return "Everything is in order."
        return f"{counts[Status.ERROR]} error(s), {counts[Status.WARNING]} warning(s)."


_STYLES = {Status.OK: "green", Status.WARNING: "yellow", Status.ERROR: "red"}


def examine(*names: str) -> Diagnosis:
    """Goes through all checks, or only through those of these names. Whoever names some names what
    they need as well."""
    lines: list[Line] = []
    failed: set[str] = set()
    for check in CHECKS:
        if names and check.name not in names:
            continue
        started = time.perf_counter()
        findings = [_left_out(check)] if check.needs in failed else _look(check)
        if any(finding.status is Status.ERROR for finding in findings):
            failed.add(check.name)
        seconds = round(time.perf_counter() - started, 3)
        lines += [
            Line(
                name=check.name,
                status=finding.status,
                message=redacted(finding.message),
                remedy=redacted(finding.remedy),
                seconds=seconds,
            )
            for finding in findings
        ]
    return Diagnosis(lines)


def _left_out(check: Check) -> Finding:
    return error(
        f'Not looked at, because of the error under "{check.needs}".',
        "Cure that first, then run doctor again.",
    )


def _look(check: Check) -> list[Finding]:
    findings: list[Finding] = []
    try:
        findings += check.look()
    except Exception as trouble:  # a broken check is a finding too; the others still look
        logger.exception("The check %s of doctor broke", check.name)
        findings.append(
            error(
                f"The check itself failed: {type(trouble).__name__}: {first_line(trouble)}",
                "Look into application.log for the details, and cure what other lines say first. "
                "If it stays, send that file to the makers of PO Tracking.",
            )
        )
    return findings
