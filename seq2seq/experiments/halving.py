"""`seq2seq tune CONFIG --space FILE`: a search for good keys by successive halving (Jamieson and Talwalkar 2016).

Every trial is trained for a few updates; the best of them, one of `eta`, go on to `eta` times as many; and so on, rung
by rung. A trial that goes on is the training that was paused, to the same bits. Its schedule is that of the whole
training from the start, so a rung compares trainings in progress.

The folder of a search holds a run folder for each trial, `tune.json` with the score of every trial on every rung, and
`table.md`. The same command goes on where it was stopped.
"""

import json
import logging
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import BaseModel
from tabulate import tabulate

from seq2seq.config import load_config, resolve_paths
from seq2seq.config.dialect import Loader
from seq2seq.errors import UserError
from seq2seq.evaluation.choice import LABELS, LOWER_IS_BETTER, make_bleu
from seq2seq.evaluation.measures import measure
from seq2seq.experiments.table import trained_on
from seq2seq.experiments.trials import MOST, NOT_TO_VARY, Grid, Trial, begun, combine
from seq2seq.files import is_file, must_write, read_json, read_small, replace_text, write_json
from seq2seq.runs.run import Run
from seq2seq.training.train import train

log = logging.getLogger("seq2seq")

NOT_IN_A_SPACE = NOT_TO_VARY | {
    "seed": "a lucky seed is no good setting",
    "search": "it does not change a training; `seq2seq tune RUN` tries beams and length penalties",
    "evaluation": "only scores of one kind can be compared",
    "tokenizer.lowercase": "only scores of one kind can be compared",
    "training.early_stopping_metric": "only scores of one kind can be compared",
}
SAYS_NOTHING = 1.0  # BLEU and its kin, in percent: below this they are noise, and the loss decides
EXAMPLE = "write a key with a list of values a line, such as model.dropout: [0.2, 0.4]"


class Rung(NamedTuple):
    """A step of the search: so many trials are trained until they have made so many updates."""

    trials: int
    updates: int


class Score(BaseModel, strict=True):
    """The best validation of a trial until the end of a rung."""

    score: float
    loss: float  # nats a token; decides between scores that are equal or say nothing yet
    updates: int  # that the trial has made


class SearchRecord(BaseModel, strict=True):
    """The content of `tune.json`."""

    updates: int
    eta: int
    metric: str
    trials: list[str]
    scores: dict[str, list[Score]]  # by trial, rung by rung


@dataclass(frozen=True)
class Search:
    """A search so far."""

    grid: Grid
    rungs: list[Rung]
    record: SearchRecord
    left_out: dict[str, str]  # trials that cannot be trained or have failed: name to reason
    folder: Path
    command: Sequence[str]

    def ranked(self) -> list[Trial]:
        """Return the trials that have a score: those on the highest rung first, on each the best first."""

        def key(trial: Trial) -> tuple[float, ...]:
            scores = self.record.scores[trial.name]
            return -len(scores), *_order(scores[-1].score, scores[-1].loss, self.record.metric)

        return sorted((trial for trial in self.grid.trials if self.record.scores.get(trial.name)), key=key)

    def markdown(self) -> str:
        """Return a table with a row for each trial and a column for each rung, and notes."""
        label, ranked, rows = LABELS[self.record.metric], self.ranked(), []
        for trial in ranked:
            scores = self.record.scores[trial.name]
            shown = [f"{each.score:.3f}" if self.record.metric == "loss" else f"{each.score:.2f}" for each in scores]
            missing = [""] * (len(self.rungs) - len(scores))
            rows.append([*trial.values, *shown, *missing, f"{scores[-1].updates:,}"])
        keys = [f"`{key}`" for key in self.grid.vary]
        headers = [*keys, *(f"{label} after {rung.updates:,}" for rung in self.rungs), "updates"]
        align = ["left"] * len(keys) + ["right"] * (len(headers) - len(keys))
        table = tabulate(rows, headers, tablefmt="pipe", colalign=align if rows else None, disable_numparse=True)

        # the measure, the cost, the machine
        environments = [Run(self.folder / trial.name).environment() for trial in ranked]
        made = sum(scores[-1].updates for scores in self.record.scores.values())
        whole = len(self.grid.trials) * self.record.updates
        notes = [
            f"- {label} of the best greedy validation on dev so far, seed {self.grid.base.seed}; {self._signature()}",
            f"- {made:,} updates in all; {self.record.updates:,} of every trial would be {whole:,}",
            trained_on(environments, self.command),
            *(f"- Left out: {name}: {reason}" for name, reason in self.left_out.items()),
        ]
        return "\n".join([table, "", *notes]) + "\n"

    def _signature(self) -> str:
        """Return what defines the measure: sacrebleu's signature, or words."""
        if self.record.metric == "loss":
            return "nats a token"
        tokenize, lowercase = self.grid.base.evaluation.bleu_tokenize, self.grid.base.tokenizer.lowercase
        return measure(["a"], [["a"]], lowercase, make_bleu(tokenize, lowercase))[self.record.metric].signature

    def write(self) -> None:
        """Write `tune.json`, `table.md`, and `best.yaml`, the config of the best trial so far."""
        folder = self.folder
        with must_write(folder, "mend that, and the same command goes on"):
            write_json(folder / "tune.json", self.record.model_dump())
            replace_text(folder / "table.md", self.markdown())
            if ranked := self.ranked():
                replace_text(folder / "best.yaml", resolve_paths(ranked[0].config).to_yaml())


