"""`seq2seq selftest`: show on the user's own machine that this installation keeps its promises.

Each check works as a user does (with a corpus in files, a config, `train`, `load`, and commands in processes that it
kills) in a temporary folder. It reports what it has just measured.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from importlib.metadata import version
from importlib.util import find_spec
from io import StringIO
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from seq2seq.config import Config, parse_config
from seq2seq.decoding.translator import Translator
from seq2seq.devices import choose_device
from seq2seq.errors import UserError
from seq2seq.evaluation.measures import measure
from seq2seq.files import fingerprint, write_json
from seq2seq.runs.run import Run
from seq2seq.scratch import ended_with_us, temporary_folder
from seq2seq.text.sentences import Sentences
from seq2seq.text.tokenizer import train_tokenizers
from seq2seq.training.train import train

LONGEST = 300  # seconds to wait for a process that needs a few, on a machine that is busy
TO_REPORT = "this is a bug: please report it, with all that `seq2seq selftest` prints"


class Outcome(NamedTuple):
    """The result of a check."""

    name: str
    passed: bool
    shown: str  # what was measured; if the check failed, also what to do
    seconds: float


def selftest() -> Iterator[Outcome]:
    """Run all checks one after the other, even if one fails."""
    torch.set_num_threads(1)  # on a busy processor, threads with little to do wait for each other for minutes
    for check in (parts, learn, resume, refuse, processes):
        yield outcome(check)


def outcome(check: Callable[[Path], str]) -> Outcome:
    """Run one check in a folder of its own; a check returns what it has measured, or raises."""
    start = time.perf_counter()
    try:
        with temporary_folder("seq2seq-selftest-") as folder, redirect_stderr(StringIO()):
            passed, shown = True, check(folder)
    except UserError as error:
        passed, shown = False, str(error)
    except Exception as error:  # any other exception is a failure too
        passed, shown = False, f"{type(error).__name__}: {error}; install the package again, and report it if it stays"
    return Outcome(check.__name__, passed, shown, time.perf_counter() - start)


LINES = ["Das Mädchen öffnet die Tür.", "그 고양이는 물고기를 먹었다.", "  1,000 naïve cafés … at once", "the old cat"]
EXTRAS = {
    "plot": ("matplotlib",),
    "tensorboard": ("tensorboard",),
    "serve": ("fastapi", "uvicorn"),
    "onnx": ("onnx", "onnxruntime"),
    "completion": ("shtab",),
}


def parts(folder: Path) -> str:
    """Check that the libraries do what this package needs."""
    # tokenizers
    results: list[tuple[str, str, object, object]] = []  # package, what, result, expected result
    kinds: tuple[Any, ...] = ("unigram", "bpe", "char", "word")
    for kind in kinds:
        tokenizers = train_tokenizers(kind, 400, True, False, "split", LINES, [])
        package, unseen = ("torchtext", []) if kind == "word" else ("sentencepiece", ["unseen: 🐟 ž"])
        for line in [*LINES, *unseen]:
            again = tokenizers.tgt.decode(tokenizers.src.encode(line))
            results.append((package, f"{kind} tokens of a line, as text", again, " ".join(line.split())))

    # sentences, scores, weights
    sentences = Sentences(language="en").split("Dr. Smith sleeps. The dog eats.")
    same, other = (round(measure(lines, [LINES], lowercase=False)["bleu"].score, 6) for lines in (LINES, ["%"] * 4))
    weights = torch.randn(1000)
    save_file({"weights": weights}, folder / "weights.safetensors")
    kept = load_file(folder / "weights.safetensors")["weights"]
    results += [
        ("sentencex", "the sentences of a line", sentences, ["Dr. Smith sleeps.", "The dog eats."]),
        ("sacrebleu", "BLEU of equal lines", same, 100.0),
        ("sacrebleu", "BLEU of lines without a common letter", other, 0.0),
        ("safetensors", "numbers that are not what was written", int((kept != weights).sum()), 0),
    ]
    for package, what, result, expected in results:
        if result != expected:
            raise UserError(
                f"{package} {version(package)}: {what}: {result!r}, expected {expected!r}; install it again "
                f"(pip install --force-reinstall --no-deps {package})"
            )

    # what is installed
    packages = ", ".join(f"{package} {version(package)}" for package in dict.fromkeys(result[0] for result in results))
    extras = ", ".join(f"{name} {'yes' if all(map(find_spec, modules)) else 'no'}" for name, modules in EXTRAS.items())
    return (
        f"torch {version('torch')} on {choose_device('auto')}; {packages}: tokens give every line back, BLEU is "
        f"{same:.1f} of equal lines and {other:.1f} of different ones, vectors and weights are as in their files; "
        f"extras: {extras}"
    )


UNSEEN, ENOUGH = 100, 90  # strings to reverse after training, and the least number that must be right


def learn(folder: Path) -> str:
    """Check that a model learns to reverse strings; without attention or with a wrong gradient it would not."""
    # train
    unseen = _write_corpus(folder, 6000)
    schedule = {"learning_rate": 0.01, "schedule": "cosine", "warmup_updates": 20}
    config = _config(folder, {"max_updates": 400, "validate_every": 400, **schedule})
    run = train(config, folder / "run")

    # translate strings that were not in the corpus
    translations = Translator.load(run.path).translate(list(unseen))
    right = sum(t.text == reverse for t, reverse in zip(translations, unseen.values(), strict=True))
    shown = f"{right} of {UNSEEN} strings it has not seen, after {config.training.max_updates} updates"
    if right < ENOUGH:
        device = choose_device(config.training.device).type
        on_cpu = "try whether the CPU learns: CUDA_VISIBLE_DEVICES= seq2seq selftest"
        fix = TO_REPORT if device == "cpu" else on_cpu
        raise UserError(f"reverses only {shown} on {device}; at least {ENOUGH} are expected; {fix}")
    return f"reverses {shown}"


def _write_corpus(folder: Path, count: int) -> dict[str, str]:
    """Write random strings of 3 to 9 letters and their reverses, to train and validate on; return `UNSEEN` others."""
    rng = random.Random(1)
    strings = {" ".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(count)}
    rows = [(string, string[::-1]) for string in sorted(strings)]
    rng.shuffle(rows)
    for split, pairs in {"train": rows[2 * UNSEEN :], "dev": rows[UNSEEN : UNSEEN + 20]}.items():
        (folder / f"{split}.tsv").write_text("".join("\t".join(pair) + "\n" for pair in pairs), encoding="utf-8")
    return dict(rows[:UNSEEN])


def _config(folder: Path, training: Mapping[str, Any], *, dropout: float = 0.0) -> Config:
    """Return the config of a small model for the corpus in a folder."""
    data = {split: str(folder / f"{split}.tsv") for split in ("train", "dev")} | {"src": "string", "tgt": "reverse"}
    model = {"embedding_size": 64, "dropout": dropout, "encoder": {"hidden_size": 64}, "decoder": {"hidden_size": 64}}
    training = {"batch_type": "sentences", "early_stopping_metric": "exact_match", **training}
    keys = {"data": data, "tokenizer": {"type": "word"}, "model": model, "training": training}
    return parse_config({**keys, "search": {"max_length": 12}}, "selftest")


ENDLESS = {"max_updates": 1_000_000, "validate_every": 10, "patience": 0, "batch_sentences": 16, "device": "cpu"}


def resume(folder: Path) -> str:
    """Check that a training that is killed, resumed, stopped and resumed ends with the same bits as an undisturbed one.

    It runs on the CPU, since a GPU may round its sums differently from run to run.
    """
    # killed, resumed, stopped, resumed
    _write_corpus(folder, 2000)
    (folder / "endless.yaml").write_text(_config(folder, ENDLESS, dropout=0.2).to_yaml(), encoding="utf-8")
    run = Run(folder / "run")
    _interrupt(folder, run, signal.SIGKILL, after=15)
    killed = run.checkpoints.all()[-1].update
    _interrupt(folder, run, signal.SIGTERM, after=25)
    stopped = run.checkpoints.all()[-1].update
    config = _config(folder, {**ENDLESS, "max_updates": stopped + 5}, dropout=0.2)
    train(config, run.path, resume=True)

    # undisturbed
    whole = train(config, folder / "whole")
    if found := difference(run, whole):
        raise UserError(f"a resumed training does not end as an undisturbed one does: {found}; {TO_REPORT}")
    return (
        f"on the CPU, killed (kill -9) and resumed from update {killed}, stopped (SIGTERM) and resumed from update "
        f"{stopped}: at update {stopped + 5} the same weights and metrics to the bit as without"
    )


def _interrupt(folder: Path, run: Run, number: signal.Signals, *, after: int) -> None:
    """Train in another process, and send it a signal after some updates."""
    # wait for the updates, then send the signal
    train_it = ["-m", "seq2seq", "train", str(folder / "endless.yaml"), "--run", str(run.path), "--resume"]
    with _process(folder, *train_it) as process:
        end = time.monotonic() + LONGEST
        while max((record["update"] for record in run.metrics.records()), default=0) < after:
            if process.poll() is not None or time.monotonic() > end:
                raise UserError(f"a training that is to be stopped did not get to update {after}: {_complaint(folder)}")
            time.sleep(0.01)
        process.send_signal(number)
        code = process.wait(LONGEST)

    # check how it ended
    expected = 128 + number if number == signal.SIGTERM else -number
    if code != expected:
        raise UserError(f"after {number.name} exit code {code}, expected {expected}: {_complaint(folder)}; {TO_REPORT}")


@contextmanager
def _process(folder: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start another Python process with one thread; write its output to a file, and end it with the block.

    It also ends if this process is killed. Signals of a terminal do not reach it. It finds the modules that this
    process finds, and none in the working folder.
    """
    paths = os.pathsep.join(map(os.path.abspath, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))))
    safe = {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1", "PYTHONPATH": paths}
    command, variables = [sys.executable, *arguments], os.environ | safe | environment
    with (
        open(folder / "log.txt", "wb") as file,
        subprocess.Popen(
            command, stdout=file, stderr=file, env=variables, cwd=folder, start_new_session=True
        ) as process,
        ended_with_us(process, folder),
    ):
        try:
            yield process
        finally:
            process.terminate()  # torchrun then ends its processes
            process.wait()


def _complaint(folder: Path) -> str:
    """Return our own error message in the output of a process; else the first line about an error, or the last line."""
    lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    ours = [line for line in lines if line.startswith("seq2seq: error: ")]
    errors = [line for line in lines if "Error" in line]
    return next(iter([*ours, *errors, *lines[-1:]]), "it printed nothing")


def difference(run: Run, other: Run) -> str | None:
    """Describe the first difference between two trainings, to the bit, times left out; None if there is none."""
    # checkpoints
    for pointer in ("best", "last"):
        ours, theirs = run.checkpoints.named(pointer), other.checkpoints.named(pointer)
        if not (ours and theirs and ours.name == theirs.name):
            return f"`{pointer}` is {ours and ours.name}, expected {theirs and theirs.name}"
        mine, expected = ((checkpoint.path / "model.safetensors").read_bytes() for checkpoint in (ours, theirs))
        if mine != expected:
            return f"model.safetensors of `{pointer}` ({ours.name}) differs"

    # metrics
    untimed = {"seconds": 0, "tokens_per_second": 0}
    missing: dict[str, Any] = {}
    for now, before in zip_longest(run.metrics.records(), other.metrics.records(), fillvalue=missing):
        if now | untimed != before | untimed:
            return f"the metrics differ from update {(before or now)['update']} on"
    return None


def refuse(folder: Path) -> str:
    """Check that a checkpoint with a wrong bit is skipped, and that a checkpoint with code is refused."""
    # a training with two checkpoints
    _write_corpus(folder, 500)
    config = _config(folder, {"max_updates": 20, "validate_every": 20, "save_every": 10, "device": "cpu"})
    run = train(config, folder / "run")
    before, last = run.checkpoints.all()

    # one wrong bit
    weights = last.path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    if run.checkpoints.find("last") != before:
        raise UserError(f"one bit of {weights.name} in {last.name} was wrong, and nothing noticed it; {TO_REPORT}")
    train(config, run.path, resume=True)
    if weights.read_bytes() != whole:
        raise UserError(f"resumed from {before.name}, a training does not end at the same weights; {TO_REPORT}")

    # code, with a manifest that fits
    file, trace = last.path / "training.pt", folder / "trace"
    trap = type("Trap", (), {"__reduce__": lambda _: (os.mkdir, (str(trace),))})()  # reading it makes a folder
    torch.save(torch.load(file, weights_only=True) | {"trap": trap}, file)
    manifest = json.loads((last.path / "manifest.json").read_bytes())
    manifest["files"][file.name] = fingerprint(file)
    write_json(last.path / "manifest.json", manifest)
    refused = True
    with suppress(UserError):
        train(config, run.path, resume=True)
        refused = False
    if trace.exists() or not refused:
        did = "ran" if trace.exists() else "was not refused"
        raise UserError(f"code in training.pt of a checkpoint {did}; resume no run of somebody else; {TO_REPORT}")
    return (
        f"one wrong bit in the checkpoint of update {last.update} is noticed, and training goes on from update "
        f"{before.update} to the same weights; a checkpoint with code in it is refused, and the code does not run"
    )


ROUNDING = 1e-5  # of sums in another order; a gradient that is wrong by a factor changes weights by some hundredths


def processes(folder: Path) -> str:
    """Check that two processes that share the batches do the same updates as one; plain SGD shows a wrong factor."""
    # two processes
    _write_corpus(folder, 500)
    training = {"max_updates": 20, "optimizer": "sgd", "learning_rate": 0.5, "clip_norm": 0.0, "device": "cpu"}
    (folder / "two.yaml").write_text(_config(folder, training).to_yaml(), encoding="utf-8")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    train_it = ["seq2seq", "train", str(folder / "two.yaml"), "--run", str(folder / "two")]
    with _process(folder, *torchrun, *train_it, CUDA_VISIBLE_DEVICES="") as process:
        if process.wait(LONGEST):
            raise UserError(
                f"two processes could not train: {_complaint(folder)}; only training with several processes needs "
                "this: check that processes may connect to each other on this machine"
            )

    # one process with twice the batches an update
    train(_config(folder, {**training, "accumulate": 2}), folder / "one")
    runs = Run(folder / "two"), Run(folder / "one")
    two, one = (load_file(run.checkpoints.all()[-1].path / "model.safetensors") for run in runs)
    largest = max((two[name] - one[name]).abs().max().item() for name in one)
    if largest > ROUNDING:
        raise UserError(f"a weight of two processes differs by {largest:.2g} from that of one process; {TO_REPORT}")
    return f"two processes (gloo) do the updates of one with twice the batches: weights differ by {largest:.1g} at most"
