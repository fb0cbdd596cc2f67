"""The training state that an exact resume needs besides the weights, and the changes that a resume refuses."""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from seq2seq.config import Config, flatten_keys, resolve_paths
from seq2seq.data.batches import Position
from seq2seq.data.corpus import Pair
from seq2seq.errors import UserError
from seq2seq.fast.precision import Precision
from seq2seq.files import fingerprint, is_file
from seq2seq.runs.checkpoints import Checkpoint
from seq2seq.runs.environment import describe_machine
from seq2seq.runs.run import Digests, Run
from seq2seq.training.processes import Processes
from seq2seq.training.progress import Progress

TrainingState = dict[str, Any]  # only numbers, strings and tensors, so loading it never runs code

MAY_CHANGE = (  # keys that do not affect the updates
    "training.patience",
    "training.max_minutes",
    "training.keep",
    "training.save_every",
    "training.device",
    "data.train",  # where the files are; `_changed_data` looks at their content
    "data.dev",
    "data.test",
    "search.",
)
CHANGES_BATCHES = ("data.", "seed", "training.batch_")  # keys that decide which pairs form which batch


# ------------------------------------------------------------------------------------------------- training states


def collect_state(
    progress: Progress,
    optimizer: torch.optim.Optimizer,
    metrics_bytes: int,
    processes: Processes,
    device: torch.device,
    precision: Precision,
) -> TrainingState:
    """Collect everything that resuming needs besides the weights. Every process must call this."""
    return {
        "progress": asdict(progress),
        "optimizer": optimizer.state_dict(),
        "metrics_bytes": metrics_bytes,
        "processes": processes.size,
        "machine": describe_machine(precision),
        "random": processes.gather(_random_state(device)),
    }


def restore_state(
    state: TrainingState,
    changes: list["Change"],
    optimizer: torch.optim.Optimizer,
    processes: Processes,
    device: torch.device,
) -> Progress:
    """Restore the state that `collect_state` collected, as far as the changes since then allow.

    A new kind of optimizer starts with empty moments; new batches start at the beginning of the epoch. If there are
    more processes than before, the additional ones keep the random states that they have.

    Returns:
        The progress at the checkpoint.
    """
    # the optimizer's moments, with the settings of the config as it is now
    keys = [change.key for change in changes]
    if "training.optimizer" not in keys:
        settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        optimizer.load_state_dict(state["optimizer"])
        for group, setting in zip(optimizer.param_groups, settings, strict=True):
            group.update(setting)

    # random states
    if processes.rank < len(state["random"]):
        _restore_random_state(state["random"][processes.rank], device)

    # progress
    progress = Progress.from_dict(state["progress"])
    if any(key.startswith(CHANGES_BATCHES) for key in keys):
        progress.position = Position(progress.position.epoch)
    return progress


