#!/usr/bin/env bash
# Updates PO Tracking, and goes back by itself if anything fails. Run it as root:
#
#   scripts/linux/update.sh VERSION [--despite-errors]   a tag or commit of this folder's git
#   scripts/linux/update.sh FOLDER [--despite-errors]    the folder of an unpacked new version
#   scripts/linux/update.sh back                         to the version before the last update
#
# Steps: checks that nothing stands in the way of update and backup; stops web application and
# timers; backs up the database; puts the new code in place, with a virtual environment of its own;
# migrates; asks doctor; starts again. Until all that is done, nobody can enter anything, so going
# back loses nothing. The version before stays in the folder .before until the next update. The file
# .before/unfinished marks an update, or a way back, that is under way: whatever cuts it off, `back`
# is then the only way on.
#
# Exit codes: 0 updated (or gone back); 1 not updated, the version from before runs; 2 wrong usage;
# 3 not updated, and the way back failed or ended without an answer of the web application: what to
# do is printed.
# shellcheck disable=SC2317 # `step` calls functions by name
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Of the two copies, .before/update.sh is there even if the update was cut off at its worst.
if [ "${here##*/}" = .before ]; then
    home=${here%/*}
else
    home=$(cd "$here/../.." && pwd)
fi
# shellcheck source-path=SCRIPTDIR source=_common.sh
. "$here/_common.sh"

before=$home/.before
# Of the installation, not of a version.
kept='\.git|\.env|\.venv|\.before|var'
interrupted=

usage() {
    complain "Usage: update.sh VERSION-OR-FOLDER [--despite-errors], or update.sh back"
    exit 2
}

# refuse MESSAGE...: before anything was touched.
refuse() {
    complain "$@" "Nothing was changed."
    exit 1
}

# refuse_and_start MESSAGE...: after the services were stopped, but before anything was changed.
refuse_and_start() {
    start_services "$before.new"
    rm -rf "$before.new"
    refuse "$@"
}

is_busy() {
    case $(systemctl show --property=ActiveState --value "$1") in
        active | activating | deactivating) return 0 ;;
        *) return 1 ;;
    esac
}

# --- before ---------------------------------------------------------------------------------------

check_installation() {
    [ "$(id -u)" -eq 0 ] || refuse "update.sh stops and starts a service, so it must run as root."
    # An update that was cut off half-way (a power cut) may have left none; going back brings it back.
    [ -x "$home/.venv/bin/python" ] || { [ "$version" = back ] && [ -e "$before/venv" ]; } ||
        refuse "No virtual environment in $home/.venv." \
            "After an update that was cut off: $before/update.sh back" \
            "On a new machine, install first: $home/scripts/linux/install.sh"
    [ -e "$home/.env" ] || refuse "There is no $home/.env."
    [ -e "$unit_folder/$web" ] || refuse "There is no $unit_folder/$web." \
        "Install first: $home/scripts/linux/install.sh"
}

# What install.sh was told need not be told again.
read_installation() {
    user=$(sed -n 's/^User=//p' "$unit_folder/$web")
    DJANGO_SETTINGS_MODULE=$(sed -n 's/^Environment=DJANGO_SETTINGS_MODULE=//p' "$unit_folder/$web")
}

# A second update would save the half-updated state as "the version from before".
check_unfinished() {
    [ ! -e "$before/unfinished" ] ||
        refuse "An update or way back has not ended. It was cut off (a power cut, a kill), or is" \
            "still at work. If it was cut off, go back to the version from before first:" \
            "  $before/update.sh back"
}

# An update that was cut off before it changed anything may have stopped the services already.
start_what_was_stopped() {
    [ -e "$before.new/running" ] || return 1
    start_services "$before.new" || refuse "An update was cut off before it changed anything, and" \
        "what it had stopped does not start again: see above."
    rm -rf "$before.new"
    say "An update was cut off before it changed anything; what it had stopped runs again."
}

# git itself leaves a folder of somebody else alone, and then says odd things about all else.
check_git() {
    local words
    words=$(git -C "$home" rev-parse HEAD 2>&1 >/dev/null) && return
    complain "$words"
    case $words in
        *safe.directory*) refuse "git does not trust $home, because it belongs to another account." \
            "Run: git config --global --add safe.directory $home" ;;
    esac
    refuse "git cannot read $home: see above."
}

check_version() {
    local name
    if [ -d "$version" ]; then
        version=$(cd "$version" && pwd)
        for name in manage.py requirements/production.txt scripts/linux/update.sh; do
            [ -e "$version/$name" ] || refuse "$version is no unpacked PO Tracking: no $name in it."
        done
        case $version/ in
            "$home"/*) refuse "$version is in the installation itself. Unpack it elsewhere." ;;
        esac
        return
    fi
    [ -e "$home/.git" ] || refuse "$version is no folder, and $home is no git clone." \
        "Unpack the new version and name its folder."
    command -v git >/dev/null || refuse "git is not installed: apt install git"
    check_git
    git -C "$home" diff --quiet HEAD || refuse "Files of PO Tracking were changed in $home:" \
        "$(git -C "$home" status --short --untracked-files=no)" "Take the changes back first."
    git -C "$home" fetch --quiet --tags || refuse "The new version could not be fetched: see above."
    # A branch is not moved by fetching, so the update would stay where it is.
    if git -C "$home" show-ref --quiet --verify "refs/heads/$version"; then
        refuse "$version is a branch. Name a tag or a commit, for example: origin/$version"
    fi
    git -C "$home" cat-file -e "$version^{commit}" 2>/dev/null ||
        refuse "git knows no version $version. Known ones: $(git -C "$home" tag | tail -5 | xargs)"
}

check_health() {
    [ -z "$despite_errors" ] || return 0
    manage doctor || refuse "doctor found errors before the update: see above." \
        "Correct them first, or add --despite-errors; then doctor is not asked afterwards either."
}

# Before anything is stopped: a backup that cannot be made is found while everybody still works.
check_backup() {
    local words code
    is_read_only && return
    words=$(manage backup --check 2>&1)
    code=$?
    case $code in
        0 | 2) return ;; # 2: this version does not know --check yet; the backup itself will tell
    esac
    complain "$words"
    [ "$code" != 4 ] || refuse "A run is at work. Wait until it has ended."
    refuse "Without a backup there is no update: see above."
}

# Whoever stops now is started again in the end, whatever the end is.
stop_services() {
    local unit
    : >"$before.new/running"
    for unit in "$run_timer" "$backup_timer" "$web"; do
        if systemctl is-active --quiet "$unit"; then
            echo "$unit" >>"$before.new/running"
        fi
    done
    systemctl stop "$run_timer" "$backup_timer"
    for unit in "$run_service" "$backup_service"; do
        if is_busy "$unit"; then
            refuse_and_start "$unit is at work. Wait until it has ended (systemctl status $unit)."
        fi
    done
    systemctl stop "$web"
}

# start_services FOLDER: those which the file `running` in it names.
start_services() {
    local unit failed=
    while read -r unit; do
        systemctl start "$unit" || failed=yes
    done <"$1/running"
    [ -z "$failed" ]
}

back_up() {
    is_read_only && return
    manage backup >"$before.new/backup" || return 1
    local folder
    folder=$(head -n 1 "$before.new/backup")
    [ -e "$folder/manifest.json" ] && return
    complain "backup named \"$folder\" as its folder, but no manifest.json is there."
    return 1
}

note_version() {
    cp "$home/scripts/linux/update.sh" "$home/scripts/linux/_common.sh" "$before.new/"
    if [ -d "$version" ]; then
        local name
        find "$version" -mindepth 1 -maxdepth 1 -printf '%f\n' |
            grep -Evx "$kept" >"$before.new/names"
        : >"$before.new/added"
        while read -r name; do
            [ -e "$home/$name" ] || echo "$name" >>"$before.new/added"
        done <"$before.new/names"
        mkdir "$before.new/code"
    else
        git -C "$home" symbolic-ref --quiet --short HEAD >"$before.new/commit" ||
            git -C "$home" rev-parse HEAD >"$before.new/commit"
    fi && touch "$before.new/unfinished"
}

# --- the update -----------------------------------------------------------------------------------

put_code() {
    if [ ! -d "$version" ]; then
        git -C "$home" checkout --quiet --detach "$version"
        return
    fi
    local name
    while read -r name; do
        if [ -e "$home/$name" ]; then
            mv "$home/$name" "$before/code/" || return 1
        fi
        cp -a "$version/$name" "$home/" || return 1
    done <"$before/names"
}

replace_venv() {
    local python
    python=$("$home/.venv/bin/python" -c 'import sys; print(sys._base_executable)') &&
        mv "$home/.venv" "$before/venv" &&
        make_venv "$python"
}

migrate() {
    is_read_only && return
    # Only a database that is really changed has to be put back.
    manage migrate --check >/dev/null 2>&1 && return
    touch "$before/migrated" && manage migrate --noinput
}

answers() {
    [ -z "$despite_errors" ] || return 0
    manage doctor
}

# systemd says "active" of a program that dies a moment later.
web_answers() {
    grep -qx "$web" "$before/running" || return 0
    manage serve --probe 30
}

is_up() {
    start_services "$before" && web_answers
}

# step NAME COMMAND...: says which one failed.
step() {
    local name=$1
    shift
    say "$name ..."
    [ -z "$interrupted" ] && "$@" && [ -z "$interrupted" ] && return
    complain "$name: failed."
    return 1
}

update() {
    step "New code" put_code &&
        step "New virtual environment" replace_venv &&
        step "Compiling" compile_code &&
        step "Permissions" set_permissions &&
        step "Checking the settings" manage check --deploy --fail-level ERROR &&
        step "Database" migrate &&
        step "Static files" manage collectstatic --noinput &&
        step "systemd units" put_units &&
        step "doctor" answers &&
        step "Starting" is_up
}

# --- back -----------------------------------------------------------------------------------------

put_code_back() {
    local name
    if [ -e "$before/commit" ]; then
        git -C "$home" checkout --quiet --force "$(cat "$before/commit")"
        return
    fi
    while read -r name; do
        if [ -e "$before/code/$name" ]; then
            rm -rf "${home:?}/$name" && mv "$before/code/$name" "$home/" || return 1
        elif grep -qxF "$name" "$before/added"; then
            rm -rf "${home:?}/$name" || return 1
        fi
    done <"$before/names"
}

put_venv_back() {
    [ -e "$before/venv" ] || return 0 # it was never moved
    rm -rf "$home/.venv" && mv "$before/venv" "$home/.venv"
}

# What `backup` printed first; nothing if there was none.
backup_folder() {
    head -n 1 "$before/backup" 2>/dev/null
}

restore_database() {
    [ -e "$before/migrated" ] || return 0
    manage restore "$(backup_folder)" --force
}

# Its steps may be repeated: what is back already is left alone.
go_back() {
    trap '' INT TERM HUP
    interrupted=
    # A run that is stopped so leaves nothing half-applied.
    touch "$before/unfinished"
    systemctl stop "$run_timer" "$backup_timer" "$run_service" "$backup_service" "$web"
    step "The code from before" put_code_back &&
        step "The virtual environment from before" put_venv_back &&
        step "Permissions" set_permissions &&
        step "The database from before" restore_database &&
        step "Static files" manage collectstatic --noinput &&
        step "systemd units" put_units &&
        step "Starting" start_services "$before" &&
        rm -f "$before/migrated" "$before/unfinished" && see_that_it_answers && return
    systemctl stop "$run_timer" "$backup_timer" "$web"
    complain "THE WAY BACK FAILED: PO Tracking is stopped and must be repaired by hand." \
        "Correct what the message above says, then run: $before/update.sh back" \
        "The version from before is kept in $before." \
        "The backup of the database: $(backup_folder)"
    exit 3
}

# Code and data are those from before, so it is neither stopped nor gone back once more.
see_that_it_answers() {
    web_answers && return
    complain "The version from before is in its place, but its web application does not answer: see" \
        "above, and: systemctl status $web"
    exit 3
}

back_on_request() {
    local answer
    [ -e "$before/running" ] || refuse "There is no earlier version in $before."
    if [ -e "$before/migrated" ]; then
        say "The database goes back too, to $(backup_folder)." \
            "Everything that was entered or ingested since then is lost. Type yes to go on:"
        read -r answer
        [ "$answer" = yes ] || refuse "Not confirmed."
    fi
    go_back
    say "The version from before runs again."
}

main() {
    version=${1:-}
    despite_errors=
    case $#:${2:-} in
        1:) ;;
        2:--despite-errors) despite_errors=yes ;;
        *) usage ;;
    esac
    case $version in
        "" | -*) usage ;;
    esac
    [ "$version" = back ] || check_unfinished
    check_installation
    read_installation
    if [ "$version" = back ]; then
        start_what_was_stopped || back_on_request
        return
    fi
    start_what_was_stopped
    check_version
    check_health
    check_backup
    rm -rf "$before.new"
    mkdir -m 700 "$before.new" || refuse "The folder $before.new cannot be made."
    # A closed terminal does not end an update half-way; Ctrl+C ends the step, and all goes back.
    trap '' HUP
    trap 'interrupted=yes' INT TERM
    stop_services
    if ! step "Backup" back_up; then
        refuse_and_start "Without a backup there is no update."
    fi
    if ! note_version || ! rm -rf "$before" || ! mv "$before.new" "$before"; then
        refuse_and_start "The folder $before cannot be made anew: see above."
    fi
    if update && rm -f "$before/unfinished"; then
        say "Updated to $version. The version from before is kept in $before; to go back to it:" \
            "  $home/scripts/linux/update.sh back"
        return
    fi
    complain "The update failed; going back."
    go_back
    complain "Not updated: the version from before runs again, with the data from before."
    exit 1
}

# All of it is read before it begins, because this very file is replaced on the way.
main "$@"
exit
