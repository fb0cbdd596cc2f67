"""Measure what a larger corpus costs before and during training: time, memory and disk, for 1, 10 and 100 times a base.

    python scripts/bench/scale.py --folder DIR [--base 100000] [--times 1 10 100] [--updates 60]

The corpora have random sentences of 1 to 25 words, drawn by Zipf's law, and word by word translations. The vocabulary
is unigram, of 8,000; the model has 64 units, so that updates cost little. Each training runs in its own process, whose
anonymous memory (RssAnon, Linux) is read every few milliseconds, and is then resumed for as many updates again. Corpora
and runs are kept in the folder; an existing run is replaced. The table goes to standard output.
"""

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

TRAIN = "import sys, seq2seq; seq2seq.train(sys.argv[1], run=sys.argv[2], resume=True)"
WORDS, LONGEST, BLOCK = 30_000, 25, 10_000
SYLLABLES = ["".join(pair) for pair in itertools.product("bdfgklmnprst", "aeiou")]
VALIDATE_EVERY = 19  # the largest number with which every update is logged
READ_EVERY = 0.005  # seconds between two measurements of memory


def write_corpus(prefix: Path, pairs: int, seed: int) -> None:
    """Write `prefix.en` and `prefix.de`, unless they exist; they are renamed to these names when complete."""
    if prefix.with_suffix(".de").exists():
        return
    unfinished = [prefix.with_suffix(ending) for ending in (".unfinished", ".de_unfinished")]
    with open(unfinished[0], "w", encoding="utf-8") as src, open(unfinished[1], "w", encoding="utf-8") as tgt:
        for src_lines, tgt_lines in sentences(pairs, seed):
            src.write(src_lines)
            tgt.write(tgt_lines)
    for file, ending in zip(unfinished, (".en", ".de"), strict=True):
        file.rename(prefix.with_suffix(ending))


def sentences(pairs: int, seed: int) -> Iterator[tuple[str, str]]:
    """Yield blocks of source lines and target lines."""
    rng = np.random.default_rng(seed)
    src, tgt = lexicon(1), lexicon(2)
    cumulative = np.cumsum(1 / np.arange(1, WORDS + 1))
    for begin in range(0, pairs, BLOCK):
        lengths = rng.integers(1, LONGEST + 1, min(BLOCK, pairs - begin))
        words = np.searchsorted(cumulative, rng.random(lengths.sum()) * cumulative[-1])
        ends = np.cumsum(lengths).tolist()
        lines = list(itertools.pairwise([0, *ends]))
        src_lines, tgt_lines = ("".join(" ".join(side[words[a:b]]) + "\n" for a, b in lines) for side in (src, tgt))
        yield src_lines, tgt_lines


def lexicon(seed: int) -> np.ndarray:
    """Return `WORDS` random words."""
    rng = np.random.default_rng(seed)
    return np.array(["".join(rng.choice(SYLLABLES, 1 + n % 4)) for n in range(WORDS)], dtype=object)


def write_config(folder: Path, pairs: int, updates: int) -> Path:
    """Write the config of a training on this many pairs."""
    config = {
        "data": {"train": str(folder / f"train{pairs}"), "dev": str(folder / "dev"), "src": "en", "tgt": "de"},
        "tokenizer": {"type": "unigram", "vocab_size": 8000, "joint": True},
        "model": {
            "embedding_size": 64,
            "encoder": {"cell": "gru", "hidden_size": 64},
            "decoder": {"cell": "gru", "hidden_size": 64},
        },
        "training": {"batch_tokens": 1024, "max_updates": updates, "validate_every": VALIDATE_EVERY, "patience": 0},
        "search": {"max_length": 5},
    }
    path = folder / f"config{pairs}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


# ---------------------------------------------------------------------------------------------------------- measures


