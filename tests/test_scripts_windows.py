"""scripts/*.bat: what can be read off them anywhere, and how they run where Wine is.

In the runs, Python, git, schtasks, nssm and the like are fakes that write down how they were called
(tests/wine.py has the Windows). Wine 8 hands on that a called .bat failed, but not its exit code.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from datetime import date
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from django.conf import settings

from tests.wine import Wine

SCRIPTS = settings.BASE_DIR / "scripts"
FILES = sorted(SCRIPTS.rglob("*.bat"))
NAMES = [path.relative_to(SCRIPTS).as_posix() for path in FILES]


def text_of(name: str) -> str:
    return (SCRIPTS / name).read_text(encoding="ascii")  # anything else depends on the code page


def commands_of(name: str) -> list[str]:
    lines = [line.strip() for line in text_of(name).splitlines()]
    return [line for line in lines if line and not line.startswith(("rem ", ":"))]


# --- what can be read off them --------------------------------------------------------------------


def test_all_scripts_are_there() -> None:
    assert NAMES == [
        "run_ingestion.bat",
        "windows/_task.bat",
        "windows/backup.bat",
        "windows/install.bat",
        "windows/install_service.bat",
        "windows/schedule_backup.bat",
        "windows/schedule_ingestion.bat",
        "windows/update.bat",
    ]


def test_git_hands_the_scripts_out_with_the_line_ends_that_windows_needs() -> None:
    rules = (settings.BASE_DIR / ".gitattributes").read_text(encoding="utf-8").splitlines()
    assert "*.bat text eol=crlf" in rules


@pytest.mark.parametrize("name", NAMES)
def test_a_script_uses_nothing_that_only_some_command_interpreters_understand(name: str) -> None:
    for line in commands_of(name):
        assert not re.search(r"&&|\|\||\bpause\b|setlocal \w|powershell", line, re.IGNORECASE), line
        # A block would expand its variables too early. The list of a `for` is no block.
        assert not re.search(r"\($|^\(|\belse\b", line), line
        if not re.match(r"echo|(if .* )?for ", line):
            assert "(" not in line.split('"')[0], line


@pytest.mark.parametrize("name", NAMES)
def test_every_path_is_quoted_so_that_blanks_do_no_harm(name: str) -> None:
    for line in commands_of(name):
        if not line.startswith(("echo", "if not errorlevel")):
            for path in re.finditer(r"%~dp0\S*|\S*\.venv\S*|%CD%\S*|%TEMP%\S*", line):
                quotes = line[: path.start()].count('"') + path[0].startswith('"')
                assert quotes % 2 == 1, line


@pytest.mark.parametrize("name", NAMES)
def test_no_quotation_goes_over_the_end_of_a_line_of_text(name: str) -> None:
    for line in commands_of(name):
        if line.startswith("echo "):  # `1>&2` would be a part of the text
            assert line.count('"') % 2 == 0, line


@pytest.mark.parametrize("name", NAMES)
def test_every_label_that_a_script_goes_to_is_there_once(name: str) -> None:
    labels = re.findall(r"^:(\w+)$", text_of(name), re.MULTILINE)
    assert len(labels) == len(set(labels))
    wanted = re.findall(r"\bgoto (\w+)|\bcall :(\w+)", text_of(name))
    assert {first or second for first, second in wanted} <= {*labels}


@pytest.mark.parametrize("name", NAMES)
def test_every_way_out_hands_on_an_exit_code(name: str) -> None:
    """No script runs over its end, or from one part into a subroutine by mistake."""
    commands = commands_of(name)
    assert commands[0] == "@echo off"
    last = commands[-1]
    assert last.startswith(("exit /b ", '"%~dp0_task.bat"'))
    assert all(re.fullmatch(r".*exit /b (\d|%exit_code%)", c) for c in commands if "exit" in c[:7])


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_of_the_caller_is_left_as_it_was(name: str) -> None:
    """Of the exits after `pushd`, outside of subroutines, each comes after `popd`."""
    main = re.split(
        r"^rem --- subroutines.*?^rem --- |^:set$.*?^:usage$",
        text_of(name),
        flags=re.MULTILINE | re.DOTALL,
    )
    for part in main:
        lines = [line for line in part.splitlines() if line and not line.startswith("rem ")]
        for before, line in pairwise(lines):
            if (
                line.startswith("exit /b ")
                and "echo Usage" not in before
                and "takes no" not in before
            ):
                assert before == "popd", (before, line)


@pytest.mark.parametrize("name", NAMES)
def test_no_password_is_ever_on_a_command_line(name: str) -> None:
    for line in commands_of(name):
        assert not re.search(r"/RP (?!\*)|password= (?!\"\")|ObjectName", line), line


# --- run_ingestion.bat ----------------------------------------------------------------------------


@pytest.fixture
def nightly(wine: Wine) -> Wine:
    wine.write("scripts/run_ingestion.bat", text_of("run_ingestion.bat"))
    wine.write("scripts/windows/backup.bat", text_of("windows/backup.bat"))
    return wine


NIGHTLY = {
    "scripts/run_ingestion.bat": "manage.py run_ingestion",
    "scripts/windows/backup.bat": "manage.py backup --keep 14",
}
each_nightly_script = pytest.mark.parametrize("script", NIGHTLY)


@pytest.mark.process
@each_nightly_script
def test_the_job_gets_its_options_its_folder_and_the_production_settings(
    nightly: Wine, script: str
) -> None:
    nightly.python_prints("[%*] [%CD%] [%DJANGO_SETTINGS_MODULE%]")
    result = nightly.run(script, "--strict", "--as-of", "2026-01-31 and more")
    assert f'[{NIGHTLY[script]} --strict --as-of "2026-01-31 and more"]' in result.stdout
    assert r"\PO Tracking (new)] [po_tracking.settings.production]" in result.stdout


@pytest.mark.process
@each_nightly_script
def test_settings_named_by_the_caller_are_kept(nightly: Wine, script: str) -> None:
    nightly.python_prints("[%DJANGO_SETTINGS_MODULE%]")
    result = nightly.run(script, DJANGO_SETTINGS_MODULE="my.settings")
    assert "[my.settings]" in result.stdout


@pytest.mark.process
@each_nightly_script
@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, -5])
def test_the_exit_code_of_the_job_reaches_the_caller(nightly: Wine, script: str, code: int) -> None:
    result = nightly.run(script, typed=nightly.python_exits(code), ERRORLEVEL="17")
    assert result.returncode == code % 256  # all that Wine can hand to its own caller
    assert ("ended with exit code" in result.stderr) == (code != 0)


@pytest.mark.process
@each_nightly_script
@pytest.mark.parametrize(
    ("missing", "said"), [(".venv", "No virtual environment"), ("manage.py", "No ")]
)
def test_a_broken_installation_is_told_apart_and_fails(
    nightly: Wine, script: str, missing: str, said: str
) -> None:
    (nightly.folder / missing).rename(nightly.folder / "elsewhere")
    result = nightly.run(script)
    assert result.returncode == 1
    assert said in result.stderr


# --- a Windows of fakes ---------------------------------------------------------------------------

NOTE = '>>"%MACHINE%\\log" echo {name} %*\n'
PYTHON = r"""
set "v=-"
if not exist VERSION goto known
set /p v=<VERSION
:known
>>"%MACHINE%\log" echo %v%: %*
set "first=%~1"
if "%first:~0,3%"=="-3." shift
if "%~1"=="-c" goto code
if "%~2"=="venv" goto venv
if "%~3"=="--check" goto check
rem Without /b, so that it ends the script that called it: as a power cut does.
if exist "%MACHINE%\fail\cut %v% %~2" exit 1
if "%~2"=="backup" echo %MACHINE%\backups\1
if exist "%MACHINE%\fail\%v% %~2" exit /b 1
exit /b 0
:code
echo %MACHINE%\bin\py.bat
if exist "%MACHINE%\fail\wrong version" exit /b 1
if not exist "%MACHINE%\fail\one user %first%" exit /b 0
>"%MACHINE%\code" echo %*
find "base_prefix" "%MACHINE%\code" >nul
if errorlevel 1 exit /b 0
exit /b 1
:venv
if exist "%MACHINE%\fail\%v% venv" exit /b 1
mkdir "%~3\Scripts"
copy "%MACHINE%\bin\py.bat" "%~3\Scripts\python.bat" >nul
copy "%MACHINE%\bin\py.bat" "%~3\Scripts\activate.bat" >nul
copy VERSION "%~3\made_for" >nul
exit /b 0
:check
if "%~2"=="backup" goto check_backup
if exist "%MACHINE%\unmigrated" exit /b 1
exit /b 0
:check_backup
if not exist "%MACHINE%\no backup" exit /b 0
type "%MACHINE%\no backup"
exit /b 1
"""
FAKES = {
    "py": PYTHON,
    "python": PYTHON,
    "nssm": NOTE + 'if exist "%MACHINE%\\fail\\nssm" exit /b 1\nexit /b 0\n',
    "net": NOTE
    + r"""set "v=-"
