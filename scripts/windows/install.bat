@echo off
rem Installs PO Tracking in the folder in which it lies. Run it there, as an administrator:
rem
rem   scripts\windows\install.bat
rem
rem Steps: checks Python, .env and the ODBC driver; makes the virtual environment, the tables, the
rem first administrator and the static files; ends with doctor. It may be run again at any time.
rem
rem Variables: PYTHON (the path of a python.exe, else the newest of 3.11 to 3.13), PO_TRACKING_ADMIN
rem (admin, the first administrator's name), PO_TRACKING_ADMIN_PASSWORD (else it is asked for),
rem DJANGO_SETTINGS_MODULE.
rem Exit codes: 0 installed, 1 not installed, 2 wrong usage, 3 installed, but doctor found something.
setlocal
rem A variable of this name would hide the real exit code.
set "ERRORLEVEL="
set "one_user="
if not "%~1"=="" goto usage

rem pushd also reaches a network path (\\server\share), which cd cannot.
pushd "%~dp0..\.."
if not exist "manage.py" goto no_folder
if not exist "requirements\production.txt" goto no_folder
if not defined DJANGO_SETTINGS_MODULE set "DJANGO_SETTINGS_MODULE=po_tracking.settings.production"
if not defined PO_TRACKING_ADMIN set "PO_TRACKING_ADMIN=admin"
if not exist ".env" goto no_env

if exist ".venv\Scripts\activate.bat" goto have_venv
call :find_python
if errorlevel 1 goto no_python
echo Making the virtual environment ...
call %found% -m venv ".venv"
if errorlevel 1 goto no_venv
:have_venv
set "found=.venv\Scripts\python"
call :is_supported
if errorlevel 1 goto wrong_venv

call :python -m pip install --disable-pip-version-check --no-input --require-hashes -r "requirements\production.txt"
if errorlevel 1 goto no_packages
rem The account of the service may only read the code, so these files are made now.
call :python -m compileall -q apps po_tracking
if errorlevel 1 goto failed
call :python manage.py check --deploy --fail-level ERROR
if errorlevel 1 goto wrong_settings
if /i "%DJANGO_SETTINGS_MODULE%"=="po_tracking.settings.production_eu" goto read_only
call :python manage.py migrate --noinput
if errorlevel 1 goto failed
call :python manage.py create_admin "%PO_TRACKING_ADMIN%" --unless-one-exists
if errorlevel 1 goto failed
goto static_files

:read_only
echo A read-only instance: no tables and no administrator are made.
:static_files
call :python manage.py collectstatic --noinput
if errorlevel 1 goto failed
echo Installed in "%CD%".
call :python manage.py doctor
if errorlevel 1 goto findings
echo Next: scripts\windows\install_service.bat
popd
exit /b 0

:findings
echo doctor found something to do: see above, and docs\operations.md.
popd
exit /b 3

rem --- subroutines --------------------------------------------------------------------------------

rem With call, because some installations of Python put a .bat of that name on the PATH. A negative
rem code is a crash of Python itself.
:python
call ".venv\Scripts\python" %*
if errorlevel 1 exit /b 1
if not errorlevel 0 exit /b 1
exit /b 0

rem Leaves in "found" what to type for a Python that will do.
:find_python
if not defined PYTHON goto newest
set found="%PYTHON%"
goto is_supported
:newest
set "found=py -3.13"
call :is_supported
if not errorlevel 1 exit /b 0
set "found=py -3.12"
call :is_supported
if not errorlevel 1 exit /b 0
set "found=py -3.11"
call :is_supported
if not errorlevel 1 exit /b 0
set "found=python"
:is_supported
call %found% -c "import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12), (3, 13)])" >nul 2>&1
if errorlevel 1 exit /b 1
if not errorlevel 0 exit /b 1
rem The account of the service cannot reach what is installed for one user, in C:\Users or by the
rem Microsoft Store.
call %found% -c "import sys; place = sys.base_prefix; sys.exit(any(part in place.lower() for part in ['\\users\\', 'windowsapps']) and place + ': installed for one user only')"
if not errorlevel 1 exit /b 0
set "one_user=yes"
exit /b 1

rem --- what is missing ----------------------------------------------------------------------------

:usage
echo install.bat takes no options; what it can be told stands at its beginning. 1>&2
exit /b 2

:no_folder
echo No PO Tracking in "%~dp0..\..": install.bat belongs into the folder scripts\windows of it. 1>&2
popd
exit /b 1

:no_env
copy /y ".env.example" ".env" >nul
echo "%CD%\.env" was made now, with no setting in it yet. Fill it in: at least SECRET_KEY, 1>&2
echo ALLOWED_HOSTS and DATABASE_URL. Then run install.bat again. 1>&2
popd
exit /b 1

:no_python
if defined one_user goto for_one_user
echo No Python 3.11, 3.12 or 3.13 was found. Install one from python.org "for all users", or set the 1>&2
echo variable PYTHON to the path of its python.exe. 1>&2
popd
exit /b 1

:for_one_user
echo The account of the service cannot use a Python that is installed for one user only. Install one from 1>&2
echo python.org "for all users", in C:\Program Files. Delete the folder .venv, if there is one. Then run 1>&2
echo install.bat again. 1>&2
popd
exit /b 1

:no_venv
echo The virtual environment could not be made in "%CD%\.venv"; the reason stands above. 1>&2
popd
exit /b 1

:wrong_venv
if defined one_user goto for_one_user
echo The Python in "%CD%\.venv" is gone, or is not 3.11, 3.12 or 3.13. Delete this folder and run 1>&2
echo install.bat again. 1>&2
popd
exit /b 1

:no_packages
echo The packages could not be installed; pip says why above. Behind a proxy, set HTTPS_PROXY. 1>&2
popd
exit /b 1

:wrong_settings
echo The settings in "%CD%\.env" are not right, or an ODBC driver is missing; see above. 1>&2
popd
exit /b 1

:failed
echo Not installed; the reason stands above. Correct it and run install.bat again. 1>&2
popd
exit /b 1
