"""`seq2seq selftest`: show on the user's own machine that this installation keeps its promises.

Each check works as a user does (with a corpus in files, a config, `train`, `load`, and commands in processes that it
kills) in a temporary folder. It reports what it has just measured.
"""

import importlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import version
from io import StringIO
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from seq2seq.config import Config, parse_config
from seq2seq.decoding.translator import Translator
from seq2seq.devices import choose_device
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import measure
from seq2seq.files import fingerprint, write_json
from seq2seq.runs.run import Run
from seq2seq.text.tokenizer import train_tokenizers
from seq2seq.text.vectors import load_vectors
from seq2seq.training.train import train

LONGEST = 300  # seconds to wait for a process that needs a few, on a machine that is busy
TO_REPORT = "this is a bug: please report it, with all that `seq2seq selftest` prints"


class Outcome(NamedTuple):
    """The result of a check.

    Attributes:
        name: the name of the check.
        passed: whether everything worked.
        shown: what was measured; if the check failed, also what to do.
        seconds: how long the check took.
    """

    name: str
    passed: bool
    shown: str
    seconds: float


def selftest() -> Iterator[Outcome]:
    """Run all checks, one after the other, also after one has failed."""
    for check in (parts, learn, resume, refuse, processes):
        yield outcome(check)


def outcome(check: Callable[[Path], str]) -> Outcome:
    """Run one check in a folder of its own; a check returns what it has measured, or raises."""
    start = time.perf_counter()
    try:
        with TemporaryDirectory(prefix="seq2seq-selftest-") as folder, redirect_stderr(StringIO()), _one_thread():
            passed, shown = True, check(Path(folder))
    except UserError as error:
        passed, shown = False, str(error)
    except Exception as error:  # any other exception is a failure too
        passed, shown = False, f"{type(error).__name__}: {error}; install the package again, and report it if it stays"
    return Outcome(check.__name__, passed, shown, time.perf_counter() - start)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread: on a busy processor, threads with little to do wait for each other for minutes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# -------------------------------------------------------------------------------------------------------------- parts

LINES = ["Das Mädchen öffnet die Tür.", "그 고양이는 물고기를 먹었다.", "  1,000 naïve cafés … at once", "the old cat"]
EXTRAS = {"plot": ("matplotlib",), "tensorboard": ("tensorboard",), "serve": ("fastapi", "uvicorn")}


def parts(folder: Path) -> str:
    """Check that the libraries do what this package needs."""
    # tokenizers and vectors
    kinds: tuple[Any, ...] = ("unigram", "bpe", "char", "word")
    for kind in kinds:
        tokenizers = train_tokenizers(kind, 400, True, False, "split", LINES, [])
        package, unseen = ("torchtext", []) if kind == "word" else ("sentencepiece", ["unseen: 🐟 ž"])
        for line in [*LINES, *unseen]:
            again = tokenizers.tgt.decode(tokenizers.src.encode(line))
            _must_be(package, f"{kind} tokens of a line, as text", again, " ".join(line.split()))
    (folder / "vectors").write_text("cat 1 2 3\nTür. 4 5 6\n", encoding="utf-8")
    vectors, found = load_vectors(folder / "vectors", tokenizers.src)
    _must_be("torchtext", "the vectors of two words", vectors[found].sum().item(), 21.0)

    # scores
    same, other = (round(measure(lines, [LINES], lowercase=False)["bleu"].score, 6) for lines in (LINES, ["%"] * 4))
    _must_be("sacrebleu", "BLEU of equal lines", same, 100.0)
    _must_be("sacrebleu", "BLEU of lines without a common letter", other, 0.0)

    # weights
    weights = torch.randn(1000)
    save_file({"weights": weights}, folder / "weights.safetensors")
    kept = load_file(folder / "weights.safetensors")["weights"]
    _must_be("safetensors", "numbers that are not what was written", int((kept != weights).sum()), 0)

    # what is installed
    device = choose_device("auto")
    extras = ", ".join(f"{name} {'yes' if _is_there(modules) else 'no'}" for name, modules in EXTRAS.items())
    return (
        f"torch {version('torch')} on {device}; sentencepiece {version('sentencepiece')}: unigram, bpe and char give "
        f"every line back; torchtext {version('torchtext')}: words and vectors too; sacrebleu {version('sacrebleu')}: "
        f"BLEU {same:.1f} of equal lines, {other:.1f} of different ones; safetensors {version('safetensors')}: the "
        f"same bits; extras: {extras}"
    )


