# Sourced by the scripts beside it. Nothing is done where that has been done already.

# Prints a Python that is new enough.
python_of() {
    for candidate in "${PYTHON:-}" python3.14 python3.13 python3.12 python3.11 python3 python; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.11 or newer is needed, and none was found. Install it, or name one: PYTHON=/path/to/python $0" >&2
    return 1
}

# Makes .venv with the locked packages of "$1" and this checkout in it.
environment() {
    lock=$1
    python=$(python_of)
    stamp=.venv/.installed-$(cat "$lock" pyproject.toml | cksum | tr ' ' -)-$(basename "$lock")
    [ -f "$stamp" ] && return

    if [ ! -x .venv/bin/python ]; then
        echo "Making .venv with $("$python" --version) ..."
        if ! "$python" -m venv .venv; then
            rm -rf .venv
            echo "The venv module does not work here. On Debian and Ubuntu: apt-get install python3-venv" >&2
            exit 1
        fi
    fi
    echo "Installing the packages of $lock ..."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
    touch "$stamp"
}

# Makes node_modules with the packages of package-lock.json: what checks the widget, and nothing of what serves it.
node_environment() {
    stamp=node_modules/.installed-$(cat package-lock.json package.json .npmrc | cksum | tr ' ' -)
    [ -f "$stamp" ] && return

    echo "Installing the packages of package-lock.json ..."
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
    touch "$stamp"
}
