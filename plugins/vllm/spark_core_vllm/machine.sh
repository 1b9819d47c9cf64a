# What one machine does for its models; run as: sh -c "$(cat machine.sh)" spark-core FOLDER VERB ...
#
# Everything is kept in FOLDER: fence.N (an empty file: a name needs no room on a full disk),
# launches/ID with the command, log and exit code of each launch, and newest, a link to the last.
# A launch holds the lock on its file "alive" until its launcher has ended.

set -u
umask 077
LC_ALL=C
export LC_ALL
label=spark-core.launch

# Exit codes that the controller tells apart.
LEASE_LOST=81 FOREIGN=82 BUSY=83 UNKNOWN=84 CANNOT=85

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
    mkdir -p "$folder/launches" "$folder/environments" || die $CANNOT "$folder cannot be made"
    true 2>/dev/null >>"$folder/lock" || die $CANNOT "$folder cannot be written to"
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

# look CONTAINER: sets found (empty where none runs), owner (its launch) and ended (one is left).
look() {
    found= owner= ended=
    template='{{.State.Running}} {{.State.Restarting}} {{.Id}} {{.State.StartedAt}} {{.RestartCount}}'
    template="$template {{index .Config.Labels \"$label\"}}."
    if ! shown=$(timeout 10 docker inspect --type container -f "$template" "$1" 2>&1); then
        case $shown in
            *[Nn]"o such"*) return ;;
            *) die $CANNOT "docker: ${shown:-does not answer}" ;;
        esac
    fi
    set -- ${shown%.}
    case "$1 $2" in
        *true*) found="$3 $4 $5" owner=${6:-} ;;
        *) ended=$3 owner=${6:-} ;;
    esac
    [ "$owner" != "<no" ] || owner=
}

runs() { [ -e "$1/alive" ] && ! flock -s -n "$1/alive" true; }

port_taken() {
    if shown=$(ss -Hltn "sport = :$1" 2>/dev/null); then
        [ -n "$shown" ]
    else
        awk -v port=":$(printf %04X "$1")\$" '$2 ~ port && $4 == "0A" { taken = 1 }
            END { exit !taken }' /proc/net/tcp /proc/net/tcp6 2>/dev/null
    fi
}

# observe CONTAINER PORT [FENCE]
observe() {
    [ -z "${3:-}" ] || enter "$3"
    look "$1"
    [ -z "$found" ] || echo "container $found $owner"
    if port_taken "$2"; then echo "port taken"; fi
    awk '/^MemTotal:|^MemAvailable:/ { print $1, $2 }' "${SPARK_MEMINFO:-/proc/meminfo}"
    { df -Pk "$folder" 2>/dev/null || df -Pk "$HOME"; } | awk 'NR == 2 { print "disk", $4 }'
    newest=$folder/newest
    if [ -d "$newest" ]; then
        # In this order: one that ends in between has an exit code.
        runs "$newest/" && code= || code=$(cat "$newest/exit" 2>/dev/null || echo 255)
        echo "launch $(basename "$(readlink "$newest")") ${code:-running} $(cat "$newest/name")"
    fi
}

# prepare FENCE ID CONTAINER [FILE]: standard input goes to FILE, or to one whose path is printed.
prepare() {
    enter "$1"
    if [ -d "$folder/launches/$2" ]; then echo begun; return; fi
    look "$3"
    [ -z "$found" ] || die $BUSY "container $3 runs already: ${found%% *}"
    if [ -n "$ended" ]; then
        [ -n "$owner" ] || die $BUSY "a container $3 has ended and was not removed: docker rm $3"
        docker rm "$ended" >/dev/null || die $BUSY "the container $3 that ended cannot be removed"
    fi
    file=${4:-$folder/environments/$2}
    mkdir -p "$(dirname "$file")" && cat >"$file" || die $CANNOT "$file cannot be written"
    echo "$file"
}