@dataclass
class Watched:
    """Measurements of a training: when each stage ended, and the peak of memory in each stage, in bytes."""

    reached: dict[str, float] = field(default_factory=dict)  # seconds after its start
    memory: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    others: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # of all its child processes together

    def seconds(self, stage: str) -> float:
        """Return the seconds that a stage took."""
        before = [0.0, *self.reached.values()]
        return self.reached[stage] - before[list(self.reached).index(stage)]


def watch(config: Path, run: Path) -> Watched:
    """Train or resume to the end, and measure. A stage ends when a file appears or grows."""
    metrics = run / "metrics.jsonl"
    logged = size(metrics)
    ends = {
        "vocabulary": lambda: (run / "tokenizer").exists(),
        "store": lambda: (run / "store").exists(),
        "first update": lambda: size(metrics) > logged,
    }
    watched, stages = Watched(), iter(ends)
    stage = next(stages)
    start = time.perf_counter()
    with open(run.with_suffix(".log"), "a", encoding="utf-8") as log:
        process = subprocess.Popen([sys.executable, "-c", TRAIN, config, run], stdout=log, stderr=log)
        while process.poll() is None:
            while stage in ends and ends[stage]():
                watched.reached[stage] = time.perf_counter() - start
                stage = next(stages, "updates")
            watched.memory[stage] = max(watched.memory[stage], anonymous(process.pid))
            watched.others[stage] = max(watched.others[stage], sum(map(anonymous, children(process.pid))))
            time.sleep(READ_EVERY)
    if process.returncode:
        sys.exit(f"the training has failed: see {log.name}")
    watched.reached["updates"] = time.perf_counter() - start
    return watched


def anonymous(pid: int) -> int:
    """Return the bytes of anonymous memory of a process; 0 after its end."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))


def children(pid: int) -> list[int]:
    """Return the processes that the main thread of a process has started."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; 0 if it does not exist."""
    files = path.iterdir() if path.is_dir() else [path] if path.exists() else []
    return sum(file.stat().st_size for file in files)


def row(folder: Path, pairs: int, updates: int) -> str:
    """Train on this many pairs, then resume; return the line of the table."""
    write_corpus(folder / f"train{pairs}", pairs, seed=1)
    run = folder / f"run{pairs}"
    shutil.rmtree(run, ignore_errors=True)
    fresh = watch(write_config(folder, pairs, updates), run)
    resumed = watch(write_config(folder, pairs, 2 * updates), run)
    text = sum(size(folder / f"train{pairs}.{language}") for language in ("en", "de"))
    training = [max(each.memory["first update"], each.memory["updates"]) for each in (fresh, resumed)]
    cells = [
        f"{pairs:,}",
        f"{text / 1e6:,.0f}",
        f"{size(run / 'store') / 1e6:,.0f}",
        f"{fresh.seconds('vocabulary'):,.1f}",
        f"{fresh.seconds('store'):,.1f}",
        f"{pairs / fresh.seconds('store'):,.0f}",
        f"{fresh.reached['first update']:,.1f}",
        f"{resumed.reached['first update']:,.1f}",
        *(f"{fresh.memory[stage] / 2**20:,.0f}" for stage in ("vocabulary", "store")),
        *(f"{most / 2**20:,.0f}" for most in training),
        *(f"{fresh.others[stage] / 2**20:,.0f}" for stage in ("vocabulary", "store")),
    ]
    return f"| {' | '.join(cells)} |"


HEAD = """\
| pairs | text, MB | store, MB | vocabulary, s | preparation, s | pairs/s | first update, s | resumed, s | \
memory, MiB: vocabulary | preparation | training | resumed | others: vocabulary | preparation |
|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--base", type=int, default=100_000)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--updates", type=int, default=60)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    write_corpus(args.folder / "dev", 20, seed=2)
    print(f"{os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')}\n\n{HEAD}")
    for times in args.times:
        print(row(args.folder, times * args.base, args.updates), flush=True)


if __name__ == "__main__":
    main()
