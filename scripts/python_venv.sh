#!/usr/bin/env bash
# Usage: scripts/python_venv.sh
# Makes sure that Python's venv module is installed; Debian splits it off as python3-venv. Called by
# `make setup`. Installs the package if it may (root, or sudo without a password), and exits with 1
# if the module is still missing.
set -euo pipefail

main() {
    if has_venv || { install_venv && has_venv; }; then
        exit 0
    fi
    echo "Python's venv module is missing. As root: apt-get install -y python3-venv" >&2
    exit 1
}

# An existing .venv, or an interpreter that can make one.
has_venv() {
    [[ -x .venv/bin/pip ]] && return
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        "$candidate" -c 'import ensurepip, venv' 2>/dev/null && return
    done
    return 1
}

install_venv() {
    command -v apt-get >/dev/null || return 1
    local as_root=()
    if [[ $EUID -ne 0 ]]; then
        sudo -n true 2>/dev/null || return 1
        as_root=(sudo -n)
    fi
    local log
    log=$(mktemp)
    echo "Installing the Debian package python3-venv with apt-get"
    if "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive sh -c \
        'apt-get update -q && apt-get install -q -y --no-install-recommends python3-venv' \
        >"$log" 2>&1 </dev/null; then
        rm -f "$log"
        return
    fi
    tail -n 5 "$log" >&2
    rm -f "$log"
    return 1
}

main
