#!/bin/sh
# What the container runs: `lamm` with the arguments given, `serve` where only flags are given.
# Settings come from LAMM_* variables or flags; a flag wins. `exec` makes lamm the process that
# SIGTERM reaches, so that it drains before it ends.
set -eu

case "${1:-serve}" in
    -*) set -- serve "$@" ;;
esac

# One directory named alone. Of NAME=DIR, ADAPTER@BASE and lists the service itself says what is
# wrong; a directory with such a sign in its name is left to it as well.
names_one_directory() {
    case "$1" in
        *[=@,]*) return 1 ;;
    esac
}

# A checkpoint, an adapter (its base may be at hand), or both in a converted directory.
is_readable() {
    [ -r "$1/config.json" ] || [ -r "$1/adapter_config.json" ] ||
        { [ -r "$1/adapter/adapter_config.json" ] && [ -r "$1/base/config.json" ]; }
}

checkpoint=${LAMM_CHECKPOINT:-}
if [ "${1:-serve}" = serve ] && names_one_directory "$checkpoint" && ! is_readable "$checkpoint"
then
    # A mounted directory that another user owns is the usual mistake; say so before Python starts.
    case " $* " in
        *" --checkpoint"* | *" -h "* | *" --help "*) ;;
        *)
            echo "No readable checkpoint at LAMM_CHECKPOINT=${LAMM_CHECKPOINT:-(not set)}" \
                "for user $(id -u). Mount one there (-v DIR:/srv/checkpoints:ro), with files" \
                "that this user may read (chmod -R a+rX DIR)." >&2
            exit 1
            ;;
    esac
fi

exec lamm "$@"
