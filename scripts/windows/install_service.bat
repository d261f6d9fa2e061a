@echo off
rem Starts the web application with the machine: as a Windows service with NSSM where there is
rem nssm.exe, else as a task of Windows Task Scheduler.
rem
rem   install_service.bat ACCOUNT      for example COMPANY\svc-po-tracking
rem   install_service.bat remove
rem
rem nssm.exe (nssm.cc) is looked for where the variable NSSM says, in C:\Program Files\nssm, and on the
rem PATH. Nowhere in the folder of PO Tracking: an update would replace it in scripts; and in var, the
rem account of the service could exchange the program that Windows starts.
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
if not defined NSSM if exist "%ProgramFiles%\nssm\nssm.exe" set "NSSM=%ProgramFiles%\nssm\nssm.exe"
if defined NSSM goto have_nssm
rem Of the PATH alone; "where" would look into this folder first.
for %%n in (nssm.exe) do set "NSSM=%%~$PATH:n"
if not defined NSSM goto as_task
:have_nssm
for %%n in ("%NSSM%") do set "NSSM=%%~fn"
if not exist "%NSSM%" goto wrong_nssm
call set "rest=%%NSSM:%CD%\=%%"
if not "%rest%"=="%NSSM%" goto unsafe_nssm
if not defined DJANGO_SETTINGS_MODULE set "DJANGO_SETTINGS_MODULE=po_tracking.settings.production"
if not exist "var\log" mkdir "var\log"

echo The program of the service: "%NSSM%"
call "%NSSM%" install %service% "%CD%\.venv\Scripts\python.exe"
if errorlevel 1 goto failed
rem NSSM makes it a service of LocalSystem, which may do everything. As that it must never start.
call :set Start SERVICE_DISABLED
if errorlevel 1 goto failed
call :set AppDirectory "%CD%"
if errorlevel 1 goto failed
call :set AppParameters "manage.py serve --settings=%DJANGO_SETTINGS_MODULE%"
if errorlevel 1 goto failed
call :set DisplayName "PO Tracking"
if errorlevel 1 goto failed
call :set Description "The web application of PO Tracking"
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
echo The service PO Tracking is made, and disabled. Now enter its account, because only you may know
echo the password. In services.msc, PO Tracking, Properties:
echo   Log On: %account%
echo   then General, Startup type: Automatic
echo Then start it: net start %service%
popd
exit /b 0

:no_password
call sc config %service% obj= "%account%" password= "" start= auto
if errorlevel 1 goto failed
call net start %service%
if errorlevel 1 goto failed
call :answers
if errorlevel 1 goto no_answer
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
echo There is no nssm.exe in "%ProgramFiles%\nssm" or on the PATH, so the web application becomes a
echo task that starts with the machine.
call "%~dp0_task.bat" web startup "%account%"
if errorlevel 1 goto failed
call schtasks /Run /TN "PO Tracking web"
if errorlevel 1 goto failed
call :answers
if errorlevel 1 goto no_answer
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

:answers
call ".venv\Scripts\python" manage.py serve --probe 30
if errorlevel 1 exit /b 1
if not errorlevel 0 exit /b 1
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

:wrong_nssm
echo There is no "%NSSM%". Put nssm.exe into "%ProgramFiles%\nssm", or name it in the variable NSSM. 1>&2
popd
exit /b 1

:unsafe_nssm
echo "%NSSM%" is in the folder of PO Tracking, where the account of the service may exchange it. 1>&2
echo Move it to "%ProgramFiles%\nssm". 1>&2
popd
exit /b 1

:no_answer
echo It is set up and was started, but it does not answer: see above, and "%CD%\var\log". May the 1>&2
echo account read this folder, and write var? 1>&2
popd
exit /b 1

:failed
echo The service could not be set up; the reason stands above. To begin anew: install_service.bat remove 1>&2
popd
exit /b 1
