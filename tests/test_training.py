"""The loop: what it keeps, when it ends, how it goes on."""

import importlib
import json
import math
import sys
from contextlib import nullcontext
from dataclasses import asdict
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from tiny import write_config

import seq2seq
from seq2seq.config import load_config
from seq2seq.doctor.check import check
from seq2seq.errors import UserError
from seq2seq.fast import precision
from seq2seq.runs.run import Run
from seq2seq.training.processes import join_processes
from seq2seq.training.progress import Progress
from seq2seq.training.stopwatch import Stopwatch
from seq2seq.training.train import train


def weights(run, pointer="last"):
    return load_file(run.checkpoints.named(pointer).path / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def timeless(run):
    """The metrics, but for what the clock says."""
    times = ("seconds", "tokens_per_second")
    return [{key: value for key, value in record.items() if key not in times} for record in run.metrics.records()]


class KilledError(Exception):
    pass


def train_and_kill(monkeypatch, config, path, validations):
    """Train until, in the middle of the updates after so many validations, the process dies."""
    module = importlib.import_module("seq2seq.training.train")
    real, count = module.update, 0

    def update(*args, **names):
        nonlocal count
        count += 1
        if count > 10 * validations + 5:
            raise KilledError
        return real(*args, **names)

    with monkeypatch.context() as patched:
        patched.setattr(module, "update", update)
        with pytest.raises(KilledError):
            train(config, path)


def tick_ten_seconds_an_update(monkeypatch):
    """A clock that only the loop moves: ten seconds each time it is read between the two ends of an update."""
    module = importlib.import_module("seq2seq.training.train")
    ticks = count(step=10)
    clock = SimpleNamespace(seconds=lambda: float(next(ticks)), running=nullcontext)
    monkeypatch.setattr(module, "Stopwatch", lambda: clock)


def test_a_run_has_all_that_the_design_promises(tmp_path):
    run = train(load_config(write_config(tmp_path)), tmp_path / "run")
    for name in ("config.yaml", "environment.json", "tokenizer", "metrics.jsonl", "best", "last"):
        assert (run.path / name).exists(), name
    assert sorted(path.name for path in run.checkpoints.named("last").path.iterdir()) == [
        "manifest.json",
        "model.safetensors",
        "training.pt",
    ]
    dev = [record for record in run.metrics.records() if record["split"] == "dev"]
    assert [record["update"] for record in dev] == [10, 20, 30]
    assert {"loss", "perplexity", "bleu", "chrf", "exact_match", "cer"} <= dev[0].keys()


def test_training_lowers_the_loss_and_best_is_the_best(tmp_path):
    run = train(load_config(write_config(tmp_path), ["training.max_updates=80"]), tmp_path / "run")
    dev = [record for record in run.metrics.records() if record["split"] == "dev"]
    assert dev[-1]["loss"] < dev[0]["loss"] - 0.5
    best = max(dev, key=lambda record: (record["bleu"], -record["update"]))
    assert run.checkpoints.named("best").name == f"step-{best['update']:06d}"


def test_two_runs_of_one_config_are_the_same_to_the_bit(tmp_path):
    config = load_config(write_config(tmp_path))
    first, second = train(config, tmp_path / "a"), train(config, tmp_path / "b")
    assert same(weights(first), weights(second))
    assert timeless(first) == timeless(second)


def test_resume_begins_where_nothing_was_begun(tmp_path):
    config = load_config(write_config(tmp_path))
    run = train(config, tmp_path / "run", resume=True)
    assert run.checkpoints.named("last").name == "step-000030"


def test_resume_begins_where_there_is_no_checkpoint_yet(tmp_path, monkeypatch):
    config = load_config(write_config(tmp_path))
    train_and_kill(monkeypatch, config, tmp_path / "run", validations=0)
    assert same(
        weights(train(config, tmp_path / "run", resume=True)), weights(train(config, tmp_path / "uninterrupted"))
    )


def test_resuming_a_finished_run_trains_no_more(tmp_path):
    config = load_config(write_config(tmp_path))
    run = train(config, tmp_path / "run")
    before = (run.path / "metrics.jsonl").read_text()
    train(config, tmp_path / "run", resume=True)
    assert (run.path / "metrics.jsonl").read_text() == before


def test_bad_data_leave_nothing_behind(tmp_path):
    path = write_config(tmp_path)
    (tmp_path / "test.de").write_text("one line\n")
    with pytest.raises(UserError, match=r"test\.de has 1"):
        train(load_config(path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("metric", "scores", "expected"),
    [
        ("bleu", [1, 3, 2, 3], [True, True, False, False]),
        ("loss", [3, 1, 2, 0.5], [True, True, False, True]),
        ("cer", [9, 9, 8, 7], [True, False, True, True]),
    ],
)
def test_better_is_higher_but_for_loss_and_cer_and_a_tie_is_not_better(tmp_path, metric, scores, expected):
    training = load_config(write_config(tmp_path, training={"early_stopping_metric": metric})).training
    progress = Progress()
    found = [progress.count_validation({"loss": 1.0, metric: score}, training) for score in scores]
    assert found == expected


def test_patience_ends_a_training(tmp_path):
    training = load_config(write_config(tmp_path, training={"patience": 2, "early_stopping_metric": "bleu"})).training
    progress = Progress()
    for score in (5, 4):
        progress.count_validation({"bleu": score}, training)
    assert progress.finished(training) is None
    progress.count_validation({"bleu": 5}, training)
    assert "no better BLEU in 2 validations" in progress.finished(training)


def test_minutes_end_a_training_with_a_validation_and_a_checkpoint(tmp_path, monkeypatch):
    config = load_config(write_config(tmp_path), ["training.max_minutes=2"])
    with monkeypatch.context() as patched:
        tick_ten_seconds_an_update(patched)
        run = train(config, tmp_path / "run")
    assert run.checkpoints.named("last").name == "step-000012"
    assert run.metrics.records()[-1]["split"] == "dev"
    assert run.checkpoints.named("last").training_state()["progress"]["seconds"] == 120


def test_minutes_count_over_all_resumptions_and_may_change(tmp_path, monkeypatch):
    path = write_config(tmp_path, training={"schedule": "cosine"})
    tick_ten_seconds_an_update(monkeypatch)
    for minutes, last in ((1, 6), (2, 12), (2, 12), ("null", 30)):
        config = load_config(path, [f"training.max_minutes={minutes}"])
        assert train(config, tmp_path / "run", resume=True).checkpoints.named("last").name == f"step-{last:06d}"


def test_a_pause_of_the_process_counts_as_two_seconds(monkeypatch):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr("seq2seq.training.stopwatch.time", SimpleNamespace(perf_counter=lambda: now.seconds))
    clock, read = Stopwatch(), []
    for now.seconds in (100.5, 101.0, 4000.0, 4000.5):
        read.append(clock.seconds())
    assert read == [0.5, 1.0, 3.0, 3.5]


def test_plateau_reduces_the_rate_every_decay_patience_validations_without_improvement(tmp_path):
    keys = {"schedule": "plateau", "decay_patience": 2, "early_stopping_metric": "bleu"}
    training = load_config(write_config(tmp_path, training=keys)).training
    progress = Progress()
    reductions = []
    for score in (5, 4, 4, 4, 4, 6, 5, 5):
        progress.count_validation({"bleu": score}, training)
        reductions.append(progress.reductions)
    assert reductions == [0, 0, 1, 1, 2, 2, 2, 3]


def test_progress_survives_json(tmp_path):
    training = load_config(write_config(tmp_path, training={"early_stopping_metric": "bleu"})).training
    progress = Progress(update=7)
    progress.count_validation({"bleu": 3.5}, training)
    assert Progress.from_dict(json.loads(json.dumps(asdict(progress)))) == progress


def test_metrics_go_to_tensorboard_where_it_is_installed(tmp_path, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            assert purge_step == 1

        def add_scalar(self, name, value, update):
            written.append((name, value, update))

        def flush(self):
            pass

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    run = train(load_config(write_config(tmp_path)), tmp_path / "run")
    expected = [
        (f"{record['split']}/{name}", value, record["update"])
        for record in run.metrics.records()
        for name, value in record.items()
        if name not in ("update", "split")
    ]
    assert written == expected


def test_training_needs_no_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert train(load_config(write_config(tmp_path)), tmp_path / "run").metrics.records()


def test_check_describes_without_writing(tmp_path):
    path = write_config(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    text = str([fact.lines for fact in check(load_config(path))])
    assert "120 sentence pairs" in text
    assert "parameters" in text
    assert "dropped 0 blank" in text
    assert sorted(tmp_path.rglob("*")) == before


def test_every_validation_takes_place_however_often(tmp_path):
    config = load_config(write_config(tmp_path), ["training.validate_every=25", "training.max_updates=60"])
    run = train(config, tmp_path / "run")
    assert [record["update"] for record in run.metrics.records() if record["split"] == "dev"] == [25, 50, 60]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tokenizer.type=char", "tokenizer.vocab_size=20"], r"tokenizer\.vocab_size is 20"),
        (["data.max_length=1"], "no sentence pair is left"),
        (["training.precision=bf16", "training.device=cpu"], r"training\.precision is bf16"),
        (["search.precision=bf16", "training.device=cpu"], r"search\.precision is bf16"),
        (["model.pretrained_embeddings.src=nowhere.txt"], r"nowhere\.txt: no such file"),
    ],
)
def test_a_mistake_leaves_no_run_behind_and_check_finds_it_too(tmp_path, monkeypatch, overrides, message):
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: False)
    config = load_config(write_config(tmp_path), overrides)
    with pytest.raises(UserError, match=message):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=message):
        list(check(config))


