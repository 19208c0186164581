# Sourced by the scripts: make_environment FOLDER PACKAGE [--editable] makes a virtual environment and installs into it.
# It sets VENV. A second call with the same sources and interpreter installs nothing.
make_environment() {
    local python="${PYTHON:-python3}" stamp
    VENV="${AVSCTL_VENV:-$PWD/$1}"
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        echo "avsctl needs Python 3.10 or newer; set PYTHON to one (found: $("$python" --version 2>&1 || echo none))" >&2
        exit 2
    fi
    stamp="$("$python" -VV | cksum) $2 $(cksum < pyproject.toml)"
    # An editable install follows the sources by itself, another one is a copy of them.
    [ "${3:-}" = --editable ] || stamp="$stamp $(find avsctl avsctl_models -name '*.py' -exec cksum {} + | sort | cksum)"
    if [ "$(cat "$VENV/avsctl-installed" 2>/dev/null)" != "$stamp" ]; then
        echo "== installing into $VENV (the first time downloads several GB, mostly torch)" >&2
        "$python" -m venv "$VENV"
        "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check ${3:-} "$2"
        echo "$stamp" > "$VENV/avsctl-installed"
    fi
}
