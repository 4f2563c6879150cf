#!/bin/sh
# Builds the RPM packages, for the distribution that it runs on, into a folder (dist when none is named).
# Usage: contrib/rpm/build.sh [FOLDER [RPMBUILD-OPTION...]]
set -eu
out=$(readlink -m "${1:-dist}")
[ $# -eq 0 ] || shift
cd "$(dirname "$0")/../.."
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
version=$(sed -n 's/^Version: *//p' contrib/rpm/virtcard.spec)

contrib/bundle/stage.sh "$stage/virtcard-$version"
mkdir "$stage/SOURCES"
tar --create --gzip --file "$stage/SOURCES/virtcard-$version.tar.gz" --directory "$stage" "virtcard-$version"
if ! rpmbuild -bb --define "_topdir $stage" "$@" contrib/rpm/virtcard.spec >"$stage/log" 2>&1; then
    cat "$stage/log" >&2
    exit 1
fi
mkdir -p "$out"
cp "$stage"/RPMS/*/*.rpm "$out"
ls "$out"/*.rpm
