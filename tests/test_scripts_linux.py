"""scripts/linux: what the units say, and how install.sh and update.sh act on a machine of fakes.

The fakes stand first on the PATH: systemctl, runuser, chown and the like only write down how they
were called, and so does Python. git, and all that works on files, is real.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

SCRIPTS = settings.BASE_DIR / "scripts" / "linux"
UNITS = sorted([*SCRIPTS.glob("*.service"), *SCRIPTS.glob("*.timer")])
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]

needs_bash = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no bash")


# --- the units ------------------------------------------------------------------------------------


def read(unit: Path) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE))


def test_there_is_a_web_service_and_a_timer_for_each_job_of_the_night() -> None:
    assert [unit.name for unit in UNITS] == [
        "po-tracking-backup.service",
        "po-tracking-backup.timer",
        "po-tracking-ingestion.service",
        "po-tracking-ingestion.timer",
        "po-tracking.service",
    ]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_service_may_do_only_what_it_needs(unit: Path) -> None:
    told = read(unit)
    assert told["User"] == told["Group"] == "po-tracking"
    assert told["NoNewPrivileges"] == told["PrivateTmp"] == told["ProtectHome"] == "yes"
    assert told["ProtectSystem"] == "strict"
    assert told["ReadWritePaths"] == "/opt/po-tracking/var"
    assert told["CapabilityBoundingSet"] == ""
    assert told["Environment"] == "DJANGO_SETTINGS_MODULE=po_tracking.settings.production"
    # A run must see whether the process that holds the lease still lives.
    assert "ProtectProc" not in told


def test_all_services_are_hardened_alike() -> None:
    blocks = {
        re.search(r"# What the process may not do.*?UMask=0027", unit.read_text(), re.DOTALL)[0]  # type: ignore[index]  # a service without it fails here
        for unit in SERVICES
    }
    assert len(blocks) == 1


def test_a_night_that_was_missed_is_made_up_for() -> None:
    for unit in UNITS:
        if unit.suffix == ".timer":
            assert read(unit)["Persistent"] == "true"


def test_the_web_application_is_started_again_when_it_fails() -> None:
    assert read(SCRIPTS / "po-tracking.service")["Restart"] == "on-failure"


@pytest.mark.process
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (Debian: systemd)")
    for unit in UNITS:  # the Python of an installation, which must exist, is this one
        text = unit.read_text(encoding="utf-8")
        text = text.replace("/opt/po-tracking/.venv/bin/python", sys.executable)
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    result = subprocess.run(
        ["systemd-analyze", "verify", *sorted(tmp_path.iterdir())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.process
def test_shellcheck_finds_nothing_wrong_with_the_scripts() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck (Debian: shellcheck)")
    result = subprocess.run(
        ["shellcheck", "--external-sources", *SCRIPTS.glob("*.sh")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "")


# --- a machine of fakes ---------------------------------------------------------------------------

NOTE = 'echo "${0##*/} $*" >>"$MACHINE/log"\n'
FAKES = {
    "id": "echo 0\n",  # everybody is root here
    "getent": "exit 2\n",  # and nobody else exists
    "useradd": NOTE,
    "chown": NOTE,
    "runuser": 'shift 3\nexec "$@"\n',
    "systemctl": NOTE
    + """told=$1
shift
case $told in
    is-active) [ -e "$MACHINE/active/${@: -1}" ] ;;
    show) if [ -e "$MACHINE/active/${@: -1}" ]; then echo activating; else echo inactive; fi ;;
    start | enable) for unit in "${@#--now}"; do touch "$MACHINE/active/$unit"; done ;;
    stop) for unit; do rm -f "$MACHINE/active/$unit"; done ;;
esac
""",
    # Python writes down which version of the code it ran, and fails where the test says so.
    "python3.13": """case $* in
    *_base_executable*) echo "$MACHINE/bin/python3.13"; exit ;;
    *base_prefix*) cat "$MACHINE/prefix" 2>/dev/null || echo /usr; exit ;;
    "-c pass" | *ensurepip* | *version_info*) exec true ;;
    "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"
        echo "$(cat "$(dirname "$3")/VERSION")" >"$3/made_for" ;;
