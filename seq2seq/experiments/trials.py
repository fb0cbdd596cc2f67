"""`seq2seq compare`: train every combination of some values, some seeds each, and put what came out beside each other.

A comparison is a folder of ordinary run folders, one a combination and seed. What is done there stays done: a training
goes on where it stopped, and values or seeds may be added to the grid. Each model is measured on the dev set, since the
table is there to choose by; the test set is for what was chosen.
"""

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from seq2seq.config import Config, flatten_keys, load_config, parse_config, resolve_paths, sections
from seq2seq.data.dataset import Corpora, data_digests, training_text
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import evaluate, keep, split_texts
from seq2seq.experiments.table import KEYS, Row, Table
from seq2seq.files import read_json, replace_text
from seq2seq.model.build import count_parameters
from seq2seq.runs.run import Run
from seq2seq.training.train import train

log = logging.getLogger("seq2seq")

NOT_TO_VARY = {
    "seed": "--seeds N trains each combination with N seeds",
    "data.dev": "only scores on the same dev set can be compared",
    "data.test": "models are measured on data.dev",
}

# ---------------------------------------------------------------------------------------------------------- the grid


@dataclass(frozen=True)
class Cell:
    """One training: a combination of values with a seed."""

    name: str  # of its run folder
    values: tuple[str, ...]  # of the varied keys, as YAML
    seed: int
    config: Config


@dataclass(frozen=True)
class Grid:
    """All that is to be trained."""

    base: Config
    vary: dict[str, list[str]]  # the values of each varied key, as YAML
    seeds: list[int]
    cells: list[Cell]  # row by row
    left_out: dict[str, str]  # combinations that are no valid config, and why


def make_grid(path: Path, overrides: Sequence[str], varied: Sequence[str], seeds: int) -> Grid:
    """All combinations of the values, with the seeds `config.seed`, `config.seed + 1` and so on.

    Args:
        path: the YAML file of the config that the combinations start from.
        overrides: `section.key=value`, for all of them.
        varied: `section.key=value,value,...`, values in YAML; the last key changes fastest.
        seeds: trainings of each combination.

    Raises:
        UserError: a wrong config, a key that is not one, twice the same values, or not one valid combination.
    """
    if seeds < 1:
        raise UserError(f"--seeds is {seeds}; write 1 or more")
    base = load_config(path, overrides)
    vary = _values(varied)
    for key in vary:
        _check_key(key, path, overrides)
    names = _short_names(list(vary))
    grid = Grid(base, vary, [base.seed + i for i in range(seeds)], [], {})
    for values in product(*vary.values()):
        name = ",".join(f"{short}={_safe(value)}" for short, value in zip(names, values, strict=True))
        words = [f"{key}={value}" for key, value in zip(vary, values, strict=True)]
        try:
            configs = [load_config(path, [*overrides, *words, f"seed={seed}"]) for seed in grid.seeds]
        except UserError as error:
            grid.left_out[name] = str(error)
            continue
        for seed, config in zip(grid.seeds, configs, strict=True):
            grid.cells.append(Cell(f"{name},seed={seed}", values, seed, config))
    if not grid.cells:
        raise UserError(f"--vary leaves no valid config; {next(iter(grid.left_out.values()))}")
    _check_distinct(grid.cells)
    return grid


