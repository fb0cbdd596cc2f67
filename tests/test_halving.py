"""`tune CONFIG --space FILE`: which trials are drawn, which go on, what they cost, what is refused, and going on."""

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
from tiny import write_config

from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.errors import UserError
from seq2seq.experiments.halving import Score, Search, SearchRecord, draw, halve, plan, read_space
from seq2seq.runs.run import Run
from seq2seq.training.schedule import learning_rate_at
from seq2seq.training.train import train

module = importlib.import_module("seq2seq.experiments.halving")

SPACE = {"training.learning_rate": ["1e-2", "1e-6"], "model.dropout": ["0", "0.1"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("halving")


@pytest.fixture(scope="module")
def config(folder):
    return write_config(folder, training={"max_updates": 40, "schedule": "cosine"})


@pytest.fixture(scope="module")
def finished(folder, config):
    """Four trials; two go on to 10 updates, one of them to 20 of its 40."""
    return halve(draw(config, [], SPACE, None, None), folder / "finished", 20, 2, ["seq2seq"])


# --------------------------------------------------------------------------------------------------- rungs and trials


@pytest.mark.parametrize(
    ("trials", "updates", "eta", "rungs"),
    [
        (9, 900, 3, [(9, 100), (3, 300), (1, 900)]),
        (8, 900, 3, [(8, 300), (2, 900)]),
        (6, 100, 2, [(6, 25), (3, 50), (1, 100)]),
        (1, 100, 2, [(1, 100)]),
    ],
)
def test_of_each_rung_one_in_eta_goes_on_to_eta_times_as_many_updates(trials, updates, eta, rungs):
    assert plan(trials, updates, eta) == rungs


def test_a_first_rung_without_an_update_is_refused():
    with pytest.raises(UserError, match="--updates is 8: the first of 3 rungs would have none; write 9 or more"):
        plan(9, 8, 3)


def test_trials_are_drawn_by_the_seed_and_none_twice(config):
    space = {"training.learning_rate": [f"{n}e-4" for n in range(1, 50)], "model.dropout": ["0", "0.1", "0.2"]}
    names = [[trial.name for trial in draw(config, [], space, 20, seed).trials] for seed in (1, 1, 2)]
    assert names[0] == names[1] != names[2]
    assert len({*names[0]}) == 20
    assert len(draw(config, [], SPACE, 9, 1).trials) == 4


def test_the_best_score_goes_on_and_where_scores_say_nothing_the_lowest_loss(config):
    grid = draw(config, [], SPACE, None, None)
    names = [trial.name for trial in grid.trials]

    def ranked(metric, *scores):
        found = {n: [Score(score=s, loss=loss, updates=1)] for n, (s, loss) in zip(names, scores, strict=True)}
        record = SearchRecord(updates=1, eta=2, metric=metric, trials=names, scores=found)
        return [names.index(trial.name) for trial in Search(grid, [], record, {}, Path(), []).ranked()]

    assert ranked("bleu", (9, 1), (20, 5), (0.9, 4), (0.1, 3)) == [1, 0, 3, 2]
    assert ranked("chrf", (9, 2), (9, 1), (0, float("nan")), (9, 3)) == [1, 0, 3, 2]
    assert ranked("cer", (9, 1), (20, 5), (0.9, 4), (0.1, 3)) == [3, 2, 0, 1]


# ------------------------------------------------------------------------------------------------------- the search


def test_each_score_is_the_best_validation_until_then_and_the_best_trials_go_on(finished):
    assert finished.rungs == [(4, 5), (2, 10), (1, 20)]
    best, second, *others = (finished.record.scores[trial.name] for trial in finished.ranked())
    assert [[score.updates for score in scores] for scores in (best, second, *others)] == [
        [5, 10, 20],
        [5, 10],
        [5],
        [5],
    ]
    assert all("learning_rate=1e-2" in trial.name for trial in finished.ranked()[:2])
    assert min(best[0].loss, second[0].loss) < min(score.loss for scores in others for score in scores)


def test_a_trial_that_went_on_is_the_training_that_began_with_the_learning_rates_of_the_whole(finished, folder):
    trial = finished.ranked()[0]
    run, whole = Run.open(folder / "finished" / trial.name), train(trial.config, folder / "whole", until=20)
    ours, theirs = (each.checkpoints.named("last").path / "model.safetensors" for each in (run, whole))
    assert ours.read_bytes() == theirs.read_bytes()
    rates = {r["update"]: r["learning_rate"] for r in run.metrics.records() if r["split"] == "train"}
    assert rates[20] == learning_rate_at(20, 0, trial.config.training) > 0


@pytest.mark.parametrize("calls", [1, 5])
def test_a_stopped_search_goes_on_to_the_same_table(config, finished, folder, tmp_path, monkeypatch, calls):
    trained, real = [], module.train

    def stopping(config, path, **options):
        if len(trained) == calls:
            trained.append("stopped")
            real(config, path, **options | {"until": options["until"] - 1})
            raise KeyboardInterrupt
        trained.append(path.name)
        return real(config, path, **options)

    monkeypatch.setattr(module, "train", stopping)
    grid = draw(config, [], SPACE, None, None)
    with pytest.raises(KeyboardInterrupt):
        halve(grid, tmp_path / "stopped", 20, 2, ["seq2seq"])
    halve(grid, tmp_path / "stopped", 20, 2, ["seq2seq"])
    assert len(trained) == 4 + 2 + 1 + 1
    for name in ("table.md", "tune.json", "best.yaml"):
        assert (tmp_path / "stopped" / name).read_text() == (folder / "finished" / name).read_text()


def test_a_trial_that_fails_is_left_out_and_the_others_go_on(config, tmp_path):
    grid = draw(config, [], {"data.max_length": ["1", "50", "60"]}, None, None)
    search = halve(grid, tmp_path / "some", 4, 3, ["seq2seq"])
    assert [len(scores) for scores in search.record.scores.values()] == [2, 1]
    assert "- Left out: max_length=1,seed=3: " in (tmp_path / "some" / "table.md").read_text()
    with pytest.raises(UserError, match=r"every training failed; .*no sentence pair is left"):
        halve(draw(config, [], {"data.max_length": ["1"]}, None, None), tmp_path / "none", 4, 3, ["seq2seq"])


def test_a_folder_of_another_search_is_refused(config, finished, folder):
    more = draw(config, [], SPACE | {"model.dropout": ["0", "0.1", "0.2"]}, None, None)
    before = (folder / "finished" / "compare.json").read_bytes()
    for grid, updates, eta, differs in (
        (more, 20, 2, "trials 4 others"),
        (finished.grid, 30, 2, "updates 20, not 30"),
        (finished.grid, 20, 3, "eta 2, not 3"),
    ):
        with pytest.raises(UserError, match=f"holds another search: {differs}; choose another folder with --run DIR"):
            halve(grid, folder / "finished", updates, eta, [])
    assert (folder / "finished" / "compare.json").read_bytes() == before


# ------------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("model.dropout: [0.1]\ntraining.lr: [1]", ":2: training.lr is not a key; here it is training.learning_rate"),
        ("\nmodel.dropout:\n- 0.1\n- 1.5", ":2: model.dropout is 1.5; it must be less than 1"),
        ("model.attention.score: [dto]", ":1: model.attention.score is 'dto'; .*did you mean dot"),
        ("model.dropout: 0.1", ":1: model.dropout has no list of values; write a key"),
        ("model.dropout: []", ":1: model.dropout has no list of values"),
        ("model: {dropout: [0.1]}", ":1: model has no list of values"),
        ("model.dropout: [0.1]\nmodel.dropout: [0.2]", ":2: the key model.dropout appears twice"),
        ("model.dropout: [0.1", ":1: "),
        ("", ": no keys; write a key"),
        ("- 1", ": no keys; write a key"),
        ("seed: [1, 2]", ":1: seed cannot be searched: a lucky seed"),
        ("search.beam: [1, 2]", ":1: search.beam cannot be searched: .*`seq2seq tune RUN` tries"),
        ("data.dev: [a, b]", ":1: data.dev cannot be searched: only scores on the same dev set"),
        (
            "model.encoder.hidden_size: [48]\nmodel.attention.score: [dot]",
            "no combination is a valid config; .*dot needs",
        ),
        ("model.dropout: [0.1, 1e-1]", "dropout=0.1,seed=3 and dropout=1e-1,seed=3 are the same config"),
    ],
)
def test_a_mistake_in_the_space_is_one_error_before_any_training(config, tmp_path, monkeypatch, capsys, text, error):
    monkeypatch.setattr(module, "train", None)
    (tmp_path / "space.yaml").write_text(text)
    words = ["tune", str(config), "--space", str(tmp_path / "space.yaml"), "--run", str(tmp_path / "search")]
    assert main(words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(error, line), line
    assert not (tmp_path / "search").exists()


def test_lists_and_sections_are_values_too(config, tmp_path):
    (tmp_path / "space.yaml").write_text(
        "model.encoder:\n- {cell: gru, hidden_size: 24}\n- cell: lstm\n  hidden_size: 24"
    )
    grid = draw(config, [], read_space(tmp_path / "space.yaml", config, []), None, None)
    assert [trial.config.model.encoder.cell for trial in grid.trials] == ["gru", "lstm"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["{config}"], "--space is missing"),
        (["{config}", "--space", "{space}", "--eta", "1"], "--eta is 1; write 2 or more"),
        (
            ["{config}", "--space", "{space}", "--updates", "41"],
            "--updates is 41; write 1 to training.max_updates (40)",
        ),
        (["{config}", "--space", "{space}", "--trials", "0"], "--trials is 0, of 2 combinations; draw 1 to 10,000"),
        (["{config}", "--space", "{space}", "model.dropout=0.1"], "model.dropout is both set (model.dropout=0.1) and"),
        (["{config}", "--space", "{space}", "--beams", "1"], "--beams is for a run; {config} is none"),
        (["{config}", "--space", "{space}", "--dry-run"], "--dry-run is for a run; {config} is none"),
        (["{config}", "--space", "{space}", "model.word_dropout=7"], "override: model.word_dropout is 7; it must"),
        (["{folder}", "--space", "{space}"], "--space is for a config; {folder} is none"),
        (["{folder}", "search.beam=1"], "search.beam=1: section.key=value is for a config"),
        (["{config}", "--space", "nowhere"], "nowhere: cannot be read: No such file or directory; write a key with"),
    ],
)
def test_options_that_do_not_fit_are_an_error(config, folder, tmp_path, capsys, words, error):
    (tmp_path / "space.yaml").write_text("model.dropout: [0, 0.1]")
    names = {"config": config, "folder": folder, "space": tmp_path / "space.yaml"}
    assert main(["tune", *(word.format(**names) for word in words)]) == 2
    assert error.format(**names) in capsys.readouterr().err


