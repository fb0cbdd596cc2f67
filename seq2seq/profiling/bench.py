"""`seq2seq bench`: measure how fast a model trains, where the time goes, and how far that is from the machine's limit.

Updates run three times: alone, for their speed; under torch's profiler, for the time of each part; and under torch's
counter of operations. The learning rate is 0, so that the weights stay as they are.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice, pairwise
from pathlib import Path
from statistics import mean, median, quantiles
from typing import NamedTuple

import torch

from seq2seq.config import Config, ModelConfig, load_config
from seq2seq.data.batches import Batch, Batches, Position
from seq2seq.data.corpus import Pair, encode_pairs
from seq2seq.data.dataset import learn_tokenizers, make_batches, padding_share, training_text
from seq2seq.data.store import EncodedPair
from seq2seq.devices import autocast, choose_device
from seq2seq.errors import UserError
from seq2seq.model.build import build_model, count_parameters
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.profiling.operations import operation_counter, square_rate
from seq2seq.profiling.parts import data_range, profile_updates, synchronized_time
from seq2seq.profiling.profile import Profile, parts_of
from seq2seq.runs.run import Run
from seq2seq.text.tokenizer import PAD, Tokenizers
from seq2seq.training.update import make_optimizer, update

WARMUP = 5  # updates before those that are measured
PROFILED = 10  # updates under the profiler and the counter, at most: both slow them
SQUARE = 2048  # rows and columns of the product that stands for what the machine can do
PAIRS = 65_536  # pairs read from the beginning of a corpus: enough that batches are as even as those of all of it
SAMPLES = 6  # updates on one batch, and on one sentence of it


def bench(target: Path, overrides: Sequence[str], count: int) -> Profile:
    """Profile `count` updates of a config (of its untrained model) or of a run (of its best checkpoint); write nothing.

    Raises:
        UserError: a config, run or corpus at fault, overrides of a run, no updates.
    """
    if count < 1:
        raise UserError(f"--updates is {count}; write 1 or more")
    subject = _read(target, overrides)
    config, model, device, training = subject.config, subject.model, subject.device, subject.config.training
    dtype = _dtype(subject)

    # speed and memory, between two measurements of what the machine can do
    before = square_rate(SQUARE, dtype, device)
    _forget_peak(device)
    seconds, batches = _time_updates(subject, count)
    memory = _peak(device)
    after = square_rate(SQUARE, dtype, device)

    # parts and operations
    profiled = min(count, PROFILED)
    parts = profile_updates(model, _updates(subject, profiled), device)
    with operation_counter() as counter:
        counted = list(chain.from_iterable(_updates(subject, profiled)))
    operations_a_token = counter.get_total_flops() / sum(batch.tokens for batch in counted)

    # a single batch
    middle = sorted(batches, key=lambda batch: batch.tokens)[len(batches) // 2]
    whole, single = _time_a_batch_and_a_sentence(subject, middle)

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
        sentences=sum(len(batch.src) for batch in batches) / count,
        tokens=tokens / count,
        batch_key="training.batch_tokens" if training.batch_type == "tokens" else "training.batch_sentences",
        padding=_padding(batches),
        by_tokens=subject.by_tokens,
        at_once=_at_once(config.model),
        tokens_per_second=tokens / sum(seconds),
        update_ms=[1e3 * s for s in (quantiles(seconds, n=4, method="inclusive") if count > 1 else 3 * seconds)],
        memory=memory,
        parts=parts_of(parts, profiled),
        operations=operations_a_token * tokens / count,
        vocabulary_operations=6 * model.decoder.W_y.weight.numel() * tokens / count,
        square=SQUARE,
        square_rates=[before, after],
        sample_ms=1e3 * whole,
        sample_sentence_ms=1e3 * single,
    )


class Subject(NamedTuple):
    """The training that is measured, without a run folder."""

    config: Config
    model: Seq2Seq
    optimizer: torch.optim.Optimizer  # with a learning rate of 0
    device: torch.device
    batches: Batches
    by_tokens: dict[str, float] | None  # as in `Profile`


def _read(target: Path, overrides: Sequence[str]) -> Subject:
    """Read a config or a run, the beginning of its training text, and make the model and the batches."""
    # the config
    run = Run.open(target) if target.is_dir() else None
    if run and overrides:
        raise UserError(f"{overrides[0]}: {target} is a run, whose config is settled; bench {target / 'config.yaml'}")
    config = run.config() if run else load_config(target, overrides)
    device = choose_device(config.training.device)

    # the model
    torch.manual_seed(config.seed)
    if run:
        model, tokenizers = run.load_model(device=device)
    else:
        tokenizers = learn_tokenizers(config)
        model = build_model(config, tokenizers).to(device)

    # the batches
    text = (Pair.normalized(*row) for row in islice(training_text(config), PAIRS))
    pairs, report = encode_pairs(text, tokenizers.src, tokenizers.tgt, config.data.max_length)
    report.must_keep_a_pair()
    batches = make_batches(config, pairs, tokenizers)
    by_tokens = _by_tokens(config, pairs, tokenizers, batches)

    # an optimizer that leaves the weights as they are
    optimizer = make_optimizer(config.training.model_copy(update={"learning_rate": 0.0}), model)
    return Subject(config, model, optimizer, device, batches, by_tokens)


def _by_tokens(
    config: Config, pairs: Sequence[EncodedPair], tokenizers: Tokenizers, batches: Batches
) -> dict[str, float] | None:
    """Return the padding that batches of the same size would have if they were cut by tokens; None if they are."""
    if config.training.batch_type == "tokens":
        return None
    size = round(mean(max(batch.src.numel(), batch.tgt_out.numel()) for batch in islice(batches.iterate(0), 50)))
    training = config.training.model_copy(update={"batch_type": "tokens", "batch_tokens": size})
    other = make_batches(config.model_copy(update={"training": training}), pairs, tokenizers)
    return {"batch_tokens": size, "padding": padding_share(other)}


# ------------------------------------------------------------------------------------------------ time and memory


def _updates(subject: Subject, count: int) -> Iterator[list[Batch]]:
    """Do updates from the first batch on, as `train` does; yield the batches of each update after it."""
    training, model = subject.config.training, subject.model.train()
    stream = subject.batches.stream(Position())
    for _ in range(count):
        with data_range():
            micro_batches = [next(stream)[1].to(subject.device) for _ in range(training.accumulate)]
        update(model, subject.optimizer, micro_batches, training)
        yield micro_batches


def _time_updates(subject: Subject, count: int) -> tuple[list[float], list[Batch]]:
    """Return the seconds of each update after the warm-up, reading included, and the batches of these updates."""
    ends, batches = [], []
    for micro_batches in _updates(subject, WARMUP + count):
        ends.append(synchronized_time(subject.device))
        batches.append(micro_batches)
    seconds = [end - start for start, end in pairwise(ends[WARMUP - 1 :])]
    return seconds, list(chain.from_iterable(batches[WARMUP:]))


def _time_a_batch_and_a_sentence(subject: Subject, batch: Batch) -> tuple[float, float]:
    """Return the median seconds of an update on a batch, and on the sentence of it with the longest source."""
    row = int(batch.src_lengths.argmax())
    src, lengths, tgt_in, tgt_out = (side[row : row + 1] for side in batch[:4])
    sentence = Batch(src, lengths, tgt_in, tgt_out, tokens=int((tgt_out != PAD).sum()))
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(SAMPLES):  # in turn, so that another load on the machine meets both
        for taken, what in zip(seconds, (batch, sentence), strict=True):
            start = synchronized_time(subject.device)
            update(subject.model, subject.optimizer, [what], subject.config.training)
            taken.append(synchronized_time(subject.device) - start)
    return median(seconds[0]), median(seconds[1])


def _forget_peak(device: torch.device) -> None:
    """Let the peak of memory begin anew, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> int:
    """Return the bytes at the peak: on the GPU, or of the process without mapped files (with them without /proc)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        highest, files, shared = (int(status[name].split()[0]) for name in ("VmHWM", "RssFile", "RssShmem"))
    except (OSError, KeyError):
        import resource  # not on every system

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 1024 * (highest - files - shared)


# ---------------------------------------------------------------------------------------------------------- facts


def _dtype(subject: Subject) -> torch.dtype:
    """Return the type of numbers that matrix products are computed in."""
    device = subject.device.type
    with autocast(subject.device, subject.config.training.precision):
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32


def _cores() -> int:
    """Count the cores that this process may use; where the system tells, the two threads of a core count once."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    siblings = {n: Path(f"/sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list") for n in usable}
    return len({path.read_text() if path.is_file() else str(n) for n, path in siblings.items()})


def _padding(batches: Sequence[Batch]) -> dict[str, float]:
    """Return the share of positions that hold padding: of the source, of the target, of both."""
    shares = {}
    sides = {"src": [batch.src for batch in batches], "tgt": [batch.tgt_out for batch in batches]}
    for name, tensors in (*sides.items(), ("both", sides["src"] + sides["tgt"])):
        shares[name] = 1 - sum(int((ids != PAD).sum()) for ids in tensors) / sum(ids.numel() for ids in tensors)
    return shares


def _at_once(model: ModelConfig) -> str | None:
    """Return the keys that would let the decoder compute all positions at once; None where it does already."""
    decoder, past = model.decoder, model.attention.past
    changes = {
        "model.decoder.type=rnn": decoder.type == "bahdanau",
        "model.decoder.input_feeding=false": decoder.input_feeding,
        f"model.attention.{past}=false": past != "none",
    }
    return " ".join(change for change, needed in changes.items() if needed) or None
