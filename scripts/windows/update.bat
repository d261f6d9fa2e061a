@echo off
rem Updates PO Tracking, and goes back by itself if anything fails. Run it as an administrator:
rem
rem   update.bat VERSION [--despite-errors]   a tag or commit of this folder's git
rem   update.bat FOLDER [--despite-errors]    the folder of an unpacked new version
rem   update.bat back                         to the version before the last update
rem
rem Steps: checks that nothing stands in the way of update and backup; stops web application and
rem tasks; backs up the database; puts the new code in place, with a virtual environment of its own;
rem migrates; asks doctor; starts again. Until all that is done, nobody can enter anything, so going
rem back loses nothing. The version before stays in the folder .before until the next update. The
rem file .before\unfinished marks an update, or a way back, that is under way: whatever cuts it off,
rem "back" is then the only way on.
rem
rem Exit codes: 0 updated (or gone back); 1 not updated, the version from before runs; 2 wrong usage;
rem 3 not updated, and the way back failed or ended without an answer of the web application: what to
rem do is printed.
setlocal
rem A variable of this name would hide the real exit code.
set "ERRORLEVEL="

set "version=%~1"
set "option=%~2"
if "%version%"=="" goto usage
if "%version:~0,1%"=="-" goto usage
if not "%~3"=="" goto usage
if "%option%"=="" goto options_read
if not "%option%"=="--despite-errors" goto usage
:options_read

set "home=%~dp0..\.."
if /i "%~nx0"==".update.bat" set "home=%~dp0"
pushd "%home%"
call fltmc >nul 2>&1
if errorlevel 1 goto no_administrator
if not exist "manage.py" goto no_folder
if /i "%version%"=="back" goto may_begin
if exist ".before\unfinished" goto unfinished
:may_begin
rem This very file is replaced on the way, and Windows reads it line by line: so a copy does the work.
rem Beside .before, where only an administrator may write, and where it is found after a power cut.
if /i "%~nx0"==".update.bat" goto copied
copy /y "%~f0" ".update.bat" >nul
if errorlevel 1 goto no_copy
popd
"%~dp0..\..\.update.bat" %*

:copied
rem Cut off while it looked whether .venv is in use.
if not exist ".venv\*" if exist ".venv.free\*" ren ".venv.free" ".venv"
if exist ".venv\Scripts\activate.bat" goto venv_checked
rem An update that was cut off half-way may have left none; going back brings it back.
if /i not "%version%"=="back" goto no_venv
if not exist ".before\venv\*" goto no_venv
:venv_checked
rem "set /p" reads what Python writes: both in the code page of the console, whatever the path holds.
set "PYTHONIOENCODING=oem"
if not defined DJANGO_SETTINGS_MODULE set "DJANGO_SETTINGS_MODULE=po_tracking.settings.production"
set "read_only="
if /i "%DJANGO_SETTINGS_MODULE%"=="po_tracking.settings.production_eu" set "read_only=yes"
if not exist ".before.new\running" goto nothing_stopped
rem An update that was cut off before it changed anything may have stopped services already.
call :start_services
if errorlevel 1 goto not_started
rd /s /q ".before.new"
echo An update was cut off before it changed anything; what it had stopped runs again.
if /i "%version%"=="back" goto taken_back
:nothing_stopped
if /i "%version%"=="back" goto back_on_request

rem --- before -------------------------------------------------------------------------------------

set "by_git="
if exist "%version%\*" goto check_folder
if not exist ".git\*" goto no_clone
call git --version >nul 2>&1
if errorlevel 1 goto no_git
call git log -1 >nul
if errorlevel 1 goto git_refuses
call git diff --quiet HEAD
if errorlevel 2 goto no_fetch
if errorlevel 1 goto changed
call git fetch --quiet --tags
if errorlevel 1 goto no_fetch
rem A branch is not moved by fetching, so the update would stay where it is.
call git show-ref --quiet --verify "refs/heads/%version%"
if not errorlevel 1 goto branch
call git rev-parse --quiet --verify "%version%:manage.py" >nul
if errorlevel 1 goto unknown_version
set "by_git=yes"
goto version_checked

