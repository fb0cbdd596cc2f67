"""The table of a comparison: Markdown, CSV with one row for each trial, JSON with everything, and a picture."""

import csv
import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from pydantic import BaseModel
from tabulate import tabulate

from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import Measure
from seq2seq.plots.comparison import save_comparison
from seq2seq.training.progress import LABELS

COLUMNS = {  # means over the seeds; header: (field of `TrialResult`, format)
    "chrF": ("chrf", ".2f"),
    "perplexity": ("perplexity", ".2f"),
    "parameters": ("parameters", ",.0f"),
    "train tokens/s": ("tokens_per_second", ",.0f"),
    "decode sentences/s": ("sentences_per_second", ",.1f"),
    "attention entropy": ("attention_entropy", ".3f"),
    "updates": ("updates", ",.0f"),
}
MEASURES = ("bleu", "chrf", "ter", "exact_match", "cer")


class TrialResult(BaseModel):
    """The numbers of a finished trial, measured on the dev set; `trial.json` in its run folder."""

    seed: int
    bleu: Measure
    chrf: Measure
    ter: Measure
    exact_match: Measure
    cer: Measure
    perplexity: float
    parameters: int
    tokens_per_second: float  # of training, the median of all reports
    sentences_per_second: float  # of translation
    attention_entropy: float | None  # None without attention
    updates: int
    best_update: int
    training_seconds: float
    sentences: int
    beam: int
    length_penalty: float
    name: str
    shortlist: bool  # whether the search was restricted to the run's shortlist
    seconds: float  # of translation
    best: str  # the checkpoint that was measured
    last: str  # the checkpoint at which training ended
    environment: dict[str, Any]

    def number(self, key: str) -> Any:
        """Return a field, and of a measure its score."""
        value = getattr(self, key)
        return value.score if isinstance(value, Measure) else value


@dataclass(frozen=True)
class Row:
    """One combination of values, with the results of its finished trials (at least one)."""

    values: tuple[str, ...]
    results: list[TrialResult]

    def numbers(self, key: str) -> list[float]:
        """Return one number of each trial that has it."""
        return [number for result in self.results if (number := result.number(key)) is not None]

    def mean(self, key: str) -> float | None:
        """Return the mean over the seeds, or None if no trial has the number."""
        numbers = self.numbers(key)
        return mean(numbers) if numbers else None

    def spread(self, key: str) -> float | None:
        """Return the sample standard deviation over the seeds, or None for a single seed."""
        numbers = self.numbers(key)
        return stdev(numbers) if len(numbers) > 1 else None


@dataclass(frozen=True)
class Table:
    """The results of a comparison so far."""

    keys: list[str]  # the varied keys
    rows: list[Row]  # in the order of the grid
    seeds: list[int]
    left_out: dict[str, str]  # trials that cannot be trained or have failed: name to reason
    command: list[str]
    config: dict[str, Any]  # the config that all trials start from

    def results(self) -> list[TrialResult]:
        """Return the results of all rows."""
        return [result for row in self.rows for result in row.results]

    def write(self, folder: Path) -> None:
        """Write table.md, table.csv, table.json, and table.png if matplotlib is installed.

        Raises:
            UserError: a file cannot be written.
        """
        try:
            (folder / "table.md").write_text(self.markdown(), encoding="utf-8")
            (folder / "table.json").write_text(self.json(), encoding="utf-8")
            with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(self.csv_rows())
        except OSError as error:
            raise UserError(f"{folder}: the table cannot be written: {error.strerror}; mend that and repeat") from None
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
        fields = [field for field in TrialResult.model_fields if field != "environment"]
        rows = [[*row.values, *map(result.number, fields)] for row in self.rows for result in row.results]
        return [[*self.keys, *fields], *rows]

    def json(self) -> str:
        """Return everything."""
        # one entry for each combination
        means = ("bleu", *(key for key, _ in COLUMNS.values()))
        rows = [
            {
                "values": dict(zip(self.keys, row.values, strict=True)),
                "mean": {key: row.mean(key) for key in means},
                "standard_deviation": {key: row.spread(key) for key in means},
                "trials": [result.model_dump() for result in row.results],
            }
            for row in self.rows
        ]

        # what all combinations share
        whole = {
            "command": self.command,
            "signatures": {key: _unique(getattr(r, key).signature for r in self.results()) for key in MEASURES},
            "environment": self.results()[0].environment if self.rows else None,
            "seeds": self.seeds,
            "rows": rows,
            "left_out": self.left_out,
            "config": self.config,
        }
        return json.dumps(whole, indent=2) + "\n"

    def _notes(self) -> list[str]:
        """Return the lines below the table: how, where and from what the numbers were measured."""
        results = self.results()

        # the measurement
        seeds = f"seeds {self.seeds[0]} to {self.seeds[-1]}" if len(self.seeds) > 1 else f"seed {self.seeds[0]}"
        metric = LABELS[self.config["training"]["early_stopping_metric"]]
        beams = ", ".join(_unique(r.beam for r in results))
        bleu, chrf = (", ".join(_unique(getattr(r, key).signature for r in results)) for key in ("bleu", "chrf"))
        notes = [
            f"- Means over {seeds} on the dev set, of the checkpoint with the best {metric} in validation, "
            f"beam {beams}. SD: sample standard deviation of BLEU. Bold: the best BLEU.",
            f"- BLEU {bleu}; chrF {chrf}",
        ]
        if any(key.startswith(("tokenizer", "data")) for key in self.keys):
            notes.append("- Perplexity is per token: it cannot be compared between different tokenizers or data.")

        # the machine, the commit, the command
        machines = _unique(
            "{device} ({processor}, cores: {cores}, threads: {threads})".format_map(r.environment) for r in results
        )
        commits = _unique(r.environment["commit"] or "unknown" for r in results)
        command = shlex.join(self.command)
        notes.append(f"- Trained on {'; '.join(machines)}; commit {', '.join(commits)}; `{command}`")
        return notes + [f"- Left out: {name}: {reason}" for name, reason in self.left_out.items()]


def _unique(values: Iterable[Any]) -> list[str]:
    """Return the different values, in order of appearance."""
    return list(dict.fromkeys(map(str, values)))


def _format(number: float | None, form: str) -> str:
    return "-" if number is None else format(number, form)
