#!/usr/bin/env bash
# Usage: scripts/audit.sh BIN [OPTION...]
# Asks osv.dev for known advisories against each version of constraints.txt; OPTIONs go to pip-audit
# (--vulnerability-service pypi asks PyPI instead). Exits with 1 if there are some, and with 2 if the
# service gave no answer.
set -euo pipefail

main() {
    local bin=$1 log
    shift
    log=$(mktemp)
    # shellcheck disable=SC2064 # the name is known now
    trap "rm -f '$log'" EXIT
    if "$bin/pip-audit" --requirement constraints.txt --no-deps --disable-pip \
        --vulnerability-service osv --progress-spinner off "$@" 2>"$log"; then
        tail -n 1 "$log"
        exit 0
    fi
    tail -n 1 "$log" >&2
    if grep -q 'known vulnerabilit' "$log"; then
        exit 1
    fi
    echo "No audit: the advisory service gave no answer, so nothing is known of these versions." >&2
    exit 2
}

main "$@"