:check_folder
if not exist "%version%\manage.py" goto no_version
if not exist "%version%\requirements\production.txt" goto no_version
if not exist "%version%\scripts\windows\update.bat" goto no_version
rem As a full path, and not this installation itself.
pushd "%version%"
set "version=%CD%"
popd
if /i "%version%"=="%CD%" goto own_folder
:version_checked

if defined option goto health_checked
call :python manage.py doctor
if errorlevel 1 goto sick
:health_checked
if exist ".before.new\*" rd /s /q ".before.new"
mkdir ".before.new"
if defined read_only goto backup_checked
rem A backup that cannot be made is found while everybody still works.
call :python manage.py backup --check >".before.new\check" 2>&1
if not errorlevel 1 goto backup_checked
rem A version that does not know --check yet: the backup itself will tell.
find "unrecognized arguments: --check" ".before.new\check" >nul
if errorlevel 1 goto cannot_back_up
:backup_checked

call :stop_services
rem Windows renames no folder whose programs run: so this tells whether a run is at work.
ren ".venv" ".venv.free"
if exist ".venv\*" goto busy
ren ".venv.free" ".venv"

if defined read_only goto backed_up
echo Backup ...
call :python manage.py backup >".before.new\backup"
if errorlevel 1 goto no_backup
set "backup="
set /p backup=<".before.new\backup"
if not defined backup goto no_backup
if not exist "%backup%\manifest.json" goto no_manifest
:backed_up
if defined by_git call :note_commit
if not defined by_git dir /b /a "%version%" >".before.new\names"
if exist ".before\*" rd /s /q ".before"
if exist ".before\*" goto no_before
type nul >".before.new\unfinished"
ren ".before.new" ".before"

rem --- the update ---------------------------------------------------------------------------------

set "step=New code"
echo %step% ...
call :put_code
if errorlevel 1 goto update_failed
set "step=New virtual environment"
echo %step% ...
call :replace_venv
if errorlevel 1 goto update_failed
set "step=Compiling"
echo %step% ...
call :python -m compileall -q apps po_tracking
if errorlevel 1 goto update_failed
set "step=Checking the settings"
echo %step% ...
call :python manage.py check --deploy --fail-level ERROR
if errorlevel 1 goto update_failed
set "step=Database"
echo %step% ...
call :migrate
if errorlevel 1 goto update_failed
set "step=Static files"
echo %step% ...
call :python manage.py collectstatic --noinput
if errorlevel 1 goto update_failed
if defined option goto answered
set "step=doctor"
call :python manage.py doctor
if errorlevel 1 goto update_failed
:answered
set "step=Starting"
echo %step% ...
call :start_services
if errorlevel 1 goto update_failed
call :web_answers
if errorlevel 1 goto update_failed
del ".before\unfinished"
echo Updated to %version%. The version from before is kept in .before; to go back to it:
echo   "%CD%\scripts\windows\update.bat" back
popd
exit /b 0

:update_failed
echo %step%: failed. The update goes back. 1>&2
call :go_back
if errorlevel 1 goto back_failed
call :web_answers
if errorlevel 1 goto no_answer
echo Not updated: the version from before runs again, with the data from before. 1>&2
popd
exit /b 1

:back_on_request
if not exist ".before\running" goto nothing_before
if not exist ".before\migrated" goto confirmed
set /p backup=<".before\backup"
echo The database goes back too, to %backup%.
echo Everything that was entered or ingested since then is lost.
set "answer="
set /p answer=Type yes to go on: 
if /i not "%answer%"=="yes" goto not_confirmed
:confirmed
call :go_back
if errorlevel 1 goto back_failed
call :web_answers
if errorlevel 1 goto no_answer
:taken_back
echo The version from before runs again.
popd
exit /b 0

