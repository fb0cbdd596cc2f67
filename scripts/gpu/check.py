"""Check this project on a device: truths, the speed of training and of search. One JSON file, and its tables.

    python scripts/gpu/check.py [--device cuda|cpu] [--tiny] [--budget SECONDS] [--out FILE]

`check.sh` beside this file prepares the environment and keeps the time. No case begins after the budget; each result is
in the file as soon as it is there, so that a process that is killed leaves a complete file. The exit status is 1 if a
case failed. Shares of the peak are of the fastest large product that this device reaches in the same precision.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from cases import Report, Result, Setup, tables, use_tf32
from search_speed import search_graphs, search_speed
from training_speed import decoder_graphs, fast_parts, peaks, training_parts, training_speed, training_with_tf32
from truths import truths

from seq2seq.config import parse_config
from seq2seq.devices import choose_device
from seq2seq.errors import UserError
from seq2seq.fast.precision import choose_precision
from seq2seq.runs.environment import describe_environment

SECTIONS = {  # in the order of their worth, as time may run out; graphs late, since a failed capture may break the rest
    "truths": truths,
    "peak": peaks,
    "training": training_speed,
    "search": search_speed,
    "fast parts": fast_parts,
    "parts of an update": training_parts,
    "search with graphs": search_graphs,
    "decoder with graphs": decoder_graphs,
    "training with TF32": training_with_tf32,
}


def describe(device: torch.device, commit: str | None) -> Result:
    """Describe the machine, the versions and the commit."""
    data = {"train": "train", "dev": "dev", "src": "en", "tgt": "de"}
    config = parse_config({"data": data, "training": {"device": str(device)}}, "check")
    about = describe_environment(config, {}, choose_precision(device, "auto"))
    about["commit"] = about["commit"] or commit
    about |= {"torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        about |= {"gpu": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
        about["multiprocessors"] = properties.multi_processor_count
        about["driver"] = driver()
    return about


def driver() -> str | None:
    """Return the version of the driver, if nvidia-smi tells."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.split()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return None


def stop(*_: object) -> None:
    """End the check, with the tables of what was done."""
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu (default: %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="small models: is everything there, not how fast")
    parser.add_argument(
        "--budget", type=float, default=340, help="seconds; no case begins later (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path("build/gpu/check.json"), help="default: %(default)s")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="default: all")
    parser.add_argument("--commit", help="of this tree, where git cannot tell")
    args = parser.parse_args()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # with this, cuBLAS repeats the same bits
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        device = choose_device(args.device)
    except UserError as error:
        print(f"check.py: {error}", file=sys.stderr)
        return 2

    # run; by default without TF32, so that float32 is float32
    report = Report(args.out, describe(device, args.commit), args.budget)
    try:
        use_tf32(False)
        with tempfile.TemporaryDirectory(prefix="seq2seq-check-") as folder:
            setup = Setup(device, args.tiny, Path(folder))
            for name in args.sections:
                print(name, file=sys.stderr)
                report.run(name, SECTIONS[name](setup), setup)
    except KeyboardInterrupt:
        print("check.py: stopped", file=sys.stderr)

    # show
    print("\n".join(tables(json.loads(args.out.read_text(encoding="utf-8")))))
    return 1 if report.content["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