esac
folder=$(dirname "$(dirname "$(dirname "$0")")")
call="$(cat "$folder/VERSION" 2>/dev/null || echo -): $*"
echo "$call" >>"$MACHINE/log"
! grep -qxF -- "$call" "$MACHINE/cutting" || kill -KILL 0 # the script too: as a power cut does
case $* in
    *"migrate --check"*) [ ! -e "$MACHINE/unmigrated" ] ;;
    *"backup --check"*) [ ! -e "$MACHINE/no backup" ] ||
        { echo "what stands in the way"; exit "$(cat "$MACHINE/no backup")"; } ;;
    *manage.py\\ backup*) mkdir -p "$folder/var/backup-1"
        [ -e "$MACHINE/no manifest" ] || touch "$folder/var/backup-1/manifest.json"
        echo "$folder/var/backup-1"; echo "checked" ;;
esac || exit 1
! grep -qxF -- "$call" "$MACHINE/failing"
""",
}
CODE = ["manage.py", "requirements/production.txt", ".env.example", "apps/app.py"]


class Machine:
    """A folder with fakes, units, and the source of version 1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "opt" / "po-tracking"
        self.source = folder / "source"
        for name in ("bin", "units", "active"):
            (folder / name).mkdir()
        for name in ("log", "failing", "cutting"):
            (folder / name).touch()
        for name, text in FAKES.items():
            script = folder / "bin" / name
            script.write_text(f"#!/bin/bash\n{text}", encoding="utf-8")
            script.chmod(0o755)
        self.make_code(self.source, "1")

    def make_code(self, folder: Path, version: str) -> None:
        for name in CODE:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"of version {version}\n", encoding="utf-8")
        (folder / "VERSION").write_text(f"{version}\n", encoding="utf-8")
        shutil.copytree(SCRIPTS, folder / "scripts" / "linux", dirs_exist_ok=True)

    def git(self, *arguments: str, folder: Path | None = None) -> str:
        named = ["-c", "user.name=Wei", "-c", "user.email=wei@example.com"]
        result = subprocess.run(
            ["git", *named, "-c", "init.defaultBranch=main", *arguments],
            cwd=folder or self.source,
            capture_output=True,
            text=True,
            check=True,
        )
        return result.stdout.strip()

    def commit(self, version: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"Version {version}")
        self.git("tag", f"v{version}")

    def run(
        self, script: Path, *arguments: str, typed: str = "", **extra: str
    ) -> subprocess.CompletedProcess[str]:
        (self.folder / "log").write_text("", encoding="utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO")}
        return subprocess.run(
            ["bash", script, *arguments],
            cwd="/",
            env={
                **kept,
                "MACHINE": str(self.folder),
                "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "PO_TRACKING_HOME": str(self.home),
                "PO_TRACKING_UNITS": str(self.folder / "units"),
                **extra,
            },
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            start_new_session=True,
        )

    def install(self, **extra: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.source / "scripts" / "linux" / "install.sh", **extra)

    def update(
        self, *arguments: str, typed: str = "", **extra: str
    ) -> subprocess.CompletedProcess[str]:
        script = self.home / "scripts" / "linux" / "update.sh"
        return self.run(script, *arguments, typed=typed, **extra)

    def fake(self, name: str, text: str) -> None:
        (self.folder / "bin" / name).write_text(f"#!/bin/bash\n{text}", encoding="utf-8")

    def fails(self, *calls: str) -> None:
        """These calls of Python, each with the version of its code before it, will fail."""
        text = "".join(f"{call}\n" for call in calls)
        (self.folder / "failing").write_text(text, encoding="utf-8")

    def is_cut_off(self, call: str) -> None:
        """The script that makes this call of Python is killed in its midst."""
        (self.folder / "cutting").write_text(f"{call}\n", encoding="utf-8")

    def needs_migration(self) -> None:
        (self.folder / "unmigrated").touch()

    @property
    def log(self) -> list[str]:
        return (self.folder / "log").read_text(encoding="utf-8").splitlines()

    def calls(self, *words: str) -> list[str]:
        """What Python was called for, of the calls that have one of the words."""
        return [
            line
            for line in self.log
            if re.match(r"[-\d]:", line) and any(word in line for word in words)
        ]

    @property
    def version(self) -> str:
        return (self.home / "VERSION").read_text(encoding="utf-8").strip()

    @property
    def venv_of(self) -> str:
        return (self.home / ".venv" / "made_for").read_text(encoding="utf-8").strip()

    @property
    def active(self) -> set[str]:
        return {path.name for path in (self.folder / "active").iterdir()}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