# launch FENCE ID CONTAINER SIZE NAME: standard input is the command, SIZE bytes of shell.
launch() {
    new=$folder/launches/.$2.$$ dir=$folder/launches/$2
    enter "$1"
    [ ! -d "$dir" ] || return 0
    # Whoever stops something may still be at it, and so may a launcher that was told to end.
    true >>"$folder/stopping" && flock -w 15 "$folder/stopping" true ||
        die $BUSY "what ran before is still being stopped"
    look "$3"
    [ -z "$found" ] || die $BUSY "container $3 runs already: ${found%% *}"
    [ ! -e "$folder/newest/alive" ] || flock -s -w 5 "$folder/newest/alive" true ||
        die $BUSY "another launch goes on: $(basename "$(readlink "$folder/newest")")"
    mkdir "$new" && cat >"$new/command" && printf %s "$5" >"$new/name" && true >"$new/log" ||
        die $CANNOT "no launch can be written down in $folder"
    [ "$(wc -c <"$new/command")" -eq "$4" ] || { rm -r "$new"; die $CANNOT "the command was cut off"; }
    exec 8>"$new/alive"
    flock 8
    mv "$new" "$dir" && ln -sfn "launches/$2" "$folder/newest" || die $CANNOT "$dir cannot be made"
    # From here on nothing depends on the connection, or on who asked for it.
    (trap '' HUP; exec 9>&-; attend "$2") </dev/null >>"$dir/log" 2>&1 &
    echo $! >"$dir/attendant"
    # Whoever stops it from now on finds whom to end: a session that there is, or was.
    for _ in $(seq 100); do
        [ -e "$dir/exit" ] && return 0
        [ -s "$dir/pid" ] && kill -0 "-$(cat "$dir/pid")" 2>/dev/null && return 0
        sleep 0.05
    done
    die $CANNOT "the launcher does not begin"
}

# attend ID: run the launcher in a session of its own; write down how it ended.
attend() {
    setsid sh "$dir/command" 8>&- &
    echo $! >"$dir/pid.new" && mv "$dir/pid.new" "$dir/pid"
    wait $!
    code=$?
    rm -f "$folder/environments/$1"
    # A launcher that leaves a container behind: the container's log and end are the model's.
    container=$(docker ps -q --no-trunc --filter "label=$label=$1" | head -n 1)
    if [ $code = 0 ] && [ -n "$container" ]; then
        docker logs -f "$container" 8>&-
        code=$(docker wait "$container" 8>&-) || code=255
    fi
    echo "$code" >"$dir/exit.new" && mv "$dir/exit.new" "$dir/exit"
}

# stop FENCE CONTAINER GRACE FOREIGN: it is ended in the background.
stop() {
    enter "$1"
    look "$2"
    if [ -n "$found" ] && [ -z "$owner" ] && [ "$4" != foreign ]; then
        die $FOREIGN "container $2 (${found%% *}) was not launched from here"
    fi
    exec 7>>"$folder/stopping"
    flock -n 7 || return 0
    # Of those that there are now: the next launch may write its own before this has ended.
    left=$(ls "$folder/environments")
    (trap '' HUP; exec 9>&-; end "$3" "${found%% *}" "$left") </dev/null >>"$folder/stopping" 2>&1 &
}

# end GRACE CONTAINER ENVIRONMENTS: the launcher first, so that it starts nothing more.
end() {
    newest=$folder/newest pid= id=
    if [ -d "$newest" ]; then
        id=$(basename "$(readlink "$newest")")
        runs "$newest/" && pid=$(cat "$newest/pid")
    fi
    [ -z "$pid" ] || kill -TERM "-$pid"
    [ -z "$2" ] || remove "$1" "$2"
    if [ -n "$pid" ]; then
        for _ in $(seq 50); do
            kill -0 "-$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "-$pid" 2>/dev/null
    fi
    # What it had just begun to start, if anything.
    for container in $(docker ps -q --no-trunc --filter "label=$label=${id:-none}"); do
        remove "$1" "$container"
    done
    for file in $3; do
        rm -f "$folder/environments/$file"
    done
}

remove() {
    docker stop -t "$1" "$2" 7>&-
    docker rm -f "$2" 7>&-
}

# known ID
known() { [ -d "$folder/launches/$1" ] || die $UNKNOWN "nothing was launched as $1"; }

# log ID LINE: from that line to the end of the launch; "|" ends each line that is whole.
log() {
    dir=$folder/launches/$1
    if runs "$dir"; then
        tail -n "+$2" -s 0.2 --pid="$(cat "$dir/attendant")" -f "$dir/log"
    else
        tail -n "+$2" "$dir/log"
    fi | sed -u 's/\r*$//; s/.*\r//; s/^\(.\{8000\}\).*/\1/; s/$/|/'
}

"$verb" "$@"
