#!/usr/bin/env bash
# Usage: scripts/sbom.sh BIN FILE
# Writes the packages installed beside BIN/python as a CycloneDX bill of materials (JSON), checked
# against CycloneDX's schema.
set -euo pipefail

mkdir -p "$(dirname "$2")"
"$1/cyclonedx-py" environment "$1/python" --pyproject pyproject.toml --output-reproducible \
    --output-format JSON --output-file "$2" --validate
echo "Wrote $2"
