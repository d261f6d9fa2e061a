@echo off
rem Backs up the application's database and removes old backups, for Windows Task Scheduler.
rem
rem   backup.bat [options of manage.py backup, for example --to FOLDER --keep 30]
rem
rem Keeps the newest 14 unless told otherwise. Exit codes: 0 done, 1 no backup was made, 2 wrong usage.
setlocal
rem A variable of this name would hide the real exit code.
set "ERRORLEVEL="

pushd "%~dp0..\.."
if not exist "manage.py" goto no_folder
if not exist ".venv\Scripts\activate.bat" goto no_venv
call ".venv\Scripts\activate.bat"
if not defined DJANGO_SETTINGS_MODULE set "DJANGO_SETTINGS_MODULE=po_tracking.settings.production"

python manage.py backup --keep 14 %*
if errorlevel 1 goto failed
rem A negative code is a crash of Python itself.
if not errorlevel 0 goto failed
popd
exit /b 0

:failed
set "exit_code=%ERRORLEVEL%"
echo backup ended with exit code %exit_code%. 1>&2
popd
exit /b %exit_code%

:no_folder
echo No PO Tracking in "%~dp0..\..": backup.bat belongs into the folder scripts\windows of it. 1>&2
popd
exit /b 1

:no_venv
echo No virtual environment in "%CD%\.venv". Run scripts\windows\install.bat first. 1>&2
popd
exit /b 1
