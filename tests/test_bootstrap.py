"""The two commands of a newcomer, and the locked requirements that they install."""

import hashlib
import importlib.util
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

import bootstrap

ROOT = Path(bootstrap.__file__).parent
REQUIREMENTS = ROOT / "requirements"


def write_wheel(folder: Path, name: str) -> str:
    """Make an installable package with a module of the same name; return its requirement line."""
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", "")
        about = f"{name}-1.0.dist-info"
        archive.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    return f"./{wheel.name} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project as small as can be: its demo needs one package and ends with exit code 7."""
    folder = tmp_path / "PO Tracking"
    (folder / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "bootstrap.py", folder)
    (folder / "requirements" / "base.txt").write_text(write_wheel(folder, "first"))
    (folder / "manage.py").write_text("import sys, first\nprint(sys.argv)\nsys.exit(7)\n")
    return folder


def start(project: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, project / "bootstrap.py", "demo", "--nights", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(project: Path) -> str:
    """Let the demo run to the end it was made for; return all that was printed."""
    process = start(project)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 7, output
    assert "['manage.py', 'demo', '--nights', '2']" in output
    return output


@pytest.mark.process
@pytest.mark.skipif(os.name == "nt", reason="kills a whole process group, which Windows has not")
def test_a_killed_installation_is_repaired_and_a_complete_one_is_not_repeated(
    project: Path,
) -> None:
    killed = start(project)
    assert killed.stdout is not None
    assert "Making .venv" in killed.stdout.readline()
    while not (project / ".venv" / "pyvenv.cfg").exists():
        assert killed.poll() is None
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()

    repaired = finish(project)
    assert "Making .venv" in repaired
    assert "Installing" in repaired

    assert "bootstrap:" not in finish(project)

    # A new requirement is added to what is there.
    with (project / "requirements" / "base.txt").open("a") as file:
        file.write(write_wheel(project, "second"))
    (project / "manage.py").write_text("import second\n" + (project / "manage.py").read_text())
    updated = finish(project)
    assert "Making .venv" not in updated
    assert "Installing" in updated


class Installation:
    """bootstrap in this process, in a folder of its own; tells what it did instead of doing it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requirements = folder / "requirements"
        self.requirements.mkdir()
        for group in ("base", "development"):
            (self.requirements / f"{group}.txt").write_text(f"# nothing for {group}\n")
        self.steps: list[str] = []
        monkeypatch.setattr(bootstrap, "ROOT", folder)
        monkeypatch.setattr(bootstrap, "STAMP", folder / "bootstrap.txt")
        monkeypatch.setattr(bootstrap, "PYTHON", folder / "python")
        monkeypatch.setattr(bootstrap, "make_environment", self._make_environment)
        monkeypatch.setattr(bootstrap, "quietly", self._quietly)

    def _make_environment(self) -> None:
        bootstrap.PYTHON.touch()
        self.steps.append("make")

    def _quietly(self, _remedy: str, *command: str | Path) -> None:
        assert not bootstrap.STAMP.exists()  # killed here, it would have to be made anew
        self.steps.append(Path(command[-1]).stem)

    def steps_of(self, *groups: str) -> list[str]:
        self.steps.clear()
        bootstrap.install(*groups)
        return self.steps


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return Installation(tmp_path, monkeypatch)


TEST = ("base", "development")


def test_the_demo_installs_the_base_only_and_the_tests_add_to_it(
    installation: Installation,
) -> None:
    assert installation.steps_of("base") == ["make", "base"]
    assert installation.steps_of(*TEST) == ["development"]
    assert installation.steps_of("base") == []
    assert installation.steps_of(*TEST) == []


def test_changed_requirements_are_installed_over_the_old_ones(installation: Installation) -> None:
    installation.steps_of(*TEST)
    (installation.requirements / "base.txt").write_text("# newer\n")
    assert installation.steps_of("base") == ["base"]
    # The demo changed packages that the tests share.
    assert installation.steps_of(*TEST) == ["development"]


def test_another_python_or_a_vanished_one_makes_everything_anew(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.steps_of("base")
    bootstrap.PYTHON.unlink()
    assert installation.steps_of("base") == ["make", "base"]
    monkeypatch.setattr(bootstrap, "VERSION", "3.99")
    assert installation.steps_of("base") == ["make", "base"]


def test_without_ensurepip_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object()
    )
    package = f"apt-get install python{bootstrap.VERSION}-venv"
    with pytest.raises(SystemExit, match=re.escape(package)):
        bootstrap.make_environment()


def test_what_a_failed_step_said_is_shown_with_what_to_do_next() -> None:
    with pytest.raises(SystemExit, match=r"(?s)the network is gone.*try later"):
        bootstrap.quietly(
            "try later", sys.executable, "-c", "import sys; sys.exit('the network is gone')"
        )


@pytest.mark.parametrize("version", [(3, 10, 4), (3, 14, 0)])
def test_another_version_of_python_is_refused_by_name(
    version: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(SystemExit, match=rf"this is Python {version[0]}\.{version[1]}\."):
        runpy.run_path(str(ROOT / "bootstrap.py"), run_name="__main__")


ALL_CORES = ["-n", "logical", "--dist", "worksteal"]


@pytest.mark.parametrize(
    ("given", "handed_on"),
    [
        (["demo", "--nights", "3"], ["manage.py", "demo", "--nights", "3"]),
        (["test"], ["-m", "pytest", *ALL_CORES]),
        (
            ["test", "--no-header", "-k", "x"],
            ["-m", "pytest", *ALL_CORES, "--no-header", "-k", "x"],
        ),
        (["test", "-n0"], ["-m", "pytest", "-n0"]),
        (["test", "-x", "-n", "4"], ["-m", "pytest", "-x", "-n", "4"]),
        (["test", "--numprocesses=1"], ["-m", "pytest", "--numprocesses=1"]),
    ],
)
def test_options_are_handed_on_and_tests_use_all_cores_unless_told_otherwise(
    given: list[str], handed_on: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def run(*arguments: str) -> int:
        started.extend(arguments)
        return 5

    monkeypatch.setattr(bootstrap, "install", lambda *_groups: None)
    monkeypatch.setattr(bootstrap, "run", run)
    assert bootstrap.main(given) == 5
    assert started == handed_on


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--help"], 0), (["tset"], 2)])
def test_the_two_commands_are_explained_to_who_asks_or_mistypes(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bootstrap.main(arguments) == code
    assert "bootstrap.py demo" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="Windows ends no process by a signal")
def test_an_end_by_a_signal_is_handed_on_as_a_shell_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "PYTHON", sys.executable)
    assert bootstrap.run("-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)") == 143


def test_bootstrap_needs_nothing_but_the_standard_library() -> None:
    imported = re.findall(
        r"^(?:import|from) (\w+)", (ROOT / "bootstrap.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert imported
    assert set(imported) <= sys.stdlib_module_names


def locked(group: str) -> dict[str, set[str]]:
    """Name and version of each package of a requirement file, with its hashes."""
    text = (REQUIREMENTS / f"{group}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [
        line for line in text.splitlines() if "==" in line and not line.lstrip().startswith("#")
    ]
    return {
        line.split(";")[0].split(" --hash")[0].strip(): set(re.findall(r"--hash=(\S+)", line))
        for line in lines
    }


LOCK = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]


@pytest.mark.parametrize("group", ["base", "production", "development"])
def test_a_requirement_file_says_what_the_lock_file_says(group: str) -> None:
    packages = {
        f"{package['name']}=={package['version']}": {
            file["hash"] for file in [*package.get("wheels", []), package.get("sdist")] if file
        }
        for package in LOCK
    }
    assert locked(group)
    for package, hashes in locked(group).items():
        assert hashes == packages[package], package


def test_each_group_of_requirements_holds_the_smaller_ones() -> None:
    assert locked("base").keys() < locked("production").keys() < locked("development").keys()


def test_every_dependency_is_in_the_lock_file_and_says_what_it_is_for() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pyproject = tomllib.loads(text)
    groups = [pyproject["project"]["dependencies"], *pyproject["dependency-groups"].values()]
    declared = {entry for group in groups for entry in group if isinstance(entry, str)}

    project = next(package["metadata"] for package in LOCK if package["name"] == "po-tracking")
    in_lock = {
        f"{entry['name']}{entry.get('extras', '')}{entry.get('specifier', '')}".replace("'", "")
        for group in [project["requires-dist"], *project["requires-dev"].values()]
        for entry in group
    }
    assert declared == in_lock, "pyproject.toml was changed: run uv lock and export the files anew"

    for dependency in declared:
        assert re.search(rf'"{re.escape(dependency)}",\s+# \w', text), f"what is {dependency} for?"
