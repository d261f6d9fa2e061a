"""How long the nightly ingestion takes, and how much memory, beside the floor of the same work.

    python benchmarks/ingestion.py --lines 5000 100000 1000000

For each number of lines: builds an ERP, runs the baseline and some nights of both the real command
and benchmarks/floor.py in turn, each as a process of its own, and prints medians. All must report
exactly the changes that the ERP made, or there is no result. With --engine postgres (or mssql) the
command runs on that server too, beside SQLite in the same turns. docs/performance.md explains more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from django.db import DatabaseError
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # started as a script, Python looks beside this file only

from benchmarks.erp_data import (  # noqa: E402  # needs the path above
    Expected,
    SqliteErp,
    write_mapping,
    write_xref,
)
from benchmarks.measure import Measured, measure  # noqa: E402  # needs the path above
from benchmarks.servers import (  # noqa: E402  # needs the path above
    SERVERS,
    Server,
    ServerErp,
    servers,
)

MEGABYTE = 1_000_000
SQLITE = "sqlite"


class BenchmarkError(Exception):
    """A run that failed, or that did other work than it was given."""


@dataclass(frozen=True)
class Sample:
    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Result:
    """The medians of one kind of run ("baseline", "nightly") at one size.

    `ours` may be left out; `sqlite` is there if ours ran on another engine: ours on SQLite.
    """

    lines: int
    what: str
    runs: int
    ours: Sample | None
    floor: Sample
    sqlite: Sample | None = None

    @property
    def ratio(self) -> float | None:
        """To the floor."""
        return self.ours.seconds / self.floor.seconds if self.ours else None

    @property
    def sqlite_ratio(self) -> float | None:
        """Of ours on another engine to ours on SQLite."""
        return self.ours.seconds / self.sqlite.seconds if self.ours and self.sqlite else None


class Product:
    """The real command, as it runs in production, with its own database, ERP address and logs."""

    def __init__(self, folder: Path, engine: str, lines: int, *, database: str, erp: str) -> None:
        """In this empty folder, with the addresses of an empty database and of the ERP."""
        self.folder = folder
        self.name = f"run_ingestion on {engine}"
        mapping = folder / "mapping.toml"
        write_mapping(mapping)
        # An installation compiles the code once, and so does the migration below; a developer's
        # PYTHONDONTWRITEBYTECODE would compile it anew each night.
        inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        self.environment = {
            **inherited,
            "DJANGO_SETTINGS_MODULE": "po_tracking.settings.production",
            "SECRET_KEY": secrets.token_urlsafe(60),
            "DEBUG": "false",
            "ALLOWED_HOSTS": "localhost",
            "ALLOW_SQLITE_IN_PRODUCTION": "true",
            "DATABASE_URL": database,
            "ERP_DATABASE_URL": erp,
            "ERP_ALLOW_WRITABLE_LOGIN": "true",  # of a scratch database, whose owner it is
            "ERP_MAPPING_FILE": str(mapping),
            "LOG_DIR": str(folder / "log"),
        }
        self.manage("migrate", "--verbosity", "0")
        xref = folder / "xref.json"
        write_xref(xref, lines)
        self.manage("loaddata", str(xref), "--verbosity", "0")

    def manage(self, *arguments: str, python: tuple[str, ...] = ()) -> Measured:
        """One command of the application; raises BenchmarkError where it fails."""
        command = [sys.executable, *python, str(ROOT / "manage.py"), *arguments]
        return _succeed(measure(command, cwd=self.folder, env=self.environment), arguments[0])

    def run(self, python: tuple[str, ...] = ()) -> tuple[Measured, Expected]:
        """One night; what it took and what it reported."""
        measured = self.manage("run_ingestion", "--json", python=python)
        report = json.loads(measured.stdout)
        if report["status"] != "success":
            raise BenchmarkError(f"run_ingestion ended {report['status']}:\n{measured.stdout}")
        return measured, Expected(
            lines_created=report["new_lines_created"],
            lines_changed=report["lines_changed"],
            change_events=report["change_events_detected"],
            batches=report["batches_reconstructed"],
        )


class Floor:
    """benchmarks/floor.py with a database of its own."""

    name = "the floor"

    def __init__(self, folder: Path, erp: SqliteErp) -> None:
        self.folder = folder
        self.erp = erp

    def run(self) -> tuple[Measured, Expected]:
        """One night; what it took and what it reported."""
        script = str(Path(__file__).with_name("floor.py"))
        command = [sys.executable, script, str(self.erp.file), str(self.folder / "floor.sqlite3")]
        measured = _succeed(measure(command, cwd=self.folder, env=dict(os.environ)), self.name)
        report = json.loads(measured.stdout)
        return measured, Expected(
            lines_created=report["created"],
            lines_changed=report["changed"],
            change_events=report["change_events"],
            batches=report["batches"],
        )


def _succeed(measured: Measured, what: str) -> Measured:
    if measured.returncode != 0:
        raise BenchmarkError(
            f"{what} ended with exit code {measured.returncode}:\n"
            f"{measured.stdout}{measured.stderr}"
        )
    return measured


def _sample(contender: Product | Floor, expected: Expected) -> Sample:
    """Runs one night and refuses a result for other work than the ERP gave."""
    if sys.platform != "win32":
        os.sync()  # nobody pays for what another run left to be written
    measured, reported = contender.run()
    if reported != expected:
        raise BenchmarkError(
            f"{contender.name} reports {reported}, but the ERP has made {expected}. "
            "The times would compare different work; find out which of them is wrong first."
        )
    return Sample(measured.seconds, measured.peak_bytes)


def _medians(samples: list[Sample]) -> Sample:
    return Sample(
        median(each.seconds for each in samples), round(median(each.peak_bytes for each in samples))
    )


class Field:
    """The ERP at one size, and all that run beside each other over it, by name."""

    def __init__(self, folder: Path, lines: int) -> None:
        self.folder = folder
        self.lines = lines
        self.erp: SqliteErp | ServerErp = SqliteErp(folder / "erp.sqlite3", lines)
        self.contenders: dict[str, Product | Floor] = {"floor": Floor(folder, self.erp)}

    def add_sqlite(self) -> None:
        """The product on SQLite."""
        self._add(SQLITE, f"sqlite:///{(self.folder / 'ours.sqlite3').as_posix()}")

    def add(self, engine: str, own: Server, erp: Server, stack: ExitStack) -> None:
        """The product with databases on servers, which are dropped when the stack is closed."""
        database = stack.enter_context(own.scratch_database("own"))
        assert isinstance(self.erp, SqliteErp)
        self.erp = ServerErp(erp, stack.enter_context(erp.scratch_database("erp")), self.erp)
        self._add(engine, database)

    def _add(self, engine: str, database: str) -> None:
        folder = self.folder / engine
        folder.mkdir()
        self.contenders[engine] = Product(
            folder, engine, self.lines, database=database, erp=self.erp.url
        )


def benchmark(
    folder: Path,
    *,
    engine: str,
    on_servers: tuple[Server, Server] | None,
    lines: int,
    share: float,
    nights: int,
    floor_only: bool,
    profile: Path | None,
    console: Console,
) -> list[Result]:
    """Baseline and nights at one size, in this empty folder.

    With a profile file, one further night of the command is run under cProfile and not counted.
    """
    with ExitStack() as stack:
        field = Field(folder, lines)
        with console.status(f"{lines:,} lines: preparing the application"):
            if not floor_only:
                field.add_sqlite()
            if on_servers:
                field.add(engine, *on_servers, stack)
        erp, contenders = field.erp, field.contenders
        with console.status(f"{lines:,} lines: building the ERP"):
            expected = erp.create()
        samples: dict[tuple[str, str], list[Sample]] = {}
        for night in range(nights + 1):
            if night:
                with console.status(f"{lines:,} lines: the ERP lives through night {night}"):
                    expected = erp.live_through(night, share)
            for side in _in_turn([*contenders], night):
                with console.status(f"{lines:,} lines, night {night}: {contenders[side].name}"):
                    sample = _sample(contenders[side], expected)
                samples.setdefault(("nightly" if night else "baseline", side), []).append(sample)
        product = contenders.get(engine)
        if profile and isinstance(product, Product):
            erp.live_through(nights + 1, share)
            with console.status(f"{lines:,} lines: one more night under cProfile"):
                product.run(python=("-m", "cProfile", "-o", str(profile)))
    return [
        Result(
            lines=lines,
            what=what,
            runs=len(samples[what, "floor"]),
            ours=_medians(samples[what, engine]) if product else None,
            floor=_medians(samples[what, "floor"]),
            sqlite=_medians(samples[what, SQLITE]) if on_servers else None,
        )
        for what in ("baseline", "nightly")
        if (what, "floor") in samples
    ]


def _in_turn(names: list[str], night: int) -> list[str]:
    """Who runs first has the colder cache, so each night another one does."""
    first = night % len(names)
    return [*names[first:], *names[:first]]


# Goals of a nightly run, by number of lines: on SQLite its seconds and ratio to the floor, on a
# server its ratio to SQLite, and its megabytes everywhere.
SECONDS_GOALS = {5_000: 1.5}
RATIO_GOALS = {100_000: 3.0, 1_000_000: 3.0}
SQLITE_RATIO_GOALS = {100_000: 2.0}
MEGABYTE_GOALS = {100_000: 400, 1_000_000: 1_000}
GOAL_SIZES = sorted({*SECONDS_GOALS, *RATIO_GOALS, *MEGABYTE_GOALS})
# Linear: a line of the larger of two goal sizes takes at most this many times as long.
LINEAR_TOLERANCE = 1.2


def missed_goals(results: list[Result]) -> list[str]:
    """Each goal for a nightly run that these results miss, in words; sizes without goals pass."""
    missed = []
    nightly = {each.lines: each for each in results if each.what == "nightly"}
    for lines, result in nightly.items():
        if result.ours is None or result.ratio is None:
            continue
        seconds, megabytes = result.ours.seconds, result.ours.peak_bytes / MEGABYTE
        beside, ratio, ratio_goals = "the floor", result.ratio, RATIO_GOALS
        if result.sqlite_ratio is not None:
            beside, ratio, ratio_goals = "SQLite", result.sqlite_ratio, SQLITE_RATIO_GOALS
        elif lines in SECONDS_GOALS and seconds >= SECONDS_GOALS[lines]:
            missed.append(f"{lines:,} lines: {seconds:.2f} s, goal under {SECONDS_GOALS[lines]} s")
        if lines in ratio_goals and ratio > ratio_goals[lines]:
            missed.append(
                f"{lines:,} lines: {ratio:.2f} times {beside}, goal at most {ratio_goals[lines]:g}"
            )
        if lines in MEGABYTE_GOALS and megabytes >= MEGABYTE_GOALS[lines]:
            missed.append(
                f"{lines:,} lines: {megabytes:.0f} MB, goal under {MEGABYTE_GOALS[lines]} MB"
            )
    small, large = nightly.get(100_000), nightly.get(1_000_000)
    if small and large and small.ours and large.ours:
        growth = large.ours.seconds / large.lines / (small.ours.seconds / small.lines)
        if growth > LINEAR_TOLERANCE:
            missed.append(
                f"{large.lines:,} lines: {growth:.2f} times the seconds a line of "
                f"{small.lines:,} takes, goal linear (at most {LINEAR_TOLERANCE})"
            )
    return missed


def table(results: list[Result], engine: str, title: str) -> Table:
    """The results for people, one row per size and kind of run."""
    out = Table(title=title, caption="Medians; seconds and peak memory of the whole process.")
    headers = ["lines", "run", "runs", "ours s", "floor s", "ratio", "ours MB", "floor MB"]
    if engine != SQLITE:
        headers[4:] = ["sqlite s", "ratio", "floor s", "ours MB"]
    for number, header in enumerate(headers):
        out.add_column(header, justify="left" if number == 1 else "right")
    for each in results:
        shown = {
            "lines": f"{each.lines:,}",
            "run": each.what,
            "runs": str(each.runs),
            **_shown("ours", each.ours),
            **_shown("sqlite", each.sqlite),
            **_shown("floor", each.floor),
        }
        ratio = each.ratio if engine == SQLITE else each.sqlite_ratio
        shown["ratio"] = f"{ratio:.2f}" if ratio else ""
        out.add_row(*(shown[header] for header in headers))
    return out


def _shown(name: str, sample: Sample | None) -> dict[str, str]:
    return {
        f"{name} s": f"{sample.seconds:.2f}" if sample else "",
        f"{name} MB": f"{sample.peak_bytes / MEGABYTE:.0f}" if sample else "",
    }


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measures the nightly ingestion against its floor."
    )
    parser.add_argument("--lines", type=int, nargs="+", required=True, metavar="N")
    parser.add_argument(
        "--changed",
        type=float,
        default=0.03,
        metavar="SHARE",
        help="of the lines, each night (0.03)",
    )
    parser.add_argument("--nights", type=int, default=3, help="counted after the baseline (3)")
    parser.add_argument("--engine", choices=[SQLITE, *SERVERS], default=SQLITE)
    parser.add_argument(
        "--database-url", metavar="URL",
        help="a database of the server that --engine names; the benchmark only makes and drops its "
        "own beside it (default: TEST_POSTGRES_URL, or TEST_MSSQL_URL and TEST_MSSQL_ERP_URL)",
    )  # fmt: skip
    parser.add_argument(
        "--folder", type=Path, help="build here and keep everything (default: a temporary folder)"
    )
    parser.add_argument("--floor-only", action="store_true", help="leave the command out")
    parser.add_argument(
        "--profile", type=Path, metavar="FILE",
        help="write a cProfile of one further night of the command, at the largest size",
    )  # fmt: skip
    parser.add_argument(
        "--check", action="store_true",
        help="exit 1 if a nightly run misses a goal; goals are for 3%% changed lines and exist for "
        + ", ".join(f"{size:,}" for size in GOAL_SIZES),
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if min(options.lines) < 1:
        parser.error("--lines must be at least 1")
    if not 0 < options.changed <= 1:
        parser.error("--changed is a share above 0 and at most 1, for example 0.03")
    if options.nights < 0:
        parser.error("--nights cannot be negative")
    if options.floor_only and (options.check or options.profile):
        parser.error("--check and --profile look at the command, which --floor-only leaves out")
    if options.check and (options.nights < 1 or not set(options.lines) & set(GOAL_SIZES)):
        parser.error(f"--check needs a night and one of these sizes: {GOAL_SIZES}")
    options.on_servers = None
    if options.engine == SQLITE:
        if options.database_url:
            parser.error("--database-url names a server; add --engine postgres or --engine mssql")
    elif options.floor_only:
        parser.error("the floor is SQLite's; --floor-only goes without --engine")
    else:
        options.on_servers = servers(options.engine, options.database_url)
        if options.on_servers is None:
            parser.error(
                f"--engine {options.engine} needs a server: --database-url, or "
                f"{SERVERS[options.engine].url_variable} in the environment"
            )
    return options


@contextmanager
def _folder(kept: Path | None, lines: int) -> Iterator[Path]:
    """An empty folder for one size, removed afterwards unless it is to be kept."""
    if kept is None:
        with TemporaryDirectory(prefix="po-benchmark-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    folder = kept.resolve() / f"{lines}-lines"
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise BenchmarkError(f"{folder} exists. Remove it, or name another --folder.") from None
    yield folder


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code: 0, or 1 if a run failed or, with --check, a goal was missed."""
    options = _parse(arguments)
    console = Console()
    results: list[Result] = []
    try:
        for lines in options.lines:
            profile = options.profile if lines == max(options.lines) else None
            with _folder(options.folder, lines) as folder:
                results += benchmark(
                    folder,
                    engine=options.engine,
                    on_servers=options.on_servers,
                    lines=lines,
                    share=options.changed,
                    nights=options.nights,
                    floor_only=options.floor_only,
                    profile=profile.resolve() if profile else None,
                    console=console,
                )
    except (BenchmarkError, DatabaseError) as error:
        console.print(str(error), markup=False, style="red")
        return 1
    console.print(
        table(
            results,
            options.engine,
            f"Ingestion, {options.engine}, {options.changed:.1%} changed a night",
        )
    )
    versions = [f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"]
    versions += {server.running_version() for server in options.on_servers or ()}
    console.print(
        f"{', '.join(versions)}, {os.cpu_count()} CPUs, {platform.platform()}",
        highlight=False,
    )
    if options.check:
        missed = missed_goals(results)
        for goal in missed:
            console.print(f"Missed: {goal}", style="red", highlight=False)
        if missed:
            return 1
        console.print("All goals met.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
