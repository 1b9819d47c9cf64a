# What one machine does for a promotion; run as: sh -c "$(cat node.sh)" spark-core FOLDER VERB ...
#
# FOLDER holds fence.N, an empty file: whoever has a lower number changes nothing any more. Every
# verb can be done twice. The destination is only ever renamed over: a reader sees one whole file.

set -u
LC_ALL=C
export LC_ALL

# Exit codes that the controller tells apart.
LEASE_LOST=81 CHANGED=82 CANNOT=85

die() { printf '%s\n' "$2" >&2; exit "$1"; }

case $1 in
    "~/"*) folder=$HOME/${1#??} ;;
    /*) folder=$1 ;;
    *) folder=$HOME/$1 ;;
esac
verb=$2
shift 2

# enter FENCE: nobody else changes anything meanwhile, and nobody with a lower fence from now on.
enter() {
    (umask 077 && mkdir -p "$folder") && true 2>/dev/null >>"$folder/lock" ||
        die $CANNOT "$folder cannot be written to"
    exec 9>>"$folder/lock"
    flock -w 20 9 || die $CANNOT "somebody else changes something for too long"
    seen=
    for file in "$folder"/fence.*; do
        [ -e "$file" ] && seen=${file##*.}
    done
    if [ -z "$seen" ]; then
        true >"$folder/fence.$1" || die $CANNOT "$folder cannot be written to"
    elif [ "$1" -lt "$seen" ]; then
        die $LEASE_LOST "$seen"
    elif [ "$1" -gt "$seen" ]; then
        mv "$folder/fence.$seen" "$folder/fence.$1" || die $CANNOT "$folder cannot be written to"
    fi
}

# digest FILE: sets digest.
digest() {
    digest=$(sha256sum <"$1") || die $CANNOT "$1 cannot be read"
    digest=${digest%% *}
}

durable() { sync -- "$@" || die $CANNOT "$1 cannot be made durable"; }

# here FILE: it is a file, and no link to one.
here() {
    [ ! -L "$1" ] || die $CANNOT "$1 is a symbolic link"
    [ -f "$1" ] || die $CANNOT "$1 is not there, or is no file: what is not there cannot be replaced"
}

# look DEST
look() {
    here "$1"
    [ -w "$(dirname -- "$1")" ] || die $CANNOT "$(dirname -- "$1") cannot be written to"
    digest "$1"
    free=$(df -Pk -- "$(dirname -- "$1")" | awk 'NR == 2 { print $4 }')
    case $free in '' | *[!0-9]*) free=0 ;; esac
    node=$(docker info --format '{{.Swarm.NodeID}}' 2>/dev/null) || die $CANNOT 'docker does not answer'
    [ -n "$node" ] || die $CANNOT 'docker is no node of a swarm here'
    printf '%s\n' "$digest" "$(stat -c %s -- "$1")" "$(uname -m)" "$free" "$node"
}

# place DEST TEMP DIGEST: the file TEMP takes the place of DEST, if it is what it must be.
place() {
    # The owner first: with another owner the bits that let it run as somebody are lost.
    { [ "$(stat -c %u:%g -- "$1")" = "$(stat -c %u:%g -- "$2")" ] ||
        chown --reference="$1" -- "$2"; } && chmod --reference="$1" -- "$2" || die $CANNOT "mode and owner of $1 cannot be kept"
    durable "$2"
    digest "$2"
    [ "$digest" = "$3" ] || { rm -f -- "$2"; die $CANNOT "$2 is not what was sent"; }
    [ -z "${4:-}" ] || return 0
    mv -fT -- "$2" "$1" || die $CANNOT "$1 cannot be replaced"
    durable "$(dirname -- "$1")"
    digest "$1"
    [ "$digest" = "$3" ] || die $CHANGED "$1 was changed by somebody else"
}

# backup FENCE DEST BACKUP DIGEST
backup() {
    enter "$1"
    here "$2"
    digest "$2"
    [ "$digest" = "$4" ] || die $CHANGED "$2 was changed by somebody else"
    if [ ! -e "$3" ]; then
        cp -p -- "$2" "$3.part" && durable "$3.part" && mv -fT -- "$3.part" "$3" ||
            { rm -f -- "$3.part"; die $CANNOT "$3 cannot be written"; }
        durable "$(dirname -- "$3")"
    fi
    digest "$3"
    [ "$digest" = "$4" ] || die $CANNOT "$3 is not what was copied"
}

# append FENCE TEMP OFFSET SIZE: standard input, SIZE bytes of it, goes to TEMP from OFFSET on.
append() {
    enter "$1"
    if [ "$3" = 0 ]; then (umask 077 && true >"$2") || die $CANNOT "$2 cannot be written"; fi
    [ "$(stat -c %s -- "$2" 2>/dev/null || echo -1)" -ge "$3" ] || die $CHANGED "$2 is not there"
    truncate -s "$3" -- "$2" && cat >>"$2" || die $CANNOT "$2 cannot be written"
    [ "$(stat -c %s -- "$2")" -eq "$(($3 + $4))" ] || die $CANNOT "$2 was cut off"
}

# ready FENCE DEST TEMP DIGEST
ready() { enter "$1"; here "$2"; place "$2" "$3" "$4" later; }

# install FENCE DEST TEMP OLD NEW
install() {
    enter "$1"
    here "$2"
    digest "$2"
    if [ "$digest" = "$5" ]; then rm -f -- "$3"; return 0; fi
    [ "$digest" = "$4" ] || die $CHANGED "$2 was changed by somebody else"
    place "$2" "$3" "$5"
}

# restore FENCE DEST BACKUP OLD NEW TEMP: says whether it had to.
restore() {
    enter "$1"
    here "$2"
    digest "$2"
    rm -f -- "$6"
    if [ "$digest" = "$4" ]; then echo unchanged; return 0; fi
    [ "$digest" = "$5" ] || die $CHANGED "$2 was changed by somebody else"
    digest "$3"
    [ "$digest" = "$4" ] || die $CANNOT "$3 is not what was copied"
    cp -p -- "$3" "$6" || die $CANNOT "$6 cannot be written"
    place "$2" "$6" "$4"
    echo restored
}

# prune FENCE DEST KEEP NEEDED: the newest KEEP backups stay, and NEEDED, whatever its name says.
prune() {
    enter "$1"
    keep=$3 needed=$4
    day='[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]'
    set -- "$2".bak-${day}T[0-9][0-9][0-9][0-9][0-9][0-9]Z
    while [ $# -gt "$keep" ]; do
        [ "$1" = "$needed" ] || rm -f -- "$1" || die $CANNOT "$1 cannot be removed"
        shift
    done
}

# discard FENCE FILE...
discard() { enter "$1"; shift; rm -f -- "$@"; }

# update FENCE NAME FORCED ARGUMENT...: unless it was forced once more already. So this can be asked
# again where an answer got lost: whoever asked first has the lock until docker is done.
update() {
    enter "$1"
    forced=$(docker service inspect --format '{{.Spec.TaskTemplate.ForceUpdate}}' "$2" 9>&-) || exit
    [ "$forced" = "$3" ] || return 0
    shift 3
    docker service update "$@" 9>&-
}

# services NAME...: each as docker shows it, then the tasks of the first.
services() {
    docker service inspect "$@" || exit
    # A task may be forgotten between the two looks: then docker knows a newer one.
    for _ in 1 2 3 4 5; do
        tasks='[]'
        ids=$(docker service ps -q --no-trunc "$1") || exit
        [ -n "$ids" ] && ! tasks=$(docker inspect --type task $ids) || break
    done
    printf '%s\n' "$tasks"
}

"$verb" "$@"