if not exist VERSION goto known
set /p v=<VERSION
:known
if exist "%MACHINE%\fail\net %1" exit /b 1
if exist "%MACHINE%\fail\%v% net %1" exit /b 1
exit /b 0
""",
    "fltmc": NOTE + 'if exist "%MACHINE%\\fail\\fltmc" exit /b 1\nexit /b 0\n',
    "sc": NOTE
    + r"""if "%1"=="query" goto query
if "%1"=="qc" goto query
exit /b 0
:query
if exist "%MACHINE%\tasks\service" type "%MACHINE%\tasks\service"
if exist "%MACHINE%\tasks\service" exit /b 0
exit /b 1
""",
    "schtasks": NOTE
    + r"""set "told=%1"
if exist "%MACHINE%\fail\schtasks %told:~1%" exit /b 1
if "%1"=="/Query" goto query
if "%4"=="/DISABLE" >"%MACHINE%\tasks\%~3" echo ^<Enabled^>false
if "%4"=="/ENABLE" >"%MACHINE%\tasks\%~3" echo ^<Enabled^>true
exit /b 0
:query
if not exist "%MACHINE%\tasks\%~3" exit /b 1
type "%MACHINE%\tasks\%~3"
exit /b 0
""",
    "git": NOTE
    + r"""if exist "%MACHINE%\fail\git %1" exit /b 1
