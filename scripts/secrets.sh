#!/usr/bin/env bash
# Usage: scripts/secrets.sh BIN
# Looks for keys, tokens and passwords in the tracked files, with BIN/detect-secrets-hook; exits with 1
# if .secrets.baseline does not know one. Two processes share the files. Checkpoints hold digests.
# A made-up secret gets `# pragma: allowlist secret`, or an entry in the baseline:
#   detect-secrets scan --slim --no-verify --baseline .secrets.baseline
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

git ls-files -z -- ':!checkpoints' ':!tests/**.json' |
    xargs -0 -n 600 -P 2 "$1/detect-secrets-hook" --no-verify --baseline .secrets.baseline || {
    echo "See scripts/secrets.sh for a value that is no secret." >&2
    exit 1
}
