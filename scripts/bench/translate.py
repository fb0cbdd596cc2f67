"""Measure how fast a trained run translates: as a whole command, a file at once, and one sentence at a time.

    python scripts/bench/translate.py runs/toy                    the run's test set
    python scripts/bench/translate.py RUN --input FILE            the lines of a file

Two measurements include the start of a process: one that imports, loads and translates a single line, and the command
`seq2seq translate` for all lines. Two have the model loaded: all lines at once, and one line at a time, as a user types
them. Beam and batch size are those of the run.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import torch

from seq2seq.data.lines import stream_lines
from seq2seq.decoding.translator import Translator
from seq2seq.evaluation.evaluate import split_texts
from seq2seq.fast.allocator import keep_freed_memory
from seq2seq.runs.run import Run

FIRST = (
    "import sys; from seq2seq.decoding.translator import Translator; "
    "print(Translator.load(sys.argv[1]).translate([sys.argv[2]], attention=False)[0].text)"
)
TYPED = 200  # lines translated one at a time, at most


def seconds(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def spread(values: list[float], form: str) -> str:
    """Return the median and the range of values."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("--input", type=Path, help="source lines, instead of the run's test set")
    parser.add_argument("--rounds", type=int, default=5, help="except for single lines (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="(default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()  # as our commands do
    lines = list(stream_lines(args.input)) if args.input else split_texts(Run.open(args.run), "test")[0]

    def python(*arguments: object) -> Callable[[], object]:
        command = ["env", f"OMP_NUM_THREADS={args.threads}", sys.executable, *map(str, arguments)]
        return lambda: subprocess.run(command, check=True, capture_output=True)

    # with the start of a process
    print(f"{args.run}, {len(lines):,} lines, threads: {args.threads}, torch {torch.__version__}\n")
    cold = [seconds(python("-c", FIRST, args.run, lines[0])) for _ in range(args.rounds)]
    print(f"import to first translation    {spread(cold, '.2f')} s")
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "source"), Path(folder, "output")
        source.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        command = python("-m", "seq2seq", "translate", args.run, "--input", source, "--output", output)
        print(f"whole command, all lines       {spread([seconds(command) for _ in range(args.rounds)], '.2f')} s")

    # with the model loaded
    translator = Translator.load(args.run)
    translator.translate(lines[:64], attention=False)
    together = [seconds(lambda: translator.translate(lines, attention=False)) for _ in range(args.rounds)]
    print(f"all lines, model loaded        {spread(together, '.2f')} s")
    typed = [1000 * seconds(partial(translator.translate, [line], attention=False)) for line in lines[:TYPED]]
    slow = quantiles(typed, n=20)[-1]
    print(f"a line typed                   median {median(typed):.1f} ms, 95th percentile {slow:.1f} ms")


if __name__ == "__main__":
    main()