def _must_be(package: str, what: str, found: object, expected: object) -> None:
    """Raise UserError if a package has another result than expected."""
    if found != expected:
        raise UserError(
            f"{package} {version(package)}: {what}: {found!r}, expected {expected!r}; install it again "
            f"(pip install --force-reinstall --no-deps {package})"
        )


def _is_there(modules: tuple[str, ...]) -> bool:
    """Return whether modules are installed; a module that is installed but broken raises."""
    try:
        for module in modules:
            importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in modules:
            raise
        return False
    return True


# -------------------------------------------------------------------------------------------------------------- learn

UNSEEN, ENOUGH = 100, 90  # strings to reverse after training, and the least number that must be right


def learn(folder: Path) -> str:
    """Check that a model learns to reverse strings; without attention or with a wrong gradient it would not."""
    # train
    start = time.perf_counter()
    unseen = _write_corpus(folder, 6000)
    schedule = {"learning_rate": 0.01, "schedule": "cosine", "warmup_updates": 20}
    config = _config(folder, {"max_updates": 400, "validate_every": 400, **schedule})
    run = train(config, folder / "run")

    # translate strings that were not in the corpus
    translations = Translator.load(run.path).translate(list(unseen))
    right = sum(t.text == reverse for t, reverse in zip(translations, unseen.values(), strict=True))
    took = f"{config.training.max_updates} updates, {time.perf_counter() - start:.0f} s"
    if right < ENOUGH:
        device = choose_device(config.training.device)
        on_cpu = "try whether the CPU learns: CUDA_VISIBLE_DEVICES= seq2seq selftest"
        raise UserError(
            f"reverses only {right} of {UNSEEN} strings it has not seen ({took}, on {device}); at least {ENOUGH} are "
            f"expected; {TO_REPORT if device.type == 'cpu' else on_cpu}"
        )
    return f"reverses {right} of {UNSEEN} strings it has not seen ({took})"


def _write_corpus(folder: Path, count: int) -> dict[str, str]:
    """Write random strings of 3 to 9 letters and their reverses, to train and validate on; return `UNSEEN` others."""
    rng = random.Random(1)
    strings = {" ".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(count)}
    rows = [(string, string[::-1]) for string in sorted(strings)]
    rng.shuffle(rows)
    splits = {"train": rows[2 * UNSEEN :], "dev": rows[UNSEEN : UNSEEN + 20]}
    for split, pairs in splits.items():
        (folder / f"{split}.tsv").write_text("".join("\t".join(pair) + "\n" for pair in pairs), encoding="utf-8")
    return dict(rows[:UNSEEN])


def _config(folder: Path, training: Mapping[str, Any], *, dropout: float = 0.0) -> Config:
    """Return the config of a small model for the corpus in a folder."""
    data = {split: str(folder / f"{split}.tsv") for split in ("train", "dev")} | {"src": "string", "tgt": "reverse"}
    sizes = {"hidden_size": 64}
    model = {"embedding_size": 64, "dropout": dropout, "encoder": sizes, "decoder": sizes}
    training = {"batch_type": "sentences", "early_stopping_metric": "exact_match", **training}
    keys = {"data": data, "tokenizer": {"type": "word"}, "model": model, "training": training}
    return parse_config({**keys, "search": {"max_length": 12}}, "selftest")


# ------------------------------------------------------------------------------------------------------------- resume

ENDLESS = {"max_updates": 1_000_000, "validate_every": 10, "patience": 0, "batch_sentences": 16, "device": "cpu"}


