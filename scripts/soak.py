"""Kill a training again and again, and check that it ends exactly as a training that nobody kills.

A training runs once undisturbed. Then the same training runs in processes that are killed, with kill -9 and SIGTERM,
some with two signals, some by closing their terminal, some with Ctrl-C after the reader of their log has died, while
they prepare, update, validate and save; each process resumes the one before. At the end
weights and metrics must be the same to the bit, and no checkpoint may have been damaged at any time: otherwise the exit
code is 1, and the folder with both runs is kept. The seed decides which phase is hit, how, and about when.

    python scripts/soak.py [config] [--kills 50] [--seed 1]
"""

import argparse
import json
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from seq2seq.doctor.selftest import difference
from seq2seq.errors import UserError
from seq2seq.files import fingerprint
from seq2seq.runs.run import Run

VALIDATE_EVERY = 25
SETTINGS = (
    "model.embedding_size=64",
    "model.dropout=0.2",
    "model.encoder.hidden_size=64",
    "model.decoder.hidden_size=64",
    "training.schedule=plateau",
    "training.decay_patience=1",
    f"training.validate_every={VALIDATE_EVERY}",
    "training.patience=0",
    "training.save_every=5",
    "search.beam=1",
    "search.max_length=25",
)
UPDATES, UPDATES_A_KILL = 107, 10  # updates of the training: at least, and more for each kill

PHASES = ("preparing", "updates", "validation", "save")
SIGNALS = {
    "KILL": (signal.SIGKILL,),
    "TERM": (signal.SIGTERM,),
    "TERM TERM": (signal.SIGTERM, signal.SIGTERM),
    "TERM KILL": (signal.SIGTERM, signal.SIGKILL),
    "HANGUP": (signal.SIGHUP,),  # sent by the system, because the terminal is closed
    "UNREAD INT": (signal.SIGINT,),  # after the reader of the log has died, as with `2>&1 | tee log` and Ctrl-C
}
# a command with standard output as the terminal that controls it
ON_TERMINAL = "import fcntl, os, sys, termios as t; fcntl.ioctl(1, t.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
TRIES = 20  # attempts to stop a process in the phase to hit
LONGEST = 300  # seconds to wait for a process
IMPORTS = 0.3  # share of the preparation in which Python only imports


class Kill(NamedTuple):
    """When to kill a training, and how."""

    phase: str  # the phase to hit
    signals: str  # a key of `SIGNALS`
    update: int  # the first update at which to kill
    when: float  # how late in the phase, from 0 to 1
    pause: float  # seconds between two signals