def test_the_command_prints_the_table_and_how_to_finish_the_best(config, tmp_path, capsys):
    (tmp_path / "space.yaml").write_text("training.learning_rate: [1e-6, 1.0e-2]\n")
    words = [
        "--space",
        str(tmp_path / "space.yaml"),
        "--updates",
        "10",
        "--eta",
        "2",
        "--run",
        str(tmp_path / "search"),
    ]
    assert main(["tune", str(config), "model.dropout=0", *words]) == 0
    out = capsys.readouterr().out
    table = (tmp_path / "search" / "table.md").read_text()
    assert table in out
    assert "| `training.learning_rate`   |   BLEU after 5 |   BLEU after 10 |" in table
    assert "15 updates in all; 10 of every trial would be 20" in table
    assert "tok:13a" in table
    assert re.search(r"Trained on .*cores: .*; commit .*; `seq2seq", table)
    best = load_config(tmp_path / "search" / "best.yaml")
    assert (best.training.learning_rate, best.training.max_updates, best.model.dropout) == (1e-2, 40, 0)

    # the last line finishes the training
    assert main(shlex.split(out.splitlines()[-1])[1:]) == 0
    run = Run.open(tmp_path / "search" / "learning_rate=1.0e-2,seed=3")
    assert run.checkpoints.named("last").update == 40
    assert json.loads((run.path / "test.json").read_text())["bleu"]["score"] > 0