pip = "-m pip install --disable-pip-version-check --no-input --require-hashes -r"


# --- install.sh -----------------------------------------------------------------------------------


@pytest.fixture
def filled_in(machine: Machine) -> Machine:
    """A machine on which somebody has written the settings already."""
    machine.home.mkdir(parents=True)
    (machine.home / ".env").write_text("the settings\n", encoding="utf-8")
    return machine


@needs_bash
@pytest.mark.process
def test_the_first_call_makes_an_env_file_to_fill_in_and_stops(machine: Machine) -> None:
    result = machine.install()
    assert result.returncode == 1
    assert "Fill it in" in result.stderr
    env = machine.home / ".env"
    assert env.read_text(encoding="utf-8") == "of version 1\n"
    assert env.stat().st_mode & 0o777 == 0o640
    assert machine.calls("manage.py") == []


@needs_bash
@pytest.mark.process
def test_the_same_call_goes_on_when_the_env_file_is_filled_in(machine: Machine) -> None:
    first = machine.install()
    assert first.returncode == 1
    assert f"Then run: {machine.home}/scripts/linux/install.sh" in first.stderr
    result = machine.install()
    assert result.returncode == 0, result.stderr
    assert machine.active == {"po-tracking.service", "po-tracking-backup.timer"}


@needs_bash
@pytest.mark.process
def test_an_installation_goes_through_all_steps_in_order(filled_in: Machine) -> None:
    result = filled_in.install()
    assert result.returncode == 0, result.stderr
    home = filled_in.home
    assert filled_in.calls("") == [
        f"-: -m venv {home}/.venv",
        f"1: {pip} {home}/requirements/production.txt",
        "1: -m compileall -q apps po_tracking",
        "1: manage.py check --deploy --fail-level ERROR",
        "1: manage.py migrate --noinput",
        "1: manage.py create_admin admin --unless-one-exists",
        "1: manage.py collectstatic --noinput",
        "1: manage.py serve --probe 30",
        "1: manage.py doctor",
    ]
    assert any(line.startswith("useradd --system") for line in filled_in.log)
    assert f"chown -R po-tracking:po-tracking {home}/var" in filled_in.log
    # The nightly run waits until somebody has looked at the first one.
    assert filled_in.active == {"po-tracking.service", "po-tracking-backup.timer"}
    assert "systemctl enable --now po-tracking-ingestion.timer" in result.stdout


@needs_bash
@pytest.mark.process
def test_the_units_get_folder_account_and_settings_of_the_installation(filled_in: Machine) -> None:
    filled_in.install(PO_TRACKING_USER="pot", DJANGO_SETTINGS_MODULE="my.settings")
    units = sorted((filled_in.folder / "units").iterdir())
    assert [unit.name for unit in units] == [unit.name for unit in UNITS]
    web = read(filled_in.folder / "units" / "po-tracking.service")
    assert web["User"] == web["Group"] == "pot"
    assert web["ExecStart"] == f"{filled_in.home}/.venv/bin/python manage.py serve"
    assert web["ReadWritePaths"] == f"{filled_in.home}/var"
    assert web["Environment"] == "DJANGO_SETTINGS_MODULE=my.settings"


@needs_bash
@pytest.mark.process
def test_a_read_only_instance_gets_no_tables_no_administrator_and_no_backup(
    filled_in: Machine,
) -> None:
    settings_module = "po_tracking.settings.production_eu"
    assert filled_in.install(DJANGO_SETTINGS_MODULE=settings_module).returncode == 0
    assert filled_in.calls("migrate", "create_admin") == []
    assert filled_in.active == {"po-tracking.service"}


