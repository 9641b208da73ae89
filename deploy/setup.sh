#!/usr/bin/env bash
# Makes the virtual environment: every package at a pinned version with a checked hash, then the project itself.
set -euo pipefail
python=$1 venv=$2

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "capacity broker needs Python 3.11 or later; '$python' is $("$python" --version 2>&1)." >&2
    echo "Name another: make PYTHON=python3.12 …" >&2
    exit 1
}
# Debian ships Python without ensurepip; the package that adds it is named after the version.
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    package="python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null
    else
        echo "Python cannot make virtual environments here. Install it: sudo apt-get install $package" >&2
        exit 1
    fi
fi
[ -t 2 ] && echo "Setting up $venv (about three minutes, once) …" >&2
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    --editable clients/python --editable .
# Compile the optimiser's hot loops once, so that nobody waits for it later.
"$venv/bin/python" -c 'from broker.admission import scan; from broker.optimiser.warm import warm; scan.warm(); warm()'