if "%1"=="symbolic-ref" exit /b 1
if "%1"=="show-ref" goto branch
if "%1"=="checkout" goto checkout
if "%2"=="HEAD" echo abc123
exit /b 0
:checkout
rd /s /q apps
xcopy "%MACHINE%\%~4" "%CD%" /E /Q /Y >nul
exit /b 0
:branch
if exist "%MACHINE%\fail\is a branch" exit /b 0
exit /b 1
""",
}
# `git checkout --quiet --detach v2` and `git checkout --quiet --force abc123` give these.
OLD, NEW = "abc123", "v2"
CODE = ["manage.py", "requirements/production.txt", ".env.example"]


class Machine:
    """An installation of version 1, version 2 beside it, and fakes on the PATH."""

    def __init__(self, wine: Wine) -> None:
        self.wine = wine
        self.home = wine.folder
        self.folder = wine.folder.parent
        for name in ("bin", "fail", "tasks", "backups/1"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "backups" / "1" / "manifest.json").touch()
        for name, text in FAKES.items():
            wine.write(f"../bin/{name}.bat", "@echo off\n" + text.replace("{name}", name))
        self.make_code(self.folder / OLD, "1")
        self.make_code(self.folder / NEW, "2")
        self.make_code(self.home, "1")
        (self.home / ".env").touch()

    def make_code(self, folder: Path, version: str) -> None:
        for name in CODE:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"of version {version}\n", encoding="ascii")
        (folder / "apps").mkdir()
        (folder / "apps" / f"only_in_{version}.py").touch()
        (folder / "VERSION").write_text(f"{version}\n", encoding="ascii")
        (folder / "scripts" / "windows").mkdir(parents=True)
        for name in NAMES:
            (folder / "scripts" / name).write_bytes((SCRIPTS / name).read_bytes())

    @property
    def nssm(self) -> str:
        return windows(self.folder / "bin" / "nssm.bat")

    def has_venv(self) -> None:
        scripts = self.home / ".venv" / "Scripts"
        (scripts / "python.bat").write_bytes((self.folder / "bin" / "py.bat").read_bytes())
        (self.home / ".venv" / "made_for").write_text("1", encoding="ascii")

    def has_no_venv(self) -> None:
        (self.home / ".venv").rename(self.folder / "no venv")

    def run(
        self, script: str, *arguments: str, typed: str = "", **extra: str
    ) -> subprocess.CompletedProcess[str]:
        (self.folder / "log").unlink(missing_ok=True)
        return self.wine.run(
            f"scripts/windows/{script}",
            *arguments,
            typed=typed,
            **{
                "MACHINE": windows(self.folder),
                "WINEPATH": windows(self.folder / "bin"),
                **extra,
            },
        )

    def fails(self, *what: str) -> None:
        for old in (self.folder / "fail").iterdir():
            old.unlink()
        for name in what:
            (self.folder / "fail" / name).touch()

    @property
    def log(self) -> list[str]:
        log = self.folder / "log"
        lines = log.read_text(encoding="ascii").splitlines() if log.exists() else []
        return [line.rstrip() for line in lines]

    @property
    def python(self) -> list[str]:
        """What Python was called for, with the version of the code, but for look-ups with -c."""
        return [line for line in self.log if re.match(r"\d: (?!.*-c \"import)", line)]


def windows(path: Path) -> str:
    return f"Z:{path}".replace("/", "\\")


@pytest.fixture
def machine(wine: Wine) -> Machine:
    return Machine(wine)


PIP = (
    "-m pip install --disable-pip-version-check --no-input --require-hashes "
    '-r "requirements\\production.txt"'
)


# --- install.bat ----------------------------------------------------------------------------------


@pytest.mark.process
def test_an_installation_goes_through_all_steps_in_order(machine: Machine) -> None:
    machine.has_no_venv()
    result = machine.run("install.bat")
    assert result.returncode == 0, result.stderr
    assert machine.python == [
        '1: -3.13 -m venv ".venv"',
        f"1: {PIP}",
        "1: -m compileall -q apps po_tracking",
        "1: manage.py check --deploy --fail-level ERROR",
        "1: manage.py migrate --noinput",
        '1: manage.py create_admin "admin" --unless-one-exists',
        "1: manage.py collectstatic --noinput",
        "1: manage.py doctor",
    ]
    assert "install_service.bat" in result.stdout


@pytest.mark.process
def test_an_installation_may_be_repeated_and_keeps_its_environment(machine: Machine) -> None:
    machine.has_venv()
    assert machine.run("install.bat").returncode == 0
    assert machine.python[0] == f"1: {PIP}"


@pytest.mark.process
def test_the_python_that_the_caller_names_is_taken(machine: Machine) -> None:
    machine.has_no_venv()
    own = machine.wine.write("../own python/python.bat", FAKES["python"])
    result = machine.run("install.bat", PYTHON=windows(own.resolve()))
    assert result.returncode == 0, result.stderr
    assert machine.python[0] == '1: -m venv ".venv"'


@pytest.mark.process
def test_a_read_only_instance_gets_no_tables_and_no_administrator(machine: Machine) -> None:
    machine.has_venv()
    europe = "po_tracking.settings.production_eu"
    assert machine.run("install.bat", DJANGO_SETTINGS_MODULE=europe).returncode == 0
    assert not [call for call in machine.python if "migrate" in call or "create_admin" in call]


@pytest.mark.process
@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("pip", "The packages could not be installed"),
        ("compileall", "Not installed"),
        ("check", "The settings"),
        ("migrate", "Not installed"),
        ("create_admin", "Not installed"),
        ("collectstatic", "Not installed"),
    ],
)
def test_an_installation_ends_with_the_first_step_that_fails(
    machine: Machine, step: str, said: str
) -> None:
    machine.has_venv()
    machine.fails(f"1 {step}")
    result = machine.run("install.bat")
    assert result.returncode == 1
    assert said in result.stderr
    assert f" {step} " in machine.python[-1]


@pytest.mark.process
def test_findings_of_doctor_are_told_apart_from_a_failure(machine: Machine) -> None:
    machine.has_venv()
    machine.fails("1 doctor")
    result = machine.run("install.bat")
    assert result.returncode == 3
    assert "doctor found something to do" in result.stdout


@pytest.mark.process
def test_without_a_python_that_will_do_nothing_is_made(machine: Machine) -> None:
    machine.has_no_venv()
    machine.fails("wrong version")
    result = machine.run("install.bat")
    assert result.returncode == 1
    assert "No Python 3.11, 3.12 or 3.13 was found" in result.stderr
    assert not (machine.home / ".venv").exists()


@pytest.mark.process
def test_a_python_of_one_user_is_passed_over_for_one_that_all_can_use(machine: Machine) -> None:
    machine.has_no_venv()
    machine.fails("one user -3.13")
    result = machine.run("install.bat")
    assert result.returncode == 0, result.stderr
    assert machine.python[0] == '1: -3.12 -m venv ".venv"'


@pytest.mark.process
@pytest.mark.parametrize(
    ("place", "usable"),
    [
        ("C:\\Program Files\\Python313", True),
        ("D:\\Python", True),
        ("C:\\Users\\Wei\\AppData\\Local\\Programs\\Python\\Python313", False),
        ("C:\\Program Files\\WindowsApps\\PythonSoftwareFoundation.Python.3.13_3.13.1", False),
    ],
)
def test_where_a_python_lies_tells_whether_all_can_use_it(place: str, *, usable: bool) -> None:
    question = re.search(r'-c "import sys; (place = .*)"\n', text_of("windows/install.bat"))
    assert question is not None
    asked = f"import sys; sys.base_prefix = {place!r}; {question[1]}"
    result = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=False
    )
    assert (result.returncode == 0) == usable
    assert (result.stderr == f"{place}: installed for one user only\n") != usable


@pytest.mark.process
@pytest.mark.parametrize("installed_already", [True, False])
def test_a_python_that_the_account_of_the_service_cannot_use_is_refused(
    machine: Machine, *, installed_already: bool
) -> None:
    if installed_already:
        machine.has_venv()
    else:
        machine.has_no_venv()
    machine.fails("one user -3.13", "one user -3.12", "one user -3.11", "one user -c")
    result = machine.run("install.bat")
    assert result.returncode == 1
    assert "a Python that is installed for one user only" in result.stderr
    assert "run install.bat again" in " ".join(result.stderr.split())
    assert machine.python == []


@pytest.mark.process
def test_an_environment_of_a_wrong_python_is_told(machine: Machine) -> None:
    machine.has_venv()
    machine.fails("wrong version")
    result = machine.run("install.bat")
    assert result.returncode == 1
    assert "Delete this folder" in result.stderr


@pytest.mark.process
def test_without_settings_a_file_to_fill_in_is_made(machine: Machine) -> None:
    (machine.home / ".env").unlink()
    result = machine.run("install.bat")
    assert result.returncode == 1
    assert "Fill it in" in result.stderr
    assert (machine.home / ".env").read_text(encoding="ascii") == "of version 1\n"
    assert machine.log == []


@pytest.mark.process
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("install.bat", ["--help"]),
        ("install_service.bat", []),
        ("install_service.bat", ["account", "more"]),
        ("schedule_ingestion.bat", []),
        ("schedule_ingestion.bat", ["04:30"]),
        ("schedule_backup.bat", ["04:30", "account", "more"]),
        ("update.bat", []),
        ("update.bat", ["--help"]),
        ("update.bat", ["v2", "--force"]),
        ("update.bat", ["v2", "--despite-errors", "more"]),
    ],
)
def test_a_wrong_call_is_told_and_changes_nothing(
    machine: Machine, script: str, arguments: list[str]
) -> None:
    machine.has_venv()
    result = machine.run(script, *arguments)
    assert result.returncode == 2
    assert result.stderr
    assert [line for line in machine.log if line != "fltmc"] == []


@pytest.mark.process
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("install_service.bat", ["account"]),
        ("schedule_backup.bat", ["04:30", "account"]),
        ("update.bat", ["v2"]),
    ],
)
def test_who_is_no_administrator_is_told_so(
    machine: Machine, script: str, arguments: list[str]
) -> None:
    machine.has_venv()
    machine.fails("fltmc")
    result = machine.run(script, *arguments)
    assert result.returncode == 1
    assert 'open the command prompt with "Run as administrator"' in result.stderr
    assert machine.log == ["fltmc"]


@pytest.mark.process
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("install_service.bat", ["account"]),
        ("schedule_ingestion.bat", ["04:30", "account"]),
        ("update.bat", ["v2"]),
    ],
)
def test_an_installation_that_is_not_complete_is_told(
    machine: Machine, script: str, arguments: list[str]
) -> None:
    result = machine.run(script, *arguments, NSSM=machine.nssm)
    (machine.home / ".venv" / "Scripts" / "activate.bat").unlink()
    result = machine.run(script, *arguments, NSSM=machine.nssm)
    assert result.returncode == 1
    assert "Run scripts\\windows\\install.bat first" in result.stderr


# --- service and tasks ----------------------------------------------------------------------------

ACCOUNT = "COMPANY\\svc-po-tracking"


@pytest.mark.process
def test_with_nssm_the_web_application_becomes_a_service(machine: Machine) -> None:
    machine.has_venv()
    result = machine.run("install_service.bat", ACCOUNT, NSSM=machine.nssm)
    assert result.returncode == 0, result.stderr
    home = windows(machine.home)
    told = [line.removeprefix("nssm ") for line in machine.log if line.startswith("nssm")]
    assert told[0] == f'install PO-Tracking "{home}\\.venv\\Scripts\\python.exe"'
    assert f'set PO-Tracking AppDirectory "{home}"' in told
    assert (
        'set PO-Tracking AppParameters "manage.py serve '
        '--settings=po_tracking.settings.production"' in told
    )
    # It has a password, which only a person may enter; until then it must not run as LocalSystem.
    assert told[1] == "set PO-Tracking Start SERVICE_DISABLED"
    assert not any("AUTO" in line for line in told)
    assert f"Log On: {ACCOUNT}" in result.stdout
    assert "Startup type: Automatic" in result.stdout
    assert not any("start" in line for line in machine.log[1:] if line.startswith("net"))


@pytest.mark.process
@pytest.mark.parametrize("account", ["NT AUTHORITY\\LocalService", "COMPANY\\gmsa-po$"])
def test_an_account_without_password_is_set_and_the_service_started(
    machine: Machine, account: str
) -> None:
    machine.has_venv()
    result = machine.run("install_service.bat", account, NSSM=machine.nssm)
    assert result.returncode == 0, result.stderr
    assert machine.log[-3:] == [
        f'sc config PO-Tracking obj= "{account}" password= "" start= auto',
        "net start PO-Tracking",
        "1: manage.py serve --probe 30",
    ]


@pytest.mark.process
@pytest.mark.parametrize("nssm", [True, False])
def test_a_web_application_that_was_started_but_does_not_answer_is_told(
    machine: Machine, *, nssm: bool
) -> None:
    machine.has_venv()
    machine.fails("1 serve")
    named = {"NSSM": machine.nssm} if nssm else {}
    result = machine.run("install_service.bat", "NT AUTHORITY\\LocalService", **named)
    assert result.returncode == 1
    assert "it does not answer" in result.stderr


@pytest.mark.process
def test_nssm_is_looked_for_in_program_files_and_on_the_path(machine: Machine) -> None:
    machine.has_venv()
    drive = Path(machine.wine.environment["WINEPREFIX"]) / "drive_c"
    on_the_path, program_files = machine.folder / "on the path", drive / "Program Files" / "nssm"
    path = f"{windows(machine.folder / 'bin')};{windows(on_the_path)}"
    try:
        for folder, place in (
            (on_the_path, windows(on_the_path)),
            (program_files, "C:\\Program Files\\nssm"),
        ):
            folder.mkdir()
            (folder / "nssm.exe").touch()  # which cannot run
            result = machine.run("install_service.bat", ACCOUNT, WINEPATH=path)
            assert f'The program of the service: "{place}\\nssm.exe"' in result.stdout
    finally:
        shutil.rmtree(program_files, ignore_errors=True)  # all tests share this Windows


@pytest.mark.process
@pytest.mark.parametrize("place", ["var", ".", "on the PATH"])
def test_an_nssm_that_the_account_of_the_service_could_exchange_is_refused(
    machine: Machine, place: str
) -> None:
    machine.has_venv()
    folder = machine.home if place == "." else machine.home / "var"
    folder.mkdir(exist_ok=True)
    (folder / "nssm.exe").touch()
    if place == "on the PATH":
        path = f"{windows(machine.folder / 'bin')};{windows(folder)}"
        result = machine.run("install_service.bat", ACCOUNT, WINEPATH=path)
    else:
        result = machine.run("install_service.bat", ACCOUNT, NSSM=windows(folder / "nssm.exe"))
    assert result.returncode == 1
    assert "may exchange it" in result.stderr
    assert "Program Files" in result.stderr
    assert machine.log == ["fltmc"]


@pytest.mark.process
def test_an_nssm_that_nobody_put_on_the_path_is_not_taken(machine: Machine) -> None:
    machine.has_venv()
    for folder in (machine.home, machine.home / "var"):
        folder.mkdir(exist_ok=True)
        (folder / "nssm.exe").touch()
    result = machine.run("install_service.bat", ACCOUNT)
    assert result.returncode == 0, result.stderr
    assert "becomes a" in result.stdout
    assert not [line for line in machine.log if line.startswith("nssm")]


@pytest.mark.process
def test_an_nssm_that_is_not_there_is_told(machine: Machine) -> None:
    machine.has_venv()
    result = machine.run("install_service.bat", ACCOUNT, NSSM="D:\\nowhere\\nssm.exe")
    assert result.returncode == 1
    assert "Put nssm.exe into" in result.stderr


@pytest.mark.process
def test_a_failure_of_nssm_is_handed_on(machine: Machine) -> None:
    machine.has_venv()
    machine.fails("nssm")
    result = machine.run("install_service.bat", ACCOUNT, NSSM=machine.nssm)
    assert result.returncode == 1
    assert "install_service.bat remove" in result.stderr


@pytest.mark.process
def test_without_nssm_the_web_application_becomes_a_task_that_starts_with_the_machine(
    machine: Machine,
) -> None:
    machine.has_venv()
    result = machine.run("install_service.bat", ACCOUNT)
    assert result.returncode == 0, result.stderr
    (create, start) = [line for line in machine.log if line.startswith("schtasks")]
    assert create.startswith('schtasks /Create /TN "PO Tracking web" /XML ')
    assert create.endswith(f'/RU "{ACCOUNT}" /RP * /F')
    assert start == 'schtasks /Run /TN "PO Tracking web"'
    assert '"scripts\\windows\\task_xml.py" "web" "startup"' in machine.python[-2]
    assert machine.python[-1] == "1: manage.py serve --probe 30"


@pytest.mark.process
def test_a_service_is_stopped_and_removed(machine: Machine) -> None:
    (machine.folder / "tasks" / "service").touch()
    assert machine.run("install_service.bat", "remove").returncode == 0
    assert machine.log[-2:] == ["net stop PO-Tracking", "sc delete PO-Tracking"]


@pytest.mark.process
@pytest.mark.parametrize(
    ("script", "task"),
    [
        ("install_service.bat", "PO Tracking web"),
        ("schedule_ingestion.bat", "PO Tracking ingestion"),
        ("schedule_backup.bat", "PO Tracking backup"),
    ],
)
def test_a_task_is_ended_and_removed(machine: Machine, script: str, task: str) -> None:
    assert machine.run(script, "remove").returncode == 0
    assert machine.log[-2:] == [
        f'schtasks /End /TN "{task}"',
        f'schtasks /Delete /TN "{task}" /F',
    ]


@pytest.mark.process
@pytest.mark.parametrize("kind", ["ingestion", "backup"])
def test_a_job_of_the_night_becomes_a_task(machine: Machine, kind: str) -> None:
    machine.has_venv()
    result = machine.run(f"schedule_{kind}.bat", "04:30", ACCOUNT)
    assert result.returncode == 0, result.stderr
    assert f'"scripts\\windows\\task_xml.py" "{kind}" "04:30"' in machine.python[-1]
    assert machine.log[-1].startswith(f'schtasks /Create /TN "PO Tracking {kind}" /XML ')
    assert machine.log[-1].endswith(f'/RU "{ACCOUNT}" /RP * /F')


@pytest.mark.process
@pytest.mark.parametrize(
    ("fails", "code"), [("1 ingestion", 2), ("schtasks Create", 1), ("schtasks Delete", 1)]
)
def test_a_task_that_cannot_be_made_or_removed_is_told(
    machine: Machine, fails: str, code: int
) -> None:
    machine.has_venv()
    machine.fails(fails)
    removes = fails.endswith("Delete")
    result = machine.run("schedule_ingestion.bat", *(["remove"] if removes else ["4.30", ACCOUNT]))
    assert result.returncode == code
    assert "see above" in result.stderr or "stands above" in result.stderr


# --- task_xml.py ----------------------------------------------------------------------------------

TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


def task_xml(folder: Path, *arguments: str) -> ET.Element:
    file = folder / "task.xml"
    script = SCRIPTS / "windows" / "task_xml.py"
    subprocess.run([sys.executable, script, *arguments, file], check=True)
    assert file.read_bytes().startswith((b"\xff\xfe", b"\xfe\xff"))  # what schtasks needs to see
    return ET.fromstring(file.read_text(encoding="utf-16"))  # noqa: S314  # our own


def value(task: ET.Element, *path: str) -> str | None:
    return task.findtext("/".join(TASK + name for name in path))


@pytest.mark.process
@pytest.mark.parametrize(
    ("kind", "script"),
    [("ingestion", "run_ingestion.bat"), ("backup", "backup.bat")],
)
def test_a_task_runs_its_script_each_day_and_makes_up_for_a_missed_night(
    tmp_path: Path, kind: str, script: str
) -> None:
    task = task_xml(tmp_path, kind, "04:30")
    start = value(task, "Triggers", "CalendarTrigger", "StartBoundary")
    assert start is not None
    assert start.endswith("T04:30:00")
    assert value(task, "Settings", "StartWhenAvailable") == "true"
    assert value(task, "Settings", "MultipleInstancesPolicy") == "IgnoreNew"
    assert value(task, "Actions", "Exec", "WorkingDirectory") == str(settings.BASE_DIR)
    arguments = value(task, "Actions", "Exec", "Arguments")
    assert arguments is not None
    called = re.fullmatch(r'/d /c ""(.*)""', arguments)
    assert called is not None
    assert Path(called[1]).name == script
    assert Path(called[1]).is_file()


@pytest.mark.process
def test_the_task_of_the_web_application_never_ends_and_comes_back(tmp_path: Path) -> None:
    task = task_xml(tmp_path, "web", "startup")
    assert task.find(f"{TASK}Triggers/{TASK}BootTrigger") is not None
    start = value(task, "Triggers", "TimeTrigger", "StartBoundary")
    assert start is not None
    assert date.fromisoformat(start[:10]) < date(
        2026, 1, 1
    )  # past, so it counts before the next boot
    assert task.find(f"{TASK}Triggers/{TASK}TimeTrigger/{TASK}EndBoundary") is None
    assert value(task, "Settings", "ExecutionTimeLimit") == "PT0S"
    assert value(task, "Triggers", "TimeTrigger", "Repetition", "Interval") == "PT1M"
    assert value(task, "Triggers", "TimeTrigger", "Repetition", "Duration") is None
    assert value(task, "Settings", "MultipleInstancesPolicy") == "IgnoreNew"
    # Python itself and no script between, so that ending the task ends the server.
    command = value(task, "Actions", "Exec", "Command")
    assert command is not None
    assert Path(command).name == "python.exe"


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments",
    [("ingestion", "4:30"), ("ingestion", "24:00"), ("backup", "startup"), ("web", "04:30")],
)
def test_a_time_that_is_none_is_refused(tmp_path: Path, arguments: tuple[str, str]) -> None:
    script = SCRIPTS / "windows" / "task_xml.py"
    file = tmp_path / "task.xml"
    result = subprocess.run([sys.executable, script, *arguments, file], check=False)
    assert result.returncode == 2
    assert not file.exists()


# --- update.bat -----------------------------------------------------------------------------------

RUNNING = {"web": "true", "ingestion": "true", "backup": "false"}  # somebody disabled the last one


@pytest.fixture(params=["git", "folder"])
def installed(machine: Machine, request: pytest.FixtureRequest) -> tuple[Machine, str]:
    """An installation that runs, and how update.bat is told where version 2 is."""
    machine.has_venv()
    for kind, enabled in RUNNING.items():
        task = machine.folder / "tasks" / f"PO Tracking {kind}"
        task.write_text(f"<Enabled>{enabled}", encoding="ascii")
    (machine.home / "erp-mapping.toml").write_text("ours", encoding="ascii")
    if request.param == "git":
        (machine.home / ".git").mkdir()
        return machine, NEW
    (machine.folder / NEW / "added in 2.txt").touch()
    return machine, windows(machine.folder / NEW)


def is_version(machine: Machine, version: str) -> bool:
    """Code, environment, tasks, and what belongs to the installation."""
    enabled = {
        kind: (machine.folder / "tasks" / f"PO Tracking {kind}").read_text(encoding="ascii")
        for kind in RUNNING
    }
    return (
        (machine.home / "VERSION").read_text(encoding="ascii").strip() == version
        and (machine.home / ".venv" / "made_for").read_text(encoding="ascii").strip() == version
        and [path.name for path in (machine.home / "apps").iterdir()] == [f"only_in_{version}.py"]
        and (version == "2" or not (machine.home / "added in 2.txt").exists())
        and (machine.home / "erp-mapping.toml").read_text(encoding="ascii") == "ours"
        and (machine.home / ".env").exists()
        and {kind: text.strip()[9:] for kind, text in enabled.items()} == RUNNING
    )


def needs_migration(machine: Machine) -> None:
    (machine.folder / "unmigrated").touch()


def restore(machine: Machine) -> str:
    return f'1: manage.py restore "{windows(machine.folder)}\\backups\\1" --force'


@pytest.mark.process
def test_an_update_backs_up_with_the_old_code_and_migrates_with_the_new(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    needs_migration(machine)
    result = machine.run("update.bat", version)
    assert result.returncode == 0, result.stdout + result.stderr
    assert machine.python == [
        "1: manage.py doctor",
        "1: manage.py backup --check",
        "1: manage.py backup",
        '2: -m venv ".venv"',
        f"2: {PIP}",
        "2: -m compileall -q apps po_tracking",
        "2: manage.py check --deploy --fail-level ERROR",
        "2: manage.py migrate --check",
        "2: manage.py migrate --noinput",
        "2: manage.py collectstatic --noinput",
        "2: manage.py doctor",
        "2: manage.py serve --probe 30",
    ]
    assert is_version(machine, "2")
    assert 'update.bat" back' in result.stdout


@pytest.mark.process
def test_nobody_writes_between_the_backup_and_the_end(installed: tuple[Machine, str]) -> None:
    machine, version = installed
    (machine.folder / "tasks" / "service").touch()
    assert machine.run("update.bat", version).returncode == 0
    log = machine.log
    begin, end = log.index("1: manage.py backup"), log.index("2: manage.py doctor")
    for stops, starts in (
        ("net stop PO-Tracking", "net start PO-Tracking"),
        ('schtasks /End /TN "PO Tracking web"', 'schtasks /Run /TN "PO Tracking web"'),
        (
            'schtasks /Change /TN "PO Tracking ingestion" /DISABLE',
            'schtasks /Change /TN "PO Tracking ingestion" /ENABLE',
        ),
    ):
        assert log.index(stops) < begin < end < log.index(starts)


@pytest.mark.process
@pytest.mark.parametrize(
    ("step", "restores"),
    [
        ("venv", False),
        ("pip", False),
        ("check", False),
        ("migrate", True),
        ("collectstatic", True),
        ("doctor", True),
    ],
)
def test_whatever_fails_the_old_version_runs_again_with_the_old_data(
    installed: tuple[Machine, str], step: str, restores: bool
) -> None:
    machine, version = installed
    needs_migration(machine)
    machine.fails(f"2 {step}")
    result = machine.run("update.bat", version)
    assert result.returncode == 1
    assert "the version from before runs again" in result.stderr
    restored = [call for call in machine.python if "restore" in call]
    assert restored == ([restore(machine)] if restores else [])
    assert is_version(machine, "1")


@pytest.mark.process
def test_a_database_that_the_update_did_not_change_is_not_put_back(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    machine.fails("2 doctor")
    assert machine.run("update.bat", version).returncode == 1
    assert not [call for call in machine.python if "restore" in call or "--noinput m" in call]
    assert is_version(machine, "1")


@pytest.mark.process
def test_a_service_that_does_not_start_is_a_failure(installed: tuple[Machine, str]) -> None:
    machine, version = installed
    (machine.folder / "tasks" / "service").touch()
    machine.fails("2 net start")
    assert machine.run("update.bat", version).returncode == 1
    assert machine.log.count("net start PO-Tracking") == 2
    assert is_version(machine, "1")


@pytest.mark.process
def test_a_service_that_windows_started_after_the_power_cut_is_no_failure(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    service = machine.folder / "tasks" / "service"
    service.write_text("        STATE              : 4  RUNNING\n", encoding="ascii")
    machine.fails("cut 1 backup")
    machine.run("update.bat", version)
    machine.fails("net start")  # it has been started already
    result = machine.run("update.bat", "back")
    assert result.returncode == 0, result.stderr
    assert "what it had stopped runs again" in result.stdout
    assert is_version(machine, "1")


@pytest.mark.process
def test_a_service_whose_account_is_not_entered_yet_is_not_started(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    service = machine.folder / "tasks" / "service"
    service.write_text("        START_TYPE         : 4   DISABLED\n", encoding="ascii")
    assert machine.run("update.bat", version).returncode == 0
    assert "net start PO-Tracking" not in machine.log
    assert is_version(machine, "2")


@pytest.mark.process
def test_a_web_application_that_does_not_answer_is_a_failure(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    machine.fails("2 serve")
    assert machine.run("update.bat", version).returncode == 1
    assert is_version(machine, "1")


@pytest.mark.process
def test_when_the_way_back_fails_too_it_says_what_to_do_and_can_be_finished(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    needs_migration(machine)
    machine.fails("2 migrate", "1 restore")
    result = machine.run("update.bat", version)
    assert result.returncode == 3
    assert "THE WAY BACK FAILED" in result.stderr
    assert f'"{windows(machine.home)}\\.update.bat" back' in result.stderr
    assert f"{windows(machine.folder)}\\backups\\1" in result.stderr
    assert 'schtasks /Run /TN "PO Tracking web"' not in machine.log

    machine.fails()
    assert machine.run("update.bat", "back", typed="yes\r\n").returncode == 0
    assert [call for call in machine.python if "restore" in call] == [restore(machine)]
    assert is_version(machine, "1")


@pytest.mark.process
@pytest.mark.parametrize("lost", [["scripts", ".venv"], [".venv"]])
def test_an_update_that_was_cut_off_at_its_worst_can_be_taken_back(
    installed: tuple[Machine, str], lost: list[str]
) -> None:
    machine, version = installed
    assert machine.run("update.bat", version).returncode == 0
    # As after a power cut: neither the old nor the new of these is in its place.
    for name in lost:
        shutil.rmtree(machine.home / name)
    result = machine.run("../../.update.bat", "back")
    assert result.returncode == 0, result.stderr
    assert is_version(machine, "1")


@pytest.mark.process
@pytest.mark.parametrize("step", ["pip", "migrate", "serve"])
def test_after_an_update_that_was_cut_off_there_is_only_the_way_back(
    installed: tuple[Machine, str], step: str
) -> None:
    machine, version = installed
    needs_migration(machine)
    machine.fails(f"cut 2 {step}")
    assert "the version from before" not in machine.run("update.bat", version).stdout
    machine.fails()
    refused = machine.run("update.bat", version, "--despite-errors")
    assert refused.returncode == 1
    assert "It was cut off" in refused.stderr
    assert f'"{windows(machine.home)}\\.update.bat" back' in refused.stderr
    assert machine.python == []
    assert machine.run("update.bat", "back", typed="yes\r\n").returncode == 0
    assert is_version(machine, "1")
    assert machine.run("update.bat", version).returncode == 0  # nothing is marked any more
    assert is_version(machine, "2")


@pytest.mark.process
def test_after_a_way_back_that_was_cut_off_it_must_be_gone_to_its_end(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    assert machine.run("update.bat", version).returncode == 0
    machine.fails("cut 1 collectstatic")
    assert "runs again" not in machine.run("update.bat", "back").stdout
    machine.fails()
    assert "It was cut off" in machine.run("update.bat", version).stderr
    assert machine.run("update.bat", "back").returncode == 0
    assert is_version(machine, "1")


@pytest.mark.process
@pytest.mark.parametrize("then", ["update", "back"])
def test_an_update_that_was_cut_off_before_its_first_change_leaves_nothing_stopped(
    installed: tuple[Machine, str], then: str
) -> None:
    machine, version = installed
    machine.fails("cut 1 backup")
    assert "Updated" not in machine.run("update.bat", version).stdout
    assert not is_version(machine, "1")  # its tasks are disabled
    (machine.home / ".venv").rename(machine.home / ".venv.free")  # the worst moment
    machine.fails()
    result = machine.run("update.bat", version if then == "update" else "back")
    assert result.returncode == 0, result.stderr
    assert "what it had stopped runs again" in result.stdout
    assert is_version(machine, "2" if then == "update" else "1")
    assert not (machine.home / ".before.new").exists()


@pytest.mark.process
def test_what_was_started_again_is_stopped_before_the_code_goes_back(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    assert machine.run("update.bat", version).returncode == 0
    assert machine.run("update.bat", "back").returncode == 0
    log = machine.log
    stops = [log.index(f'schtasks /End /TN "PO Tracking {task}"') for task in ("web", "ingestion")]
    assert max(stops) < log.index("1: manage.py collectstatic --noinput")
    assert is_version(machine, "1")


@pytest.mark.process
def test_an_update_can_be_taken_back_later_but_not_without_a_yes(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    needs_migration(machine)
    assert machine.run("update.bat", version).returncode == 0
    refused = machine.run("update.bat", "back", typed="no\r\n")
    assert refused.returncode == 1
    assert "is lost" in refused.stdout
    assert is_version(machine, "2")
    assert machine.run("update.bat", "back", typed="yes\r\n").returncode == 0
    assert is_version(machine, "1")


@pytest.mark.process
def test_a_run_that_is_at_work_is_not_disturbed(installed: tuple[Machine, str]) -> None:
    machine, version = installed
    # Windows renames no folder whose programs run; here this name is taken.
    (machine.home / ".venv.free").touch()
    result = machine.run("update.bat", version)
    assert result.returncode == 1
    assert "Something still runs in" in result.stderr
    assert "1: manage.py backup" not in machine.log
    assert is_version(machine, "1")


@pytest.mark.process
def test_a_way_back_beside_a_busy_environment_mixes_nothing_and_can_be_finished(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    assert machine.run("update.bat", version).returncode == 0
    busy = machine.home / ".venv.bad"  # as above
    busy.touch()
    result = machine.run("update.bat", "back")
    assert result.returncode == 3
    assert "The virtual environment from before: failed" in result.stderr
    assert (machine.home / ".venv" / "made_for").read_text(encoding="ascii").strip() == "2"
    assert (machine.home / ".before" / "venv" / "made_for").exists()
    busy.unlink()
    assert machine.run("update.bat", "back").returncode == 0
    assert is_version(machine, "1")


@pytest.mark.process
def test_an_own_file_among_the_scripts_is_not_lost(installed: tuple[Machine, str]) -> None:
    """Git leaves it alone. An unpacked version replaces the whole folder, and .before has it."""
    machine, version = installed
    own = machine.home / "scripts" / "ours.bat"
    own.write_text("ours", encoding="ascii")
    assert machine.run("update.bat", version).returncode == 0
    kept = own if version == NEW else machine.home / ".before" / "code" / "scripts" / "ours.bat"
    assert kept.read_text(encoding="ascii") == "ours"
    assert machine.run("update.bat", "back").returncode == 0
    assert own.read_text(encoding="ascii") == "ours"


@pytest.mark.process
def test_without_a_backup_nothing_is_touched(installed: tuple[Machine, str]) -> None:
    machine, version = installed
    machine.fails("1 backup")
    result = machine.run("update.bat", version)
    assert result.returncode == 1
    assert "Without a backup there is no update" in result.stderr
    assert not (machine.home / ".before").exists()
    assert not (machine.home / ".before.new").exists()
    assert is_version(machine, "1")


@pytest.mark.process
def test_a_backup_that_is_not_where_it_says_is_none(installed: tuple[Machine, str]) -> None:
    machine, version = installed
    (machine.folder / "backups" / "1" / "manifest.json").unlink()
    result = machine.run("update.bat", version)
    assert result.returncode == 1
    assert "no manifest.json is there" in result.stderr
    assert not (machine.home / ".before").exists()
    assert is_version(machine, "1")


@pytest.mark.process
def test_a_backup_that_would_fail_stops_an_update_before_anything_is_stopped(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    (machine.folder / "no backup").write_text("BACKUP_SQLSERVER_DIR is missing", encoding="ascii")
    result = machine.run("update.bat", version, "--despite-errors")
    assert result.returncode == 1
    assert "BACKUP_SQLSERVER_DIR is missing" in result.stderr
    assert "there is no update" in result.stderr
    assert not [line for line in machine.log if line.startswith(("net ", "schtasks"))]
    assert is_version(machine, "1")


@pytest.mark.process
def test_an_old_version_that_cannot_check_its_backup_is_updated_all_the_same(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    usage = "manage.py backup: error: unrecognized arguments: --check"
    (machine.folder / "no backup").write_text(usage, encoding="ascii")
    result = machine.run("update.bat", version)
    assert result.returncode == 0, result.stderr
    assert "unrecognized" not in result.stderr
    assert is_version(machine, "2")


@pytest.mark.process
@pytest.mark.parametrize("asked", [True, False])
def test_whether_the_version_from_before_answers_is_asked_and_said(
    installed: tuple[Machine, str], *, asked: bool
) -> None:
    machine, version = installed
    if asked:
        assert machine.run("update.bat", version).returncode == 0
        machine.fails("1 serve")
        result = machine.run("update.bat", "back")
    else:
        machine.fails("2 doctor", "1 serve")
        result = machine.run("update.bat", version)
    assert machine.python[-1] == "1: manage.py serve --probe 30"
    assert result.returncode == 3
    assert "its web application does not answer" in result.stderr
    assert is_version(machine, "1")


@pytest.mark.process
def test_a_sick_installation_is_not_updated_unless_told(installed: tuple[Machine, str]) -> None:
    machine, version = installed
    machine.fails("1 doctor", "2 doctor")
    result = machine.run("update.bat", version)
    assert result.returncode == 1
    assert "--despite-errors" in result.stderr
    assert is_version(machine, "1")
    assert machine.run("update.bat", version, "--despite-errors").returncode == 0
    assert is_version(machine, "2")


@pytest.mark.process
@pytest.mark.parametrize("installed", ["git"], indirect=True)
@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("git --version", "git is not installed"),
        ("git log", "run the line with safe.directory"),
        ("git diff", "were changed by hand"),
        ("git fetch", "could not be fetched"),
        ("git rev-parse", "git knows no version v2"),
        ("is a branch", "v2 is a branch. Name a tag or a commit"),
    ],
)
def test_what_git_says_stops_an_update_before_it_begins(
    installed: tuple[Machine, str], fails: str, said: str
) -> None:
    machine, version = installed
    machine.fails(fails)
    result = machine.run("update.bat", version)
    assert result.returncode == 1
    assert said in result.stderr
    assert machine.python == []


@pytest.mark.process
@pytest.mark.parametrize("installed", ["folder"], indirect=True)
def test_a_folder_that_is_no_version_is_told(installed: tuple[Machine, str]) -> None:
    machine, _ = installed
    (machine.folder / "empty").mkdir()
    for folder, said in (
        (machine.folder / "empty", "is no unpacked PO Tracking"),
        (machine.home, "is the installation itself"),
        (machine.folder / "nowhere", "is no git clone"),
    ):
        result = machine.run("update.bat", windows(folder))
        assert result.returncode == 1
        assert said in result.stderr
    assert machine.python == []


@pytest.mark.process
def test_there_is_nothing_to_go_back_to_before_the_first_update(machine: Machine) -> None:
    machine.has_venv()
    result = machine.run("update.bat", "back")
    assert result.returncode == 1
    assert "There is no earlier version" in result.stderr
