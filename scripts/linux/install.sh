#!/usr/bin/env bash
# Installs PO Tracking as a service. Run it as root, from the unpacked or cloned folder:
#
#   scripts/linux/install.sh
#
# Steps: checks the machine, makes the account, copies the code to its place, makes the virtual
# environment, the tables, the static files and the first administrator, puts the systemd units in
# place, starts the web application, and ends with doctor. It may be run again at any time.
#
# Variables: PO_TRACKING_HOME (/opt/po-tracking), PO_TRACKING_USER (po-tracking),
# PO_TRACKING_ADMIN (admin, the first administrator's name), PO_TRACKING_ADMIN_PASSWORD (else it is
# asked for), PYTHON (else the newest of 3.11 to 3.13), DJANGO_SETTINGS_MODULE.
# Exit codes: 0 installed, 1 not installed, 2 wrong usage, 3 installed, but doctor found something.
set -euo pipefail

source_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
home=${PO_TRACKING_HOME:-/opt/po-tracking}
# shellcheck source-path=SCRIPTDIR source=_common.sh
. "$source_folder/scripts/linux/_common.sh"

# stop MESSAGE...: what is missing, and the cure.
stop() {
    complain "$@"
    exit 1
}

# is_supported PYTHON: of the right version, and alive.
is_supported() {
    command -v "$1" >/dev/null &&
        "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

# is_for_all PYTHON: the units hide these folders from the services (ProtectHome).
is_for_all() {
    case $("$1" -c 'import os, sys; print(os.path.realpath(sys.base_prefix))') in
        /home/* | /root/* | /run/user/*) return 1 ;;
    esac
}

find_python() {
    local name of_one_user=
    for name in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        is_supported "$name" || continue
        if is_for_all "$name"; then
            python=$name
            return
        fi
        of_one_user=$name
    done
    [ -z "$of_one_user" ] ||
        stop "$of_one_user lies in somebody's home folder, which the services cannot see." \
            "Install one for all users, for example: apt install python3 python3-venv"
    stop "No Python 3.11, 3.12 or 3.13 was found (looked for: ${PYTHON:-python3.13 to python3})." \
        "Install one, for example: apt install python3 python3-venv; or set PYTHON to its path."
}

check_machine() {
    [ "$(id -u)" -eq 0 ] || stop "install.sh makes an account and a service, so it must run as root."
    command -v systemctl >/dev/null || stop "There is no systemctl: this script needs systemd." \
        "Without it, follow docs/deployment.md by hand."
    [[ $home =~ ^/[A-Za-z0-9._/-]+$ ]] || stop "PO_TRACKING_HOME is \"$home\"." \
        "Use a full path of letters, digits, dots, dashes and underscores."
    find_python
    "$python" -c 'import ensurepip' 2>/dev/null || stop "$python cannot make virtual environments." \
        "Install its venv package, for example: apt install python3-venv"
}

make_account() {
    if ! getent passwd "$user" >/dev/null; then
        useradd --system --user-group --home-dir "$home" --no-create-home \
            --shell /usr/sbin/nologin "$user"
    fi
    runuser -u "$user" -- "$python" -c pass || stop "The account $user cannot start $python." \
        "Install a Python for all users, for example: apt install python3 python3-venv"
}

# The code comes along with its .git, if there is one, so that update.sh can use it.
put_code() {
    if [ -e "$home" ] && [ "$source_folder" -ef "$home" ]; then
        return
    fi
    mkdir -p "$home"
    # Without a virtual environment it is only what an earlier call of this script has copied.
    [ ! -e "$home/.venv" ] || stop "There is another PO Tracking in $home." \
        "To install a new version there, use $home/scripts/linux/update.sh."
    (cd "$source_folder" && tar -cf - --exclude=./.venv --exclude=./.env --exclude=./var .) |
        tar -xf - -C "$home"
}

check_settings() {
    if [ ! -e "$home/.env" ]; then
        cp "$home/.env.example" "$home/.env"
        set_permissions
        stop "$home/.env was made now, with no setting in it yet. Fill it in:" \
            "at least SECRET_KEY, ALLOWED_HOSTS and DATABASE_URL. Then run: $home/scripts/linux/install.sh"
    fi
}

# One that works is kept. After an upgrade of the system, its Python may be gone.
prepare_venv() {
    if ! is_supported "$home/.venv/bin/python" || ! is_for_all "$home/.venv/bin/python"; then
        [ ! -e "$home/.venv" ] || say "The Python of $home/.venv is gone or cannot be used."
        say "Making the virtual environment ..."
        rm -rf "$home/.venv"
        make_venv "$python"
        return
    fi
    install_packages
}

prepare_database() {
    if is_read_only; then
        say "A read-only instance: no tables and no administrator are made."
        return
    fi
    manage migrate --noinput
    manage create_admin "${PO_TRACKING_ADMIN:-admin}" --unless-one-exists
}

start_service() {
    put_units
    systemctl enable "$web"
    systemctl restart "$web" # it may run with the settings of before
    if ! is_read_only; then
        systemctl enable --now "$backup_timer"
    fi
}

main() {
    if [ $# -gt 0 ]; then
        complain "install.sh takes no options; what it can be told stands at its beginning."
        exit 2
    fi
    check_machine
    make_account
    put_code
    check_settings
    prepare_venv || stop "The packages could not be installed; pip says why above."
    compile_code
    set_permissions
    manage check --deploy --fail-level ERROR ||
        stop "The settings in $home/.env are not right; the reasons stand above."
    prepare_database
    manage collectstatic --noinput
    start_service
    manage serve --probe 30 || stop "Installed, but the service $web does not answer: systemctl status $web"
    say "Installed in $home. The web application runs as the service $web."
    if ! manage doctor; then
        say "doctor found something to do: see above, and docs/operations.md."
        exit 3
    fi
    is_read_only ||
        say "After the first run by hand, start the nightly one: systemctl enable --now $run_timer"
}

main "$@"
exit
