#!/bin/bash
# A stand-in for launch-cluster.sh, written for spark_core's lab: the same words, and the same traps.
#
#   - a container that runs already: nothing is launched, and that is no error
#   - without -d the cluster is stopped when this script ends, by whatever signal
#   - with -d, the container idles, whatever becomes of the command in it
#   - `stop` always succeeds
#   - VLLM_SPARK_EXTRA_DOCKER_ARGS is broken into words by the shell, on both machines
#   - with the fault `flattens`: words after `exec` are joined with spaces, as early versions did

folder=$(dirname "$(realpath "$0")")
name=vllm_node image=vllm-node nodes= solo= daemon= action=start command=
[ -f "$folder/.env" ] && . "$folder/.env"
nodes=${CLUSTER_NODES:-}

while [ $# -gt 0 ]; do
    case $1 in
        -n|--nodes) nodes=$2; shift ;;
        -t) image=$2; shift ;;
        --name) name=$2; shift ;;
        --solo) solo=true ;;
        -d) daemon=true ;;
        --eth-if|--ib-if|--master-port) shift ;;
        start|stop|status) action=$1 ;;
        exec)
            action=exec
            shift
            command=$(printf '%q ' "$@")
            [ -e "$SPARK_LAB_MACHINE/faults/flattens" ] && command="$*"
            break ;;
        *) echo "Error: Unknown argument or action: $1"; exit 1 ;;
    esac
    shift
done

peers=()
if [ -z "$solo" ]; then
    IFS=, read -ra all <<< "$nodes"
    for node in "${all[@]}"; do
        [ "$node" = "${LOCAL_IP:-}" ] || peers+=("$node")
    done
fi

stop_cluster() {
    docker stop "$name" >/dev/null 2>&1 || true
    for peer in "${peers[@]}"; do
        ssh -o BatchMode=yes "$peer" "docker stop $name" >/dev/null 2>&1 || true
    done
}

runs() { docker ps --format '{{.Names}}' | grep -qx "$name"; }

start_cluster() {
    if runs; then
        echo "Cluster containers are already running. Skipping launch."
        return
    fi
    local args="-d --rm --gpus all --network host --privileged --ipc=host --name $name"
    args="$args --entrypoint= ${VLLM_SPARK_EXTRA_DOCKER_ARGS:-} $image sleep infinity"
    echo "Starting Head Node on ${LOCAL_IP:-this machine}..."
    docker run $args || exit 1
    for peer in "${peers[@]}"; do
        echo "Starting Worker Node on $peer..."
        ssh -o BatchMode=yes "$peer" "docker run $args"
    done
}

execute() {
    local rank=1 more remote
    if [ ${#peers[@]} = 0 ]; then
        if [ -n "$daemon" ]; then
            docker exec -d "$name" bash -c "$command >> /proc/1/fd/1 2>&1"
        else
            docker exec -i "$name" bash -c "$command"
        fi
        return
    fi
    for peer in "${peers[@]}"; do
        more="--nnodes $((${#peers[@]} + 1)) --node-rank $rank --master-addr ${LOCAL_IP:-} --headless"
        printf -v remote 'docker exec -d %q bash -c %q' "$name" "$command $more >> /proc/1/fd/1 2>&1"
        ssh -o BatchMode=yes "$peer" "$remote"
        rank=$((rank + 1))
    done
    more="--nnodes $((${#peers[@]} + 1)) --node-rank 0 --master-addr ${LOCAL_IP:-}"
    if [ -n "$daemon" ]; then
        docker exec -d "$name" bash -c "$command $more >> /proc/1/fd/1 2>&1"
    else
        docker exec -i "$name" bash -c "$command $more"
    fi
}

case $action in
    stop) echo "Stopping cluster..."; stop_cluster; exit 0 ;;
    status) docker ps; exit 0 ;;
esac

if [ -z "$daemon" ]; then
    trap 'stop_cluster' EXIT
    trap 'exit 143' INT TERM HUP
fi
if [ -e "$SPARK_LAB_MACHINE/faults/starts_nothing" ]; then
    trap - EXIT
    echo "Starting Head Node..."
    exit 0
fi
start_cluster
if [ "$action" = exec ]; then
    echo "Executing command: $command"
    execute
elif [ -z "$daemon" ]; then
    docker logs -f "$name"
fi
