#!/usr/bin/env bash
# Usage: scripts/system_libraries.sh
# Sees to the Debian packages that pip cannot install. Called by `make setup`.
# What is missing is installed where that is allowed (root, or sudo without a password); otherwise
# the apt-get line is printed. Without the venv module nothing can follow, so that ends with 1;
# the shared libraries serve Open3D alone (binary ply and pcd files), so setup goes on without.
set -euo pipefail

# Shared library -> Debian package; what Open3D's wheel links against and does not bring.
declare -A LIBRARIES=(
    [libEGL.so.1]=libegl1
    [libGL.so.1]=libgl1
    [libX11.so.6]=libx11-6
    [libgomp.so.1]=libgomp1
    [libusb-1.0.so.0]=libusb-1.0-0
)

main() {
    local missing
    missing=$(missing_packages)
    [[ -n $missing ]] || exit 0
    echo "Missing Debian packages: $missing"
    # shellcheck disable=SC2086 # one word a package
    if ! install_packages $missing; then
        echo "They could not be installed from here. As root: apt-get install -y $missing"
    fi
    if ! has_venv; then
        echo "Python's venv module is missing; setup cannot go on without it." >&2
        exit 1
    fi
    missing=$(missing_packages)
    [[ -z $missing ]] || echo "Going on; binary ply and pcd clouds will be refused until there is: $missing"
}

missing_packages() {
    local library cache packages=()
    cache=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null || true)
    for library in "${!LIBRARIES[@]}"; do
        grep -qF "$library " <<<"$cache" || packages+=("${LIBRARIES[$library]}")
    done
    has_venv || packages+=(python3-venv)
    printf '%s\n' "${packages[@]}" | sort | xargs
}

# An existing .venv, or an interpreter that can make one (Debian splits ensurepip off).
has_venv() {
    [[ -x .venv/bin/pip ]] && return
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        "$candidate" -c 'import ensurepip, venv' 2>/dev/null && return
    done
    return 1
}

install_packages() {
    command -v apt-get >/dev/null || return 1
    local as_root=()
    if [[ $EUID -ne 0 ]]; then
        sudo -n true 2>/dev/null || return 1
        as_root=(sudo -n)
    fi
    local log
    log=$(mktemp)
    echo "Installing them with apt-get"
    if "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive sh -c \
        'apt-get update -q && apt-get install -q -y --no-install-recommends "$@"' sh "$@" \
        >"$log" 2>&1 </dev/null; then
        rm -f "$log"
        return
    fi
    tail -n 5 "$log" >&2
    rm -f "$log"
    return 1
}

main
