#!/usr/bin/env bash
# Usage: scripts/lock.sh [--upgrade | --upgrade-package NAME]...
# Writes constraints.txt: the exact version of each package that any extra of pyproject.toml needs,
# CUDA's libraries included. Versions that are there stay, as far as pyproject.toml admits
# them; the options of `uv pip compile` raise them. Needs PyPI and `make setup`; UV_* reach uv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

exec .venv/bin/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
    --no-annotate --quiet --custom-compile-command scripts/lock.sh \
    --output-file constraints.txt "$@"
