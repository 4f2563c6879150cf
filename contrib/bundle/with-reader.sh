# For scripts that take virtcard away: which machines still have a virtual reader, and with it need the folder of its
# socket to start, to be restored or to be set back. libvirt's files are read, since libvirt may not run.

with_reader() { # SOCKETS RUNNING CONFIGURATIONS STATE      (folders; a line for each)
    _with_reader "$1" runs "$2"/*.xml
    _with_reader "$1" configuration "$3"/*.xml
    _with_reader "$1" saved "$4"/save/*.save
    for machine in "$4"/snapshot/*/; do
        _with_reader "$1" "snapshot of $(basename "$machine")" "$machine"*.xml
    done
}

_with_reader() { # SOCKETS KIND FILE...      (a saved machine begins with its XML, and goes on with its memory)
    sockets=$1 kind=$2
    shift 2
    for file in "$@"; do
        if [ -f "$file" ] && head -c 1048576 "$file" | grep -aqF "path='$sockets"; then
            name=$(basename "$file")
            echo "  ${name%.*} ($kind)"
        fi
    done
}
