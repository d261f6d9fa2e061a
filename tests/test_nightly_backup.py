"""scripts/nightly_backup.py removes old backups, after a new one was made, and nothing else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

pytestmark = pytest.mark.process

# Stands for manage.py: makes what it is told, or fails.
MANAGE = """
import os, sys
from pathlib import Path
assert sys.argv[1] == "backup", sys.argv
made = Path(sys.argv[3]) / os.environ["NAME"] if "--to" in sys.argv else Path(os.environ["NAME"])
print("Backing up", os.environ["DJANGO_SETTINGS_MODULE"])
if os.environ.get("FAILS"):
    sys.exit(int(os.environ["FAILS"]))
if made.parent.exists():
    made.touch()
print(made)
"""


class Installation:
    """A folder with the script, a manage.py that only pretends, and a folder of backups."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backups = folder / "all backups"
        self.backups.mkdir()
        (folder / "scripts").mkdir()
        shutil.copy(settings.BASE_DIR / "scripts" / "nightly_backup.py", folder / "scripts")
        (folder / "manage.py").write_text(MANAGE, encoding="utf-8")

    def has(self, *names: str) -> None:
        """Backups from before."""
        for name in names:
            path = self.backups / name
            path.mkdir() if path.suffix == "" else path.touch()

    def run(
        self, *arguments: str, name: str = "po-20261124.zip", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("DJANGO")}
        return subprocess.run(
            [sys.executable, self.folder / "scripts" / "nightly_backup.py", *arguments],
            env={**kept, "NAME": name, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def names(self) -> set[str]:
        return {path.name for path in self.backups.iterdir()}


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def test_the_newest_backups_stay_and_older_ones_go(installation: Installation) -> None:
    installation.has("po-20261121.zip", "po-20261122.zip", "po-20261123.zip")
    result = installation.run("--to", str(installation.backups), "--keep", "2")
    assert result.returncode == 0, result.stderr
    assert installation.names == {"po-20261123.zip", "po-20261124.zip"}
    assert "Backing up po_tracking.settings.production" in result.stdout


def test_backups_that_are_folders_go_whole(installation: Installation) -> None:
    installation.has("po-20261122", "po-20261123")
    (installation.backups / "po-20261122" / "database").touch()
    installation.run("--to", str(installation.backups), "--keep", "2", name="po-20261124")
    assert installation.names == {"po-20261123", "po-20261124"}


def test_what_was_just_made_stays_whatever_the_clock_said(installation: Installation) -> None:
    installation.has("po-20261123.zip", "po-20991231.zip")
    installation.run("--to", str(installation.backups), "--keep", "1")
    assert installation.names == {"po-20261124.zip"}


def test_what_is_named_otherwise_is_never_removed(installation: Installation) -> None:
    installation.has("before-go-live.zip", "erp-20251231.zip", "po-20261123.sql")
    installation.run("--to", str(installation.backups), "--keep", "1")
    assert installation.names == {
        "before-go-live.zip",
        "erp-20251231.zip",
        "po-20261123.sql",
        "po-20261124.zip",
    }


def test_a_backup_that_failed_removes_nothing_and_hands_its_exit_code_on(
    installation: Installation,
) -> None:
    installation.has("po-20261122.zip", "po-20261123.zip")
    result = installation.run("--to", str(installation.backups), "--keep", "1", FAILS="4")
    assert result.returncode == 4
    assert "No old backup was removed" in result.stderr
    assert installation.names == {"po-20261122.zip", "po-20261123.zip"}


def test_a_backup_on_the_disk_of_a_server_is_left_to_the_server(
    installation: Installation,
) -> None:
    installation.has("po-20261123.zip")
    result = installation.run("--keep", "1", name="/disk of the server/po-20261124.zip")
    assert result.returncode == 0
    assert installation.names == {"po-20261123.zip"}


def test_to_keep_none_is_wrong_usage(installation: Installation) -> None:
    result = installation.run("--keep", "0")
    assert result.returncode == 2
    assert "at least the new backup must stay" in result.stderr
