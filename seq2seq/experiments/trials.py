"""`seq2seq compare`: train every combination of some values with several seeds, and put the results in one table.

A comparison is a folder of ordinary run folders, one for each trial. The same command continues where it stopped: it
keeps finished trials and resumes a stopped training. Values and seeds may be added. Models are measured on the dev set,
because the table is for choosing a model; the test set is for the chosen model.
"""

import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, product
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from pydantic import BaseModel

from seq2seq.config import Config, flatten_keys, load_config, resolve_paths
from seq2seq.config.dialect import Loader
from seq2seq.config.reading import OVERRIDE
from seq2seq.data.dataset import data_digests, read_dev, training_text
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import evaluate, save_evaluation, split_texts
from seq2seq.experiments.table import Result, Row, Table, TrialRecord
from seq2seq.files import is_file, locked, must_write, read_json, write_json
from seq2seq.runs.fitting import count_parameters
from seq2seq.runs.run import DataDigests, Run
from seq2seq.training.train import train

log = logging.getLogger("seq2seq")

MOST = 10_000  # trainings of a comparison
NOT_TO_VARY = {
    "seed": "--seeds N trains each combination with N seeds",
    "data.dev": "only scores on the same dev set can be compared",
    "data.test": "models are measured on data.dev",
}


class ComparisonRecord(BaseModel, strict=True):
    """The content of `compare.json`: a grid, and the digests of its data."""

    config: Config
    vary: dict[str, list[str]]
    seeds: list[int]
    data: DataDigests


@dataclass(frozen=True)
class Trial:
    """One training: a combination of values with a seed."""

    name: str  # of its run folder
    values: tuple[str, ...]  # one for each varied key, as YAML
    seed: int
    config: Config


@dataclass(frozen=True)
class Grid:
    """All trials of a comparison."""

    base: Config
    vary: dict[str, list[str]]  # the values of each varied key, as YAML
    seeds: list[int]
    trials: list[Trial]  # row by row of the table
    left_out: dict[str, str]  # combinations that are not a valid config: name to reason


def make_grid(path: Path, overrides: Sequence[str], varied: Sequence[str], seeds: int) -> Grid:
    """Combine all values with each other and with as many seeds: `config.seed`, `config.seed + 1` and so on.

    All trials start from the YAML file and its overrides, `section.key=value`. A varied key is written as
    `section.key=value,value,...`, values in YAML; the last key changes fastest.

    Raises UserError: the config or a key is wrong, two values mean the same, or no combination is valid.
    """
    vary = _read_varied(varied)
    combinations = prod(len(values) for values in vary.values())
    if not 1 <= seeds <= MOST // combinations:
        raise UserError(
            f"--seeds is {seeds}, and --vary has {combinations:,} combinations; write 1 or more, and not over {MOST:,} "
            "trainings in all"
        )
    return combine(path, overrides, vary, product(*vary.values()), seeds)


def combine(
    path: Path,
    overrides: Sequence[str],
    vary: dict[str, list[str]],
    combinations: Iterable[tuple[str, ...]],
    seeds: int = 1,
) -> Grid:
    """Make a trial of each combination of values with each seed; leave out combinations that are no valid config.

    Raises UserError: the config is wrong, a value is wrong by itself, two combinations mean the same, or none is valid.
    """
    base = load_config(path, overrides)
    for override in overrides:
        if (key := override.partition("=")[0].strip()) in vary:
            raise UserError(f"{key} is both set ({override}) and varied; leave one of them out")

    # every combination with every seed
    names = _short_names(list(vary))
    grid = Grid(base, vary, [base.seed + i for i in range(seeds)], [], {})
    for values in combinations:
        name = ",".join(f"{short}={_path_safe(value)}" for short, value in zip(names, values, strict=True))
        chosen = [f"{key}={value}" for key, value in zip(vary, values, strict=True)]
        try:
            for seed in grid.seeds:
                config = load_config(path, [*overrides, *chosen, f"seed={seed}"])
                grid.trials.append(Trial(f"{name},seed={seed}", values, seed, config))
        except UserError as error:
            grid.left_out[name] = str(error)
    if wrong := next((reason for reason in grid.left_out.values() if reason.startswith(OVERRIDE)), None):
        raise UserError(f"a value to try is wrong: {wrong.removeprefix(OVERRIDE).lstrip(': ')}; nothing was trained")
    if not grid.trials:
        raise UserError(f"no combination is a valid config; {next(iter(grid.left_out.values()))}")

    # two values that mean the same would be trained twice, and shown as if they differed
    seen: dict[str, Trial] = {}
    for trial in grid.trials:
        same = seen.setdefault(trial.config.to_yaml(), trial)
        if same is not trial:
            raise UserError(f"{same.name} and {trial.name} are the same config; leave one of the values out")
    return grid