def read_space(file: Path, config: Path, overrides: Sequence[str]) -> dict[str, list[str]]:
    """Read the values to try of each key, as YAML, from a file such as `training.learning_rate: [1e-3, 2e-3]`.

    Raises UserError: the file cannot be read, or a key or a value is not allowed in the config.
    """
    # the file
    try:
        text = read_small(file).decode("utf-8-sig")
        node = yaml.compose(text, Loader=Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"{file}: cannot be read: {reason}; {EXAMPLE}") from None
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or "not YAML"
        raise UserError(f"{file}:{mark.line + 1 if mark else 1}: {problem}; {EXAMPLE}") from None
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise UserError(f"{file}: no keys; {EXAMPLE}")

    # its keys and their values; the config without them must be right
    load_config(config, overrides)
    space: dict[str, list[str]] = {}
    for key_node, values in node.value:
        place, key = f"{file}:{key_node.start_mark.line + 1}", str(key_node.value)
        if not isinstance(values, yaml.SequenceNode) or not values.value:
            raise UserError(f"{place}: {key:.80} has no list of values; {EXAMPLE}")
        if reason := next((why for name, why in NOT_IN_A_SPACE.items() if f"{key}.".startswith(f"{name}.")), None):
            raise UserError(f"{place}: {key} cannot be searched: {reason}")
        space[key] = [_spell(value, text) for value in values.value]

        # each value by itself; a rule between two keys leaves out combinations later
        for value in space[key]:
            try:
                load_config(config, [*overrides, f"{key}={value}"])
            except UserError as error:
                if str(error).startswith("override"):
                    raise UserError(f"{place}: {str(error).removeprefix('override: ')}") from None
    return space


def _spell(node: yaml.Node, text: str) -> str:
    """Return a value as its YAML spells it; a list or a section on one line, as JSON."""
    if isinstance(node, yaml.ScalarNode):
        return text[node.start_mark.index : node.end_mark.index]
    return json.dumps(Loader("").construct_object(node, deep=True))


def draw(
    config: Path, overrides: Sequence[str], space: dict[str, list[str]], trials: int | None, seed: int | None
) -> Grid:
    """Return all combinations of a space, or some that are drawn at random; the seed is by default the config's.

    Raises UserError: there are too many, or no combination is a valid config.
    """
    total = prod(len(values) for values in space.values())
    if not 1 <= (total if trials is None else trials) <= MOST:
        raise UserError(f"--trials is {trials}, of {total:,} combinations; draw 1 to {MOST:,} of them with --trials N")
    if trials is None or trials >= total:
        return combine(config, overrides, space, product(*space.values()))
    generator = random.Random(load_config(config, overrides).seed if seed is None else seed)
    drawn: dict[tuple[str, ...], None] = {}
    while len(drawn) < trials:
        drawn[tuple(generator.choice(values) for values in space.values())] = None
    return combine(config, overrides, space, drawn)


