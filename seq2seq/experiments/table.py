"""The table of a comparison: as Markdown, as CSV with a row a training, as JSON with all there is, and as a picture."""

import csv
import io
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from wcwidth import wcswidth

from seq2seq.errors import UserError
from seq2seq.plots.comparison import save_comparison
from seq2seq.training.progress import LABELS

COLUMNS = {  # means over the seeds: header, key in the numbers of a cell, format
    "chrF": ("chrf", ".2f"),
    "perplexity": ("perplexity", ".2f"),
    "parameters": ("parameters", ",.0f"),
    "train tokens/s": ("tokens_per_second", ",.0f"),
    "decode sentences/s": ("sentences_per_second", ",.1f"),
    "attention entropy": ("attention_entropy", ".3f"),
    "updates": ("updates", ",.0f"),
}
MEASURES = ("bleu", "chrf", "ter", "exact_match", "cer")
PLAIN = (
    "perplexity",
    "parameters",
    "tokens_per_second",
    "sentences_per_second",
    "attention_entropy",
    "updates",
    "best_update",
    "training_seconds",
    "sentences",
    "beam",
    "length_penalty",
    "name",
)
KEYS = ("seed", *MEASURES, *PLAIN, "environment")  # of the numbers of a cell


@dataclass(frozen=True)
class Row:
    """A combination of values, with the numbers of its trainings that are done: one or more."""

    values: tuple[str, ...]
    cells: list[dict[str, Any]]

    def numbers(self, key: str) -> list[float]:
        """A number of each training; those that lack it are left out. A measure counts by its score."""
        found = (cell.get(key) for cell in self.cells)
        return [value["score"] if isinstance(value, dict) else value for value in found if value is not None]

    def mean(self, key: str) -> float | None:
        """The mean over the seeds; None where no training has the number."""
        numbers = self.numbers(key)
        return mean(numbers) if numbers else None

    def spread(self, key: str) -> float | None:
        """The sample standard deviation over the seeds; None for one seed."""
        numbers = self.numbers(key)
        return stdev(numbers) if len(numbers) > 1 else None


