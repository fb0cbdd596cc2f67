"""The environment of a run: versions, machine, command, commit, and the digests of its data."""

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from seq2seq.config import Config
from seq2seq.devices import choose_device
from seq2seq.fast.precision import Precision

PACKAGES = ("seq2seq-attention", "torch", "torchtext", "sentencepiece", "sacrebleu", "numpy")


def describe_machine(precision: Precision) -> dict[str, str]:
    """Describe what the bits of a training depend on, besides the config, the data and the number of processes."""
    return {"processor": _processor(), "torch": str(torch.__version__), "products": precision.products}


def describe_environment(config: Config, data: dict[str, dict[str, str]], precision: Precision) -> dict[str, Any]:
    """Describe the environment of a training, for `environment.json`.

    Args:
        config: of the run.
        data: the digests of the config's data, from `data_digests`.
        precision: of the training.
    """
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **describe_machine(precision),
        "precision": precision.name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(choose_device(config.training.device)),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": git_commit(),
        "languages": [config.data.src, config.data.tgt],
        "data": data,
    }


def _processor() -> str:
    """Return the model of the processor on Linux; elsewhere what Python knows, often only the architecture."""
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        described = ""
    model = re.search(r"^model name\s*:\s*(\S.*)$", described, re.MULTILINE)
    return model[1].strip() if model else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Return the git commit of this package's checkout, with `-dirty` where files have changed; None without one."""
    package = Path(__file__).parents[1]
    if not (package.parent / ".git").exists():
        return None
    command = ["git", "-C", str(package), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