def resume(folder: Path) -> str:
    """Check that a training that is killed, resumed, stopped and resumed ends with the bits of an undisturbed one.

    It runs on the CPU, since a GPU may round its sums differently from run to run.
    """
    # killed, resumed, stopped, resumed
    _write_corpus(folder, 2000)
    (folder / "endless.yaml").write_text(_config(folder, ENDLESS, dropout=0.2).to_yaml(), encoding="utf-8")
    run = Run(folder / "run")
    killed = _interrupt(folder, run, signal.SIGKILL, after=15)
    saved = _saved_update(run)
    stopped = _interrupt(folder, run, signal.SIGTERM, after=25)
    config = _config(folder, {**ENDLESS, "max_updates": stopped + 5}, dropout=0.2)
    train(config, run.path, resume=True)

    # undisturbed
    whole = train(config, folder / "whole")
    if difference := _difference(run, whole):
        raise UserError(f"a resumed training does not end as an undisturbed one does: {difference}; {TO_REPORT}")
    return (
        f"on the CPU, killed (kill -9) after update {killed} and resumed from {saved}, stopped (SIGTERM) after update "
        f"{stopped} and resumed: at update {config.training.max_updates} the same weights and metrics to the bit as "
        "without"
    )


def _interrupt(folder: Path, run: Run, number: signal.Signals, *, after: int) -> int:
    """Train in another process, send it a signal after some updates, and return how many it had done."""
    # wait for the updates, send the signal
    train_it = ["-m", "seq2seq", "train", str(folder / "endless.yaml"), "--run", str(run.path), "--resume"]
    with _process(folder, *train_it) as (process, log):
        end = time.monotonic() + LONGEST
        while _updates(run) < after:
            if process.poll() is not None or time.monotonic() > end:
                raise UserError(f"a training that is to be stopped did not get to update {after}: {_complaint(log)}")
            time.sleep(0.01)
        process.send_signal(number)
        code = process.wait(LONGEST)

    # how it ended
    expected = 128 + number if number == signal.SIGTERM else -number
    if code != expected:
        raise UserError(f"after {number.name} exit code {code}, expected {expected}: {_complaint(log)}; {TO_REPORT}")
    return _saved_update(run) if number == signal.SIGTERM else _updates(run)


@contextmanager
def _process(folder: Path, *arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Start another Python with as many threads as this one and a file for what it prints; end it with the block."""
    log = folder / "log.txt"
    variables = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())} | environment
    with open(log, "wb") as file:
        process = subprocess.Popen([sys.executable, *arguments], stdout=file, stderr=file, env=variables)
    try:
        yield process, log
    finally:
        process.terminate()  # torchrun then ends its processes
        try:
            process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _complaint(log: Path) -> str:
    """Return our own error message in what a process printed; else the first line about an error, or the last."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    for pattern in ("seq2seq: error: ", r"\S.*([Ee]rror|exception)"):
        if found := next((line for line in lines if re.match(pattern, line)), None):
            return found
    return lines[-1] if lines else "it printed nothing"


def _updates(run: Run) -> int:
    """Return the last update in the metrics."""
    return max((record["update"] for record in run.metrics.records()), default=0)


def _saved_update(run: Run) -> int:
    """Return the update of the last checkpoint, or 0."""
    last = run.checkpoints.named("last")
    return last.update if last else 0


def _difference(run: Run, other: Run) -> str | None:
    """Describe the first difference between two trainings, to the bit, times left out; None if there is none."""
    # checkpoints
    for pointer in ("best", "last"):
        ours, theirs = run.checkpoints.named(pointer), other.checkpoints.named(pointer)
        if ours is None or theirs is None or ours.name != theirs.name:
            return f"`{pointer}` is {ours.name if ours else 'missing'}, expected {theirs.name if theirs else 'none'}"
        mine, expected = (load_file(checkpoint.path / "model.safetensors") for checkpoint in (ours, theirs))
        if different := [name for name in expected if not torch.equal(mine[name], expected[name])]:
            return f"{len(different)} of {len(expected)} weights differ in {ours.name}, the first is {different[0]}"

    # metrics
    for mine, expected in zip_longest(_timeless(run), _timeless(other)):
        if mine is None or expected is None:
            return f"the metrics end before update {(mine or expected)['update']}"
        if mine != expected:
            return f"the metrics differ from update {expected['update']} on"
    return None


def _timeless(run: Run) -> list[dict[str, Any]]:
    """Return the metrics without times."""
    times = ("seconds", "tokens_per_second")
    return [{key: value for key, value in record.items() if key not in times} for record in run.metrics.records()]


# ------------------------------------------------------------------------------------------------------------- refuse


def refuse(folder: Path) -> str:
    """Check that a checkpoint with a wrong bit is replaced by the one before, and that one with code is not read."""
    # a training with two checkpoints
    _write_corpus(folder, 500)
    config = _config(folder, {"max_updates": 20, "validate_every": 20, "save_every": 10, "device": "cpu"})
    run = train(config, folder / "run")
    before, last = run.checkpoints.all()

    # one wrong bit
    weights = last.path / "model.safetensors"
    whole = weights.read_bytes()
    middle = len(whole) // 2
    weights.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    if run.checkpoints.find("last") != before:
        raise UserError(f"one bit of {weights.name} in {last.name} was wrong, and nothing noticed it; {TO_REPORT}")
    train(config, run.path, resume=True)
    if weights.read_bytes() != whole:
        raise UserError(f"resumed from {before.name}, a training does not end at the same weights; {TO_REPORT}")

    # code
    trace = folder / "trace"
    _lay_trap(last.path, trace)
    try:
        train(config, run.path, resume=True)
        refused = False
    except UserError:
        refused = True
    if trace.exists() or not refused:
        did = "ran" if trace.exists() else "was not refused"
        raise UserError(f"code in training.pt of a checkpoint {did}; resume no run of somebody else; {TO_REPORT}")
    return (
        f"one wrong bit in the checkpoint of update {last.update} is noticed, and training goes on from update "
        f"{before.update} to the same weights; a checkpoint with code in it is refused, and the code does not run"
    )


class _Trap:
    """An object whose pickle makes a folder when it is loaded without care."""

    def __init__(self, trace: Path):
        self._trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self._trace),)


