#!/bin/sh
# Builds the Debian packages, for the Debian that it runs on, into a folder (dist when none is named).
# Usage: contrib/debian/build.sh [FOLDER]
set -eu
out=$(readlink -m "${1:-dist}")
cd "$(dirname "$0")/../.."
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

contrib/bundle/stage.sh "$stage/virtcard"
cp -R contrib/debian "$stage/virtcard/debian"
rm "$stage"/virtcard/debian/*.sh
cd "$stage/virtcard"
if ! DEB_BUILD_OPTIONS='nocheck noautodbgsym' dpkg-buildpackage --build=binary --unsigned-changes >"$stage/log" 2>&1
then
    cat "$stage/log" >&2
    exit 1
fi
mkdir -p "$out"
cp "$stage"/*.deb "$out"
ls "$out"/*.deb
