"""The checks of `seq2seq selftest`: each passes here, and each fails where what it shows is broken."""

import importlib
import json
import os
import re
import shutil
import sys

import pytest
import torch
from tiny import write_config

from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.doctor import selftest
from seq2seq.doctor.selftest import learn, outcome, parts, processes, refuse, resume
from seq2seq.errors import UserError
from seq2seq.evaluation.measures import Measure
from seq2seq.runs.checkpoints import Checkpoint
from seq2seq.runs.run import Run
from seq2seq.text.tokenizer import SubwordTokenizer, WordTokenizer
from seq2seq.training.train import train

loop = importlib.import_module("seq2seq.training.train")


def passes(check):
    found = outcome(check)
    assert found.passed, found.shown
    return found.shown


def fails(check):
    found = outcome(check)
    assert not found.passed, found.shown
    return found.shown


# -------------------------------------------------------------------------------------------------------------- parts


def test_the_parts_work():
    shown = passes(parts)
    assert f"torch {torch.__version__}" in shown
    assert "BLEU is 100.0 of equal lines and 0.0 of different ones" in shown


@pytest.mark.parametrize(("kind", "package"), [(SubwordTokenizer, "sentencepiece"), (WordTokenizer, "torchtext")])
def test_a_tokenizer_that_loses_a_letter_is_named(monkeypatch, kind, package):
    real = kind.decode
    monkeypatch.setattr(kind, "decode", lambda self, ids: real(self, ids)[:-1])
    assert fails(parts).startswith(f"{package} ")


@pytest.mark.parametrize(
    ("function", "wrong", "named"),
    [
        (
            "measure",
            {"bleu": Measure(100.0, "s")},
            "sacrebleu .*: BLEU of .* a common letter: 100.0, expected 0.0; ",
        ),
        ("load_file", {"weights": torch.zeros(1000)}, "safetensors .*; install it again [(]pip install"),
    ],
)
def test_a_library_with_a_wrong_result_is_named(monkeypatch, function, wrong, named):
    monkeypatch.setattr(selftest, function, lambda *_, **__: wrong)
    assert re.match(named, fails(parts))


def test_an_extra_is_there_or_not(monkeypatch):
    monkeypatch.setattr(selftest, "EXTRAS", {"one": ("json",), "two": ("json", "not_there")})
    assert passes(parts).endswith("extras: one yes, two no")


# -------------------------------------------------------------------------------------------------------------- learn


def test_a_model_learns_to_reverse():
    assert passes(learn).startswith("reverses ")


def test_without_attention_it_does_not_learn_that(monkeypatch):
    real = selftest.parse_config

    def blind(keys, where):
        return real({**keys, "model": {**keys["model"], "attention": {"score": "none"}}}, where)

    monkeypatch.setattr(selftest, "parse_config", blind)
    assert "strings it has not seen" in fails(learn)


def test_with_wrong_gradients_it_does_not_learn_that(monkeypatch):
    """A sign that is wrong for one weight, that of the attention score."""
    real = loop.update

    def wrong(model, *arguments, **names):
        hooked = model.decoder.attention.W_a.weight.register_hook(lambda gradient: -gradient)
        updated = real(model, *arguments, **names)
        hooked.remove()
        return updated

    monkeypatch.setattr(loop, "update", wrong)
    assert "strings it has not seen" in fails(learn)


def test_no_string_is_learned_and_asked_for(tmp_path):
    unseen = selftest._write_corpus(tmp_path, 6000)
    learned = {line.split("\t")[0] for line in (tmp_path / "train.tsv").read_text().splitlines()}
    assert len(unseen) == selftest.UNSEEN
    assert not learned & set(unseen)
    assert all(reverse.split() == string.split()[::-1] for string, reverse in unseen.items())


# ------------------------------------------------------------------------------------------------------------- resume


def test_a_training_that_is_killed_and_stopped_ends_with_the_same_bits():
    assert "the same weights and metrics to the bit as without" in passes(resume)


def test_random_numbers_that_are_not_put_back_are_noticed(monkeypatch):
    """A training that ends at an update stands for one that is stopped there: no other process has to start."""

    def interrupt(folder, run, number, *, after):
        keys = {**selftest.ENDLESS, "max_updates": after}
        train(selftest._config(folder, keys, dropout=0.2), run.path, resume=True)

    monkeypatch.setattr(selftest, "_interrupt", interrupt)
    assert passes(resume)
    monkeypatch.setattr("seq2seq.training.resume._restore_random_state", lambda *_: None)
    assert "a resumed training does not end as an undisturbed one does: " in fails(resume)


def test_a_training_that_ends_before_it_can_be_stopped_is_quoted(monkeypatch):
    monkeypatch.setattr(selftest, "ENDLESS", {"max_updates": 5})
    assert "did not get to update 15: " in fails(resume)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    run = train(load_config(write_config(folder)), folder / "run")
    assert (run.checkpoints.named("best").name, run.checkpoints.named("last").name) == ("step-000030",) * 2
    return run