def test_a_dev_set_of_blank_pairs_is_named(tmp_path):
    path = write_config(tmp_path)
    (tmp_path / "dev.de").write_text("\n" * 12)
    with pytest.raises(UserError, match=r"data\.dev: every pair has a blank side"):
        train(load_config(path), tmp_path / "run")


def test_max_updates_may_not_change_under_a_schedule_that_ends_there(tmp_path):
    path = write_config(tmp_path, training={"schedule": "cosine", "max_updates": 20, "validate_every": 10})
    train(load_config(path), tmp_path / "run")
    with pytest.raises(UserError, match=r"training\.max_updates = 20"):
        train(load_config(path, ["training.max_updates=30"]), tmp_path / "run", resume=True)


def failing(monkeypatch, updates):
    """Losses that are not finite in some updates, counted over all resumptions."""
    module = importlib.import_module("seq2seq.training.update")
    real, calls = module.losses, count(1)

    def losses(*args):
        found = real(*args)
        return found._replace(loss=found.loss * (math.nan if next(calls) in updates else 1))

    monkeypatch.setattr(module, "losses", losses)


def test_a_loss_that_is_not_finite_is_skipped_and_counted(tmp_path, monkeypatch, caplog):
    failing(monkeypatch, {3, 7, 8, 9, 30})
    run = train(load_config(write_config(tmp_path)), tmp_path / "run")
    records = {record["update"]: record for record in run.metrics.records() if record["split"] == "train"}
    assert {update: records[update]["skipped"] for update in (2, 4, 10, 29)} == {2: 0, 4: 1, 10: 4, 29: 4}
    assert not records.keys() & {3, 7, 8, 9, 30}  # there is nothing to tell of them
    assert all(math.isfinite(record["loss"]) for record in records.values())
    assert "update 3 is skipped: the loss is nan, the gradient norm nan" in caplog.messages
    progress = run.checkpoints.named("last").training_state()["progress"]
    assert (progress["update"], progress["skipped"], progress["skipped_in_a_row"]) == (30, 5, 1)