rem Code and data are those from before, so it is neither stopped nor gone back once more.
:no_answer
echo The version from before is in its place, but its web application does not answer: see above, 1>&2
echo and "%CD%\var\log". 1>&2
popd
exit /b 3

:back_failed
call :stop_all
echo %step%: failed. 1>&2
echo THE WAY BACK FAILED: PO Tracking is stopped and must be repaired by hand. 1>&2
echo Correct what the message above says, then run: "%CD%\.update.bat" back 1>&2
echo The version from before is kept in "%CD%\.before". 1>&2
if exist ".before\backup" echo The backup of the database: 1>&2
if exist ".before\backup" type ".before\backup" 1>&2
popd
exit /b 3

rem --- subroutines --------------------------------------------------------------------------------

rem A negative code is a crash of Python itself.
:python
call ".venv\Scripts\python" %*
if errorlevel 1 exit /b 1
if not errorlevel 0 exit /b 1
exit /b 0

rem What runs now is started again in the end, whatever the end is.
:stop_services
type nul >".before.new\running"
call :note_service
call :stop_task web
call :stop_task ingestion
call :stop_task backup
:stop_web
call net stop PO-Tracking >nul 2>&1
call schtasks /End /TN "PO Tracking web" >nul 2>&1
exit /b 0

rem One that is disabled (its account is not entered yet) stays so.
:note_service
call sc qc PO-Tracking >".before.new\service" 2>nul
if errorlevel 1 exit /b 0
find "DISABLED" ".before.new\service" >nul
if errorlevel 1 >>".before.new\running" echo service
exit /b 0

rem Before going back: whatever was started again meanwhile, and a nightly run, which leaves nothing
rem half-applied. What shall run in the end is enabled in the end.
:stop_all
call :stop_web
for %%t in (web ingestion backup) do call :end_task %%t
exit /b 0

rem Disabled is only what is enabled again in the end.
:end_task
find "%1" ".before\running" >nul
if errorlevel 1 goto end_now
call schtasks /Change /TN "PO Tracking %1" /DISABLE >nul 2>&1
:end_now
call schtasks /End /TN "PO Tracking %1" >nul 2>&1
exit /b 0

rem A task that somebody has disabled stays so.
:stop_task
call schtasks /Query /TN "PO Tracking %1" /XML >".before.new\task.xml" 2>nul
if errorlevel 1 exit /b 0
find "<Enabled>false" ".before.new\task.xml" >nul
if not errorlevel 1 exit /b 0
>>".before.new\running" echo %1
call schtasks /Change /TN "PO Tracking %1" /DISABLE >nul
exit /b 0

:start_services
set "running=.before\running"
if exist ".before.new\running" set "running=.before.new\running"
set "start_failed="
for /f "usebackq" %%s in ("%running%") do call :start_one %%s
if defined start_failed exit /b 1
exit /b 0

:start_one
if "%1"=="service" goto start_service
call schtasks /Change /TN "PO Tracking %1" /ENABLE >nul
if errorlevel 1 set "start_failed=yes"
if not "%1"=="web" exit /b 0
call schtasks /Run /TN "PO Tracking web" >nul
if errorlevel 1 set "start_failed=yes"
exit /b 0
:start_service
call net start PO-Tracking
if not errorlevel 1 exit /b 0
rem "Started already" is a failure to net: after a power cut Windows itself has started it.
call sc query PO-Tracking | find "RUNNING" >nul
if errorlevel 1 set "start_failed=yes"
exit /b 0

rem Windows says "started" of a program that dies a moment later.
:web_answers
find "web" ".before\running" >nul
if not errorlevel 1 goto ask_web
find "service" ".before\running" >nul
if errorlevel 1 exit /b 0
:ask_web
call :python manage.py serve --probe 30
if errorlevel 1 exit /b 1
exit /b 0

:note_commit
call git symbolic-ref --quiet --short HEAD >".before.new\commit"
if errorlevel 1 call git rev-parse HEAD >".before.new\commit"
exit /b 0

