# What install.sh and update.sh share. To be sourced; `home` is the folder of the installation.
# shellcheck shell=bash disable=SC2034,SC2154 # what is set here is used there, and the reverse

user=${PO_TRACKING_USER:-po-tracking}
unit_folder=${PO_TRACKING_UNITS:-/etc/systemd/system}
export DJANGO_SETTINGS_MODULE=${DJANGO_SETTINGS_MODULE:-po_tracking.settings.production}
export PYTHONDONTWRITEBYTECODE=1 # the code belongs to root; compileall writes these files once

web=po-tracking.service
run_timer=po-tracking-ingestion.timer
run_service=po-tracking-ingestion.service
backup_timer=po-tracking-backup.timer
backup_service=po-tracking-backup.service

# A terminal that is gone must not stop what is under way.
say() {
    printf '%s\n' "$@" || true
}

complain() {
    printf '%s\n' "$@" >&2 || true
}

# The instance whose database is a read-only replica: nothing is migrated, made or saved there.
is_read_only() {
    [[ $DJANGO_SETTINGS_MODULE == *production_eu ]]
}

# manage COMMAND...: as the account of the service, which owns what the application writes.
manage() {
    (cd "$home" && runuser -u "$user" -- "$home/.venv/bin/python" manage.py "$@")
}

# make_venv PYTHON: the virtual environment with exactly the packages of this version.
make_venv() {
    "$1" -m venv "$home/.venv" && install_packages
}

install_packages() {
    "$home/.venv/bin/python" -m pip install --disable-pip-version-check --no-input \
        --require-hashes -r "$home/requirements/production.txt"
}

compile_code() {
    (cd "$home" && .venv/bin/python -m compileall -q apps po_tracking)
}

# Root owns the code, the account of the service may read it and write only var.
set_permissions() {
    mkdir -p "$home/var" &&
        chown "root:$user" "$home" &&
        chmod 750 "$home" &&
        find "$home" -mindepth 1 -maxdepth 1 ! -name var \
            -exec chown -R "root:$user" {} + -exec chmod -R u+rwX,g+rX,g-w,o-rwx {} + &&
        chmod 640 "$home/.env" &&
        chown -R "$user:$user" "$home/var" &&
        chmod 750 "$home/var"
}

put_units() {
    local unit
    for unit in "$home"/scripts/linux/*.service "$home"/scripts/linux/*.timer; do
        sed -e "s|/opt/po-tracking|$home|g" \
            -e "s|^User=.*|User=$user|" -e "s|^Group=.*|Group=$user|" \
            -e "s|^Environment=DJANGO.*|Environment=DJANGO_SETTINGS_MODULE=$DJANGO_SETTINGS_MODULE|" \
            "$unit" >"$unit_folder/${unit##*/}" || return 1
    done
    systemctl daemon-reload
}
