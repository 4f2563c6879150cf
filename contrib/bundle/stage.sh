#!/bin/sh
# Lays the sources into a new folder, with the wheels of the bundle beside them, for a package build without a network.
# Usage: contrib/bundle/stage.sh FOLDER
# The network is needed once, for the wheels, which are kept in .cache/wheels.
set -eu
folder=$(readlink -m "$1")
cd "$(dirname "$0")/../.."
contrib/bundle/bundle.py gather .cache/wheels
mkdir -p "$folder"
tar --create --exclude=__pycache__ --exclude='*.egg-info' --exclude='.?*' \
    pyproject.toml README.md CHANGELOG.md LICENSE plugin dbus xml contrib | tar --extract --directory "$folder"
cp -R .cache/wheels "$folder/wheels"