:put_code
if defined by_git goto check_out
mkdir ".before\code"
set "copy_failed="
for /f "usebackq delims=" %%n in (".before\names") do call :put_one "%%n"
if defined copy_failed exit /b 1
exit /b 0

:check_out
call git checkout --quiet --detach "%version%"
if errorlevel 1 exit /b 1
exit /b 0

:put_one
if defined copy_failed exit /b 0
call :is_code %1
if errorlevel 1 exit /b 0
if not exist %1 >>".before\added" echo %~1
if exist %1 move %1 ".before\code" >nul
if exist %1 goto copy_failed
if exist "%version%\%~1\*" goto put_folder
copy /b /y "%version%\%~1" %1 >nul
if errorlevel 1 goto copy_failed
exit /b 0
:put_folder
xcopy "%version%\%~1" %1 /E /I /Q /H /K /Y >nul
if errorlevel 1 goto copy_failed
exit /b 0
:copy_failed
echo "%~1" cannot be replaced. 1>&2
set "copy_failed=yes"
exit /b 0

rem Not what belongs to the installation, whatever its version.
:is_code
if /i "%~1"==".git" exit /b 1
if /i "%~1"==".env" exit /b 1
if /i "%~1"==".venv" exit /b 1
if /i "%~1"==".before" exit /b 1
if /i "%~1"==".update.bat" exit /b 1
if /i "%~1"=="var" exit /b 1
exit /b 0

:replace_venv
call ".venv\Scripts\python" -c "import sys; print(sys._base_executable)" >".before\python"
if errorlevel 1 exit /b 1
set /p base=<".before\python"
move ".venv" ".before\venv" >nul
if exist ".venv\*" exit /b 1
call "%base%" -m venv ".venv"
if errorlevel 1 exit /b 1
call :python -m pip install --disable-pip-version-check --no-input --require-hashes -r "requirements\production.txt"
if errorlevel 1 exit /b 1
exit /b 0

rem Only a database that is really changed has to be put back.
:migrate
if defined read_only exit /b 0
call :python manage.py migrate --check >nul 2>&1
if not errorlevel 1 exit /b 0
type nul >".before\migrated"
call :python manage.py migrate --noinput
if errorlevel 1 exit /b 1
exit /b 0

rem Its steps may be repeated: what is back already is left alone.
:go_back
type nul >".before\unfinished"
call :stop_all
set "step=The code from before"
echo %step% ...
call :put_code_back
if errorlevel 1 exit /b 1
set "step=The virtual environment from before"
echo %step% ...
call :put_venv_back
if errorlevel 1 exit /b 1
set "step=The database from before"
echo %step% ...
call :restore_database
if errorlevel 1 exit /b 1
set "step=Static files"
echo %step% ...
call :python manage.py collectstatic --noinput
if errorlevel 1 exit /b 1
set "step=Starting"
echo %step% ...
call :start_services
if errorlevel 1 exit /b 1
if exist ".before\migrated" del ".before\migrated"
del ".before\unfinished"
exit /b 0

:put_code_back
if not exist ".before\commit" goto put_folder_back
set /p commit=<".before\commit"
call git checkout --quiet --force "%commit%"
if errorlevel 1 exit /b 1
exit /b 0
:put_folder_back
set "copy_failed="
for /f "usebackq delims=" %%n in (".before\names") do call :put_one_back "%%n"
if exist ".before\added" for /f "usebackq delims=" %%n in (".before\added") do call :remove "%%n"
if defined copy_failed exit /b 1
exit /b 0

:put_one_back
if not exist ".before\code\%~1" exit /b 0
rem Moved aside and not deleted: of "scripts", a file may be in use.
if not exist ".before\after" mkdir ".before\after"
call :remove ".before\after\%~1"
if exist %1 move %1 ".before\after" >nul
if exist %1 goto copy_failed
move ".before\code\%~1" "%CD%" >nul
if exist ".before\code\%~1" goto copy_failed
exit /b 0

:remove
if exist "%~1\*" rd /s /q %1
if exist %1 del /f /q /a %1
exit /b 0