def other_bit(run):
    file = run.checkpoints.named("last").path / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def other_metrics(run):
    lines = [json.dumps(record | ({"loss": 1.0} if record["update"] == 17 else {})) for record in run.metrics.records()]
    (run.path / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda run: run.checkpoints.point("best", 10), "`best` is step-000010, expected step-000030"),
        (other_bit, "model.safetensors of `best` [(]step-000030[)] differs"),
        (other_metrics, "the metrics differ from update 17 on"),
        (lambda run: run.metrics.add({"update": 31, "split": "train"}), "the metrics differ from update 31 on"),
    ],
)
def test_any_difference_of_two_runs_is_named(trained, tmp_path, change, named):
    shutil.copytree(trained.path, tmp_path / "run")
    run = Run(tmp_path / "run")
    assert selftest.difference(run, trained) is None
    change(run)
    assert re.match(named, selftest.difference(run, trained))


# ------------------------------------------------------------------------------------------------------------- refuse


def test_damage_is_noticed_and_code_refused():
    shown = passes(refuse)
    assert "checkpoint of update 20 is noticed, and training goes on from update 10" in shown
    assert "the code does not run" in shown


def test_damage_that_is_not_noticed_fails(monkeypatch):
    monkeypatch.setattr(Checkpoint, "verify", lambda *_: None)
    assert "one bit of model.safetensors in step-000020 was wrong, and nothing noticed it" in fails(refuse)


def test_another_end_after_the_damage_fails(monkeypatch):
    monkeypatch.setattr("seq2seq.training.resume.Progress.from_dict", lambda numbers: loop.Progress(update=10))
    assert "does not end at the same weights" in fails(refuse)


def test_code_that_runs_fails(monkeypatch):
    def careless(checkpoint):
        return torch.load(checkpoint.path / "training.pt", weights_only=False)

    monkeypatch.setattr(Checkpoint, "training_state", careless)
    assert "code in training.pt of a checkpoint ran" in fails(refuse)


# ---------------------------------------------------------------------------------------------------------- processes


def break_processes(monkeypatch, folder, code):
    """Let the processes that the check starts run some code first."""
    (folder / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))


def test_processes_that_do_not_add_up_their_gradients_fail(monkeypatch, tmp_path):
    broken = "from seq2seq.training.processes import Processes\nProcesses.sum_gradients = lambda *_: None\n"
    break_processes(monkeypatch, tmp_path, broken)
    assert "a weight of two processes differs by" in fails(processes)


REFUSES = """
import os, time
from torch import distributed
from seq2seq.errors import UserError

def refuse(*_, **__):
    time.sleep(2 if os.environ["RANK"] == "0" else 0)
    raise UserError("no port is free; wait")

distributed.init_process_group = refuse
"""


def test_an_error_of_all_processes_is_quoted_although_the_first_process_is_the_last_to_meet_it(monkeypatch, tmp_path):
    break_processes(monkeypatch, tmp_path, REFUSES)
    assert fails(processes).startswith("two processes could not train: seq2seq: error: no port is free; wait; ")


# -------------------------------------------------------------------------------------------------------- the command


def checks(monkeypatch, *functions):
    monkeypatch.setattr(selftest, "selftest", lambda: map(outcome, functions))


def works(folder):
    return "a figure"


def breaks(folder):
    raise UserError("found that; do this")


def crashes(folder):
    return [][1]


def test_the_command_says_that_everything_works(monkeypatch, capsys):
    checks(monkeypatch, works, works)
    assert main(["selftest"]) == 0
    first, _, last = capsys.readouterr().out.splitlines()
    assert first == "works      ok      a figure"
    assert last.startswith("everything works, in ")


@pytest.mark.parametrize(("check", "shown"), [(breaks, "found that; do this"), (crashes, "IndexError: list index")])
def test_what_fails_is_said_and_the_others_run(monkeypatch, capsys, check, shown):
    checks(monkeypatch, check, works)
    with pytest.raises(SystemExit) as caught:
        main(["selftest"])
    assert caught.value.code == 1
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{check.__name__:<10} FAILED  {shown}")
    assert second.startswith("works      ok ")
    assert last.startswith(f"{check.__name__} failed, in ")


def test_the_folder_of_a_check_is_removed_whatever_comes_of_it():
    folders = []

    def check(folder):
        (folder / "file").write_text("text")
        folders.append(folder)
        if len(folders) > 1:
            raise UserError("broken")
        return ""

    assert [outcome(check).passed, outcome(check).passed] == [True, False]
    assert len(folders) == 2
    assert not any(folder.exists() for folder in folders)


def test_nothing_is_written_to_standard_error(capfd):
    assert outcome(lambda folder: print("noise", file=sys.stderr) or "").passed
    assert capfd.readouterr().err == ""
