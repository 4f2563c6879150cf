#!/bin/sh
# For a virtcard that pip or pipx has installed: lets your own session bus and systemd start its virtcardd (for
# qemu:///session) and its agent. Run it as yourself; it writes below ~/.config and ~/.local/share alone.
# Usage: contrib/systemd/install-user.sh [--remove]      (which first puts back the domain XML of your machines)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
config=${XDG_CONFIG_HOME:-$HOME/.config}
runtime=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}
units=$config/systemd/user
tmpfiles=$config/user-tmpfiles.d
services=${XDG_DATA_HOME:-$HOME/.local/share}/dbus-1/services

reload() {
    [ ! -d "${XDG_RUNTIME_DIR:-/nonexistent}/systemd" ] || systemctl --user daemon-reload
}

machines() { # those with a virtual reader
    with_reader "$runtime/virtcard/" "$runtime/libvirt/qemu/run" "$config/libvirt/qemu" "$config/libvirt/qemu"
}

if [ "${1:-}" = --remove ]; then
    . "$here/../bundle/with-reader.sh"
    if [ -n "$(machines)" ]; then
        virtcard --session disable --all || virtcard --session disable --all --offline || true
    fi
    rm -f "$units/virtcardd.service" "$units/virtcard-agent.service" "$services/org.virtcard1.service"
    left=$(machines)
    if [ -z "$left" ]; then
        rm -f "$tmpfiles/virtcard.conf"
    else
        cat >&2 <<END
install-user.sh: these machines still have a virtual reader, so that $tmpfiles/virtcard.conf stays:
$left
hint: One that runs or is saved is rid of it when it is shut down. Take it out of a configuration with
'virsh -c qemu:///session edit', and run this again.
END
    fi
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
