#!/bin/sh
# A clean Debian for the test of the packages: a minimal system in .cache/debian/root, and beside its lists of packages,
# downloaded and not installed, all that the packages and a machine for them need. Usage: contrib/debian/root.sh DEB...
# Needs root and the network; done in a moment when nothing has changed.
set -eu
debs=$(readlink -f "$@")
cd "$(dirname "$0")/../.."
folder=.cache/debian
release=bookworm
beside="libvirt-daemon-system libvirt-clients qemu-system-x86"

say() { printf 'debian: %s\n' "$*"; }

wanted="$release $beside $(for deb in $debs; do dpkg-deb --field "$deb" Depends; done)"
[ "$(cat $folder/made 2>/dev/null)" != "$wanted" ] || exit 0
if [ ! -e $folder/bootstrapped ]; then
    say "making a minimal $release (some minutes)"
    rm -rf $folder
    mkdir -p $folder
    debootstrap --variant=minbase $release $folder/root >$folder/log 2>&1 || { tail -n 20 $folder/log >&2; exit 1; }
    touch $folder/bootstrapped
fi
say "downloading what the packages need"
mkdir $folder/root/debs
cp $debs $folder/root/debs
chroot $folder/root sh -ec "
    apt-get update
    apt-get install --yes --download-only --no-install-recommends /debs/*.deb $beside
    rm -r /debs" >$folder/log 2>&1 || { tail -n 20 $folder/log >&2; exit 1; }
echo "$wanted" >$folder/made
say "the system stands"
