@echo off
rem The nightly ingestion, for Windows Task Scheduler and SQL Server Agent.
rem
rem   run_ingestion.bat [options of manage.py run_ingestion]
rem
rem Uses the virtual environment .venv of this installation, and the production settings unless
rem DJANGO_SETTINGS_MODULE names others. Works from any current directory and asks nothing.
rem Exit codes: 0 success or partial, 1 failed or could not be started, 2 wrong usage,
rem 3 partial under --strict, 4 another run is active.
setlocal
rem A variable of this name would hide the real exit code.
set "ERRORLEVEL="

rem pushd also reaches a network path (\\server\share), which cd cannot.
pushd "%~dp0.."
if not exist "manage.py" goto no_folder
if not exist ".venv\Scripts\activate.bat" goto no_venv
rem Its exit code says nothing: without a console it cannot set the code page, and works all the same.
call ".venv\Scripts\activate.bat"
if not defined DJANGO_SETTINGS_MODULE set "DJANGO_SETTINGS_MODULE=po_tracking.settings.production"

python manage.py run_ingestion %*
if errorlevel 1 goto failed
rem A negative code is a crash of Python itself.
if not errorlevel 0 goto failed
popd
exit /b 0

:failed
set "exit_code=%ERRORLEVEL%"
echo run_ingestion ended with exit code %exit_code%. 1>&2
popd
exit /b %exit_code%

:no_folder
echo No manage.py in "%~dp0..": run_ingestion.bat belongs into the folder scripts of the installation. 1>&2
popd
exit /b 1

:no_venv
echo No virtual environment in "%CD%\.venv". Make it there, in this order: 1>&2
echo   py -3 -m venv .venv 1>&2
echo   .venv\Scripts\python -m pip install --require-hashes -r requirements\production.txt 1>&2
popd
exit /b 1
