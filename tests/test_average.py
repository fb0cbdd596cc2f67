"""The mean of checkpoints: its weights, what can be done with it, and the errors."""

import pytest
import torch
from safetensors.torch import load_file
from tiny import write_config

from seq2seq import load
from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.training.train import train


def test_the_mean_of_checkpoints_is_a_run_that_translates_and_can_be_started_from(tmp_path, capsys):
    path = write_config(tmp_path, training={"keep": 4})
    run, new = train(load_config(path), tmp_path / "run").path, tmp_path / "run-average"
    assert main(["average", str(run), "--last", "2"]) == 0
    assert "the mean            dev BLEU" in capsys.readouterr().out

    # every weight is the mean of two
    last, mean = (load_file(run / "checkpoints" / f"step-0000{n}" / "model.safetensors") for n in (20, 30)), None
    mean = load_file(new / "checkpoints" / "step-000030" / "model.safetensors")
    first, second = last
    assert first.keys() == second.keys() == mean.keys()
    for name in mean:
        torch.testing.assert_close(mean[name], (first[name] + second[name]) / 2)

    # what it is for, and what it is not
    assert load(new).translate(["the cat"])
    start = ["train", "--from", str(new), "--run", str(tmp_path / "next"), "training.max_updates=1"]
    assert main(start) == 0
    capsys.readouterr()
    errors = {
        ("train", str(path), "--run", str(new), "--resume"): "has no training to go on with; train a new run from it",
        ("average", str(run)): f"{new} already holds a run; choose another folder with --run DIR",
        ("average", str(run), "--last", "9", "--run", str(tmp_path / "x")): "keeps 3 checkpoints, and a mean needs 9",
        ("average", str(run), "--last", "1"): "--last is 1; write 2 or more",
        ("average", str(run), "--run", str(tmp_path)): f"{tmp_path}: is there already, and nothing is overwritten",
    }
    for command, error in errors.items():
        assert main([*command]) == 2
        assert error in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["model.safetensors", "manifest.json"])
def test_a_damaged_checkpoint_is_named_and_no_run_is_made(tmp_path, capsys, damage):
    run = train(load_config(write_config(tmp_path)), tmp_path / "run").path
    (run / "checkpoints" / "step-000020" / damage).write_bytes(b"x")
    assert main(["average", str(run)]) == 2
    assert "step-000020" in capsys.readouterr().err
    assert not (tmp_path / "run-average").exists()


def test_a_mean_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch, capsys):
    run = train(load_config(write_config(tmp_path, training={"keep": 4})), tmp_path / "run").path

    def save(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seq2seq.runs.checkpoints.Checkpoints.save", save)
    assert main(["average", str(run)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "run-average").exists()
    assert not list(tmp_path.glob(".*run-average*"))
