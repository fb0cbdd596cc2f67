"""Reproduce a row of the tables of docs/quality.md: train what is missing, measure dev and test, print the row.

    python scripts/ladder.py             list the rows
    python scripts/ladder.py NAME        what `make quality ROW=NAME` does

scripts/ladder.yaml declares the rows. Each has a folder, runs/quality/NAME, with its runs and `done.json`, the commands
that have ended. A stopped row goes on where it was; to begin it anew, delete its folder. The minutes are those of the
updates, as in training.max_minutes, and those of the other commands, each from its last start.
"""

import argparse
import io
import json
import shlex
import shutil
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from seq2seq.commands.main import main as seq2seq
from seq2seq.experiments.table import trained_on
from seq2seq.files import publish, unfinished, write_json
from seq2seq.runs.run import Run

ROWS = Path(__file__).with_suffix(".yaml")
FOLDER = Path("runs/quality")
COLUMNS = ("dev BLEU", "dev chrF", "test BLEU", "test chrF")


class Row(BaseModel, extra="forbid"):
    """A row of the table; ladder.yaml explains the keys."""

    step: str
    config: str | None = None
    set: list[str] = []
    seeds: list[int] = [1]
    of: str | None = None
    together: list[str] = []
    needs: list[str] = []
    before: str | None = None
    after: str | None = None
    search: str = ""

    @property
    def earlier(self) -> list[str]:
        """The rows that must be there first."""
        return [*self.needs, *([self.of] if self.of else []), *self.together]


def read_rows(file: Path) -> dict[str, Row]:
    """Read the rows; end with a message if one is wrong, or needs a row that does not stand above it."""
    try:
        rows = TypeAdapter(dict[str, Row]).validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        sys.exit(f"{file}: {error}")
    names = list(rows)
    for i, (name, row) in enumerate(rows.items()):
        if sum(map(bool, (row.config, row.of, row.together))) != 1:
            sys.exit(f"{file}: {name}: give one of config, of and together")
        if missing := {*row.earlier} - {*names[:i]}:
            sys.exit(f"{file}: {name} needs {', '.join(missing)}, which must stand above it")
        if row.of and rows[row.of].together:
            sys.exit(f"{file}: {name}: {row.of} has no runs of its own; name one of {', '.join(rows[row.of].together)}")
    return rows


def once(folder: Path, command: str) -> Any:
    """Run a command of seq2seq unless it has ended before; return its seconds, and with `--json` what it printed."""
    file = folder / "done.json"
    done = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if command not in done:
        print(f"\n$ seq2seq {command}", flush=True)
        out, began = io.StringIO(), time.perf_counter()
        with redirect_stdout(out if "--json" in command else sys.stdout):
            if code := seq2seq(shlex.split(command)):
                sys.exit(code)
        printed = json.loads(out.getvalue()) if "--json" in command else None
        done[command] = {"seconds": time.perf_counter() - began, "printed": printed}
        write_json(file, done)
    return done[command]


def fill_in(text: str, names: dict[str, str]) -> str:
    """Replace each {name} in a text; other braces, such as those of YAML, stay."""
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return text


class Made(NamedTuple):
    """What a row has made."""

    systems: list[list[Path]]  # of runs that translate together
    minutes: float  # of all its trainings and commands

    @property
    def runs(self) -> list[Path]:
        """The runs of all systems."""
        return [run for system in self.systems for run in system]


def make_all(rows: dict[str, Row], name: str) -> dict[str, Made]:
    """Make a row and all rows that it needs; a row needs only rows above it."""
    wanted = {name}
    for other in reversed(rows):
        wanted |= {*rows[other].earlier} if other in wanted else set()
    made: dict[str, Made] = {}
    for other in rows:
        if other in wanted:
            made[other] = make(rows[other], FOLDER / other, made)
    return made


def make(row: Row, folder: Path, made: dict[str, Made]) -> Made:
    """Make the runs of a row, as far as they are not there, from those of the rows above it."""
    names = {name: " ".join(map(str, each.runs)) for name, each in made.items()} | {"folder": str(folder)}
    seconds = 0.0
    folder.mkdir(parents=True, exist_ok=True)
    if row.together:
        return Made([[run for name in row.together for run in made[name].runs]], 0)
    if row.before:
        seconds += once(folder, fill_in(row.before, names))["seconds"]

    # its runs: trained, or those of another row, copied if they are changed
    if row.of and not row.after:
        runs = made[row.of].runs
    elif row.of:
        runs = [folder / source.name for source in made[row.of].runs]
        for source, run in zip(made[row.of].runs, runs, strict=True):
            if not run.exists():
                shutil.copytree(source, unfinished(run), dirs_exist_ok=True)
                publish(unfinished(run), run)
    else:
        runs = [folder / f"seed-{seed}" for seed in row.seeds]
        for seed, run in zip(row.seeds, runs, strict=True):
            overrides = shlex.join([*(fill_in(each, names) for each in row.set), f"seed={seed}"])
            once(folder, f"train {row.config} {overrides} --run {run} --resume")
            checkpoint = Run.open(run).checkpoints.find("last")
            seconds += checkpoint.training_state()["progress"]["seconds"] if checkpoint else 0

    # what comes after
    if row.after:
        for run in runs:
            seconds += once(folder, fill_in(row.after, names | {"run": str(run)}))["seconds"]
    return Made([[run] for run in runs], seconds / 60)


def measure(rows: dict[str, Row], name: str) -> str:
    """Make a row, measure it on dev and test, and return it as a table with the facts below it."""
    # the scores
    made = make_all(rows, name)
    row, mine = rows[name], made[name]
    found: dict[str, list[float]] = {column: [] for column in COLUMNS}
    for system in mine.systems:
        together = " ".join(map(str, system))
        for split in ("dev", "test"):
            scores = once(FOLDER / name, f"evaluate {together} --split {split} --json {row.search}".strip())["printed"]
            found[f"{split} BLEU"].append(scores["bleu"]["score"])
            found[f"{split} chrF"].append(scores["chrf"]["score"])
    shown = [f"{mean(s):.2f}" + (f" ± {stdev(s):.2f}" if len(s) > 1 else "") for s in found.values()]

    # the facts; the minutes of its own, and with those of all that came before
    runs, whole = [Run.open(run) for run in mine.runs], sum(each.minutes for each in made.values())
    seeds = ", ".join(dict.fromkeys(str(run.config().seed) for run in runs))
    return "\n".join(
        [
            f"| step | {' | '.join(COLUMNS)} | minutes | with what it needs |",
            f"|---|{'---|' * len(COLUMNS)}---|---|",
            f"| {row.step} | {' | '.join(shown)} | {mine.minutes:.0f} | {whole:.0f} |",
            "",
            f"- Seed {seeds}; BLEU {scores['bleu']['signature']}; chrF {scores['chrf']['signature']}",
            trained_on([run.environment() for run in runs], ["make", "quality", f"ROW={name}"]),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", nargs="?", metavar="NAME", help="of a row; without it all are listed")
    args, rows = parser.parse_args(), read_rows(ROWS)
    if not args.row:
        print("make quality ROW=NAME reproduces a row of docs/quality.md:")
        print(*(f"  {name:<20} {row.step}" for name, row in rows.items()), sep="\n")
    elif args.row not in rows:
        sys.exit(f"{args.row}: no such row; the rows are {', '.join(rows)}")
    else:
        table = measure(rows, args.row)
        (FOLDER / args.row / "row.md").write_text(table + "\n", encoding="utf-8")
        print(f"\n{table}")


if __name__ == "__main__":
    main()
