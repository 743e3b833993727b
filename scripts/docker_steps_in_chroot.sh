#!/usr/bin/env bash
# Usage: scripts/docker_steps_in_chroot.sh DIRECTORY [--build-arg NAME=VALUE] [--env NAME=VALUE]
#            [--bind SOURCE:TARGET]...
#        scripts/docker_steps_in_chroot.sh DIRECTORY --serve-only
# Replays docker/Dockerfile without a container engine, as root on a Debian machine: each stage is a
# directory under DIRECTORY, RUN is a chroot into it, and what comes out is started as the image
# would be: as its USER, on a read-only root, without capabilities, until its HEALTHCHECK passes;
# then it answers a chat, two tasks, a batch and the page, is stopped with SIGTERM, and must exit 0.
# A fresh Debian (debootstrap) with its own Python stands in for the base image. Stages that the last
# one does not need are left out, as BuildKit does. --env and --bind reach the build steps alone
# (a proxy's certificate, a directory of wheels); --serve-only starts what was built before.
# Port: LAMM_PORT, 8000 by default.
# Mounts live in a mount namespace of this script's own and vanish with it.
set -euo pipefail

if [[ -z ${STEPS_NAMESPACE:-} ]]; then
    STEPS_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$@"
fi

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
DOCKERFILE=$REPOSITORY/docker/Dockerfile
readonly REPOSITORY DOCKERFILE
declare -A GLOBAL_ARGS=() GIVEN_ARGS=() STAGE_OF=() NEEDED=() USES=()
declare -a BUILD_ENV=() BINDS=() LINES=()
SERVER='' SERVE_ONLY=''

main() {
    local directory=${1:?the directory for the stages is missing}
    shift
    read_options "$@"
    mkdir -p "$directory"
    DIRECTORY=$(cd "$directory" && pwd)
    trap stop_server EXIT
    mapfile -t LINES < <(logical_lines)
    find_needed_stages
    if [[ -z $SERVE_ONLY ]]; then
        make_base
        build_stages
    fi
    # shellcheck source=/dev/null # what this script wrote for that stage
    source "$DIRECTORY/$LAST_STAGE.state"
    serve_from "$DIRECTORY/$LAST_STAGE"
}

read_options() {
    while (($#)); do
        case $1 in
            --serve-only) SERVE_ONLY=1 && shift && continue ;;
            --build-arg) GIVEN_ARGS[${2%%=*}]=${2#*=} ;;
            --env) BUILD_ENV+=("$2") ;;
            --bind) BINDS+=("$2") ;;
            *) echo "unknown option: $1" >&2 && exit 2 ;;
        esac
        shift 2
    done
}

# The Dockerfile's instructions, one a line: comments dropped, continuations joined.
logical_lines() {
    awk '/^[[:space:]]*#/ || (/^[[:space:]]*$/ && !joined) { next }
         { sub(/^[[:space:]]+/, ""); joined = joined $0 }
         sub(/\\$/, "", joined) { next }
         { print joined; joined = "" }' "$DOCKERFILE"
}

# What python:3.11-slim-bookworm is, as far as the steps can tell: Debian 12 with `python`.
make_base() {
    [[ -e $DIRECTORY/base/.complete ]] && return
    say "base: debootstrap"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv \
        bookworm "$DIRECTORY/base" >"$DIRECTORY/debootstrap.log"
    ln -sf /usr/bin/python3 "$DIRECTORY/base/usr/local/bin/python"
    touch "$DIRECTORY/base/.complete"
}

