@echo off
rem Makes or removes one of PO Tracking's tasks in Windows Task Scheduler. Called by
rem schedule_ingestion.bat, schedule_backup.bat and install_service.bat:
rem
rem   _task.bat KIND TIME ACCOUNT    KIND is ingestion, backup or web (which starts with the machine)
rem   _task.bat KIND remove
rem
rem Exit codes: 0 done, 1 failed, 2 wrong usage.
setlocal
set "ERRORLEVEL="
set "kind=%~1"
set "task=PO Tracking %~1"
set "xml=%TEMP%\po_tracking_task.xml"
if "%~2"=="" goto usage

pushd "%~dp0..\.."
call fltmc >nul 2>&1
if errorlevel 1 goto no_administrator
if /i "%~2"=="remove" goto remove
if "%~3"=="" goto no_account
if not "%~4"=="" goto usage_popd
if not exist ".venv\Scripts\activate.bat" goto no_venv
if not defined DJANGO_SETTINGS_MODULE set "DJANGO_SETTINGS_MODULE=po_tracking.settings.production"

rem As a file, because schtasks has no option for "make up for a missed night" and "no time limit".
call ".venv\Scripts\python" "scripts\windows\task_xml.py" "%kind%" "%~2" "%xml%"
if errorlevel 1 goto wrong_time
rem It asks for the password of the account, if the account has one.
call schtasks /Create /TN "%task%" /XML "%xml%" /RU "%~3" /RP * /F
if errorlevel 1 goto no_task
del "%xml%"
echo The task "%task%" runs as %~3.
popd
exit /b 0

:remove
call schtasks /End /TN "%task%" >nul 2>&1
call schtasks /Delete /TN "%task%" /F
if errorlevel 1 goto failed
popd
exit /b 0

:usage_popd
popd
:usage
echo Usage: HH:MM ACCOUNT, for example 04:30 COMPANY\svc-po-tracking; or: remove 1>&2
exit /b 2

:no_account
echo Name the account that the task runs as, for example COMPANY\svc-po-tracking. 1>&2
popd
exit /b 2

:wrong_time
echo The task was not made: see above. 1>&2
popd
exit /b 2

:no_administrator
echo Only an administrator may do this: open the command prompt with "Run as administrator". 1>&2
popd
exit /b 1

:no_venv
echo No virtual environment in "%CD%\.venv". Run scripts\windows\install.bat first. 1>&2
popd
exit /b 1

:no_task
del "%xml%"
:failed
echo schtasks could not do it; the reason stands above. 1>&2
popd
exit /b 1
