#!/usr/bin/env bash
# Makes .venv with the pinned requirements, and installs the OpenGL libraries that are missing.
# Running it again is quick. PYTHON=python3.11 bash scripts/setup.sh chooses an interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

packages="libegl1 libegl-mesa0 libgl1-mesa-dri libopengl0"

python="${PYTHON:-}"
if [ -z "$python" ]; then
    for candidate in python3 python3.12 python3.11 python3.10; do
        if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))'; then
            python="$candidate"
            break
        fi
    done
fi
if [ -z "$python" ]; then
    echo "error: no Python 3.10, 3.11 or 3.12 found; on Debian or Ubuntu: sudo apt-get install python3 python3-venv" >&2
    exit 2
fi

# The missing system packages: installed where we may, named where we may not.
install_system_packages() {
    if ! command -v apt-get >/dev/null; then
        echo "error: please install, by your system's own means, what Debian calls: $*" >&2
        return 1
    elif [ "$(id -u)" = 0 ]; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    else
        echo "error: this needs an administrator. Please run: sudo apt-get install $*" >&2
        return 1
    fi
}

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        echo "installing python3-venv"
        install_system_packages "$(basename "$(readlink -f "$(command -v "$python")")")-venv" || exit 2
    fi
    echo "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi

stamp=.venv/requirements.installed
if ! cmp -s requirements.txt "$stamp"; then
    echo "installing requirements (a few minutes the first time)"
    .venv/bin/python -m pip install --disable-pip-version-check --progress-bar on -r requirements.txt
    cp requirements.txt "$stamp"
fi

if ! renderer=$(.venv/bin/python -m envs.opengl 2>/dev/null); then
    if [ "$(uname)" = Linux ] && [ -z "${MUJOCO_GL:-}" ]; then
        echo "installing OpenGL libraries: $packages"
        # shellcheck disable=SC2086  # the list is meant to be split
        install_system_packages $packages || exit 2
    fi
    renderer=$(.venv/bin/python -m envs.opengl) || exit 2
fi
echo "ready: renders with $renderer"
