"""The table of a comparison: Markdown, CSV with one row for each trial, JSON with everything, and a picture."""

import csv
import io
import json
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from pydantic import BaseModel, FiniteFloat, NonNegativeInt
from tabulate import tabulate

from seq2seq.evaluation.choice import LABELS
from seq2seq.files import must_write, replace_text
from seq2seq.plots.comparison import save_comparison

COLUMNS = {  # means over the seeds; header: (key of a result, format)
    "chrF": ("chrf", ".2f"),
    "perplexity per token": ("perplexity", ".2f"),
    "parameters": ("parameters", ",.0f"),
    "train tokens/s": ("tokens_per_second", ",.0f"),
    "decode sentences/s": ("sentences_per_second", ",.1f"),
    "attention entropy": ("attention_entropy", ".3f"),
    "updates": ("updates", ",.0f"),
}
MEASURES = ("bleu", "chrf", "ter", "exact_match", "cer")


class Score(BaseModel, strict=True):
    """A `Measure` in JSON."""

    score: FiniteFloat
    signature: str


class TrialRecord(BaseModel, strict=True):
    """The result of a finished trial, measured on the dev set: `trial.json` in its run folder."""

    seed: int
    bleu: Score
    chrf: Score
    ter: Score
    exact_match: Score
    cer: Score
    perplexity: float
    parameters: NonNegativeInt
    tokens_per_second: FiniteFloat
    sentences_per_second: FiniteFloat
    attention_entropy: FiniteFloat | None
    updates: NonNegativeInt
    best_update: NonNegativeInt
    training_seconds: FiniteFloat
    sentences: NonNegativeInt
    beam: int
    length_penalty: FiniteFloat
    name: str
    shortlist: bool
    seconds: FiniteFloat
    best: str
    last: str
    environment: dict[str, Any]
    notes: list[str] = []


FIELDS = [key for key in TrialRecord.model_fields if key not in ("environment", "notes")]  # the columns of table.csv
Result = dict[str, Any]  # a `TrialRecord` as nested dicts


@dataclass(frozen=True)
class Row:
    """One combination of values, with the results of its finished trials (at least one)."""

    values: tuple[str, ...]
    results: list[Result]

    def numbers(self, key: str) -> list[float]:
        """Return one number of each trial that has it: the score of a measure, or a value."""
        return [number for result in self.results if (number := _number(result, key)) is not None]

    def mean(self, key: str) -> float | None:
        """Return the mean over the seeds, or None if no trial has the number."""
        return mean(numbers) if (numbers := self.numbers(key)) else None

    def spread(self, key: str) -> float | None:
        """Return the sample standard deviation over the seeds, or None for a single seed."""
        return stdev(numbers) if len(numbers := self.numbers(key)) > 1 else None


