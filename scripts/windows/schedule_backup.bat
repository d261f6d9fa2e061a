@echo off
rem The daily backup as a task of Windows Task Scheduler, which calls backup.bat.
rem
rem   schedule_backup.bat 05:30 COMPANY\svc-po-tracking    every day at this time, as this account
rem   schedule_backup.bat remove
rem
rem It asks for the password of the account; for a group managed service account press Enter.
rem Exit codes: 0 done, 1 failed, 2 wrong usage.
"%~dp0_task.bat" backup %*