# Walks back from the last stage over FROM and COPY --from.
find_needed_stages() {
    local line name="" image changed=1
    declare -A needs=()
    for line in "${LINES[@]}"; do
        case $line in
            ARG\ *) [[ -n $name ]] || declare_arg GLOBAL_ARGS "${line#ARG }" ;;
            FROM\ *)
                read -r _ image _ name <<<"$(expand GLOBAL_ARGS "$line")"
                needs[$name]=" $image "
                LAST_STAGE=$name
                ;;
            COPY\ *--from=*)
                line=${line#*--from=}
                needs[$name]+="${line%% *} "
                ;;
        esac
    done
    NEEDED[$LAST_STAGE]=1
    while ((changed)); do
        changed=0
        for name in "${!needs[@]}"; do
            [[ -n ${NEEDED[$name]:-} ]] || continue
            for image in ${needs[$name]}; do
                [[ -n ${NEEDED[$image]:-} ]] || { NEEDED[$image]=1 && changed=1; }
            done
        done
    done
    for name in "${!needs[@]}"; do
        [[ -n ${NEEDED[$name]:-} ]] || continue
        for image in ${needs[$name]}; do USES[$image]=$((${USES[$image]:-0} + 1)); done
    done
}

build_stages() {
    local line instruction rest skip=1 image
    for line in "${LINES[@]}"; do
        read -r instruction rest <<<"$line"
        if [[ $instruction == FROM ]]; then
            read -r image _ NAME <<<"$(expand GLOBAL_ARGS "$rest")"
            skip=1
            [[ -n ${NEEDED[$NAME]:-} ]] || continue
            skip=0
            begin_stage "$image"
        elif ((!skip)); then
            step "$instruction" "$rest"
        fi
    done
}

begin_stage() {
    say "$NAME: FROM $1"
    ROOT=$DIRECTORY/$NAME
    rm -rf --one-file-system "$ROOT"
    declare -gA VARIABLES=() # ENV and ARG, as RUN sees them
    declare -ga EXPORTED=()
    WORKDIR=/ USER=0 ENTRYPOINT='[]' COMMAND='[]' HEALTHCHECK='[]'
    if [[ -n ${STAGE_OF[$1]:-} ]]; then
        # A stage that nothing else builds on is taken as it is: copies of torch take minutes.
        if ((USES[$1] == 1)); then
            umount --recursive "$DIRECTORY/$1"/{proc,dev,sys}
            mv "$DIRECTORY/$1" "$ROOT"
        else
            cp -a -x --reflink=auto "$DIRECTORY/$1" "$ROOT"
        fi
        # shellcheck source=/dev/null # what this script wrote for that stage
        source "$DIRECTORY/$1.state"
        forget_args
    else
        cp -a -x --reflink=auto "$DIRECTORY/base" "$ROOT"
        cp /etc/resolv.conf "$ROOT/etc/resolv.conf"
        VARIABLES[PATH]=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
        EXPORTED=(PATH)
    fi
    STAGE_OF[$NAME]=1
    mount_system "$ROOT"
}

# ARG ends with its stage, ENV does not.
forget_args() {
    local name
    for name in "${!VARIABLES[@]}"; do
        [[ " ${EXPORTED[*]} " == *" $name "* ]] || unset "VARIABLES[$name]"
    done
}

step() {
    local rest
    rest=$(expand VARIABLES "$2")
    case $1 in
        ARG) declare_arg VARIABLES "$2" ;;
        ENV) set_env "$rest" ;;
        WORKDIR) WORKDIR=$rest && mkdir -p "$ROOT$rest" ;;
        USER) USER=$rest ;;
        COPY) copy_in "$rest" ;;
        RUN) run_step "$2" ;;
        ENTRYPOINT) ENTRYPOINT=$2 ;;
        CMD) COMMAND=$2 ;;
        HEALTHCHECK) HEALTHCHECK=${2#*CMD } ;;
        EXPOSE | STOPSIGNAL | VOLUME | LABEL) ;;
        *) echo "no way to replay: $1 $2" >&2 && exit 1 ;;
    esac
    declare -p VARIABLES EXPORTED WORKDIR USER ENTRYPOINT COMMAND HEALTHCHECK | sed 's/^declare /declare -g /' \
        >"$DIRECTORY/$NAME.state"
}