@needs_bash
@pytest.mark.process
@pytest.mark.parametrize(
    "step",
    [
        f"{pip} HOME/requirements/production.txt",
        "-m compileall -q apps po_tracking",
        "manage.py check --deploy --fail-level ERROR",
        "manage.py migrate --noinput",
        "manage.py create_admin admin --unless-one-exists",
        "manage.py collectstatic --noinput",
    ],
)
def test_an_installation_ends_with_the_first_step_that_fails(filled_in: Machine, step: str) -> None:
    call = f"1: {step}".replace("HOME", str(filled_in.home))
    filled_in.fails(call)
    result = filled_in.install()
    assert result.returncode == 1
    assert filled_in.calls("")[-1] == call
    assert filled_in.active == set()


@needs_bash
@pytest.mark.process
def test_findings_of_doctor_are_told_apart_from_a_failure(filled_in: Machine) -> None:
    filled_in.fails("1: manage.py doctor")
    result = filled_in.install()
    assert result.returncode == 3
    assert "doctor found something to do" in result.stdout
    assert "po-tracking.service" in filled_in.active


@needs_bash
@pytest.mark.process
@pytest.mark.parametrize(
    ("fake", "text", "said"),
    [
        ("id", "echo 1000\n", "must run as root"),
        ("python3.13", "exit 1\n", "No Python 3.11, 3.12 or 3.13 was found"),
        (
            "python3.13",
            "case $* in *ensurepip*) exit 1 ;; esac\n",
            "cannot make virtual environments",
        ),
        ("python3.13", "echo /root/.local/python\n", "lies in somebody's home folder"),
        ("python3.13", "echo /home/wei/.pyenv\n", "lies in somebody's home folder"),
        ("runuser", "exit 1\n", "The account po-tracking cannot start python3.13"),
    ],
)
def test_what_is_missing_on_the_machine_is_told_before_anything_is_done(
    machine: Machine, fake: str, text: str, said: str
) -> None:
    machine.fake(fake, text)
    result = machine.install(PYTHON="python3.13")
    assert result.returncode == 1
    assert said in result.stderr
    assert not machine.home.exists()


@needs_bash
@pytest.mark.process
def test_a_python_in_a_home_folder_is_passed_over_for_one_that_all_can_use(
    filled_in: Machine,
) -> None:
    bin_folder = filled_in.folder / "bin"
    shutil.copy(bin_folder / "python3.13", bin_folder / "python3.12")
    filled_in.fake("python3.13", "echo /home/wei/.local/share/python\n")
    result = filled_in.install(PYTHON="python3.13 python3.12")
    assert result.returncode == 0, result.stderr
    assert filled_in.calls("")[0] == f"-: -m venv {filled_in.home}/.venv"


@needs_bash
@pytest.mark.process
@pytest.mark.parametrize("dead", [True, False])
def test_an_environment_is_kept_unless_its_python_is_gone(
    filled_in: Machine, *, dead: bool
) -> None:
    """As after an upgrade of the system, which brings another Python."""
    assert filled_in.install().returncode == 0
    python = filled_in.home / ".venv" / "bin" / "python"
    left = filled_in.home / ".venv" / "left by the old Python"
    left.touch()
    if dead:
        python.unlink()
        python.symlink_to("/usr/bin/python3.0")
    result = filled_in.run(filled_in.home / "scripts" / "linux" / "install.sh")
    assert result.returncode == 0, result.stderr
    assert ("is gone or cannot be used" in result.stdout) == dead
    assert left.exists() != dead
    assert filled_in.calls(pip) == [f"1: {pip} {filled_in.home}/requirements/production.txt"]


@needs_bash
@pytest.mark.process
def test_a_folder_that_systemd_could_not_read_is_refused(machine: Machine) -> None:
    result = machine.install(PO_TRACKING_HOME=str(machine.folder / "PO Tracking"))
    assert result.returncode == 1
    assert "Use a full path of letters" in result.stderr


@needs_bash
@pytest.mark.process
def test_an_installation_is_not_overwritten_by_another_copy(filled_in: Machine) -> None:
    filled_in.install()
    result = filled_in.install()
    assert result.returncode == 1
    assert "use " in result.stderr
    assert "update.sh" in result.stderr


