#!/usr/bin/env bash
# An environment for each of the two toolkits that `peers.py` measures: FOLDER/joeynmt and FOLDER/opennmt.
#
#   scripts/bench/peers_setup.sh [FOLDER]      FOLDER: build/peers by default; what is there already is kept
#   PYTHON=python3.11 TORCH_INDEX=URL ...      another Python; a package index of CPU builds of torch
#
# The toolkits pin libraries of their day, so they are installed without their dependencies, beside this project's torch.
set -euo pipefail
folder=${1:-build/peers}
constraints=$(dirname "$0")/../../constraints.txt

make_environment() { # name, requirement, dependencies
  local python=$folder/$1/bin/python
  [ -e "$folder/$1/.installed" ] && return
  echo "setting up $folder/$1 (some minutes)"
  "${PYTHON:-python3}" -m venv "$folder/$1"
  local pip=("$python" -m pip --disable-pip-version-check install --quiet --constraint "$constraints")
  "${pip[@]}" ${TORCH_INDEX:+--no-deps --index-url "$TORCH_INDEX"} torch==2.13.0
  "${pip[@]}" torch==2.13.0 "${@:3}"
  "${pip[@]}" --no-deps "$2"
  touch "$folder/$1/.installed"
}

make_environment joeynmt joeynmt==2.3.0 sentencepiece sacrebleu sacremoses subword-nmt matplotlib pyyaml tensorboard \
  six wrapt packaging importlib_metadata plotly pandas
make_environment opennmt OpenNMT-py==3.5.1 configargparse ctranslate2 tensorboard flask waitress pyonmttok pyyaml \
  sacrebleu rapidfuzz pyahocorasick six sentencepiece subword-nmt safetensors

# Modules that stand on the toolkits' PYTHONPATH.
mkdir -p "$folder/stubs"
for name in fasttext spacy; do
  echo '"""Imported by a transform of OpenNMT-py that nothing here uses."""' > "$folder/stubs/$name.py"
done
cat > "$folder/stubs/sitecustomize.py" <<'PYTHON'
"""With ONEDNN_SWITCH, oneDNN computes torch's products; on a CPU with AMX it rounds their factors to bfloat16."""

import os

if os.environ.get("ONEDNN_SWITCH"):
    import torch

    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
PYTHON
cat > "$folder/stubs/joeynmt_today.py" <<'PYTHON'
"""`python -m joeynmt` with two calls that today's torch and sentencepiece no longer know."""

import runpy

import sentencepiece
from torch.optim import lr_scheduler

todays = lr_scheduler.ReduceLROnPlateau
lr_scheduler.ReduceLROnPlateau = lambda *args, verbose, **kwargs: todays(*args, **kwargs)
sentencepiece.SentencePieceProcessor.SetVocabulary = lambda *args: None  # given all pieces it does nothing
runpy.run_module("joeynmt", run_name="__main__", alter_sys=True)
PYTHON
