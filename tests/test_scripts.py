"""scripts/run_ingestion.bat: what can be read off it anywhere, and how it runs where Wine is."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

SCRIPT = settings.BASE_DIR / "scripts" / "run_ingestion.bat"
TEXT = SCRIPT.read_text(encoding="ascii")
LINES = [line.strip() for line in TEXT.splitlines()]
COMMANDS = [line for line in LINES if line and not line.startswith(("rem ", ":"))]


def test_git_hands_the_script_out_with_the_line_ends_that_windows_needs() -> None:
    rules = (settings.BASE_DIR / ".gitattributes").read_text(encoding="utf-8").splitlines()
    assert "*.bat text eol=crlf" in rules


def test_the_script_uses_nothing_that_only_some_command_interpreters_understand() -> None:
    for line in COMMANDS:
        assert not re.search(r"&&|\|\||\bpause\b|setlocal \w", line, re.IGNORECASE), line
        assert "(" not in line.split('"')[0], line  # a block would expand its variables too early


def test_every_path_is_quoted_so_that_blanks_do_no_harm() -> None:
    for line in COMMANDS:
        if not line.startswith("echo"):
            for path in re.finditer(r"%~dp0\S*|\S*\.venv\S*|%CD%\S*", line):
                assert path[0].startswith('"') or line[path.start() - 1] == '"', line
    assert 'pushd "%~dp0.."' in COMMANDS


def test_each_way_out_hands_an_exit_code_to_the_caller_and_leaves_his_folder_as_it_was() -> None:
    ends = [index for index, line in enumerate(COMMANDS) if line.startswith("exit")]
    assert [COMMANDS[index] for index in ends] == [
        "exit /b 0",
        "exit /b %exit_code%",
        "exit /b 1",
        "exit /b 1",
    ]
    assert all(COMMANDS[index - 1] == "popd" for index in ends)
    run = COMMANDS.index("python manage.py run_ingestion %*")
    assert COMMANDS[run + 1] == "if errorlevel 1 goto failed"


class Wine:
    """An installation in a folder with blanks, on a Windows that Wine plays."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        (folder / "scripts").mkdir(parents=True)
        (folder / ".venv" / "Scripts").mkdir(parents=True)
        (folder / "manage.py").touch()
        self.script = folder / "scripts" / SCRIPT.name
        self.script.write_bytes(TEXT.encode().replace(b"\n", b"\r\n"))
        self.write("activate.bat", '@set "PATH=%~dp0;%PATH%"\r\n')

    def write(self, name: str, text: str) -> None:
        (self.folder / ".venv" / "Scripts" / name).write_bytes(text.encode())

    def python_prints(self, text: str) -> None:
        self.write("python.bat", f"@echo {text}\r\n")

    def python_exits(self, code: int) -> str:
        """Make python.exe a command interpreter; what to type so that it ends with the code."""
        shell = Path(self.environment["WINEPREFIX"]) / "drive_c/windows/system32/cmd.exe"
        shutil.copy(shell, self.folder / ".venv" / "Scripts" / "python.exe")
        return f"exit {code}\r\n"

    def run(
        self, *arguments: str, typed: str = "", **extra: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["wine", self.script, *arguments],
            cwd=self.environment["WINEPREFIX"],
            env={**self.environment, **extra},
            input=typed,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def start(*command: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["wine", *command],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def wine_environment() -> Iterator[dict[str, str]]:
    if shutil.which("wine") is None:
        pytest.skip("needs Wine (Debian: wine, wine64), which plays Windows")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("DJANGO")
    }
    with tempfile.TemporaryDirectory(prefix="po_tracking_wine_") as prefix:
        environment |= {
            "WINEPREFIX": prefix,
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree,mshtml=",
        }
        start("wineboot", "--init", environment=environment).communicate()
        # While one console stays open, Wine's helpers stay too. Else each test would start them,
        # and wait until they go.
        console = start("cmd", environment=environment)
        yield environment
        subprocess.run(["wineserver", "-k", "-w"], env=environment, check=True)
        console.communicate()


@pytest.fixture
def wine(wine_environment: dict[str, str], tmp_path: Path) -> Wine:
    return Wine(tmp_path / "PO Tracking (new)", wine_environment)


@pytest.mark.process
def test_the_run_gets_its_options_its_folder_and_the_production_settings(wine: Wine) -> None:
    wine.python_prints("[%*] [%CD%] [%DJANGO_SETTINGS_MODULE%]")
    result = wine.run("--strict", "--as-of", "2026-01-31 and more")
    assert '[manage.py run_ingestion --strict --as-of "2026-01-31 and more"]' in result.stdout
    assert r"\PO Tracking (new)] [po_tracking.settings.production]" in result.stdout


@pytest.mark.process
def test_settings_named_by_the_caller_are_kept(wine: Wine) -> None:
    wine.python_prints("[%DJANGO_SETTINGS_MODULE%]")
    assert "[my.settings]" in wine.run(DJANGO_SETTINGS_MODULE="my.settings").stdout


@pytest.mark.process
@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, -5])
def test_the_exit_code_of_the_run_reaches_the_caller(wine: Wine, code: int) -> None:
    result = wine.run(typed=wine.python_exits(code), ERRORLEVEL="17")
    assert result.returncode == code % 256  # all that Wine can hand to its own caller
    assert ("ended with exit code" in result.stderr) == (code != 0)


@pytest.mark.process
@pytest.mark.parametrize(
    ("missing", "said"), [(".venv", "No virtual environment"), ("manage.py", "No manage.py")]
)
def test_a_broken_installation_is_told_apart_and_fails(wine: Wine, missing: str, said: str) -> None:
    (wine.folder / missing).rename(wine.folder / "elsewhere")
    result = wine.run()
    assert result.returncode == 1
    assert said in result.stderr
