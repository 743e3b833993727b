#!/usr/bin/env bash
# Usage: scripts/clients.sh DIR [PYTEST ARGUMENTS]
# Runs tests/clients in the environments that scripts/client_env.sh made in DIR. A whole run, without
# arguments, writes each call's outcome to build/clients and checks docs/clients.md's tables against it.
set -euo pipefail

NO_TESTS=5 # pytest's exit status when its arguments choose none
TESTS=tests/clients

main() {
    local directory=$1 ran=0
    shift
    run "$directory/newest" newest "$@"
    run "$directory/openai-2" openai_2 "$@"
    ((ran)) || { echo "No test was chosen." >&2 && exit 1; }
    (($#)) || .venv/bin/python scripts/clients_table.py --check
}

run() {
    local venv=$1 folder=$2 results='' status=0
    shift 2
    (($#)) || results=build/clients/$folder.json
    CLIENT_RESULTS=$results "$venv/bin/python" -m pytest -c $TESTS/pytest.ini \
        $TESTS/openai_sdk "$TESTS/$folder" "$@" || status=$?
    if ((status == 0)); then
        ran=1
    elif ((status != NO_TESTS)); then
        exit "$status"
    fi
}

main "$@"
