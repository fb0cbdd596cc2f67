"""Cases of the check: they run one after another, within a budget of time, and each result is written at once."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from seq2seq.errors import UserError
from seq2seq.files import replace_text

Result = dict[str, Any]  # numbers and words, for JSON


class Case(NamedTuple):
    """A measurement or a truth: `run` returns figures, or raises if something is wrong."""

    name: str
    run: Callable[[], Result]


@dataclass
class Setup:
    """What all cases share; the last two are measured by some cases for later ones."""

    device: torch.device
    tiny: bool
    folder: Path  # for trainings
    peaks: dict[str, float] = field(default_factory=dict)  # by precision: operations a second of the fastest product
    operations: dict[str, float] = field(default_factory=dict)  # by model: operations a target token


def must(holds: bool, message: str) -> None:
    """Raise AssertionError with a message unless something holds."""
    if not holds:
        raise AssertionError(message)


def use_tf32(on: bool) -> None:
    """Let float32 products of a GPU round their factors to TF32, or not; torch's default is to do so in cuDNN alone."""
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make new tensors in a precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Report:
    """The JSON file: what was checked where, and the result of each case by section and name.

    A result has a `status`: `done`; `failed`, with a message; `refused`, where the package says that this device cannot
    do it; `skipped`, if time had run out; `running`, if the process died in it.
    """

    def __init__(self, file: Path, about: Result, budget: float):
        self._file, self._began, self._budget = file, time.monotonic(), budget
        self.content: Result = {**about, "budget": budget, "failures": [], "skipped": [], "sections": {}}
        file.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    def run(self, section: str, cases: Iterable[Case], setup: Setup) -> None:
        """Run the cases of a section that begin within the budget."""
        results = self.content["sections"].setdefault(section, {})
        try:
            cases = list(cases)
        except Exception as error:
            self.content["failures"].append(f"{section}: {type(error).__name__}: {error}")
            cases = []
        for name, run in cases:
            # skip the case if time has run out
            if time.monotonic() - self._began > self._budget:
                results[name] = {"status": "skipped"}
                self.content["skipped"].append(f"{section}: {name}")
                self._write()
                continue

            # run it
            results[name] = {"status": "running"}
            self._write()
            start = time.monotonic()
            try:
                result = {"status": "done", **run()}
            except KeyboardInterrupt:
                result = {"status": "failed", "message": "stopped by a signal, or out of time"}
                self._keep(section, name, result, start)
                raise
            except UserError as error:
                status = "failed" if setup.device.type == "cuda" else "refused"
                result = {"status": status, "message": str(error)}
            except Exception as error:  # the next case may be all right
                result = {"status": "failed", "message": f"{type(error).__name__}: {error}"}
            self._keep(section, name, result, start)

    def _keep(self, section: str, name: str, result: Result, start: float) -> None:
        self.content["sections"][section][name] = {**result, "seconds": round(time.monotonic() - start, 2)}
        if result["status"] == "failed":
            self.content["failures"].append(f"{section}: {name}: {result['message']}")
        self._write()

    def _write(self) -> None:
        self.content["seconds"] = round(time.monotonic() - self._began, 1)
        replace_text(self._file, json.dumps(self.content, indent=1, ensure_ascii=False) + "\n")


def tables(content: Result) -> Iterator[str]:
    """Yield the lines of a report in Markdown."""
    about = {key: value for key, value in content.items() if isinstance(value, str | int | float)}
    yield "; ".join(f"{key} {value}" for key, value in about.items())
    for section, results in content["sections"].items():
        # what is shown: numbers and words, of cases that are done
        done = {name: result for name, result in results.items() if result["status"] == "done"}
        shown = [
            key for result in done.values() for key, value in result.items() if isinstance(value, str | int | float)
        ]
        keys = [key for key in dict.fromkeys(shown) if key not in ("status", "seconds")]
        yield f"\n{section}: {len(done)} of {len(results)} cases done\n"

        # truths: the worst of each number
        if section == "truths":
            worst = {key: max(r[key] for r in done.values() if key in r) for key in keys if key.startswith("error")}
            yield "; ".join(f"largest {key} {value:.1e}" for key, value in worst.items())
            continue

        # a row for each case
        yield f"| {' | '.join(['', *keys])} |\n|{'---|' * (len(keys) + 1)}"
        for name, result in done.items():
            yield f"| {' | '.join([name, *(_shown(result.get(key)) for key in keys)])} |"
    for kind in ("failures", "skipped"):
        yield from (f"\n{kind}: {line}" for line in content[kind])


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "" if value is None else str(value)