def _values(varied: Sequence[str]) -> dict[str, list[str]]:
    """`key=a,b` taken apart; a comma inside quotes, brackets or braces separates nothing."""
    vary: dict[str, list[str]] = {}
    for word in varied:
        key, _, text = word.partition("=")
        key = key.strip()
        if not key:
            raise UserError(f"--vary {word!r} has no key; write section.key=value,value,...")
        listed = f"[{text}]"
        try:
            node = yaml.compose(listed, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or str(error)
            raise UserError(f"--vary {word}: {problem}; write section.key=value,value,...") from None
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise UserError(f"--vary {word}: no values; write section.key=value,value,...")
        if key in vary:
            raise UserError(f"--vary {key} is given twice; write all its values in one list")
        vary[key] = [listed[item.start_mark.index : item.end_mark.index].strip() for item in node.value]
    return vary


def _check_key(key: str, path: Path, overrides: Sequence[str]) -> None:
    if key in NOT_TO_VARY:
        raise UserError(f"--vary {key}: {NOT_TO_VARY[key]}")
    for override in overrides:
        if override.partition("=")[0].strip() == key:
            raise UserError(f"{key} is both set ({override}) and varied (--vary); leave one of them out")
    section, _, name = key.rpartition(".")
    known = sections()
    if section not in known or name not in known[section].model_fields:
        load_config(path, [*overrides, f"{key}=null"])  # raises the error that names the key that may be meant
        raise UserError(f"--vary {key}: not a key of a config; docs/config.md lists them")


def _short_names(keys: Sequence[str]) -> list[str]:
    """The shortest ends of the keys that tell them apart: `score`, but `encoder.cell` beside `decoder.cell`."""

    def end(key: str, parts: int) -> str:
        return ".".join(key.split(".")[-parts:])

    return [
        next(
            end(key, parts)
            for parts in range(1, len(key.split(".")) + 1)
            if sum(end(other, parts) == end(key, parts) for other in keys) == 1
        )
        for key in keys
    ]


def _safe(value: str) -> str:
    """A value as part of a folder's name: what files systems, shells or lists mind is left out, and a digest added."""
    plain = re.sub(r"[^\w.+-]+", "-", value, flags=re.ASCII).strip("-")[:40]
    return plain if plain == value else f"{plain}-{hashlib.sha256(value.encode()).hexdigest()[:6]}".lstrip("-")


def _check_distinct(cells: Sequence[Cell]) -> None:
    """Two values that mean the same would be trained twice, and shown as if they differed."""
    seen: dict[str, Cell] = {}
    for cell in cells:
        same = seen.setdefault(cell.config.to_yaml(), cell)
        if same is not cell:
            raise UserError(f"--vary: {same.name} and {cell.name} are the same config; leave one of the values out")


# -------------------------------------------------------------------------------------------------------- the folder


def compare(grid: Grid, folder: Path, command: Sequence[str]) -> Table:
    """Train and measure all of a grid that is not done yet; the table is written after each training.

    A training that fails (its loss is not finite, its vocabulary too small) is left out with the reason; the same
    comparison started again tries it again.

    Args:
        grid: what to compare.
        folder: where; each training has its run folder in there.
        command: the command line, kept beside the table.

    Raises:
        UserError: data that cannot be read, a folder that holds something else, or every training failed.
    """
    _check_data(grid)
    _claim(folder, grid)
    left_out = dict(grid.left_out)
    for name, reason in left_out.items():
        log.info("left out: %s: %s", name, reason)
    done = {cell.name: found for cell in grid.cells if (found := _finished(cell, folder / cell.name))}
    table = _table(grid, done, left_out, command)
    for number, cell in enumerate(grid.cells, 1):
        if cell.name in done:
            continue
        log.info("\n%d of %d: %s", number, len(grid.cells), cell.name)
        try:
            done[cell.name] = _measured(cell, train(cell.config, folder / cell.name, resume=True))
        except UserError as error:
            left_out[cell.name] = str(error)
            log.info("left out: %s", error)
        table = _table(grid, done, left_out, command)
        if done:
            table.write(folder)
    if not done:
        raise UserError(f"every training failed; {left_out[grid.cells[0].name]}")
    table.write(folder)
    return table


def _check_data(grid: Grid) -> None:
    """Read all data once, so that a mistake in them is one error before anything is written."""
    seen = set()
    for config in (cell.config for cell in grid.cells):
        data = config.data
        files = (data.train, data.dev, data.test, data.src, data.tgt)
        if files not in seen:
            Corpora.read(config)
            for _ in training_text(config):
                pass
        seen.add(files)


def _claim(folder: Path, grid: Grid) -> None:
    """Keep what is compared in `compare.json`; refuse a folder that holds a run, or runs of anything else."""
    if Run(folder).exists():
        raise UserError(f"{folder} holds a run, not a comparison; choose another with --run DIR")
    file = folder / "compare.json"
    now = {
        "config": resolve_paths(grid.base).model_dump(),
        "vary": grid.vary,
        "seeds": grid.seeds,
        "data": data_digests(grid.base),
    }
    if file.is_file() and any(folder.glob("*/config.yaml")):
        before = read_json(file, now, "delete it, and the same command goes on with the runs beside it")
        for difference in _differences(before, now):
            raise UserError(f"{folder} holds another comparison: {difference}; choose another folder with --run DIR")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(file, json.dumps(now, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}; choose another with --run DIR") from None


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What keeps a comparison from going on: anything but more values and more seeds."""
    found = []
    if list(before["vary"]) != list(now["vary"]):
        found.append(f"it varies {', '.join(before['vary'])}, and now that is {', '.join(now['vary'])}")
    for key, values in now["vary"].items():
        if missing := [value for value in before["vary"].get(key, []) if value not in values]:
            found.append(f"it has {key}={missing[0]}, which --vary now lacks")
    if missing := [seed for seed in before["seeds"] if seed not in now["seeds"]]:
        found.append(f"it has seed {missing[0]}, and now the seeds are {', '.join(map(str, now['seeds']))}")
    old = parse_config(before["config"], "compare.json").model_dump()  # with the keys that have come up since
    free = ("seed", *(key for key in now["vary"]))
    values = dict(flatten_keys(old))
    for key, value in flatten_keys(now["config"]):
        if values.get(key) != value and not any(key == other or key.startswith(f"{other}.") for other in free):
            found.append(f"it has {key} = {values.get(key)}, and now that is {value}")
    for split in ("train", "dev"):
        if before["data"][split] != now["data"][split] and f"data.{split}" not in now["vary"] and not found:
            found.append(f"the files of data.{split} have changed since")
    return found


# ---------------------------------------------------------------------------------------------------------- a cell


def _measured(cell: Cell, run: Run) -> dict[str, Any]:
    """Measure a trained cell on the dev set, and keep what it has to say in its `cell.json`."""
    translator = Translator.load(run.path)
    evaluation = evaluate(translator, *split_texts(run, "dev"))
    keep(run, "dev", evaluation)
    pointers, metrics = _pointers(run), run.metrics.records()
    best, last = (int(pointers[name].removeprefix("step-")) for name in ("best", "last"))
    validation = [record for record in metrics if record["split"] == "dev" and record["update"] == best][-1]
    checkpoint = run.checkpoints.find("last")
    assert checkpoint is not None
    found = {
        "name": cell.name,
        **pointers,
        "seed": cell.seed,
        **evaluation.as_dict(),
        "perplexity": validation["perplexity"],
        "attention_entropy": validation.get("attention_entropy"),
        "parameters": count_parameters(translator.model),
        "tokens_per_second": median(r["tokens_per_second"] for r in metrics if r["split"] == "train"),
        "sentences_per_second": evaluation.sentences / evaluation.seconds,
        "updates": last,
        "best_update": best,
        "training_seconds": checkpoint.training_state()["progress"]["seconds"],
        "environment": run.environment(),
    }
    replace_text(run.path / "cell.json", json.dumps(found, indent=2) + "\n")
    return found


def _finished(cell: Cell, path: Path) -> dict[str, Any] | None:
    """The numbers of a cell whose training and measuring are done; None where something is left to do."""
    run, file = Run(path), path / "cell.json"
    if not file.is_file() or run.config() != resolve_paths(cell.config):
        return None
    try:
        found = read_json(file, KEYS, "")
    except UserError:  # it is measured again
        return None
    return found if _pointers(run).items() <= found.items() else None


def _pointers(run: Run) -> dict[str, str]:
    """The names of the best and the last checkpoint."""
    return {name: found.name for name in ("best", "last") if (found := run.checkpoints.named(name))}


def _table(grid: Grid, done: dict[str, dict[str, Any]], left_out: dict[str, str], command: Sequence[str]) -> Table:
    rows: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for cell in grid.cells:
        rows.setdefault(cell.values, []).extend([done[cell.name]] if cell.name in done else [])
    return Table(
        list(grid.vary),
        [Row(values, cells) for values, cells in rows.items() if cells],
        grid.seeds,
        left_out,
        list(command),
        resolve_paths(grid.base).model_dump(),
    )
