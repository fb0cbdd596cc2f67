"""What a training keeps beside its weights to go on exactly, and what may not change before it does."""

import logging
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from seq2seq.config import Config, resolve_paths
from seq2seq.data.batches import Position
from seq2seq.errors import UserError, resume_command
from seq2seq.runs.checkpoints import Checkpoint
from seq2seq.runs.run import Digests, Run
from seq2seq.training.processes import Processes
from seq2seq.training.progress import Progress

log = logging.getLogger("seq2seq")

State = dict[str, Any]  # plain numbers, strings and tensors: nothing that would run code when it is read

FREE_TO_CHANGE = (
    "training.patience",
    "training.max_minutes",
    "training.keep",
    "training.save_every",
    "training.device",
    "data.test",
    "search.",
)
OF_THE_PLAN = ("data.", "seed", "training.batch_")  # which pairs form which batch, and in which order


# ----------------------------------------------------------------------------------------------- taking and restoring


def taken(progress: Progress, optimizer: torch.optim.Optimizer, processes: Processes, device: torch.device) -> State:
    """All that a resumed training needs besides the weights and the metrics; every process must call this."""
    return {
        "progress": progress.as_dict(),
        "optimizer": optimizer.state_dict(),
        "processes": processes.size,
        "random": processes.gather(_random_state(device)),
    }


def restored(
    state: State, changed: list["Change"], optimizer: torch.optim.Optimizer, processes: Processes, device: torch.device
) -> Progress:
    """Put back what `taken` took, but for what has changed since: another optimizer starts without memory, another
    plan of batches with the epoch. Of more processes than before, the new ones draw new random numbers."""
    keys = [change.key for change in changed]
    if "training.optimizer" not in keys:
        settings = [
            {name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups
        ]
        optimizer.load_state_dict(state["optimizer"])
        for group, setting in zip(optimizer.param_groups, settings, strict=True):
            group.update(setting)  # of the config as it is now
    states = state["random"]
    if isinstance(states, dict):  # of before there were several processes
        states = [states]
    if processes.rank < len(states):
        _restore_random_state(states[processes.rank], device)
    progress = Progress.from_dict(state["progress"])
    if any(key.startswith(OF_THE_PLAN) for key in keys):
        progress.position = Position(progress.position.epoch)
    return progress


def _random_state(device: torch.device) -> State:
    numpy = np.random.get_state(legacy=False)
    assert isinstance(numpy, dict)
    numpy["state"]["key"] = numpy["state"]["key"].tolist()
    state = {"python": random.getstate(), "numpy": numpy, "cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _restore_random_state(state: State, device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    if "python" in state:
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])


def difference_of_processes(state: State, processes: Processes, accumulate: int) -> str | None:
    """What another number of processes changes; None where it is the same."""
    before = state.get("processes", 1)
    if before == processes.size:
        return None
    return (
        f"processes: {processes.size}, before: {before}; so batches an update (training.accumulate x processes): "
        f"{processes.size * accumulate}, and dropout draws other numbers"
    )


# ------------------------------------------------------------------------------------------------------------ changes


class Change(NamedTuple):
    """Something that is not what it was when a run was begun."""

    key: str  # of the config; also that whose files have changed
    text: str


def changes(
    run: Run, config: Config, digests: Digests, checkpoint: Checkpoint | None, state: State | None, size: int
) -> list[Change]:
    """What is not as it was: config, files of the data, vocabularies.

    Args:
        run: to go on with.
        config: to go on with.
        digests: of its data.
        checkpoint: to go on from.
        state: of that checkpoint.
        size: the number of processes that go on.

    Raises:
        UserError: a change of what cannot change.
    """
    before = state.get("processes", 1) if state else 1
    found = [*_changes_of_config(run, config, before, size), *_changes_of_data(run, digests)]
    if checkpoint and (file := checkpoint.changed_tokenizer(run.path / "tokenizer")):
        found.append(
            Change("tokenizer", f"{file} is not what {checkpoint.name} was trained with, put the old file back")
        )
    return found


def must_be_allowed(run: Run, found: list[Change]) -> None:
    """Raise UserError where anything has changed."""
    if found:
        raise UserError(
            f"{'; '.join(change.text for change in found)}. `{resume_command(run.path)}` has the config as it was; "
            "--allow-changes goes on all the same; --run DIR trains in another folder"
        )


def _changes_of_config(run: Run, config: Config, size_before: int, size: int) -> Iterator[Change]:
    known, given = run.config(), resolve_paths(config)
    free = [*FREE_TO_CHANGE]
    if given.training.schedule not in ("cosine", "one_cycle"):
        free.append("training.max_updates")
    if size_before * known.training.accumulate == size * given.training.accumulate:  # an update takes the same batches
        free.append("training.accumulate")
    before, now = (dict(flat(c.model_dump())) for c in (known, given))
    for key in now:
        if before.get(key) != now[key] and not key.startswith(tuple(free)):
            text = f"{run.path} was begun with {key} = {before.get(key)}, and the config now says {now[key]}"
            if key.startswith("tokenizer.") and key != "tokenizer.sampling":
                raise UserError(f"{text}, but its vocabulary is learned: train in another folder with --run DIR")
            yield Change(key, text)


def _changes_of_data(run: Run, digests: Digests) -> Iterator[Change]:
    try:
        known = run.environment()["data"]
    except UserError as error:
        yield Change("data.train", f"whether the data are those that {run.path} was begun with nobody knows: {error}")
        return
    for split in ("train", "dev"):
        for name, digest in digests[split].items():
            if known[split].get(name) != digest:
                yield Change(f"data.{split}", f"{name} of data.{split} has changed since {run.path} was begun")


def flat(section: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of nested sections as `section.key`, with its value."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
