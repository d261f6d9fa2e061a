@echo off
rem The nightly ingestion as a task of Windows Task Scheduler, which calls scripts\run_ingestion.bat.
rem
rem   schedule_ingestion.bat 04:30 COMPANY\svc-po-tracking    every day at this time, as this account
rem   schedule_ingestion.bat remove
rem
rem It asks for the password of the account; for a group managed service account press Enter.
rem Exit codes: 0 done, 1 failed, 2 wrong usage.
"%~dp0_task.bat" ingestion %*
