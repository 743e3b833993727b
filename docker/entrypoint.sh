#!/bin/sh
# What the container runs: `lamm` with the arguments given, `serve` where only flags are given.
# Settings come from LAMM_* variables or flags; a flag wins. `exec` makes lamm the process that
# SIGTERM reaches, so that it drains before it ends.
set -eu

case "${1:-serve}" in
    -*) set -- serve "$@" ;;
esac

if [ "${1:-serve}" = serve ] && [ ! -r "${LAMM_CHECKPOINT:-}/config.json" ]; then
    # A mounted directory that another user owns is the usual mistake; say so before Python starts.
    case " $* " in
        *" --checkpoint"*) ;;
        *)
            echo "No readable checkpoint at LAMM_CHECKPOINT=${LAMM_CHECKPOINT:-(not set)}" \
                "for user $(id -u)." >&2
            exit 1
            ;;
    esac
fi

exec lamm "$@"