@needs_bash
@pytest.mark.process
def test_install_takes_no_options(machine: Machine) -> None:
    script = machine.source / "scripts" / "linux" / "install.sh"
    assert machine.run(script, "--help").returncode == 2


# --- update.sh ------------------------------------------------------------------------------------


@pytest.fixture(params=["git", "folder"])
def installed(filled_in: Machine, request: pytest.FixtureRequest) -> tuple[Machine, str]:
    """An installation that runs, and how update.sh is told where version 2 is."""
    machine, by_git = filled_in, request.param == "git"
    if by_git:
        if shutil.which("git") is None:
            pytest.skip("needs git")
        machine.git("init", "--quiet")
        machine.commit("1")
    assert machine.install(PO_TRACKING_USER="pot").returncode == 0
    if by_git:
        machine.git("remote", "add", "origin", str(machine.source), folder=machine.home)
    (machine.home / "erp-mapping.toml").write_text("ours", encoding="utf-8")
    (machine.folder / "active" / "po-tracking-ingestion.timer").touch()
    new = machine.source if by_git else machine.folder / "new version"
    machine.make_code(new, "2")
    (new / "added.py").write_text("only version 2 has it", encoding="utf-8")
    (new / "apps" / "app.py").rename(new / "apps" / "renamed.py")
    if by_git:
        machine.commit("2")
    return machine, "v2" if by_git else str(new)


RUNNING = {"po-tracking.service", "po-tracking-backup.timer", "po-tracking-ingestion.timer"}


def is_version_1_again(machine: Machine) -> bool:
    """Code, environment, services, and what belongs to the installation."""
    return (
        (machine.version, machine.venv_of) == ("1", "1")
        and (machine.home / "apps" / "app.py").exists()
        and not (machine.home / "apps" / "renamed.py").exists()
        and not (machine.home / "added.py").exists()
        and (machine.home / "erp-mapping.toml").read_text(encoding="utf-8") == "ours"
        and (machine.home / ".env").exists()
        and machine.active == RUNNING
    )


