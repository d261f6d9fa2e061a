@echo off
rem Starts the web application with the machine: as a Windows service with NSSM where there is
rem nssm.exe, else as a task of Windows Task Scheduler.
rem
rem   install_service.bat ACCOUNT      for example COMPANY\svc-po-tracking
rem   install_service.bat remove
rem
rem nssm.exe (nssm.cc) is looked for where the variable NSSM says, in the folder var, and on the PATH.
rem Not here: an update replaces this folder, and the service would lose its program.
rem Exit codes: 0 done, 1 failed, 2 wrong usage.
setlocal
rem A variable of this name would hide the real exit code.
set "ERRORLEVEL="
set "service=PO-Tracking"
set "account=%~1"
if "%~1"=="" goto usage
if not "%~2"=="" goto usage

pushd "%~dp0..\.."
call fltmc >nul 2>&1
if errorlevel 1 goto no_administrator
if /i "%account%"=="remove" goto remove
if not exist ".venv\Scripts\activate.bat" goto no_venv
if not defined NSSM if exist "%~dp0..\..\var\nssm.exe" set "NSSM=%~dp0..\..\var\nssm.exe"
if defined NSSM goto have_nssm
call where nssm.exe >nul 2>&1
if errorlevel 1 goto as_task
set "NSSM=nssm.exe"
:have_nssm
if not defined DJANGO_SETTINGS_MODULE set "DJANGO_SETTINGS_MODULE=po_tracking.settings.production"
if not exist "var\log" mkdir "var\log"

call "%NSSM%" install %service% "%CD%\.venv\Scripts\python.exe"
if errorlevel 1 goto failed
call :set AppDirectory "%CD%"
if errorlevel 1 goto failed
call :set AppParameters "manage.py serve --settings=%DJANGO_SETTINGS_MODULE%"
if errorlevel 1 goto failed
call :set DisplayName "PO Tracking"
if errorlevel 1 goto failed
call :set Description "The web application of PO Tracking"
if errorlevel 1 goto failed
call :set Start SERVICE_AUTO_START
if errorlevel 1 goto failed
rem Ctrl+C, and ten seconds to answer what has begun.
call :set AppStopMethodConsole 10000
if errorlevel 1 goto failed
call :set AppStdout "%CD%\var\log\service.log"
if errorlevel 1 goto failed
call :set AppStderr "%CD%\var\log\service.log"
if errorlevel 1 goto failed
call :set AppRotateFiles 1
if errorlevel 1 goto failed
call :set AppRotateBytes 5000000
if errorlevel 1 goto failed

rem An account without password can be set here. A password on a command line could be seen by all.
if /i "%account:~0,3%"=="NT " goto no_password
if "%account:~-1%"=="$" goto no_password
echo The service PO Tracking is made. Now enter its account, because only you may know the password:
echo   services.msc, PO Tracking, Properties, Log On: %account%
echo Then start it: net start %service%
popd
exit /b 0

:no_password
call sc config %service% obj= "%account%" password= ""
if errorlevel 1 goto failed
call net start %service%
if errorlevel 1 goto failed
echo The service PO Tracking runs as %account%.
popd
exit /b 0

:remove
call sc query %service% >nul 2>&1
if errorlevel 1 goto remove_task
call net stop %service% >nul 2>&1
call sc delete %service%
if errorlevel 1 goto failed
echo The service PO Tracking is removed.
popd
exit /b 0

:as_task
echo There is no nssm.exe, so the web application becomes a task that starts with the machine.
call "%~dp0_task.bat" web startup "%account%"
if errorlevel 1 goto failed
call schtasks /Run /TN "PO Tracking web"
if errorlevel 1 goto failed
popd
exit /b 0

:remove_task
call "%~dp0_task.bat" web remove
if errorlevel 1 goto failed
popd
exit /b 0

:set
call "%NSSM%" set %service% %*
if errorlevel 1 exit /b 1
exit /b 0

:usage
echo Usage: install_service.bat ACCOUNT, for example COMPANY\svc-po-tracking; or: remove 1>&2
exit /b 2

:no_administrator
echo Only an administrator may do this: open the command prompt with "Run as administrator". 1>&2
popd
exit /b 1

:no_venv
echo No virtual environment in "%CD%\.venv". Run scripts\windows\install.bat first. 1>&2
popd
exit /b 1

:failed
echo The service could not be set up; the reason stands above. To begin anew: install_service.bat remove 1>&2
popd
exit /b 1
