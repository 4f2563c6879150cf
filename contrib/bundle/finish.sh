#!/bin/sh
# Puts the man pages and the completion of bash, zsh and fish below ROOT, where a distribution has those of packages.
# Usage: contrib/bundle/finish.sh ROOT PYTHON-PACKAGES ZSH-FOLDER     (distributions agree on the other folders)
set -eu
root=$1 zsh=$3
export PYTHONPATH="$2" PYTHONDONTWRITEBYTECODE=1

put() { # SHELL FILE
    mkdir -p "$root$(dirname "$2")"
    /usr/bin/python3 -m virtcard.cli completion "$1" >"$root$2"
}

put bash /usr/share/bash-completion/completions/virtcard
put zsh "$zsh/_virtcard"
put fish /usr/share/fish/vendor_completions.d/virtcard.fish
/usr/bin/python3 "$(dirname "$0")/../man/manual.py" "$root/usr/share/man"
