"""`seq2seq bench`: measure a training, from outside: how fast it is, where its time goes, how far it is from the limit.

The speed is that of updates left alone. The same updates then run again under a clock (`clock.py`), whose readings slow
them a little: from them come the parts. Last, the matrix products of an update are counted, and timed with nothing else
to do (`products.py`). What comes of it is a `Profile`.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any, NamedTuple

import torch

from seq2seq.config import Config, ModelConfig, load_config
from seq2seq.data.batches import Batch, Batches
from seq2seq.data.corpus import EncodedPair, Pair, encode_pairs
from seq2seq.data.dataset import learn_tokenizers, make_batches, training_text
from seq2seq.devices import autocast, choose_device
from seq2seq.errors import UserError
from seq2seq.model.build import build_model, count_parameters
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.profiling.clock import Clock, TimedBatches, watched
from seq2seq.profiling.products import operations, products, seconds_alone, square, synchronize
from seq2seq.profiling.profile import Part, Profile, parts_of
from seq2seq.runs.run import Run
from seq2seq.text.tokenizer import PAD, Tokenizers
from seq2seq.training.progress import Progress
from seq2seq.training.train import updates
from seq2seq.training.update import make_optimizer, update

WARMUP = 5  # updates before those that are measured
SQUARE = 2048  # rows and columns of the product that stands for what the machine can do
PAIRS = 65_536  # read from the beginning of a corpus: enough that batches are as even as those of all of it
SAMPLES = 6  # updates on one batch


def bench(target: Path, overrides: Sequence[str], count: int) -> Profile:
    """Profile `count` updates of a config (of its untrained model) or of a run (of its best checkpoint); write nothing.

    Raises:
        UserError: a config, run or corpus at fault, overrides of a run, no updates.
    """
    if count < 1:
        raise UserError(f"--updates is {count}; write 1 or more")
    subject = _subject(target, overrides)
    config, model, device, training = subject.config, subject.model, subject.device, subject.config.training
    dtype = _dtype(subject)
    large = square(SQUARE, dtype)
    before = large.operations / seconds_alone(large, device)
    _forget_peak(device)
    seconds, batches = _time_updates(subject, count)
    memory = _peak(device)
    after = large.operations / seconds_alone(large, device)
    lengths = [pair for batch in batches for pair in zip(*_lengths(batch), strict=True)]
    tokens = sum(batch.tokens for batch in batches)
    return Profile(
        target=str(target),
        parameters=count_parameters(model),
        torch=torch.__version__,
        device=device.type,
        precision=str(dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        cores=_cores(),
        updates=count,
        sentences=len(lengths) / count,
        tokens=tokens / count,
        batch_key="training.batch_tokens" if training.batch_type == "tokens" else "training.batch_sentences",
        padding=_padding(batches),
        by_tokens=subject.by_tokens,
        at_once=_at_once(config.model),
        tokens_per_second=tokens / sum(seconds),
        update_ms=[1e3 * s for s in (quantiles(seconds, n=4, method="inclusive") if count > 1 else 3 * seconds)],
        memory=memory,
        parts=_time_parts(subject, count),
        operations=operations(model, lengths, training) / count,
        vocabulary_operations=6 * model.decoder.W_y.weight.numel() * tokens / count,
        square=SQUARE,
        square_rates=[before, after],
        **_sample(subject, sorted(batches, key=lambda batch: batch.tokens)[len(batches) // 2]),
    )


class Subject(NamedTuple):
    """What is measured: what `train` would train, without what it would write."""

    config: Config
    model: Seq2Seq
    device: torch.device
    batches: Batches
    by_tokens: dict[str, float] | None


def _subject(target: Path, overrides: Sequence[str]) -> Subject:
    run = Run.open(target) if target.is_dir() else None
    if run and overrides:
        raise UserError(f"{overrides[0]}: {target} is a run, whose config is settled; bench {target / 'config.yaml'}")
    config = run.config() if run else load_config(target, overrides)
    device = choose_device(config.training.device)
    torch.manual_seed(config.seed)
    if run:
        model, tokenizers = run.load_model(device=device)
    else:
        tokenizers = learn_tokenizers(config)
        model = build_model(config, tokenizers).to(device)
    text = (Pair.normalized(*row) for row in islice(training_text(config), PAIRS))
    pairs, report = encode_pairs(text, tokenizers.src, tokenizers.tgt, config.data.max_length)
    report.must_keep_a_pair()
    batches = make_batches(config, pairs, tokenizers)
    return Subject(config, model, device, batches, _by_tokens(config, pairs, tokenizers, batches))


def _by_tokens(
    config: Config, pairs: Sequence[EncodedPair], tokenizers: Tokenizers, batches: Batches
) -> dict[str, float] | None:
    """The padding, were batches of the same size cut by tokens; None where they are."""
    if config.training.batch_type == "tokens":
        return None
    size = round(mean(max(batch.src.numel(), batch.tgt_out.numel()) for batch in islice(batches.iterate(0), 50)))
    training = config.training.model_copy(update={"batch_type": "tokens", "batch_tokens": size})
    other = make_batches(config.model_copy(update={"training": training}), pairs, tokenizers)
    return {"batch_tokens": size, "padding": other.padding_share()}


# ------------------------------------------------------------------------------------------------ time and memory


def _time_updates(subject: Subject, count: int) -> tuple[list[float], list[Batch]]:
    """Seconds of each update, and their batches."""
    batches = TimedBatches(subject.batches, Clock(time.perf_counter))
    ends = []
    for _ in _updates(subject, batches, make_optimizer(subject.config.training, subject.model), count):
        synchronize(subject.device)
        ends.append(time.perf_counter())
    seconds = [end - start for start, end in pairwise(ends[WARMUP - 1 :])]
    return seconds, batches.seen[WARMUP * subject.config.training.accumulate :]


def _time_parts(subject: Subject, count: int) -> dict[str, Part]:
    """The parts of an update, in the order of `PARTS`, those that there are."""
    clock = Clock(partial(_now, subject.device))
    optimizer = make_optimizer(subject.config.training, subject.model)
    batches = TimedBatches(subject.batches, clock)
    with watched(subject.model, optimizer, clock):
        for done, _ in enumerate(_updates(subject, batches, optimizer, count), start=1):
            if done == WARMUP:
                clock.restart()
        clock.enter("other")
    return parts_of(clock.seconds, count)


def _updates(
    subject: Subject, batches: TimedBatches, optimizer: torch.optim.Optimizer, count: int
) -> Iterator[dict[str, Any]]:
    """Train for the warm-up and `count` updates more."""
    lengths = {"max_updates": WARMUP + count, "max_minutes": None, "validate_every": 1}  # a record an update
    training = subject.config.training.model_copy(update=lengths)
    progress = Progress()
    stream = batches.stream(progress.position)
    records = updates(training, subject.model, optimizer, stream, progress, subject.device)
    return (record for record in records if record is not None)


def _now(device: torch.device) -> float:
    synchronize(device)
    return time.perf_counter()


def _sample(subject: Subject, batch: Batch) -> dict[str, float]:
    """Milliseconds of updates on one batch, of their products alone, and of updates on its longest source sentence."""
    batch, training = batch.to(subject.device), subject.config.training
    row = int(batch.src_lengths.argmax())
    src, lengths, tgt_in, tgt_out = (side[row : row + 1] for side in batch[:4])
    one = Batch(src, lengths, tgt_in, tgt_out, tokens=int((tgt_out != PAD).sum()))
    model, optimizer = subject.model.train(), make_optimizer(training, subject.model)
    whole: list[float] = []
    single: list[float] = []
    found = products(model, batch, training)
    alone = [times * seconds_alone(product, subject.device) for product, times in found.items()]
    for _ in range(SAMPLES):
        for taken, what in ((whole, batch), (single, one)):
            start = _now(subject.device)
            update(model, optimizer, [what], training)
            taken.append(_now(subject.device) - start)
    names = ("sample_ms", "sample_products_ms", "sample_sentence_ms")
    return {name: 1e3 * s for name, s in zip(names, (median(whole), sum(alone), median(single)), strict=True)}


def _forget_peak(device: torch.device) -> None:
    """Have `_peak` speak of what comes from here on, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> int:
    """Bytes at the peak: on the GPU, or of the process without mapped files (with them where there is no /proc)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        highest, files, shared = (int(status[name].split()[0]) for name in ("VmHWM", "RssFile", "RssShmem"))
    except (OSError, KeyError):
        import resource  # not on every system

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 1024 * (highest - files - shared)


# ------------------------------------------------------------------------------------------------------------ facts


def _dtype(subject: Subject) -> torch.dtype:
    """What products are computed in."""
    device = subject.device.type
    with autocast(subject.device, subject.config.training.precision):
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32


def _cores() -> int:
    """Cores that this process may use; where the system tells, the two threads of one count once."""
    there = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    twins = {n: Path(f"/sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list") for n in there}
    return len({path.read_text() if path.is_file() else str(n) for n, path in twins.items()})


def _lengths(batch: Batch) -> tuple[list[int], list[int]]:
    """Tokens of each sentence, `</s>` included: of the source, of the target."""
    return batch.src_lengths.tolist(), (batch.tgt_out != PAD).sum(1).tolist()


def _padding(batches: Sequence[Batch]) -> dict[str, float]:
    """The share of positions that hold padding."""
    real = [sum(map(sum, side)) for side in zip(*map(_lengths, batches), strict=True)]
    there = [sum(batch.src.numel() for batch in batches), sum(batch.tgt_out.numel() for batch in batches)]
    src, tgt = (1 - r / n for r, n in zip(real, there, strict=True))
    return {"src": src, "tgt": tgt, "both": 1 - sum(real) / sum(there)}


def _at_once(model: ModelConfig) -> str | None:
    """What would let the decoder take all positions at once; None where it does."""
    decoder, past = model.decoder, model.attention.past
    changes = {
        "model.decoder.type=rnn": decoder.type == "bahdanau",
        "model.decoder.input_feeding=false": decoder.input_feeding,
        f"model.attention.{past}=false": past != "none",
    }
    return " ".join(change for change, needed in changes.items() if needed) or None
