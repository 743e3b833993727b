#!/usr/bin/env bash
# Usage: scripts/install.sh VENV EXTRAS
# Makes VENV with the first Python that is new enough and installs this project, editable, with
# the comma-separated EXTRAS, in the versions of constraints.txt, of which VENV keeps a copy. Called by
# `make setup`. pip's own words go to VENV/install.log; the terminal gets one line. Variables: PYTHON picks the interpreter, PIP_* reach pip as always.
set -euo pipefail

main() {
    local venv=$1 extras=$2
    if [[ ! -x $venv/bin/python ]] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        make_venv "$venv"
    fi
    local log=$venv/install.log started=$SECONDS
    echo "Installing lamm[$extras] into $venv; the first time takes some minutes (log: $log)"
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input \
        --progress-bar off --constraint constraints.txt -e ".[$extras]" >"$log" 2>&1 &
    if ! wait_with_clock $! "$log"; then
        echo "pip failed; the end of $log:" >&2
        tail -n 25 "$log" >&2
        exit 1
    fi
    cp constraints.txt "$venv/constraints.txt"
    echo "Installed in $((SECONDS - started)) s."
}

make_venv() {
    local python
    python=$(find_python)
    echo "Making $1 with $("$python" --version)"
    "$python" -m venv --clear "$1"
}

# Prints the first interpreter of at least 3.11.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "No Python 3.11 or newer among: ${PYTHON:-python3.11 python3.12 python3.13 python3}." >&2
    echo "Install one (Debian 12: apt-get install python3 python3-venv), or set PYTHON." >&2
    exit 1
}

# Waits for process $1; on a terminal a clock and pip's current step show that it lives.
wait_with_clock() {
    if [[ -t 1 ]]; then
        local started=$SECONDS
        while kill -0 "$1" 2>/dev/null; do
            printf '\r\033[K  %3d s  %.64s' $((SECONDS - started)) "$(tail -n 1 "$2")"
            sleep 1
        done
        printf '\r\033[K'
    fi
    wait "$1"
}

main "$@"
