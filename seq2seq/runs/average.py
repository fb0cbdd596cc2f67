"""The mean of the weights of several checkpoints of a run, as a run of its own."""

import os
import shutil
from pathlib import Path

from seq2seq.errors import UserError
from seq2seq.files import fingerprint, is_file, must_write, replacing_folder, write_json
from seq2seq.runs.checkpoints import WEIGHTS, Checkpoint
from seq2seq.runs.run import Run

KEPT = ("sentences.json", "confidence.json", "shortlist.safetensors")  # files of a run that hold for the new one too


def average_checkpoints(run: Run, path: Path, last: int | None = None) -> Run:
    """Make a run whose one checkpoint has the mean of the weights of the newest checkpoints of another.

    It translates as any run does, and a training can start from it, but none can be resumed in it.

    Args:
        run: the run; `training.keep` says how many checkpoints it keeps.
        path: the new run folder.
        last: how many checkpoints to take, at least 2; None takes all.

    Raises:
        UserError: there are not so many, one is damaged, or the folder holds a run or cannot be written.
    """
    # the checkpoints
    checkpoints = run.checkpoints.all()[-(last or 0) :]
    if len(checkpoints) < max(2, last or 0):
        count = "1 checkpoint" if len(checkpoints) == 1 else f"{len(checkpoints)} checkpoints"
        fix = f"train with a higher training.keep (now {run.config().training.keep})"
        raise UserError(f"{run.path} keeps {count}, and a mean needs {max(2, last or 0)} of one training; {fix}")
    new = Run(path)
    if new.exists():
        raise UserError(f"{path} already holds a run; choose another folder with --run DIR")
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path}: is there already, and nothing is overwritten; choose another folder with --run DIR")

    # their mean
    model, tokenizers = run.load_model(checkpoints[0])
    mean = [weight.detach().double() for weight in model.parameters()]
    for n, checkpoint in enumerate(checkpoints[1:], 2):
        model, _ = run.load_model(checkpoint)
        for m, weight in zip(mean, model.parameters(), strict=True):
            m += (weight.detach() - m) / n
    for m, weight in zip(mean, model.parameters(), strict=True):
        weight.data.copy_(m)

    # the new run: what the old one holds, and where its weights come from
    with must_write(path, "choose another with --run DIR"), replacing_folder(path) as folder:
        made = Run(folder)
        origin = {"run": str(run.path), "sha256": {each.name: _digest(each) for each in checkpoints}}
        write_json(folder / "environment.json", run.environment() | {"mean_of": origin})
        made.save_config(run.config())
        made.save_tokenizers(tokenizers)
        for name in KEPT:
            if is_file(run.path / name):
                shutil.copyfile(run.path / name, folder / name)
        made.checkpoints.save(checkpoints[-1].update, model, {}, best=True, keep=1)
    return new


def _digest(checkpoint: Checkpoint) -> str:
    return fingerprint(checkpoint.path / WEIGHTS[0])["sha256"]
