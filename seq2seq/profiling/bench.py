"""`seq2seq bench`: measure how fast a model trains, where the time goes, and how far that is from the machine's limit.

Updates run three times: alone, for their speed; under torch's profiler, for the time of each part; and under torch's
counter of operations. The learning rate is 0, so that the weights stay as they are.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from seq2seq.archives import is_archive
from seq2seq.build import build_model
from seq2seq.config import Config, ModelConfig, load_config
from seq2seq.data.batches import Batch, Batches, Position
from seq2seq.data.corpus import encode_pairs
from seq2seq.data.dataset import learn_tokenizers, make_batches, training_text
from seq2seq.devices import choose_device, device_to_open_on
from seq2seq.errors import UserError
from seq2seq.fast.precision import Precision, choose_precision
from seq2seq.files import is_folder
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.profiling.operations import FORMULAS, square_rate
from seq2seq.profiling.parts import data_range, profile_updates, synchronized_time
from seq2seq.profiling.profile import Profile, parts_of
from seq2seq.runs.fitting import count_parameters, must_fit
from seq2seq.runs.run import Run
from seq2seq.training.update import make_optimizer, update

WARMUP = 5  # updates before the measured ones
MOST = 100_000  # updates that can be measured
PROFILED = 10  # updates under the profiler and the counter, at most: both slow them
PAIRS = 65_536  # pairs read from the beginning of a corpus: enough that batches are as even as those of all of it


def bench(target: Path, overrides: Sequence[str], count: int, name: str | None = None) -> Profile:
    """Profile `count` updates of a config (of its untrained model) or of a run (of its best checkpoint); write nothing.

    `name` is the device; by default that of the config, or the CPU if a run's config names one that is not here.

    Raises:
        UserError: a config, run or corpus at fault, overrides of a run, no updates.
    """
    if not 1 <= count <= MOST:
        raise UserError(f"--updates is {count}; write 1 to {MOST}")
    subject = _read(target, overrides, name)
    config, model, device, precision = subject.config, subject.model, subject.device, subject.precision

    # speed and memory, beside what the machine can do
    seconds, batches = _time_updates(subject, count)
    memory = _peak_of_memory(device)
    rate = square_rate(precision, device)

    # parts and operations
    few = min(count, PROFILED)
    parts = profile_updates(model, _updates(subject, few), device)
    with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
        counted = list(chain.from_iterable(_updates(subject, few)))
    operations = counter.get_total_flops() / sum(batch.tokens for batch in counted)

    # batches of a single sentence
    single_seconds, _ = _time_updates(subject._replace(batches=subject.singles), few)

    tokens = sum(batch.tokens for batch in batches)
    return Profile(
        target=str(target),
        parameters=count_parameters(model),
        torch=torch.__version__,
        device=device.type,
        precision=str(precision),
        threads=torch.get_num_threads(),
        cores=_count_cores(),
        updates=count,
        sentences=sum(len(batch.src) for batch in batches) / count,
        tokens=tokens / count,
        batch_key=f"training.batch_{config.training.batch_type}",
        src_padding=1 - sum(int(batch.src_lengths.sum()) for batch in batches) / sum(b.src.numel() for b in batches),
        tgt_padding=1 - tokens / sum(batch.tgt_out.numel() for batch in batches),
        at_once=_at_once(config.model),
        tokens_per_second=tokens / float(seconds.sum()),
        update_ms=(1e3 * np.percentile(seconds, [25, 50, 75])).tolist(),
        single_ms=float(1e3 * np.median(single_seconds)),
        memory=memory,
        parts=parts_of(parts, few),
        operations=operations * tokens / count,
        square_rate=rate,
    )


class Subject(NamedTuple):
    """The training that is measured, without a run folder."""

    config: Config
    model: Seq2Seq
    optimizer: torch.optim.Optimizer  # with a learning rate of 0
    device: torch.device
    precision: Precision
    batches: Batches
    singles: Batches  # of one sentence each


def _read(target: Path, overrides: Sequence[str], name: str | None = None) -> Subject:
    """Read a config or a run and the beginning of its training text; make the model and the batches."""
    # the config
    run = Run.open(target) if is_folder(target) or is_archive(target) else None
    if run:
        run.must_be_a_folder("it holds no text to train on; bench a config or a run folder")
    if run and overrides:
        raise UserError(f"{overrides[0]}: {target} is a run, whose config is settled; bench {target / 'config.yaml'}")
    config = run.config() if run else load_config(target, overrides)
    device = (device_to_open_on if run and not name else choose_device)(name or config.training.device)
    precision = choose_precision(device, config.training.precision)

    # the model
    torch.manual_seed(config.seed)
    if run:
        model, tokenizers = run.load_model(device=device)
    else:
        tokenizers = learn_tokenizers(config)
        must_fit(config, tokenizers, device, training=True)
        model = build_model(config, tokenizers).to(device)

    # an optimizer that leaves the weights as they are
    optimizer = make_optimizer(config.training.model_copy(update={"learning_rate": 0.0}), model)

    # the batches
    rows = islice(training_text(config), PAIRS)
    pairs, report = encode_pairs(rows, tokenizers.src, tokenizers.tgt, config.data.max_length)
    report.must_keep_a_pair()
    batches, singles = make_batches(config, pairs, tokenizers), Batches(pairs, 1, "sentences", config.seed)
    return Subject(config, model, optimizer, device, precision, batches, singles)


def _updates(subject: Subject, count: int) -> Iterator[list[Batch]]:
    """Do updates from the first batch on, as `train` does; yield the batches of each update after it."""
    training, model = subject.config.training, subject.model.train()
    stream = subject.batches.stream(Position())
    for _ in range(count):
        with data_range():
            micro_batches = [next(stream)[1].to(subject.device) for _ in range(training.accumulate)]
        update(model, subject.optimizer, micro_batches, training, precision=subject.precision)
        yield micro_batches


def _time_updates(subject: Subject, count: int) -> tuple[np.ndarray, list[Batch]]:
    """Return the seconds of each update after the warm-up, reading included, and the batches of these updates."""
    ends, batches = [], []
    for micro_batches in _updates(subject, WARMUP + count):
        ends.append(synchronized_time(subject.device))
        batches.append(micro_batches)
    return np.diff(ends[WARMUP - 1 :]), list(chain.from_iterable(batches[WARMUP:]))


def _peak_of_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: of the GPU, or of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _count_cores() -> int:
    """Count the cores that this process may use; where the system tells, the two threads of a core count once."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    siblings = {n: Path(f"/sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list") for n in usable}
    return len({path.read_text() if path.is_file() else str(n) for n, path in siblings.items()})


def _at_once(model: ModelConfig) -> str | None:
    """Return the keys that would let the decoder compute all positions at once; None where it does already."""
    decoder, past = model.decoder, model.attention.past
    changes = {
        "model.decoder.type=rnn": decoder.type == "bahdanau",
        "model.decoder.input_feeding=false": decoder.input_feeding,
        f"model.attention.{past}=false": past != "none",
    }
    return " ".join(change for change, needed in changes.items() if needed) or None