def _read_varied(varied: Sequence[str]) -> dict[str, list[str]]:
    """Split each `key=a,b` into its values. A comma inside quotes, brackets or braces does not split."""
    vary: dict[str, list[str]] = {}
    for word in varied:
        # the key
        key, text = (part.strip() for part in word.partition("=")[::2])
        if not key:
            raise UserError(f"--vary {word!r} has no key; write section.key=value,value,...")
        if key in vary:
            raise UserError(f"--vary {key} is given twice; write all its values in one list")
        if key in NOT_TO_VARY:
            raise UserError(f"--vary {key}: {NOT_TO_VARY[key]}")

        # the values: YAML finds where each begins and ends
        listed = f"[{text}]"
        try:
            node = yaml.compose(listed, Loader=Loader)
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or str(error).splitlines()[0]
            raise UserError(f"--vary {word:.80}: {problem}; write section.key=value,value,...") from None
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise UserError(f"--vary {word}: no values; write section.key=value,value,...")
        vary[key] = [listed[item.start_mark.index : item.end_mark.index].strip() for item in node.value]
    return vary


def _short_names(keys: Sequence[str]) -> list[str]:
    """Return the shortest ending of each key that no other key has: `score`, but `encoder.cell` and `decoder.cell`."""
    names = []
    for key in keys:
        parts = key.split(".")
        endings = [".".join(parts[start:]) for start in reversed(range(len(parts)))]
        names.append(next(e for e in endings if sum(f".{other}".endswith(f".{e}") for other in keys) == 1))
    return names


def _path_safe(value: str) -> str:
    """Return a value as part of a folder's name: special characters become a dash, and a digest tells values apart."""
    plain = re.sub(r"[^\w.+-]+", "-", value, flags=re.ASCII).strip("-")[:40]
    return plain if plain == value else f"{plain}-{hashlib.sha256(value.encode()).hexdigest()[:6]}".lstrip("-")


def compare(grid: Grid, folder: Path, command: Sequence[str]) -> Table:
    """Train and measure every unfinished trial. After each trial the table, which quotes the command, is written.

    A trial that fails (its loss is not finite, its vocabulary too small) is left out, with the reason. The same
    comparison, started again, tries it again.

    Raises UserError: the data cannot be read, the folder holds something else, or every trial failed.
    """
    with begun(folder, grid, "comparison"):
        return _train_and_measure(grid, folder, command)


@contextmanager
def begun(folder: Path, grid: Grid, work: str) -> Iterator[None]:
    """Check all data, lock the folder of a grid, and describe the grid in it; `work` names it in messages.

    Raises UserError: the data cannot be read, or the folder holds something else.
    """
    # read all data once: a mistake in it must be an error before anything is written
    for config in {trial.config.data: trial.config for trial in grid.trials}.values():
        read_dev(config)
        for _ in training_text(config):
            pass
    if Run(folder).exists():
        raise UserError(f"{folder} holds a run, not a {work}; choose another with --run DIR")
    with locked(folder, work):
        _claim(folder, grid, work)
        yield


def _train_and_measure(grid: Grid, folder: Path, command: Sequence[str]) -> Table:
    # collect the results of earlier calls
    left_out = dict(grid.left_out)
    for name, reason in left_out.items():
        log.info("left out: %s: %s", name, reason)
    results = {trial.name: found for trial in grid.trials if (found := _read_result(trial, folder / trial.name))}
    table = _write_table(folder, grid, results, left_out, command)

    # train and measure the other trials
    for number, trial in enumerate(grid.trials, 1):
        if trial.name in results:
            continue
        log.info("\n%d of %d: %s", number, len(grid.trials), trial.name)
        try:
            run = train(trial.config, folder / trial.name, resume=True)
            results[trial.name] = _measure(trial, run)
        except UserError as error:
            left_out[trial.name] = str(error)
            log.info("left out: %s", error)
        table = _write_table(folder, grid, results, left_out, command)
    if not results:
        raise UserError(f"every training failed; {left_out[grid.trials[0].name]}")
    return table