def _random_state(device: torch.device) -> TrainingState:
    numpy = np.random.get_state(legacy=False)
    assert isinstance(numpy, dict)
    numpy["state"]["key"] = numpy["state"]["key"].tolist()
    state = {"python": random.getstate(), "numpy": numpy, "cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _restore_random_state(state: TrainingState, device: torch.device) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


# ---------------------------------------------------------------------------------------------------------- yardsticks


def yardstick_of(config: Config, metric: str, dev: Sequence[Pair]) -> str:
    """Return a digest of what decides which checkpoint is the best: the measure and the dev set."""
    tokenize = config.evaluation.bleu_tokenize if metric == "bleu" else ""
    return hashlib.sha256(json.dumps([metric, tokenize, dev]).encode()).hexdigest()


# ------------------------------------------------------------------------------------------------------------ changes


class Change(NamedTuple):
    """A key or a file that has changed since the run was begun."""

    key: str  # the key of the config; for a changed file, the key that names the file
    text: str
    is_file: bool = False


def find_changes(
    run: Run,
    config: Config,
    metric: str,
    digests: Digests,
    checkpoint: Checkpoint | None,
    state: TrainingState | None,
    processes: Processes,
) -> list[Change]:
    """List the changes since a run was begun: in config, data files and vocabularies.

    `metric` decides which checkpoint is the best now, and `digests` are those of the data now.

    Raises:
        UserError: something has changed that must never change.
    """
    changed = _changed_keys(run, config, metric, state, processes), _changed_data(run, digests), _changed_models(run)
    found = [*chain(*changed)]
    if checkpoint and (file := checkpoint.changed_tokenizer(run.path / "tokenizer")):
        text = f"{file} is not what {checkpoint.name} was trained with"
        found.append(Change("tokenizer", text, is_file=True))
    return found


def _changed_keys(
    run: Run, config: Config, metric: str, state: TrainingState | None, processes: Processes
) -> Iterator[Change]:
    known, given = run.config(), resolve_paths(config)

    # what may change: also `max_updates`, unless the schedule uses it; `accumulate`, if updates stay the same; the name
    # of the measure, if it is the same measure; and the tokenizer for BLEU, if BLEU decides nothing
    free = [*MAY_CHANGE]
    before = state["progress"].get("metric") if state else None
    if given.training.early_stopping_metric == "auto" == known.training.early_stopping_metric or metric == (
        before or known.training.early_stopping_metric
    ):
        free.append("training.early_stopping_metric")
    if metric != "bleu":
        free.append("evaluation.bleu_tokenize")
    if given.training.schedule not in ("cosine", "one_cycle"):
        free.append("training.max_updates")
    size_before = state["processes"] if state else processes.size
    if size_before * known.training.accumulate == processes.size * given.training.accumulate:
        free.append("training.accumulate")

    # what has changed
    before, now = (dict(flatten_keys(c.model_dump())) for c in (known, given))
    for key in now:
        if before.get(key) != now[key] and not key.startswith(tuple(free)):
            text = f"{run.path} was begun with {key} = {before.get(key)}, and the config now says {now[key]}"
            if key.startswith("tokenizer.") and key != "tokenizer.sampling":
                raise UserError(f"{text}, but its vocabulary is learned: train in another folder with --run DIR")
            yield Change(key, text)


def _changed_data(run: Run, digests: Digests) -> Iterator[Change]:
    try:
        known = run.environment()["data"]
    except UserError as error:
        yield Change("data.train", f"it is unknown whether the data of {run.path} have changed: {error}")
        return
    for split in ("train", "dev"):
        names, before, now = [*digests[split]], [*known[split].values()], [*digests[split].values()]
        different = [i for i in range(len(now)) if len(before) != len(now) or before[i] != now[i]]
        for i in different:
            yield Change(f"data.{split}", f"{names[i]} of data.{split} has changed since {run.path} was begun", True)


def _changed_models(run: Run) -> Iterator[Change]:
    """Find the user's own sentencepiece models that have changed: the run still has the vocabulary of the old ones."""
    try:
        known = run.environment().get("tokenizer_models", {})
    except UserError:
        return
    for name, digest in known.items():
        file = Path(name)
        if is_file(file) and fingerprint(file)["sha256"] != digest:
            text = f"{file} of tokenizer.model has changed since {run.path} was begun, which keeps the old vocabulary"
            yield Change("tokenizer.model", text, is_file=True)


def describe_differences(
    state: TrainingState | None, processes: Processes, accumulate: int, precision: Precision
) -> list[str]:
    """Describe what differs between the processes and the machine of a checkpoint and the present ones."""
    if state is None:
        return []
    found, before, now = [], state["processes"], processes.size
    if before != now:
        found.append(
            f"processes: {now}, before: {before}; so batches an update (training.accumulate x processes): "
            f"{now * accumulate}, and dropout draws other numbers"
        )
    return [*found, *describe_machines(state.get("machine", {}), describe_machine(precision))]


def describe_machines(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Describe what differs between the machine of a checkpoint and this one; nothing differs on the same machine."""
    effect = "so the last digits of all numbers differ from those of a training that was never stopped"
    return [
        f"{key}: {now[key]}, before: {before[key]}; {effect}" for key in now if before.get(key, now[key]) != now[key]
    ]