def test_ten_in_a_row_stop_the_training_with_the_last_checkpoint_in_place(tmp_path, monkeypatch):
    failing(monkeypatch, {*range(1, 10), *range(13, 23)})
    config = load_config(write_config(tmp_path))
    with pytest.raises(UserError, match=r"updates 13 to 22 were skipped: the loss is nan.*lower training\.learning"):
        train(config, tmp_path / "run")
    run = Run(tmp_path / "run")
    assert run.checkpoints.find("last").name == "step-000020"
    assert all(torch.isfinite(weight).all() for weight in weights(run).values())
    train(config, tmp_path / "run", resume=True)  # the numbers are finite now
    assert run.checkpoints.named("last").name == "step-000030"


def test_weights_that_explode_are_told_apart_from_a_bad_batch(tmp_path, monkeypatch, caplog):
    module = importlib.import_module("seq2seq.training.train")
    monkeypatch.setattr(module, "learning_rate_at", lambda *_: 1e30)
    overrides = ["training.optimizer=sgd", "training.clip_norm=0", "training.validate_every=100"]
    with pytest.raises(UserError, match=r"lower training\.learning_rate \([\d.]+\) or set training\.clip_norm \(0\)"):
        train(load_config(write_config(tmp_path), overrides), tmp_path / "run")


def test_a_perplexity_far_above_uniform_is_a_warning(tmp_path, caplog):
    overrides = ["training.optimizer=sgd", "training.learning_rate=300", "training.clip_norm=10"]
    train(load_config(write_config(tmp_path), overrides), tmp_path / "run")
    assert any("far above that of a uniform guess" in message for message in caplog.messages)


def test_python_and_command_are_the_same_loop(tmp_path):
    path = write_config(tmp_path)
    from_file = seq2seq.train(path, run=tmp_path / "a")
    from_config = seq2seq.train(load_config(path), run=tmp_path / "b")
    from_dict = seq2seq.train(load_config(path).model_dump(), run=tmp_path / "c")
    assert same(weights(from_file), weights(from_config))
    assert same(weights(from_file), weights(from_dict))


def test_python_training_of_a_dict_needs_a_folder(tmp_path):
    with pytest.raises(UserError, match="name the run folder"):
        seq2seq.train(load_config(write_config(tmp_path)))


@pytest.mark.parametrize(
    ("config", "run", "fix"),
    [(5, "run", "config is 5; write the name"), ({}, "", "run is ''; write"), ({}, 5, "run is 5; write")],
)
def test_python_training_names_what_is_no_config_and_no_folder(config, run, fix):
    with pytest.raises(UserError, match=fix):
        seq2seq.train(config, run=run)


def test_the_config_of_a_run_is_resumed_in_its_folder(tmp_path):
    config = write_config(tmp_path, training={"max_updates": 1})
    run = seq2seq.train(str(config), run=tmp_path / "run")
    with pytest.raises(UserError, match=f"is the config of a run; .* --run {run.path} --resume` continues it"):
        seq2seq.train(run.path / "config.yaml", resume=True)


def test_threads_of_a_process_train_one_at_a_time(tmp_path):
    config = load_config(write_config(tmp_path, training={"max_updates": 1}))
    with join_processes(), pytest.raises(UserError, match="another thread of this process trains"):
        train(config, tmp_path / "run")
    train(config, tmp_path / "run")


def test_loading_nothing_is_a_users_error(tmp_path):
    with pytest.raises(UserError, match="not a run folder"):
        seq2seq.load(tmp_path)
    assert not Run(tmp_path).exists()
