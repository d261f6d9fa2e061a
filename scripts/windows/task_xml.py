"""Writes the XML of one of PO Tracking's tasks, for `schtasks /Create /XML`.

    python task_xml.py KIND WHEN FILE

KIND is ingestion or backup, each day at WHEN (HH:MM), or web, with "startup" as WHEN. Beside what
schtasks has options for, these tasks make up for a time that was missed, run only once at a time,
and the web application has no time limit (without XML it would end after three days) and is started
again a minute after it has ended, whatever the reason.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent.parent

DAILY = """<CalendarTrigger>
      <StartBoundary>2020-01-01T{when}:00</StartBoundary>
      <ScheduleByDay><DaysInterval>1</DaysInterval></ScheduleByDay>
    </CalendarTrigger>"""
# Each minute, which is ignored while it runs: Windows' own RestartOnFailure heeds no exit code. A
# repetition of the BootTrigger would begin only with the next start of the machine, so the minutes
# are counted from a time that is past. At a start of the machine, the network takes its time.
AT_STARTUP = """<BootTrigger>
      <Delay>PT30S</Delay>
    </BootTrigger>
    <TimeTrigger>
      <Repetition>
        <Interval>PT1M</Interval><StopAtDurationEnd>false</StopAtDurationEnd>
      </Repetition>
      <StartBoundary>2020-01-01T00:00:00</StartBoundary>
    </TimeTrigger>"""

TASK = """<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo><Description>{description}</Description></RegistrationInfo>
  <Triggers>
    {trigger}
  </Triggers>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <ExecutionTimeLimit>{limit}</ExecutionTimeLimit>
  </Settings>
  <Actions>
    <Exec>
      <Command>{command}</Command>
      <Arguments>{arguments}</Arguments>
      <WorkingDirectory>{folder}</WorkingDirectory>
    </Exec>
  </Actions>
</Task>
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the XML of a scheduled task.")
    parser.add_argument("kind", choices=["ingestion", "backup", "web"])
    parser.add_argument("when", help="HH:MM, or startup for web")
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    is_time = re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", options.when)
    if options.kind == "web" and options.when != "startup":
        parser.error("the web application starts with the machine")
    if options.kind != "web" and not is_time:
        parser.error(f'"{options.when}" is not a time of day like 04:30')
    # With its mark of UTF-16: schtasks reads any other file in the code page of the machine.
    options.file.write_text(task(options.kind, options.when), encoding="utf-16")


def task(kind: str, when: str) -> str:
    if kind == "web":
        module = os.environ.get("DJANGO_SETTINGS_MODULE", "po_tracking.settings.production")
        command = str(ROOT / ".venv" / "Scripts" / "python.exe")
        arguments = f"manage.py serve --settings={module}"
    else:
        script = {"ingestion": "run_ingestion.bat", "backup": "windows/backup.bat"}[kind]
        # cmd takes away the outer quotation marks.
        command, arguments = "cmd.exe", f'/d /c ""{ROOT / "scripts" / Path(script)}""'
    description = {
        "ingestion": "PO Tracking: the nightly ingestion",
        "backup": "PO Tracking: the daily backup",
        "web": "PO Tracking: the web application",
    }[kind]
    return TASK.format(
        description=description,
        trigger=AT_STARTUP if kind == "web" else DAILY.format(when=when),
        limit="PT0S" if kind == "web" else "PT12H",
        command=escape(command),
        arguments=escape(arguments),
        folder=escape(str(ROOT)),
    )


if __name__ == "__main__":
    main()
