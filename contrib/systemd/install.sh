#!/bin/sh
# Installs what virtcard needs outside of Python: units, user, directories, D-Bus and polkit files.
# Usage: contrib/systemd/install.sh [ROOT]   (as root; ROOT is for package builds, and "" means this machine)
set -eu
root=${1:-}
here=$(cd "$(dirname "$0")" && pwd)
dbus=$here/../../dbus

put() { # FILE FOLDER
    install -D -m 0644 "$1" "$root$2/$(basename "$1")"
}

put "$here/virtcardd.service" /usr/lib/systemd/system
put "$here/user/virtcardd.service" /usr/lib/systemd/user
put "$here/user/virtcard-agent.service" /usr/lib/systemd/user
put "$here/sysusers.d/virtcard.conf" /usr/lib/sysusers.d
put "$here/tmpfiles.d/virtcard.conf" /usr/lib/tmpfiles.d
put "$here/user-tmpfiles.d/virtcard.conf" /usr/share/user-tmpfiles.d
put "$dbus/org.virtcard1.conf" /usr/share/dbus-1/system.d
put "$dbus/org.virtcard1.service" /usr/share/dbus-1/system-services
put "$dbus/session/org.virtcard1.service" /usr/share/dbus-1/services
put "$dbus/org.virtcard1.policy" /usr/share/polkit-1/actions
put "$dbus/50-virtcard.rules" /usr/share/polkit-1/rules.d
put "$here/../policy/system/50-virtcard.toml" /usr/lib/virtcard/policy.d
install -d -m 0755 "$root/etc/virtcard/policy.d"
for interface in "$dbus"/org.virtcard1.*.xml; do
    put "$interface" /usr/share/dbus-1/interfaces
done

if [ -z "$root" ]; then
    rm -f /etc/tmpfiles.d/virtcard-left.conf
    systemd-sysusers
    systemd-tmpfiles --create /usr/lib/tmpfiles.d/virtcard.conf
    systemctl daemon-reload
    systemctl reload dbus.service
fi