def plan(trials: int, updates: int, eta: int) -> list[Rung]:
    """Return the rungs: trials / eta^i trials until update updates / eta^(k - i), with k = floor(log_eta(trials)).

    Raises UserError: the first rung has no update.
    """
    k = next(k for k in range(trials) if eta ** (k + 1) > trials)
    if updates < eta**k:
        raise UserError(f"--updates is {updates}: the first of {k + 1} rungs would have none; write {eta**k} or more")
    return [Rung(trials // eta**i, updates // eta ** (k - i)) for i in range(k + 1)]


def halve(grid: Grid, folder: Path, updates: int, eta: int, command: Sequence[str]) -> Search:
    """Train the trials rung by rung, as far as an earlier call has not; write `tune.json`, `table.md`, `best.yaml`.

    A trial that fails (its loss is not finite) is left out, with the reason. The table quotes the command.

    Raises UserError: the data cannot be read, the folder holds something else, or every trial failed.
    """
    # go on with the scores of an earlier call
    rungs, names = plan(len(grid.trials), updates, eta), [trial.name for trial in grid.trials]
    record = SearchRecord(updates=updates, eta=eta, metric="bleu", trials=names, scores={})
    if is_file(folder / "tune.json") and any(folder.glob("*/config.yaml")):
        fix = "put the old file back, or choose another folder with --run DIR"
        before = read_json(folder / "tune.json", SearchRecord, fix)
        for key in ("updates", "eta", "trials"):
            if (old := getattr(before, key)) != (new := getattr(record, key)):
                shown = f"{key} {len(old)} others" if key == "trials" else f"{key} {old}, not {new}"
                raise UserError(f"{folder} holds another search: {shown}; choose another folder with --run DIR")
        record = before
    search, trials = Search(grid, rungs, record, dict(grid.left_out), folder, command), grid.trials

    # rung by rung
    with begun(folder, grid, "search"):
        search.write()
        for number, rung in enumerate(rungs):
            for i, trial in enumerate(trials, 1):
                if len(record.scores.get(trial.name, [])) > number:
                    continue
                log.info("\nrung %d of %d, trial %d of %d: %s", number + 1, len(rungs), i, len(trials), trial.name)
                try:
                    run = train(trial.config, folder / trial.name, resume=True, until=rung.updates)
                    record.metric = run.environment()["early_stopping_metric"]
                    record.scores.setdefault(trial.name, []).append(_best_so_far(run, record.metric))
                except UserError as error:
                    search.left_out[trial.name] = str(error)
                    log.info("left out: %s", error)
                search.write()

            # the best go on
            trials = [trial for trial in search.ranked() if len(record.scores[trial.name]) > number]
            if not trials:
                raise UserError(f"every training failed; {search.left_out[names[0]]}")
            trials = trials[: rungs[number + 1].trials] if rung is not rungs[-1] else trials
    return search


def _best_so_far(run: Run, metric: str) -> Score:
    """Return the best validation of a run."""
    dev = [record for record in run.metrics.records() if record["split"] == "dev"]
    best = min(dev, key=lambda record: _order(record[metric], record["loss"], metric))
    return Score(score=best[metric], loss=best["loss"], updates=dev[-1]["update"])


def _order(score: float, loss: float, metric: str) -> tuple[float, float]:
    """Return numbers by which the best comes first."""
    loss = loss if math.isfinite(loss) else math.inf
    if metric in LOWER_IS_BETTER:
        return (loss if metric == "loss" else score), loss
    return -score if score >= SAYS_NOTHING else 0.0, loss