def plan(count: int, updates: int, seed: int) -> list[Kill]:
    """Draw the kills, spread evenly over the updates; a tenth of them come before the first checkpoint.

    Of the others, each four in a row hit the four phases in a random order, each 24 every phase with every signal.
    """
    # phase and signals
    rng = random.Random(seed)
    first = max(1, count // 10)
    kinds = [(0, number) for number in range(first)]
    for turn in range(ceil((count - first) / len(PHASES))):
        kinds += [(phase, phase + turn) for phase in rng.sample(range(len(PHASES)), len(PHASES))]

    # when
    kills = []
    for number, (phase, signals) in enumerate(kinds[:count]):
        update = max(0, updates * (number - first + 1) // (count - first + 2))
        name = [*SIGNALS][signals % len(SIGNALS)]
        kills.append(Kill(PHASES[phase], name, update, rng.random(), rng.uniform(0, 0.1)))
    return kills


class Training:
    """A training in a process of its own, observed from outside.

    Attributes:
        preparation: seconds from its start to its first update; None before that.
    """

    def __init__(self, config: Path, updates: int, run: Run, signals: str = ""):
        settings = [*SETTINGS, f"training.max_updates={updates}"]
        command = [sys.executable, "-m", "seq2seq", "train", str(config), "--run", str(run.path), "--resume", *settings]
        self.run, self.log = run, run.path.with_suffix(".log")
        self.preparation: float | None = None
        self._metrics = run.path / "metrics.jsonl"
        self._left_behind = self._unfinished()
        self._start = time.time()
        self._reader: subprocess.Popen[bytes] | None = None
        with open(self.log, "wb") as file:
            output = file.fileno()
            if signals in ("HANGUP", "UNREAD INT"):
                reading, output = pty.openpty() if signals == "HANGUP" else os.pipe()
                self._reader = subprocess.Popen(["cat"], stdin=reading, stdout=file, stderr=file)
                os.close(reading)
            if signals == "HANGUP":
                command = [sys.executable, "-c", ON_TERMINAL, *command]
            environment = {"OMP_NUM_THREADS": "1"} | os.environ
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, env=environment, start_new_session=signals == "HANGUP"
            )
            if self._reader:
                os.close(output)

    def phase(self) -> str:
        """Return the phase that the training is in, as its folder shows."""
        if not self._has_begun():
            return "preparing"
        newest = self.run.checkpoints.all()[-1:]
        if self._unfinished() - self._left_behind or newest != [self.run.checkpoints.named("last")][: len(newest)]:
            return "save"
        record = self.record()
        return "validation" if record["split"] == "train" and not record["update"] % VALIDATE_EVERY else "updates"

    def record(self) -> dict[str, Any]:
        """Return the last record of the metrics, which record every second update; update 0 if there is none."""
        lines = self._metrics.read_bytes().split(b"\n")[:-1] if self._metrics.exists() else []
        return json.loads(lines[-1]) if lines else {"update": 0, "split": "dev"}

    def stop_in(self, kill: Kill, lengths: dict[str, float]) -> bool:
        """Halt the training (SIGSTOP) in the phase to hit, after `TRIES` in another; return False if it has ended."""
        for tried in range(TRIES):
            # wait for the moment
            while not self._is_time(kill, lengths["preparing"]):
                if self.process.poll() is not None or time.time() > self._start + LONGEST:
                    return False
                time.sleep(0.0005)
            if kill.phase != "preparing":
                time.sleep(kill.when * lengths[kill.phase] / 2**tried)

            # halt, and see whether the phase has ended meanwhile
            self.process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if self.process.poll() is not None or self.phase() == kill.phase:
                break
            self.process.send_signal(signal.SIGCONT)
        return self.process.poll() is None

    def kill(self, signals: str, pause: float) -> int:
        """Send signals to the halted training and return its exit code."""
        if self._reader:
            self._reader.kill()  # closes the terminal or the pipe
            self._reader.wait()
        first, *others = SIGNALS[signals]
        if signals != "HANGUP":
            self.process.send_signal(first)
        self.process.send_signal(signal.SIGCONT)
        for number in others:
            time.sleep(pause)
            self.process.send_signal(number)
        return self.process.wait(LONGEST)

    def finish(self) -> None:
        """Wait until the training ends.

        Raises:
            UserError: the training has failed.
        """
        while self.process.poll() is None and not self._has_begun():
            time.sleep(0.01)
        if code := self.process.wait():
            raise UserError(f"a training ended with exit code {code}: {self.log.read_text(errors='replace')[-1000:]}")

    def _is_time(self, kill: Kill, preparation: float) -> bool:
        """Return whether the phase to hit has come; for the preparation, also whether enough of it has passed."""
        if kill.phase == "preparing":
            return time.time() > self._start + preparation * (IMPORTS + (1 - IMPORTS) * kill.when)
        if not self._has_begun() or self.record()["update"] < kill.update:
            return False
        return kill.phase == "updates" or self.phase() == kill.phase

    def _has_begun(self) -> bool:
        """Return whether the metrics were cut to the checkpoint, which happens right before the first update."""
        begun = self._metrics.exists() and self._metrics.stat().st_mtime > self._start
        if begun and self.preparation is None:
            self.preparation = time.time() - self._start
        return begun

    def _unfinished(self) -> set[tuple[str, int]]:
        """Return the names and inodes of hidden folders: checkpoints that are being saved or deleted."""
        folder = self.run.path / "checkpoints"
        found = [*os.scandir(folder)] if folder.exists() else []
        return {(entry.name, entry.inode()) for entry in found if entry.name.startswith(".step-")}


def soak(config: Path, count: int, seed: int, folder: Path) -> bool:
    """Train undisturbed and with kills into a folder, print a report, and return whether both are the same."""
    # undisturbed
    updates = UPDATES + UPDATES_A_KILL * count
    start = time.monotonic()
    training = Training(config, updates, Run(folder / "whole"))
    training.finish()
    whole, run = training.run, Run(folder / "killed")
    assert training.preparation
    lengths = {"preparing": training.preparation, "updates": 0.05, **_lengths(whole)}
    print(f"{config}: {updates} updates undisturbed, {time.monotonic() - start:.0f} s\n")

    # with kills
    print("kill  second  signals    phase       at update  exit code   goes on from")
    hits: Counter[tuple[str, str]] = Counter()
    faults: list[str] = []
    verified = damaged = 0
    for number, kill in enumerate(plan(count, updates, seed), 1):
        training = Training(config, updates, run, kill.signals)
        if not training.stop_in(kill, lengths):
            training.process.kill()
            faults.append(f"the training that was to be kill {number} ended, or hung: {_last_lines(training.log)}")
            break
        phase, update = training.phase(), training.record()["update"]
        code = training.kill(kill.signals, kill.pause)
        lengths["preparing"] = min(lengths["preparing"], training.preparation or lengths["preparing"])
        hits[phase, kill.signals] += 1
        last = run.checkpoints.named("last")
        resumed = str(last.update) if last else "the beginning"
        shown = f"{kill.signals:<10} {phase:<11} {update:9} {code:10} {resumed:>14}"
        print(f"{number:4} {time.monotonic() - start:7.1f}  {shown}", flush=True)
        broken = _damaged(run)
        verified, damaged = verified + len(run.checkpoints.all()), damaged + len(broken)
        faults += [f"kill {number}: {fault}" for fault in [*broken, *_faults(training.log, code, kill.signals)]]

    # the end
    Training(config, updates, run).finish()
    if found := difference(run, whole):
        faults.append(f"another end than without kills: {found}")

    # report
    print(f"\n{'':<11}" + "".join(f"{signals:>11}" for signals in SIGNALS))
    for phase in PHASES:
        print(f"{phase:<11}" + "".join(f"{hits[phase, signals]:11}" for signals in SIGNALS))
    print(f"\ncheckpoints verified after the kills: {verified}, damaged: {damaged}")
    expected, left = ({path.name for path in (each.path / "checkpoints").iterdir()} for each in (whole, run))
    print(f"left in checkpoints/ that is not there without kills: {', '.join(sorted(left - expected)) or 'nothing'}")
    if not faults and (last := run.checkpoints.named("last")):
        digest = fingerprint(last.path / "model.safetensors")["sha256"]
        print(f"the same to the bit: best, last ({last.name}, {digest[:16]}), {len(run.metrics.records())} metrics")
    for fault in faults:
        print(f"FAULT: {fault}")
    print(f"{sum(hits.values())} kills, {time.monotonic() - start:.0f} s")
    return not faults


def _lengths(run: Run) -> dict[str, float]:
    """Return the median seconds of a validation, and those of the last save from its weights on."""
    checkpoint = run.checkpoints.all()[-1].path
    save = checkpoint.stat().st_ctime - (checkpoint / "model.safetensors").stat().st_mtime
    return {"validation": median(r["seconds"] for r in run.metrics.records() if r["split"] == "dev"), "save": save}


def _damaged(run: Run) -> list[str]:
    """Return the errors of damaged checkpoints."""
    found = []
    for checkpoint in run.checkpoints.all():
        try:
            checkpoint.verify()
        except UserError as error:
            found.append(str(error))
    return found


def _faults(log: Path, code: int, signals: str) -> list[str]:
    """Return what a killed training did wrong: errors in its log, or an exit code that is not the signal's."""
    faults = []
    if re.search("Traceback|damaged|error:", log.read_text(encoding="utf-8", errors="replace")):
        faults.append(f"it wrote: {_last_lines(log)}")
    expected = {code for number in SIGNALS[signals] for code in (-number, 128 + number)} - {128 + signal.SIGKILL}
    if code not in expected:
        faults.append(f"exit code {code}: {_last_lines(log)}")
    return faults


def _last_lines(log: Path) -> str:
    return " | ".join(log.read_text(encoding="utf-8", errors="replace").split("\n")[-12:])


def main(argv: Sequence[str] | None = None) -> int:
    """Return exit code 0 if both runs are the same, 1 if not, and 2 after a user's mistake."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", type=Path, default=Path("configs/toy.yaml"), help="(default: %(default)s)")
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the kills (default: %(default)s)")
    args = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        passed = soak(args.config, args.kills, args.seed, folder)
    except UserError as error:
        print(f"soak: error: {error}", file=sys.stderr)
        return 2
    if not passed:
        print(f"both runs are in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
