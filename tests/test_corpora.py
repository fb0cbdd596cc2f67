"""A training text of several corpora with weights."""

import importlib
import json

import pytest
from tiny import write_config, write_corpus

from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.data.dataset import training_text
from seq2seq.errors import UserError
from seq2seq.training.train import train


def lines(config):
    return [src for src, _ in training_text(config)]


def write_list(folder, *corpora, **sections):
    return load_config(write_config(folder, data={"train": list(corpora)}, **sections))


@pytest.mark.parametrize(
    ("weight", "copies"), [(1, (1, 1, 1, 1)), (2, (2, 2, 2, 2)), (0.5, (0, 1, 0, 1)), (1.5, (1, 2, 1, 2))]
)
def test_a_weight_says_how_often_an_epoch_has_each_pair(tmp_path, weight, copies):
    real, more = write_corpus(tmp_path, "real", 4, 5), write_corpus(tmp_path, "more", 3, 6)
    config = write_list(tmp_path, {"path": str(real), "weight": weight}, {"path": str(more)})
    first, second = ((tmp_path / f"{name}.en").read_text().splitlines() for name in ("real", "more"))
    expected = [line for line, n in zip(first, copies, strict=True) for _ in range(n)]
    assert lines(config) == expected + second


def test_a_weight_that_takes_no_pair_is_an_error(tmp_path):
    path = write_corpus(tmp_path, "real", 4, 5)
    config = write_list(tmp_path, {"path": str(path), "weight": 0.2})
    with pytest.raises(UserError, match=r"weight 0.2 takes no pair of the 4 of .*real; give a weight of at least 0.25"):
        lines(config)


def test_check_names_the_files_and_lines_of_several_corpora_and_reads_each_once(tmp_path, capsys):
    names = {"real": ["a", "b", "c"], "more": ["d", "e &amp; f", "g"], "held": ["g", "h", "i"]}
    for name, texts in names.items():
        for language, sign in (("en", ""), ("de", "!")):
            (tmp_path / f"{name}.{language}").write_text("".join(f"{text} {sign}\n" for text in texts))
    listed = [{"path": str(tmp_path / "real"), "weight": 3}, {"path": str(tmp_path / "more"), "weight": 1.5}]
    config = write_config(tmp_path, data={"train": listed, "dev": str(tmp_path / "held")})
    assert main(["check", str(config)]) == 0
    shown = capsys.readouterr().out
    assert "6 sentence pairs, 6 different" in shown
    assert "more.en:2  e &amp; f" in shown
    assert "held.en:1 = more.en:3" in shown
    assert "duplicate" not in shown
    assert main(["check", str(config), "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [each["places"] for each in findings if (each["kind"], each["side"]) == ("entity", "en")] == [["more.en:2"]]


def test_one_corpus_in_a_list_is_that_corpus(tmp_path):
    plain = load_config(write_config(tmp_path))
    listed = write_list(tmp_path, {"path": plain.data.train})
    ours, its = train(plain, tmp_path / "plain"), train(listed, tmp_path / "listed")
    assert [r["loss"] for r in ours.metrics.records()] == [r["loss"] for r in its.metrics.records()]


def test_a_stopped_training_goes_on_exactly_and_a_changed_weight_or_file_is_named(tmp_path, monkeypatch):
    # two corpora whose files have the same names
    (tmp_path / "b").mkdir()
    paths = [write_corpus(folder, "train", n, n) for folder, n in ((tmp_path, 60), (tmp_path / "b", 40))]
    first, second = ({"path": str(path), "weight": w} for path, w in zip(paths, (2, 0.5), strict=True))
    config = write_list(tmp_path, first, second)
    whole = train(config, tmp_path / "whole")
    assert whole.environment()["data"]["train"].keys() == {
        f"{n}: train.{side}" for n in (1, 2) for side in ("en", "de")
    }

    # a stop
    loop = importlib.import_module("seq2seq.training.train")
    with monkeypatch.context() as patched:
        patched.setattr(loop.Progress, "save_is_due", lambda progress, _: progress.update == 7)
        patched.setattr(loop, "learning_rate_at", lambda n, *rest: 1 / 0 if n == 8 else real_rate(n, *rest))
        real_rate = importlib.import_module("seq2seq.training.schedule").learning_rate_at
        with pytest.raises(ZeroDivisionError):
            train(config, tmp_path / "run")
    run = train(config, tmp_path / "run", resume=True)
    losses = [[r["loss"] for r in each.metrics.records()] for each in (run, whole)]
    assert losses[0] == losses[1]

    # a change
    other = write_list(tmp_path, first, second | {"weight": 1})
    with pytest.raises(UserError, match=r"2: train\.de of data\.train has changed"):
        train(other, run.path, resume=True)


@pytest.mark.parametrize(
    "train",
    [
        [],
        [{"weight": 2}],
        [{"path": "x", "weight": 0}],
        [{"path": "x", "weight": True}],
        ["x", 7],
        [""],
        7,
        [{"path": "x", "times": 2}],
    ],
)
def test_anything_else_is_an_error_with_an_example(tmp_path, train):
    with pytest.raises(UserError, match=r"data\.train is .*; write a path, or a list such as \[\{path: data/real"):
        load_config(write_config(tmp_path, data={"train": train}))
