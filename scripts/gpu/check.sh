#!/usr/bin/env bash
# Check this project on a machine with one GPU, in six minutes and without a network; or on a CPU.
#
#     scripts/gpu/check.sh                          # writes build/gpu/check.json, prints its tables
#     WHEELS=wheels scripts/gpu/check.sh            # take what this Python lacks (torch too) from a folder of wheels
#     scripts/gpu/check.sh --device cpu --tiny      # the same checks on a CPU: small models, to see that all runs
#
# Options are those of check.py. PYTHON is the Python to use (default: python3); it must have pip if WHEELS is needed.
# Nothing is installed into it: packages from wheels go into build/gpu/packages. Exit status: 0 all is well; 1 a check
# failed, or was cut off; 2 the command or the machine lacks something.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3}
most=355       # seconds for everything
reserve=15     # seconds to end the last check and to print: no check begins later
packages=$root/build/gpu/packages

# the checkout comes first, then packages from wheels of an earlier call
find_packages() {
  export PYTHONPATH=$root${1:+:$1}
  for folder in "$packages"/lib/python3*/site-packages "$packages"/local/lib/python3*/dist-packages; do
    [ -d "$folder" ] && PYTHONPATH=$PYTHONPATH:$folder
  done
}
given=${PYTHONPATH:-}
find_packages "$given"

# install what this Python lacks
needed="torch torchtext sentencepiece pydantic yaml tqdm sacrebleu rapidfuzz safetensors jaxtyping numpy"
lacks() {
  "$python" - $needed <<'EOF'
import sys
from importlib.util import find_spec
print(*(name for name in sys.argv[1:] if find_spec(name) is None))
EOF
}
missing=$(lacks) || { echo "check.sh: $python does not run; set PYTHON to a Python of 3.11 or later" >&2; exit 2; }
if [ -n "$missing" ] && [ -n "${WHEELS:-}" ]; then
  wanted=${missing/yaml/pyyaml}
  "$python" -m pip install --quiet --disable-pip-version-check --no-index --find-links "$WHEELS" --prefix "$packages" \
    --no-warn-script-location ${wanted/torchtext/torchtext==0.6.0} || exit 2
  find_packages "$given"
  missing=$(lacks)
fi
if [ -n "$missing" ]; then
  echo "check.sh: $python lacks $missing; set WHEELS to a folder with wheels of these and of what they need" >&2
  exit 2
fi

# check; a signal a little before the end, so that the tables are printed even then
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4} PYTHONUNBUFFERED=1
left=$((most - SECONDS))
timeout --kill-after=3 "$left" \
  "$python" "$root/scripts/gpu/check.py" --budget $((left - reserve)) --out "$root/build/gpu/check.json" "$@"
status=$?
[ $status -ge 124 ] && status=1
exit $status
