# Sourced by the findings: `environment NAME==VERSION ...` installs these packages in a temporary virtual environment,
# which is removed at the end, and sets $python to its interpreter. FINDINGS_PYTHON=/path/to/python takes an
# environment that has these very versions instead.
set -euo pipefail

environment() {
    if [ -n "${FINDINGS_PYTHON:-}" ]; then
        python=$FINDINGS_PYTHON
    else
        folder=$(mktemp -d)
        trap 'rm -rf "$folder"' EXIT
        python3 -m venv "$folder/venv"
        python=$folder/venv/bin/python
        "$python" -m pip install --quiet "$@"
    fi
    "$python" - "$@" <<'CHECK'
import sys
from importlib.metadata import version

for pinned in sys.argv[1:]:
    name, wanted = pinned.split("==")
    if version(name).split("+")[0] != wanted:
        sys.exit(f"{name} is {version(name)}, not {wanted}")
print(*sys.argv[1:])
CHECK
}