@needs_bash
@pytest.mark.process
def test_an_update_backs_up_with_the_old_code_and_migrates_with_the_new(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    machine.needs_migration()
    result = machine.update(version)
    assert result.returncode == 0, result.stdout + result.stderr
    assert machine.calls("manage.py") == [
        "1: manage.py doctor",
        "1: manage.py backup --check",
        "1: manage.py backup",
        "2: manage.py check --deploy --fail-level ERROR",
        "2: manage.py migrate --check",
        "2: manage.py migrate --noinput",
        "2: manage.py collectstatic --noinput",
        "2: manage.py doctor",
        "2: manage.py serve --probe 30",
    ]
    assert (machine.version, machine.venv_of) == ("2", "2")
    assert not (machine.home / "apps" / "app.py").exists()
    assert (machine.home / "erp-mapping.toml").exists()
    assert machine.active == RUNNING
    assert "update.sh back" in result.stdout


@needs_bash
@pytest.mark.process
def test_the_account_of_the_installation_is_kept(installed: tuple[Machine, str]) -> None:
    machine, version = installed
    machine.update(version)
    assert read(machine.folder / "units" / "po-tracking.service")["User"] == "pot"
    assert f"chown -R pot:pot {machine.home}/var" in machine.log


@needs_bash
@pytest.mark.process
def test_nobody_writes_between_the_backup_and_the_end(installed: tuple[Machine, str]) -> None:
    machine, version = installed
    machine.update(version)
    web = [line for line in machine.log if re.match(r"systemctl (start|stop) .*tracking.ser", line)]
    assert [line.split()[1] for line in web] == ["stop", "start"]
    stopped, started = (machine.log.index(line) for line in web)
    assert stopped < machine.log.index("1: manage.py backup")
    assert machine.log.index("2: manage.py doctor") < started


@needs_bash
@pytest.mark.process
@pytest.mark.parametrize(
    ("step", "restores"),
    [
        (f"{pip} HOME/requirements/production.txt", False),
        ("-m compileall -q apps po_tracking", False),
        ("manage.py check --deploy --fail-level ERROR", False),
        ("manage.py migrate --noinput", True),
        ("manage.py collectstatic --noinput", True),
        ("manage.py doctor", True),
    ],
)
def test_whatever_fails_the_old_version_runs_again_with_the_old_data(
    installed: tuple[Machine, str], step: str, restores: bool
) -> None:
    machine, version = installed
    machine.needs_migration()
    machine.fails(f"2: {step}".replace("HOME", str(machine.home)))
    result = machine.update(version)
    assert result.returncode == 1
    assert "the version from before runs again" in result.stderr
    restored = [f"1: manage.py restore {machine.home}/var/backup-1 --force"]
    assert machine.calls("restore") == (restored if restores else [])
    assert is_version_1_again(machine)


@needs_bash
@pytest.mark.process
def test_a_database_that_the_update_did_not_change_is_not_put_back(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    machine.fails("2: manage.py doctor")
    assert machine.update(version).returncode == 1
    assert machine.calls("migrate --noinput", "restore") == []
    assert is_version_1_again(machine)


@needs_bash
@pytest.mark.process
def test_a_web_application_that_does_not_stay_up_is_a_failure(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    machine.fails("2: manage.py serve --probe 30")
    assert machine.update(version).returncode == 1
    assert is_version_1_again(machine)


@needs_bash
@pytest.mark.process
def test_when_the_way_back_fails_too_it_says_what_to_do_and_can_be_finished(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    machine.needs_migration()
    restore = f"1: manage.py restore {machine.home}/var/backup-1 --force"
    machine.fails("2: manage.py migrate --noinput", restore)
    result = machine.update(version)
    assert result.returncode == 3
    assert "THE WAY BACK FAILED" in result.stderr
    assert f"{machine.home}/.before/update.sh back" in result.stderr
    assert f"{machine.home}/var/backup-1" in result.stderr
    assert machine.active == set()  # nobody works on a half-restored database

    machine.fails()
    assert machine.update("back", typed="yes\n").returncode == 0
    assert machine.calls("restore") == [restore]
    assert is_version_1_again(machine)


@needs_bash
@pytest.mark.process
@pytest.mark.parametrize(
    "call",
    [
        f"{pip} HOME/requirements/production.txt",
        "manage.py migrate --noinput",
        "manage.py serve --probe 30",
    ],
)
def test_after_an_update_that_was_cut_off_there_is_only_the_way_back(
    installed: tuple[Machine, str], call: str
) -> None:
    machine, version = installed
    machine.needs_migration()
    machine.is_cut_off(f"2: {call}".replace("HOME", str(machine.home)))
    assert machine.update(version).returncode < 0
    machine.is_cut_off("nothing more")
    refused = machine.update(version, "--despite-errors")
    assert refused.returncode == 1
    assert "was cut off" in refused.stderr
    assert f"{machine.home}/.before/update.sh back" in refused.stderr
    assert machine.calls("") == []
    assert machine.update("back", typed="yes\n").returncode == 0
    assert is_version_1_again(machine)
    assert machine.update(version).returncode == 0  # nothing is marked any more
    assert machine.version == "2"


@needs_bash
@pytest.mark.process
def test_after_a_way_back_that_was_cut_off_it_must_be_gone_to_its_end(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    assert machine.update(version).returncode == 0
    machine.is_cut_off("1: manage.py collectstatic --noinput")
    assert machine.update("back").returncode < 0
    machine.is_cut_off("nothing more")
    assert "was cut off" in machine.update(version).stderr
    assert machine.update("back").returncode == 0
    assert is_version_1_again(machine)


@needs_bash
@pytest.mark.process
@pytest.mark.parametrize("then", ["update", "back"])
def test_an_update_that_was_cut_off_before_its_first_change_leaves_nothing_stopped(
    installed: tuple[Machine, str], then: str
) -> None:
    machine, version = installed
    machine.is_cut_off("1: manage.py backup")
    assert machine.update(version).returncode < 0
    assert machine.active == set()
    machine.is_cut_off("nothing more")
    result = machine.update(version if then == "update" else "back")
    assert result.returncode == 0, result.stderr
    assert "what it had stopped runs again" in result.stdout
    assert machine.active == RUNNING
    assert machine.version == ("2" if then == "update" else "1")
    assert not (machine.home / ".before.new").exists()


@needs_bash
@pytest.mark.process
@pytest.mark.parametrize("lost", [["scripts", ".venv"], [".venv"]])
def test_an_update_that_was_cut_off_at_its_worst_can_be_taken_back(
    installed: tuple[Machine, str], lost: list[str]
) -> None:
    machine, version = installed
    assert machine.update(version).returncode == 0
    # As after a power cut: neither the old nor the new of these is in its place.
    for name in lost:
        shutil.rmtree(machine.home / name)
    before = machine.home / ".before"
    if "scripts" not in lost:
        assert machine.update("back").returncode == 0
    else:
        result = machine.run(before / "update.sh", "back")
        assert result.returncode == 0, result.stderr
    assert is_version_1_again(machine)


@needs_bash
@pytest.mark.process
def test_an_update_can_be_taken_back_later_but_not_without_a_yes(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    machine.needs_migration()
    assert machine.update(version).returncode == 0
    refused = machine.update("back", typed="no\n")
    assert refused.returncode == 1
    assert "is lost" in refused.stdout
    assert machine.version == "2"
    assert machine.update("back", typed="yes\n").returncode == 0
    assert is_version_1_again(machine)


@needs_bash
@pytest.mark.process
def test_an_own_file_among_the_scripts_is_not_lost(installed: tuple[Machine, str]) -> None:
    """Git leaves it alone. An unpacked version replaces the whole folder, and .before has it."""
    machine, version = installed
    own = machine.home / "scripts" / "ours.sh"
    own.write_text("ours", encoding="utf-8")
    assert machine.update(version).returncode == 0
    kept = own if version == "v2" else machine.home / ".before" / "code" / "scripts" / "ours.sh"
    assert kept.read_text(encoding="utf-8") == "ours"
    assert machine.update("back").returncode == 0
    assert own.read_text(encoding="utf-8") == "ours"


@needs_bash
@pytest.mark.process
def test_without_a_backup_nothing_is_touched(installed: tuple[Machine, str]) -> None:
    machine, version = installed
    machine.fails("1: manage.py backup")
    result = machine.update(version)
    assert result.returncode == 1
    assert "Without a backup there is no update" in result.stderr
    assert not (machine.home / ".before").exists()
    assert is_version_1_again(machine)


@needs_bash
@pytest.mark.process
def test_a_backup_that_is_not_where_it_says_is_none(installed: tuple[Machine, str]) -> None:
    machine, version = installed
    (machine.folder / "no manifest").touch()
    result = machine.update(version)
    assert result.returncode == 1
    assert f'named "{machine.home}/var/backup-1"' in result.stderr
    assert not (machine.home / ".before").exists()
    assert is_version_1_again(machine)


@needs_bash
@pytest.mark.process
@pytest.mark.parametrize("asked", [True, False])
def test_whether_the_version_from_before_answers_is_asked_and_said(
    installed: tuple[Machine, str], *, asked: bool
) -> None:
    machine, version = installed
    probe = "1: manage.py serve --probe 30"
    if asked:
        assert machine.update(version).returncode == 0
        machine.fails(probe)
        result = machine.update("back")
    else:
        machine.fails("2: manage.py doctor", probe)
        result = machine.update(version)
    assert machine.calls("")[-1] == probe
    assert result.returncode == 3
    assert "its web application does not answer" in result.stderr
    assert is_version_1_again(machine)
    machine.fails()
    assert machine.update("back").returncode == 0


@needs_bash
@pytest.mark.process
@pytest.mark.parametrize(
    ("code", "said"),
    [(1, "Without a backup there is no update"), (4, "A run is at work"), (-9, "Without a backup")],
)
def test_a_backup_that_would_fail_stops_an_update_before_anything_is_stopped(
    installed: tuple[Machine, str], code: int, said: str
) -> None:
    machine, version = installed
    (machine.folder / "no backup").write_text(f"{code % 256}", encoding="utf-8")
    result = machine.update(version, "--despite-errors")
    assert result.returncode == 1
    assert "what stands in the way" in result.stderr
    assert said in result.stderr
    assert not [line for line in machine.log if line.startswith("systemctl stop")]
    assert is_version_1_again(machine)


@needs_bash
@pytest.mark.process
def test_an_old_version_that_cannot_check_its_backup_is_updated_all_the_same(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    (machine.folder / "no backup").write_text("2", encoding="utf-8")  # argparse: wrong usage
    result = machine.update(version)
    assert result.returncode == 0, result.stderr
    assert "what stands in the way" not in result.stderr
    assert machine.version == "2"


@needs_bash
@pytest.mark.process
def test_a_sick_installation_is_not_updated_unless_told(installed: tuple[Machine, str]) -> None:
    machine, version = installed
    machine.fails("1: manage.py doctor", "2: manage.py doctor")
    result = machine.update(version)
    assert result.returncode == 1
    assert "--despite-errors" in result.stderr
    assert is_version_1_again(machine)
    assert machine.update(version, "--despite-errors").returncode == 0
    assert machine.version == "2"


@needs_bash
@pytest.mark.process
def test_a_run_that_is_at_work_is_not_disturbed(installed: tuple[Machine, str]) -> None:
    machine, version = installed
    (machine.folder / "active" / "po-tracking-ingestion.service").touch()
    result = machine.update(version)
    assert result.returncode == 1
    assert "po-tracking-ingestion.service is at work" in result.stderr
    assert machine.active == RUNNING | {"po-tracking-ingestion.service"}
    assert machine.calls("backup") == ["1: manage.py backup --check"]


@needs_bash
@pytest.mark.process
@pytest.mark.parametrize("installed", ["git"], indirect=True)
def test_code_that_somebody_changed_by_hand_is_not_overwritten(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    (machine.home / "manage.py").write_text("changed here\n", encoding="utf-8")
    result = machine.update(version)
    assert result.returncode == 1
    assert "manage.py" in result.stderr
    assert machine.version == "1"


@needs_bash
@pytest.mark.process
@pytest.mark.parametrize("installed", ["git"], indirect=True)
def test_a_folder_that_git_does_not_trust_is_told_with_the_cure(
    installed: tuple[Machine, str],
) -> None:
    machine, version = installed
    # git's own switch for such tests
    result = machine.update(version, GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert result.returncode == 1
    assert f"Run: git config --global --add safe.directory {machine.home}" in result.stderr
    assert "were changed" not in result.stderr
    assert machine.active == RUNNING


@needs_bash
@pytest.mark.process
@pytest.mark.parametrize("installed", ["git"], indirect=True)
def test_a_version_that_git_does_not_know_is_told(installed: tuple[Machine, str]) -> None:
    machine, _ = installed
    result = machine.update("v3")
    assert result.returncode == 1
    assert "git knows no version v3. Known ones: v1 v2" in result.stderr
    assert machine.active == RUNNING


@needs_bash
@pytest.mark.process
@pytest.mark.parametrize("installed", ["git"], indirect=True)
def test_a_branch_is_no_version_because_fetching_does_not_move_it(
    installed: tuple[Machine, str],
) -> None:
    machine, _ = installed
    result = machine.update("main")
    assert result.returncode == 1
    assert "main is a branch. Name a tag or a commit" in result.stderr
    assert machine.active == RUNNING


@needs_bash
@pytest.mark.process
@pytest.mark.parametrize("installed", ["folder"], indirect=True)
def test_a_folder_that_is_no_version_is_told(installed: tuple[Machine, str]) -> None:
    machine, _ = installed
    empty = machine.folder / "empty"
    empty.mkdir()
    for folder, said in (
        (empty, "is no unpacked PO Tracking"),
        (machine.home, "Unpack it elsewhere"),
        (machine.folder / "nowhere", "is no git clone"),
    ):
        result = machine.update(str(folder))
        assert result.returncode == 1
        assert said in result.stderr
    assert machine.active == RUNNING


@needs_bash
@pytest.mark.process
@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["v2", "--force"], ["v2", "--despite-errors", "more"]]
)
def test_a_wrong_call_of_update_is_told(machine: Machine, arguments: list[str]) -> None:
    script = machine.source / "scripts" / "linux" / "update.sh"
    result = machine.run(script, *arguments)
    assert result.returncode == 2
    assert "Usage" in result.stderr