def _claim(folder: Path, grid: Grid, work: str) -> None:
    """Describe the grid in `compare.json`, unless the folder holds another one."""
    config = resolve_paths(grid.base).model_dump(mode="json")
    now = {"config": config, "vary": grid.vary, "seeds": grid.seeds, "data": data_digests(grid.base)}

    # an earlier comparison counts if it has trained anything
    file = folder / "compare.json"
    if is_file(file) and any(folder.glob("*/config.yaml")):
        fix = "delete it, and the same command goes on with the runs in this folder"
        if difference := _difference(read_json(file, ComparisonRecord, fix).model_dump(), now):
            raise UserError(f"{folder} holds another {work}: {difference}; choose another folder with --run DIR")
    with must_write(folder, "choose another with --run DIR"):
        write_json(file, now)


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Return the first difference that keeps a comparison from going on; it may have more values and more seeds."""
    # the grid must have the same keys, and every value that it had before
    if list(before["vary"]) != list(now["vary"]):
        return f"it varies {', '.join(before['vary'])}, not {', '.join(now['vary'])}"
    old, new = ({**grid["vary"], "seed": [str(seed) for seed in grid["seeds"]]} for grid in (before, now))
    for key, values in new.items():
        if missing := [value for value in old[key] if value not in values]:
            return f"it has {key}={missing[0]}, but now the values are {', '.join(values)}"

    # all other keys must be the same, except where the data are
    free = tuple(f"{key}." for key in (*new, "data.train", "data.dev"))
    values = dict(flatten_keys(before["config"]))
    for key, value in flatten_keys(now["config"]):
        if values.get(key) != value and not f"{key}.".startswith(free):
            return f"it has {key}={values.get(key)}, not {value}"

    # so must the data
    for split in ("train", "dev"):
        old_digests, new_digests = ([*grid["data"][split].values()] for grid in (before, now))
        if old_digests != new_digests and f"data.{split}" not in now["vary"]:
            return f"the files of data.{split} have changed since"
    return None


def _measure(trial: Trial, run: Run) -> Result:
    """Measure a trained trial on the dev set, and write the result to its `trial.json`."""
    # translate
    translator = Translator.load(run.path)
    tokenize = trial.config.evaluation.bleu_tokenize
    evaluation = evaluate(translator, *split_texts(run, "dev"), tokenize=tokenize)
    save_evaluation(run, "dev", evaluation)

    # the training, from its checkpoints and its log
    best, last, records = run.checkpoints.named("best"), run.checkpoints.find("last"), run.metrics.records()
    assert best
    assert last
    validation = [record for record in records if record["split"] == "dev" and record["update"] == best.update][-1]
    trained = {"name": trial.name, "seed": trial.seed, "best": best.name, "last": last.name}
    measured = {
        "perplexity": validation["perplexity"],
        "parameters": count_parameters(translator.model),
        "tokens_per_second": median(r["tokens_per_second"] for r in records if r["split"] == "train"),
        "sentences_per_second": evaluation.sentences / evaluation.seconds,  # of translation
        "attention_entropy": validation.get("attention_entropy"),  # None without attention
        "updates": last.update,
        "best_update": best.update,
        "training_seconds": last.training_state()["progress"]["seconds"],
        "environment": run.environment(),
    }
    values = trained | evaluation.as_dict() | measured
    result = TrialRecord.model_validate(values).model_dump()
    with must_write(run.path, "mend that and repeat"):
        write_json(run.path / "trial.json", result)
    return result


def _read_result(trial: Trial, path: Path) -> Result | None:
    """Return the result of a finished trial, or None if it must still be trained or measured."""
    try:
        result = read_json(path / "trial.json", TrialRecord, "it is measured again").model_dump()
    except UserError:
        return None
    run = Run(path)
    best, last = run.checkpoints.named("best"), run.checkpoints.named("last")
    same = best and last and (best.name, last.name) == (result["best"], result["last"])
    return result if same and run.config() == resolve_paths(trial.config) else None


def _write_table(
    folder: Path, grid: Grid, results: dict[str, Result], left_out: dict[str, str], command: Sequence[str]
) -> Table:
    """Collect the results into a table, one row for each combination, and write it once it has a row."""
    finished = [trial for trial in grid.trials if trial.name in results]
    rows = [Row(values, [results[t.name] for t in trials]) for values, trials in groupby(finished, lambda t: t.values)]
    table = Table(list(grid.vary), rows, grid.seeds, left_out, list(command), resolve_paths(grid.base).model_dump())
    if rows:
        table.write(folder)
    return table
