"""Where and from what a run is made: versions, machine, command, commit, and the digests of its data."""

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


def environment(config: Config, data: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Where and from what a run is made; `data` are `data_digests`."""
    packages = ("seq2seq", "torch", "torchtext", "sentencepiece", "sacrebleu", "numpy")
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(choose_device(config.training.device)),
        "packages": {name: _version(name) for name in packages},
        "commit": _commit(),
        "data": data,
    }


def _processor() -> str:
    """The processor's model where Linux names it; elsewhere what Python knows, often no more than its kind."""
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


def _commit() -> str | None:
    """The git commit of this package's own checkout, marked where it has changes; None where it is installed alone."""
    if not (Path(__file__).parents[1] / ".git").exists():
        return None
    describe = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        done = subprocess.run(describe, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
