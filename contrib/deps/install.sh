#!/bin/bash
# Makes a Debian 12 machine ready for the other targets of the Makefile: Debian packages, .venv, the test guest, and the
# wheels that packages are built from.
# Installs only what is missing, needs no systemd, starts no service, and is done in a moment when all is there.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'deps: %s\n' "$*"; }
die() { printf 'deps: %s\n' "$*" >&2; exit 1; }

# Runs a command with its output in .cache/NAME.log; when it fails, shows the end of that and the complaint.
quietly() {
    local name=$1 complaint=$2
    shift 2
    "$@" >".cache/$name.log" 2>&1 && return
    tail -n 20 ".cache/$name.log" >&2
    die "$complaint; the whole output is in .cache/$name.log"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

missing_packages() {
    local wanted installed
    wanted=$(sed '/^#/d; /^$/d' contrib/deps/debian.txt | sort -u)
    # dpkg-query fails for a package that it never heard of, which is an answer too.
    installed=$(xargs dpkg-query -W -f '${db:Status-Status} ${Package}\n' <<<"$wanted" 2>/dev/null | sed -n 's/^installed //p' | sort -u || true)
    comm -23 <(echo "$wanted") <(echo "$installed")
}

# Debian starts the services of a package as it installs it, but asks this file first (invoke-rc.d(8)).
keep_services_down() {
    local policy=/usr/sbin/policy-rc.d
    [ ! -e "$policy" ] || return 0
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    as_root install -m 755 /dev/stdin "$policy" <<<$'#!/bin/sh\nexit 101'
}

update_lists() {
    say "reading the lists of packages"
    quietly apt "apt-get update failed" as_root apt-get update
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "this is not Debian; install the counterparts of contrib/deps/debian.txt yourself"
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null ||
        die "packages are missing and there is no sudo; as root run: apt-get install --no-install-recommends ${missing[*]}"
    say "installing from Debian: ${missing[*]}"
    keep_services_down
    update_lists
    quietly apt "apt-get could not install them" as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -o DPkg::Lock::Timeout=300 --no-install-recommends "${missing[@]}"
}

# Debian's own comes first: it is what the packages use, and is built to be half as fast again as most others are.
# At least 3.11, able to make a venv, and with the headers that libvirt-python and pyscard are compiled against.
suits() {
    "$1" -c 'import ensurepip, os, sys, sysconfig, venv
sys.exit(sys.version_info < (3, 11) or not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in /usr/bin/python3 python3 python3.15 python3.14 python3.13 python3.12 python3.11; do
        if suits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    die "no Python of version 3.11 or later with venv and headers; on Debian 12: apt-get install python3-venv python3-dev"
}

install_project() {
    local stamp=.venv/installed key python
    key=$(sha256sum <pyproject.toml)
    if [ -x .venv/bin/virtcard ] && .venv/bin/python -c '' 2>/dev/null && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
        return
    fi
    if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
        python=$(find_python)
        say "making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv
    fi
    say "installing virtcard and its tools into .venv (about a minute: libvirt-python and pyscard are compiled)"
    quietly pip "pip could not install them" \
        .venv/bin/python -m pip install --disable-pip-version-check --editable '.[dev]'
    echo "$key" >"$stamp"
}

build_guest() {
    if [ ! -d .cache/guest/packages/linux-image-amd64 ] && ! apt-cache show linux-image-amd64 >/dev/null 2>&1; then
        update_lists
    fi
    .venv/bin/python contrib/guest/build.py
}

# For /usr/bin/python3, which the packages are for, whatever .venv has.
gather_wheels() {
    quietly wheels "pip could not gather the wheels for packages" contrib/bundle/bundle.py gather .cache/wheels
}

mkdir -p .cache
install_packages
install_project
build_guest
gather_wheels
say "everything is here: make demo shows it, make test checks it"
