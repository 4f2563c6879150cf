#!/bin/sh
# Installs the application, for the python3 of the system with PyGObject, GTK 4 and libadwaita.
# Usage: contrib/gtk/install.sh [ROOT]   (as root; ROOT is for package builds, and "" means this machine)
set -eu
root=${1:-}
here=$(cd "$(dirname "$0")" && pwd)
data=$here/data

put() { # MODE FILE FOLDER
    install -D -m "$1" "$2" "$root$3/$(basename "$2")"
}

put 0755 "$here/virtcard-gtk" /usr/bin
for module in "$here"/virtcard_gtk/*.py; do
    put 0644 "$module" /usr/share/virtcard-gtk/virtcard_gtk
done
for language in "$here"/po/*.po; do
    folder=$root/usr/share/locale/$(basename "$language" .po)/LC_MESSAGES
    install -d -m 0755 "$folder"
    msgfmt --check -o "$folder/virtcard-gtk.mo" "$language"
done
put 0644 "$data/org.virtcard.Cards.desktop" /usr/share/applications
put 0644 "$data/org.virtcard.Cards.service" /usr/share/dbus-1/services
put 0644 "$data/org.virtcard.Cards.metainfo.xml" /usr/share/metainfo
put 0644 "$data/org.virtcard.Cards.svg" /usr/share/icons/hicolor/scalable/apps
put 0644 "$data/org.virtcard.Cards-symbolic.svg" /usr/share/icons/hicolor/symbolic/apps