def _lay_trap(checkpoint: Path, trace: Path) -> None:
    """Put code into a checkpoint, with a manifest that fits."""
    state = torch.load(checkpoint / "training.pt", weights_only=True)
    torch.save(state | {"trap": _Trap(trace)}, checkpoint / "training.pt")
    manifest = json.loads((checkpoint / "manifest.json").read_bytes())
    manifest["files"]["training.pt"] = fingerprint(checkpoint / "training.pt")
    write_json(checkpoint / "manifest.json", manifest)


# ---------------------------------------------------------------------------------------------------------- processes

ROUNDING = 1e-5  # from adding in another order; a gradient that is wrong by a factor moves weights by some hundredths


def processes(folder: Path) -> str:
    """Check that two processes that share the batches do the same updates as one; plain SGD shows a wrong factor."""
    # two processes
    _write_corpus(folder, 500)
    training = {"max_updates": 20, "optimizer": "sgd", "learning_rate": 0.5, "clip_norm": 0.0, "device": "cpu"}
    (folder / "two.yaml").write_text(_config(folder, training).to_yaml(), encoding="utf-8")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    train_it = ["seq2seq", "train", str(folder / "two.yaml"), "--run", str(folder / "two")]
    with _process(folder, *torchrun, *train_it, CUDA_VISIBLE_DEVICES="") as (process, log):
        if process.wait(LONGEST):
            raise UserError(
                f"two processes could not train: {_complaint(log)}; only training with several processes needs this: "
                "check that processes may connect to each other on this machine"
            )

    # one process with twice the batches an update
    one = train(_config(folder, {**training, "accumulate": 2}), folder / "one")
    ours, theirs = (
        load_file(run.checkpoints.all()[-1].path / "model.safetensors") for run in (Run(folder / "two"), one)
    )
    largest = max((ours[name] - theirs[name]).abs().max().item() for name in theirs)
    if largest > ROUNDING:
        raise UserError(
            f"after 20 updates a weight of two processes differs by {largest:.2g} from that of one process with the "
            f"same batches; {TO_REPORT}"
        )
    return (
        f"two processes (gloo) do the same {_updates(one)} updates as one with twice the batches: weights differ by at "
        f"most {largest:.1g}"
    )
