#!/usr/bin/env bash
# Usage: scripts/client_env.sh DIR
# Makes the environments of tests/clients: DIR/newest and DIR/openai-2 with the Python clients of
# tests/clients/requirements, and tests/clients/node/node_modules with those for node, which itself
# comes from DIR/newest. A rerun is instant until a list of requirements changes. Python is that of
# .venv (LAMM_PYTHON); PIP_* and NPM_CONFIG_* reach pip and npm as always.
set -euo pipefail

LISTS=tests/clients/requirements
PACKAGES=tests/clients/node
PYTHON=${LAMM_PYTHON:-.venv/bin/python}

main() {
    local directory=$1 name started=$SECONDS
    mkdir -p "$directory"
    for name in newest openai-2; do
        made_from "$directory/$name/.made-from" "$LISTS/$name.txt" ||
            install_python "$directory/$name" "$LISTS/$name.txt"
    done
    made_from "$PACKAGES/node_modules/.made-from" "$PACKAGES/package-lock.json" ||
        install_node "$(cd "$directory" && pwd)/newest/bin"
    ((SECONDS - started < 2)) || echo "Clients are installed after $((SECONDS - started)) s."
}

made_from() {
    cmp --silent "$1" "$2"
}

install_python() {
    local venv=$1 list=$2
    echo "Installing $list into $venv; it takes a minute (log: $venv/install.log)"
    "$PYTHON" -m venv --clear "$venv"
    quietly "$venv/install.log" "$venv/bin/python" -m pip install --disable-pip-version-check \
        --no-input --progress-bar off --no-compile -r "$list"
    cp "$list" "$venv/.made-from"
}

install_node() {
    echo "Installing $PACKAGES/package-lock.json"
    PATH=$1:$PATH quietly "$1/../npm.log" npm ci --prefix "$PACKAGES" --no-audit --no-fund
    cp "$PACKAGES/package-lock.json" "$PACKAGES/node_modules/.made-from"
}

# Runs a command with its output in a log, of which a failure shows the end.
quietly() {
    local log=$1
    shift
    if ! "$@" >"$log" 2>&1 </dev/null; then
        echo "$1 failed; the end of $log:" >&2
        tail -n 25 "$log" >&2
        exit 1
    fi
}

main "$@"
