#!/bin/sh
# For a virtcard that pip or pipx has installed: lets your own session bus and systemd start its virtcardd (for
# qemu:///session) and its agent. Run it as yourself; it writes below ~/.config and ~/.local/share alone.
# Usage: contrib/systemd/install-user.sh [--remove]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
tmpfiles=${XDG_CONFIG_HOME:-$HOME/.config}/user-tmpfiles.d
services=${XDG_DATA_HOME:-$HOME/.local/share}/dbus-1/services

reload() {
    [ ! -d "${XDG_RUNTIME_DIR:-/nonexistent}/systemd" ] || systemctl --user daemon-reload
}

if [ "${1:-}" = --remove ]; then
    rm -f "$units/virtcardd.service" "$units/virtcard-agent.service" "$tmpfiles/virtcard.conf" \
        "$services/org.virtcard1.service"
    reload
    exit 0
fi

daemon=$(command -v virtcardd) || { echo "install-user.sh: virtcardd is not in your PATH" >&2; exit 1; }
folder=$(cd "$(dirname "$daemon")" && pwd)

put() { # FILE FOLDER
    mkdir -p "$2"
    sed "s|/usr/bin/virtcard|$folder/virtcard|" "$1" >"$2/$(basename "$1")"
}

put "$here/user/virtcardd.service" "$units"
put "$here/user/virtcard-agent.service" "$units"
put "$here/user-tmpfiles.d/virtcard.conf" "$tmpfiles"
put "$here/../../dbus/session/org.virtcard1.service" "$services"
reload
[ ! -d "${XDG_RUNTIME_DIR:-/nonexistent}" ] || systemd-tmpfiles --user --create "$tmpfiles/virtcard.conf"
