"""The scripts for SQL Server's administrator: T-SQL throughout, and what they must not forget.

They cannot be run without a server; each batch is parsed, with the variables of sqlcmd filled in.
"""

import re
from pathlib import Path

import pytest
import sqlglot
from django.conf import settings

FOLDER = settings.BASE_DIR / "scripts" / "sqlserver"
SCRIPTS = sorted(FOLDER.glob("*.sql"))
READER, APP, JOB = (
    (FOLDER / f"create_{name}.sql").read_text(encoding="ascii")
    for name in ("erp_reader", "app_database", "ingestion_job")
)


def batches(script: str) -> list[str]:
    """What sqlcmd sends between two GO, without its own commands, its variables replaced."""
    lines = [line for line in script.splitlines() if not line.startswith(":")]
    filled = re.sub(r"\$\((\w+)\)", r"1\1", "\n".join(lines))
    return [batch for batch in re.split(r"^GO$", filled, flags=re.MULTILINE) if batch.strip()]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_batch_is_sql_servers_language(script: Path) -> None:
    found = batches(script.read_text(encoding="ascii"))
    assert len(found) >= 2
    for batch in found:
        sqlglot.parse(batch, dialect="tsql", error_level=sqlglot.ErrorLevel.RAISE)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_tells_how_to_call_it_with_each_of_its_variables_and_stops_at_an_error(
    script: Path,
) -> None:
    text = script.read_text(encoding="ascii")
    call = re.search(rf"^--   sqlcmd .* -b -i {script.name} -v (.*)$", text, re.MULTILINE)
    assert call is not None
    told = set(re.findall(r'(\w+)="', call[1]))
    if "$(PASSWORD)" in text:  # from the environment: a command line can be read by others
        assert "--   set PASSWORD=..." in text
        told.add("PASSWORD")
    assert told == set(re.findall(r"\$\((\w+)\)", text))
    assert ":on error exit" in text


def test_the_readers_login_gets_select_and_nothing_else() -> None:
    granted = re.findall(r"^(?:GRANT|ALTER ROLE) .*", READER, re.MULTILINE)
    assert granted == [
        "GRANT SELECT ON [dbo].[vPurchaseOrderLines] TO [$(READER)];",
        "ALTER ROLE db_denydatawriter ADD MEMBER [$(READER)];",
    ]


def test_the_applications_database_keeps_versions_of_rows_so_that_pages_do_not_wait() -> None:
    assert "SET READ_COMMITTED_SNAPSHOT ON" in APP
    assert "SET ALLOW_SNAPSHOT_ISOLATION ON" in APP
    assert "db_owner ADD" not in APP


def test_running_the_database_script_again_leaves_a_changed_recovery_model_alone() -> None:
    created = APP[APP.index("IF DB_ID") : APP.index("GO", APP.index("IF DB_ID"))]
    assert "SET RECOVERY SIMPLE" in created
    assert APP.count("SET RECOVERY") == 1


def test_the_job_is_made_whole_or_not_at_all() -> None:
    batch = batches(JOB)[-1]
    inside = batch[batch.index("BEGIN TRY") : batch.index("END TRY")]
    assert inside.index("BEGIN TRANSACTION") < inside.index("sp_delete_job")
    assert inside.index("sp_add_jobserver") < inside.index("COMMIT TRANSACTION")
    assert "ROLLBACK TRANSACTION;\n    THROW;" in batch[batch.index("BEGIN CATCH") :]


def test_the_job_runs_the_script_every_night_without_retries_and_tells_of_failures() -> None:
    def value(parameter: str) -> str:
        found = re.search(rf"@{parameter} = ([^,;\n]+)", JOB)
        assert found is not None, parameter
        return found[1]

    assert value("subsystem") == "N'CmdExec'"
    assert r"\scripts\run_ingestion.bat" in JOB
    assert value("cmdexec_success_code") == "0"
    assert value("retry_attempts") == "0"
    assert (value("on_success_action"), value("on_fail_action")) == ("1", "2")
    assert (value("freq_type"), value("freq_interval")) == ("4", "1")
    assert (value("notify_level_email"), value("notify_level_eventlog")) == ("2", "2")
    assert value("notify_email_operator_name") == "N'$(OPERATOR)'"
    assert r"\var\log\agent_ingestion.log" in JOB