@dataclass(frozen=True)
class Table:
    """The results of a comparison so far."""

    keys: list[str]  # the varied keys
    rows: list[Row]  # in the order of the grid
    seeds: list[int]
    left_out: dict[str, str]  # trials that cannot be trained or have failed: name to reason
    command: list[str]
    config: dict[str, Any]  # the config that all trials start from

    def write(self, folder: Path) -> None:
        """Write table.md, table.csv, table.json, and table.png if matplotlib is installed."""
        rows = io.StringIO()
        csv.writer(rows, lineterminator="\n").writerows(self.csv_rows())
        with must_write(folder, "mend that and repeat"):
            for ending, text in (("md", self.markdown()), ("json", self.json()), ("csv", rows.getvalue())):
                replace_text(folder / f"table.{ending}", text)
        if find_spec("matplotlib"):
            labels = [", ".join(row.values) for row in self.rows]
            scores = [row.numbers("bleu") for row in self.rows]
            save_comparison(folder / "table.png", ", ".join(self.keys), "dev BLEU", labels, scores)

    def markdown(self) -> str:
        """Return the table, one row for each combination, followed by notes on how it was measured."""
        # one line for each combination; the best BLEU is bold
        best = max((row.mean("bleu") or 0.0 for row in self.rows), default=0.0)
        headers = [*(f"`{key}`" for key in self.keys), "seeds", "dev BLEU", "SD", *COLUMNS]
        lines = []
        for row in self.rows:
            values = [value.replace("|", r"\|") for value in row.values]
            bleu = _format(row.mean("bleu"), ".2f")
            bleu = f"**{bleu}**" if row.mean("bleu") == best else bleu
            numbers = [_format(row.mean(key), form) for key, form in COLUMNS.values()]
            lines.append([*values, str(len(row.results)), bleu, _format(row.spread("bleu"), ".2f"), *numbers])

        # align the varied values to the left, the numbers to the right
        align = ["left"] * len(self.keys) + ["right"] * (len(headers) - len(self.keys))
        table = tabulate(lines, headers, tablefmt="pipe", colalign=align, disable_numparse=True)
        return "\n".join([table, "", *self._notes()]) + "\n"

    def csv_rows(self) -> list[list[Any]]:
        """Return a header, and one row for each trial with the full precision."""
        rows = [[*row.values, *(_number(r, key) for key in FIELDS)] for row in self.rows for r in row.results]
        return [[*self.keys, *FIELDS], *rows]

    def json(self) -> str:
        """Return everything: an entry for each combination, and what they share."""
        means = ("bleu", *(key for key, _ in COLUMNS.values()))
        results = [result for row in self.rows for result in row.results]
        rows = [
            {
                "values": dict(zip(self.keys, row.values, strict=True)),
                "mean": {key: row.mean(key) for key in means},
                "standard_deviation": {key: row.spread(key) for key in means},
                "trials": row.results,
            }
            for row in self.rows
        ]
        whole = {
            "command": self.command,
            "signatures": {key: _unique(r[key]["signature"] for r in results) for key in MEASURES},
            "environment": results[0]["environment"] if results else None,
            "seeds": self.seeds,
            "rows": rows,
            "left_out": self.left_out,
            "config": self.config,
        }
        return json.dumps(whole, indent=2) + "\n"

    def _notes(self) -> list[str]:
        # how the numbers were measured
        results = [result for row in self.rows for result in row.results]
        seeds = f"seeds {self.seeds[0]} to {self.seeds[-1]}" if len(self.seeds) > 1 else f"seed {self.seeds[0]}"
        wanted = self.config["training"]["early_stopping_metric"]
        metrics = _unique(LABELS[r["environment"].get("early_stopping_metric", wanted)] for r in results)
        beams = ", ".join(_unique(r["beam"] for r in results))
        bleu, chrf = (", ".join(_unique(r[key]["signature"] for r in results)) for key in ("bleu", "chrf"))
        notes = [
            f"- Means over {seeds} on the dev set, of the checkpoint with the best {' or '.join(metrics)} in "
            f"validation, beam {beams}. SD: sample standard deviation of BLEU. Bold: the best BLEU.",
            f"- BLEU {bleu}; chrF {chrf}",
        ]
        notes += [f"- {note}" for note in _unique(note for r in results for note in r.get("notes", []))]
        if any(key.startswith(("tokenizer", "data")) for key in self.keys):
            notes.append("- Perplexity is per token: it cannot be compared between different tokenizers or data.")

        # the machine, the commit, the command
        notes.append(trained_on([result["environment"] for result in results], self.command))
        return notes + [f"- Left out: {name}: {reason}" for name, reason in self.left_out.items()]


def trained_on(environments: Sequence[dict[str, Any]], command: Sequence[str]) -> str:
    """Return a note on the machines, the commits and the command of trainings; what is missing is `unknown`."""
    known = [defaultdict(lambda: "unknown", {k: v for k, v in e.items() if v is not None}) for e in environments]
    machines = _unique("{device} ({processor}, cores: {cores}, threads: {threads})".format_map(each) for each in known)
    commits = _unique(each["commit"] for each in known)
    return f"- Trained on {'; '.join(machines)}; commit {', '.join(commits)}; `{shlex.join(command)}`"


def _number(result: Result, key: str) -> Any:
    return result[key]["score"] if key in MEASURES else result[key]


def _unique(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(map(str, values)))


def _format(number: float | None, form: str) -> str:
    return "-" if number is None else format(number, form)