@dataclass(frozen=True)
class Table:
    """What a comparison has found so far."""

    keys: list[str]  # the varied ones
    rows: list[Row]  # in the order of the grid
    seeds: list[int]
    left_out: dict[str, str]  # what could not be trained, and why
    command: list[str]
    config: dict[str, Any]  # that all trainings start from

    def write(self, folder: Path) -> None:
        """Write table.md, table.csv, table.json, and table.png where matplotlib is installed.

        Raises:
            UserError: a file that cannot be written.
        """
        texts = {"table.md": self.markdown(), "table.csv": self.csv(), "table.json": self.json()}
        for name, text in texts.items():
            try:
                (folder / name).write_text(text, encoding="utf-8", newline="")
            except OSError as error:
                raise UserError(f"{folder / name}: cannot be written: {error.strerror}") from None
        if find_spec("matplotlib"):
            labels = [", ".join(row.values) for row in self.rows]
            scores = [row.numbers("bleu") for row in self.rows]
            save_comparison(folder / "table.png", ", ".join(self.keys), "dev BLEU", labels, scores)

    def markdown(self) -> str:
        """The table, a row a combination, and below it what its numbers rest on."""
        best = max((row.mean("bleu") or 0.0 for row in self.rows), default=0.0)
        lines = [[*(f"`{key}`" for key in self.keys), "seeds", "dev BLEU", "SD", *COLUMNS]]
        for row in self.rows:
            bleu = _shown(row.mean("bleu"), ".2f")
            line = [
                *(value.replace("|", r"\|") for value in row.values),
                str(len(row.cells)),
                f"**{bleu}**" if row.mean("bleu") == best else bleu,
                _shown(row.spread("bleu"), ".2f"),
                *(_shown(row.mean(key), form) for key, form in COLUMNS.values()),
            ]
            lines.append(line)
        return "\n".join([*_aligned(lines, left=len(self.keys)), "", *self._notes()]) + "\n"

    def csv(self) -> str:
        """A row a training, with all digits."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*self.keys, "seed", *MEASURES, *PLAIN])
        for row in self.rows:
            for cell in row.cells:
                scores = [cell[measure]["score"] for measure in MEASURES]
                writer.writerow([*row.values, cell["seed"], *scores, *(cell[key] for key in PLAIN)])
        return out.getvalue()

    def json(self) -> str:
        """Everything."""
        keys = ("bleu", *(key for key, _ in COLUMNS.values()))
        rows = [
            {
                "values": dict(zip(self.keys, row.values, strict=True)),
                "mean": {key: row.mean(key) for key in keys},
                "standard_deviation": {key: row.spread(key) for key in keys},
                "cells": row.cells,
            }
            for row in self.rows
        ]
        whole = {
            "command": self.command,
            "signatures": {measure: self._all(measure, "signature") for measure in MEASURES},
            "environment": self.rows[0].cells[0]["environment"] if self.rows else None,
            "seeds": self.seeds,
            "rows": rows,
            "left_out": self.left_out,
            "config": self.config,
        }
        return json.dumps(whole, indent=2) + "\n"

    def _notes(self) -> list[str]:
        """What stands below the table."""
        seeds = f"seeds {self.seeds[0]} to {self.seeds[-1]}" if len(self.seeds) > 1 else f"seed {self.seeds[0]}"
        metric = LABELS[self.config["training"]["early_stopping_metric"]]
        notes = [
            f"- Means over {seeds} on the dev set, of the checkpoint with the best {metric} in validation, "
            f"beam {', '.join(self._all('beam'))}. SD: sample standard deviation of BLEU. Bold: the best BLEU.",
            f"- BLEU {', '.join(self._all('bleu', 'signature'))}; chrF {', '.join(self._all('chrf', 'signature'))}",
        ]
        if any(key.startswith(("tokenizer", "data")) for key in self.keys):
            notes.append("- Perplexities are a token: under another tokenizer or other data they cannot be compared.")
        facts = self._environments("device", "processor", "cores", "threads")
        machines = [_machine(*found) for found in facts]
        commits = [commit or "unknown" for (commit,) in self._environments("commit")]
        notes.append(f"- Trained on {'; '.join(machines)}; commit {', '.join(commits)}; `{shlex.join(self.command)}`")
        return notes + [f"- Left out: {name}: {reason}" for name, reason in self.left_out.items()]

    def _all(self, *path: str) -> list[str]:
        """The different values that the cells have under a path of keys."""
        found: dict[str, None] = {}
        for row in self.rows:
            for cell in row.cells:
                value: Any = cell
                for key in path:
                    value = value[key]
                found[str(value)] = None
        return list(found)

    def _environments(self, *keys: str) -> list[tuple[Any, ...]]:
        """The different values of keys of the cells' environments."""
        cells = (cell for row in self.rows for cell in row.cells)
        return list(dict.fromkeys(tuple(cell["environment"].get(key) for key in keys) for cell in cells))


def _aligned(lines: Sequence[Sequence[str]], left: int) -> list[str]:
    """A Markdown table whose columns also stand below each other as plain text, the first `left` to the left."""
    widths = [max(map(wcswidth, column)) for column in zip(*lines, strict=True)]

    def padded(line: Sequence[str]) -> str:
        spaces = [" " * (width - wcswidth(cell)) for cell, width in zip(line, widths, strict=True)]
        cells = [cell + s if i < left else s + cell for i, (cell, s) in enumerate(zip(line, spaces, strict=True))]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    header, *body = map(padded, lines)
    return [header, f"| {' | '.join(rule)} |", *body]


def _machine(device: str, processor: str | None, cores: int | None, threads: int | None) -> str:
    """What speeds rest on; runs of an older version do not name their processor."""
    known = [processor or "", f"cores: {cores}", f"threads: {threads}"]
    return f"{device} ({', '.join(filter(None, known))})"


def _shown(number: float | None, form: str) -> str:
    return "-" if number is None else format(number, form)