:put_venv_back
if not exist ".before\venv\*" exit /b 0
if exist ".venv.bad\*" call :remove ".venv.bad"
if exist ".venv\*" ren ".venv" ".venv.bad"
rem A program in it still runs: nothing may be moved into what is left of it.
if exist ".venv\*" exit /b 1
move ".before\venv" ".venv" >nul
if exist ".before\venv\*" exit /b 1
call :remove ".venv.bad"
exit /b 0

:restore_database
if not exist ".before\migrated" exit /b 0
set /p backup=<".before\backup"
call :python manage.py restore "%backup%" --force
if errorlevel 1 exit /b 1
exit /b 0

rem --- what stands in the way ---------------------------------------------------------------------

:usage
echo Usage: update.bat VERSION-OR-FOLDER [--despite-errors], or update.bat back 1>&2
exit /b 2

:no_administrator
echo Only an administrator may do this: open the command prompt with "Run as administrator". 1>&2
goto refused

:no_folder
echo No PO Tracking in "%CD%": update.bat belongs into the folder scripts\windows of it. 1>&2
goto refused

:no_venv
echo No virtual environment in "%CD%\.venv". Run scripts\windows\install.bat first. After an update 1>&2
echo that was cut off, run instead: "%CD%\.update.bat" back 1>&2
goto refused

:unfinished
echo An update or way back has not ended. It was cut off (a power cut, a closed window), or is still at 1>&2
echo work. If it was cut off, go back to the version from before first: "%CD%\.update.bat" back 1>&2
goto refused

:no_copy
echo "%CD%\.update.bat" cannot be written: see above. 1>&2
goto refused

:not_started
echo An update was cut off before it changed anything, and what it had stopped does not start again: 1>&2
echo see above. 1>&2
goto refused

:no_clone
echo "%version%" is no folder, and "%CD%" is no git clone. Unpack the new version and name its 1>&2
echo folder. 1>&2
goto refused

:no_git
echo git is not installed. Install it, or unpack the new version and name its folder. 1>&2
goto refused

:git_refuses
echo git cannot read "%CD%": see above. Does it speak of dubious ownership, because the folder 1>&2
echo belongs to another account? Then run the line with safe.directory that git names, and update.bat 1>&2
echo again. 1>&2
goto refused

:changed
echo Files of PO Tracking were changed by hand ("git status" tells which). Take this back first. 1>&2
goto refused

:no_fetch
echo The new version could not be fetched: see above. 1>&2
goto refused

:branch
echo %version% is a branch. Name a tag or a commit, for example: origin/%version% 1>&2
goto refused

:unknown_version
echo git knows no version %version%. "git tag" tells which there are. 1>&2
goto refused

:no_version
echo "%version%" is no unpacked PO Tracking. 1>&2
goto refused

:own_folder
echo "%version%" is the installation itself. Unpack the new version elsewhere. 1>&2
goto refused

:sick
echo doctor found errors before the update: see above. Correct them first, or add 1>&2
echo --despite-errors; then doctor is not asked afterwards either. 1>&2
goto refused

:cannot_back_up
type ".before.new\check" 1>&2
rd /s /q ".before.new"
echo Without a backup, or beside a run that is at work, there is no update: see above. 1>&2
goto refused

:nothing_before
echo There is no earlier version in "%CD%\.before". 1>&2
goto refused

:not_confirmed
echo Not confirmed. 1>&2
goto refused

:busy
echo Something still runs in "%CD%\.venv", most likely a nightly run. Wait until it has ended. 1>&2
goto restart

:no_before
echo The folder "%CD%\.before" of the last update cannot be removed: a file in it is in use. 1>&2
goto restart

:no_manifest
echo backup named "%backup%" as its folder, but no manifest.json is there. 1>&2
:no_backup
echo Without a backup there is no update: see above. 1>&2
:restart
call :start_services
rd /s /q ".before.new"
:refused
echo Nothing was changed. 1>&2
popd
exit /b 1