# $1: the array to write; $2: NAME or NAME=DEFAULT. A value given beats the global, then the default.
declare_arg() {
    local -n into=$1
    local name=${2%%=*} default=""
    [[ $2 != *=* ]] || default=${2#*=}
    # shellcheck disable=SC2004,SC2034 # the reference is to an associative array
    into[$name]=${GIVEN_ARGS[$name]:-${GLOBAL_ARGS[$name]:-$default}}
}

set_env() {
    local pair
    for pair in $1; do
        VARIABLES[${pair%%=*}]=${pair#*=}
        EXPORTED+=("${pair%%=*}")
    done
}

run_step() {
    local name pair
    local -a environment=()
    for name in "${!VARIABLES[@]}"; do environment+=("$name=${VARIABLES[$name]}"); done
    for pair in "${BINDS[@]}"; do
        mkdir -p "$ROOT${pair#*:}"
        mountpoint -q "$ROOT${pair#*:}" || mount --bind "${pair%%:*}" "$ROOT${pair#*:}"
    done
    say "$NAME: RUN $1"
    env -i HOME=/root DEBIAN_FRONTEND=noninteractive "${environment[@]}" "${BUILD_ENV[@]}" \
        chroot "$ROOT" /bin/sh -c "cd '$WORKDIR' && $1" </dev/null
}

# COPY [--from=STAGE] [--chmod=MODE] SOURCE... TARGET; a directory's contents, as in Docker.
copy_in() {
    local from=$REPOSITORY mode="" target source
    local -a words sources=()
    read -ra words <<<"$1"
    for source in "${words[@]}"; do
        case $source in
            --from=*) from=$DIRECTORY/${source#*=} ;;
            --chmod=*) mode=${source#*=} ;;
            *) sources+=("$source") ;;
        esac
    done
    target=${sources[-1]}
    unset 'sources[-1]'
    say "$NAME: COPY $1"
    [[ $target == /* ]] || target=$WORKDIR/$target
    for source in "${sources[@]}"; do
        if [[ -d $from/$source ]]; then
            mkdir -p "$ROOT$target"
            tar -C "$from/$source" --exclude=__pycache__ -c . | tar -C "$ROOT$target" -x
        else
            mkdir -p "$(dirname "$ROOT${target}x")"
            cp "$from/$source" "$ROOT$target"
            [[ -z $mode ]] || chmod "$mode" "$ROOT$target"
        fi
    done
}

# $1: array of variables; $2: text. Known ${NAME} and $NAME are replaced, the rest stands.
expand() {
    local -n values=$1
    local text=$2 name
    for name in "${!values[@]}"; do
        text=${text//\$\{$name\}/${values[$name]}}
        text=${text//\$$name/${values[$name]}}
    done
    printf '%s' "$text"
}

mount_system() {
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    mount --rbind --read-only /sys "$1/sys"
}

# Starts what was built as a container engine would, asks it, and stops it.
serve_from() {
    local root=$1 name
    local -a environment=() inside
    for name in "${EXPORTED[@]}"; do environment+=("$name=${VARIABLES[$name]}"); done
    environment+=("LAMM_PORT=${LAMM_PORT:-8000}" TINI_SUBREAPER=1) # it is not process 1 here
    mount --bind "$root" "$root"
    mount_system "$root"
    mount -t tmpfs tmpfs "$root/tmp"
    mount -o remount,bind,ro "$root"
    inside=(env -i "${environment[@]}" chroot "$root" setpriv --reuid "$USER" --regid "$USER"
        --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all
        sh -c "cd '$WORKDIR' && exec \"\$@\"" sh)
    say "no compiler and nothing writable is left in $LAST_STAGE"
    # shellcheck disable=SC2016 # expanded in there
    "${inside[@]}" sh -c 'for name in cc gcc g++ clang ld; do ! command -v $name || exit 1; done
        ! touch /srv/x 2>/dev/null'
    mapfile -t words < <(json_words "$ENTRYPOINT" && json_words "$COMMAND")
    say "starting: ${words[*]}"
    "${inside[@]}" "${words[@]}" &
    SERVER=$!
    wait_healthy
    say "healthy; asking"
    "${inside[@]}" python -c "$ASK"
    say "stopping with SIGTERM"
    kill -TERM "$SERVER"
    wait "$SERVER"
    SERVER=
    say "exited 0"
}

wait_healthy() {
    local deadline=$((SECONDS + 300))
    local -a check
    mapfile -t check < <(json_words "$HEALTHCHECK")
    until "${inside[@]}" "${check[@]}" >/dev/null 2>&1; do
        kill -0 "$SERVER" 2>/dev/null || { wait "$SERVER" || true; echo "it ended" >&2; exit 1; }
        ((SECONDS < deadline)) || { echo "not healthy in 300 s" >&2 && exit 1; }
        sleep 2
    done
}

# The words of an exec form, one a line.
json_words() {
    chroot "$DIRECTORY/base" python -c 'import json, sys; print(*json.loads(sys.argv[1]), sep="\n")' \
        "$1"
}

# A chat, a picture and a cloud through the decoding processes, a batch that says the same as the
# chat, the page's files.
ASK='
import json, os, re, time, urllib.request
base = "http://127.0.0.1:%s" % os.environ["LAMM_PORT"]

def ask(path, body=None, kind="application/json"):
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    request = urllib.request.Request(base + path, body, {"Content-Type": kind})
    return urllib.request.urlopen(request, timeout=120).read().decode()

def upload(content):
    parts = (("purpose\"", "batch"), ("file\"; filename=\"in.jsonl\"", content))
    form = "".join("--cut\r\nContent-Disposition: form-data; name=\"%s\r\n\r\n%s\r\n" % part
                   for part in parts)
    answer = ask("/v1/files", (form + "--cut--\r\n").encode(), "multipart/form-data; boundary=cut")
    return json.loads(answer)["id"]

body = {"model": os.path.basename(os.environ["LAMM_CHECKPOINT"]), "max_tokens": 16,
        "temperature": 0, "messages": [{"role": "user", "content": "How many chairs are there?"}]}
answer = json.loads(ask("/v1/chat/completions", body))
said = answer["choices"][0]["message"]
print("answered:", json.dumps(said), answer["usage"])
assert answer["usage"]["completion_tokens"] > 0
tasks = {card["name"]: card for card in json.loads(ask("/v1/tasks"))["data"]}
for name in ("counting", "classification_3d"):
    answer = json.loads(ask("/v1/tasks/" + name, {**tasks[name]["example"], "constrain": True}))
    print("task", name, answer["parse_status"] + ":", answer["text"])
    assert answer["parse_status"] == "ok"

url = "/v1/chat/completions"
lines = [{"custom_id": str(n), "method": "POST", "url": url, "body": body} for n in range(3)]
batch = {"endpoint": url, "completion_window": "24h",
         "input_file_id": upload("".join(json.dumps(line) + "\n" for line in lines))}
batch = json.loads(ask("/v1/batches", batch))
until = time.monotonic() + 120
while batch["status"] in ("validating", "in_progress", "finalizing"):
    assert time.monotonic() < until, batch
    time.sleep(0.5)
    batch = json.loads(ask("/v1/batches/" + batch["id"]))
print("batch:", batch["status"], batch["request_counts"])
assert batch["status"] == "completed", batch
found = ask("/v1/files/%s/content" % batch["output_file_id"]).splitlines()
found = {line["custom_id"]: line["response"]["body"] for line in map(json.loads, found)}
assert set(found) == {"0", "1", "2"}, found
assert all(one["choices"][0]["message"] == said for one in found.values()), found

links = re.findall("(?:href|src)=.(ui/[a-z0-9_./-]+)", ask("/"))
print("page:", {link: len(ask("/" + link)) for link in links})
assert links
'

stop_server() {
    # TERM, which is passed on: after KILL the service would outlive what started it.
    [[ -z $SERVER ]] || { kill -TERM "$SERVER" 2>/dev/null && wait "$SERVER"; } || true
}

say() {
    printf '== %s\n' "$*"
}

main "$@"
