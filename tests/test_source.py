"""A run that starts from another's weights, and what a training says at its end."""

import importlib
import json
import shlex
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny import write_config, write_corpus

import seq2seq
from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.errors import UserError
from seq2seq.files import fingerprint
from seq2seq.runs.run import Run
from seq2seq.training.ending import advise
from seq2seq.training.progress import Progress
from seq2seq.training.source import open_source
from seq2seq.training.train import train

loop = importlib.import_module("seq2seq.training.train")


def weights(checkpoint):
    return load_file(checkpoint.path / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def forget_checkpoints(run):
    """Leave a run as it is before its first checkpoint."""
    shutil.rmtree(run.path / "checkpoints")
    for name in ("best", "last", "metrics.jsonl"):
        (run.path / name).unlink()


def dev_updates(run):
    return [record["update"] for record in run.metrics.records() if record["split"] == "dev"]


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A run whose config says something else than the defaults nearly everywhere."""
    folder = tmp_path_factory.mktemp("old")
    return train(load_config(write_config(folder), ["training.max_updates=40"]), folder / "run")


@pytest.fixture
def more(tmp_path):
    """Keys of other data in the same languages, as a YAML file has them."""
    (tmp_path / "more").mkdir()
    paths = {
        name: str(write_corpus(tmp_path / "more", name, lines, seed))
        for name, lines, seed in (("train", 60, 7), ("dev", 8, 8))
    }
    return {"data": {**paths, "src": "en", "tgt": "de"}}


def saved(tmp_path, keys):
    path = tmp_path / "more.yaml"
    path.write_text(yaml.safe_dump(keys))
    return path


def test_a_run_starts_from_the_best_weights_of_another_and_has_its_vocabularies(old, more, tmp_path):
    path = saved(tmp_path, more | {"training": {"learning_rate": 1e-3, "max_updates": 20}})
    run = seq2seq.train(path, from_run=old.path, run=tmp_path / "new")
    # what differs is the new file's, the rest the old run's
    config, before = run.config(), old.config()
    assert (config.data.train, config.data.test) == (more["data"]["train"], None)
    assert (config.training.learning_rate, config.training.max_updates) == (1e-3, 20)
    assert (config.model, config.tokenizer, config.training.validate_every) == (before.model, before.tokenizer, 10)
    names = [file.name for file in (old.path / "tokenizer").iterdir()]
    assert all((run.path / "tokenizer" / n).read_bytes() == (old.path / "tokenizer" / n).read_bytes() for n in names)
    # where it comes from is recorded, and what it started with is measured and may stay the best
    best = old.checkpoints.named("best")
    digest = fingerprint(best.path / "model.safetensors")["sha256"]
    assert run.environment()["from"] == {"run": str(old.path), "checkpoint": best.name, "sha256": digest}
    assert dev_updates(run) == [0, 10, 20]
    assert same(weights(run.checkpoints.all()[0]), weights(best))
    # the optimizer is new
    state = run.checkpoints.named("last").training_state()["optimizer"]["state"]
    assert {int(of["step"]) for of in state.values()} == {20}


def test_from_the_command_line_without_a_config(old, more, tmp_path, capsys):
    new = [f"data.{split}={more['data'][split]}" for split in ("train", "dev")]
    command = ["train", "--from", str(old.path), *new, "training.max_updates=10"]
    assert main(command) == 2
    assert "name the folder of the new run with --run DIR" in capsys.readouterr().err
    assert main([*command, "--run", str(tmp_path / "new")]) == 0
    config = Run(tmp_path / "new").config()
    assert config.data.dev == more["data"]["dev"]
    assert config.data.test == old.config().data.test  # only a file with other training data leaves it out
    assert main(["train", "--run", str(tmp_path / "none")]) == 2
    assert "CONFIG is missing" in capsys.readouterr().err


def test_it_starts_from_any_checkpoint_and_from_dicts(old, more, tmp_path):
    checkpoint = old.checkpoints.all()[0]
    source = checkpoint.path
    run = seq2seq.train(more | {"training": {"max_updates": 1}}, from_run=source, run=tmp_path / "new")
    assert run.environment()["from"]["checkpoint"] == checkpoint.name
    whole = seq2seq.train(from_run=source, run=tmp_path / "same")  # nothing differs
    assert whole.config() == old.config()


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"model": {"embedding_size": 32}}, r"model\.embedding_size is 32, but .* was trained with 24: --from takes"),
        ({"model": {"decoder": {"hidden_size": 32}}}, r"model\.decoder\.hidden_size is 32"),
        ({"model": {"attention": {"score": "concat"}}}, r"model\.attention\.score is concat"),
    ],
)
def test_another_model_is_refused_and_the_key_named(old, more, tmp_path, keys, named):
    with pytest.raises(UserError, match=named):
        seq2seq.train(more | keys, from_run=old.path, run=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_opposite_direction_is_a_warning(old, more, tmp_path, caplog):
    data = old.config().data
    exchanged = {"src": data.tgt, "tgt": data.src}
    seq2seq.train(
        more | {"data": more["data"] | exchanged, "training": {"max_updates": 1}},
        from_run=old.path,
        run=tmp_path / "new",
    )
    assert any("was trained the other way round" in line for line in caplog.messages)


def test_another_vocabulary_is_not_learned_and_dropout_may_change(old, more, tmp_path, caplog):
    keys = more | {"tokenizer": {"vocab_size": 9}, "model": {"dropout": 0.3}, "training": {"max_updates": 1}}
    run = seq2seq.train(keys, from_run=old.path, run=tmp_path / "new")
    assert (run.config().tokenizer, run.config().model.dropout) == (old.config().tokenizer, 0.3)
    assert any("tokenizer.vocab_size: 9 is ignored, because --from takes over" in line for line in caplog.messages)


@pytest.mark.parametrize("before", [1, 5, 15])
def test_such_a_run_resumes_to_the_same_bits(old, more, tmp_path, monkeypatch, before):
    """Killed before its first update, between the start and the first checkpoint of its own, and later."""
    overrides = [f"data.train={more['data']['train']}", f"data.dev={more['data']['dev']}", "training.max_updates=20"]
    config, source = load_config(old.path / "config.yaml", overrides), open_source(old.path)
    whole = train(config, tmp_path / "whole", source=source)
    real, calls = loop.update, iter(range(1, 99))

    def update(*args, **names):
        if next(calls) == before:
            raise KeyError("killed")
        return real(*args, **names)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "update", update)
        with pytest.raises(KeyError):
            train(config, tmp_path / "run", source=source)
    if before == 1:  # as if it was killed before anything was saved
        forget_checkpoints(Run(tmp_path / "run"))
    run = train(config, tmp_path / "run", resume=True, source=source if before == 5 else None)
    assert same(weights(run.checkpoints.named("last")), weights(whole.checkpoints.named("last")))
    assert dev_updates(run) == dev_updates(whole) == [0, 10, 20]


def test_what_cannot_be_started_from_is_named(old, more, tmp_path):
    with pytest.raises(UserError, match="not a run folder"):
        open_source(tmp_path)
    broken = Run(shutil.copytree(old.path, tmp_path / "old"))
    run = seq2seq.train(more | {"training": {"max_updates": 1}}, from_run=broken.path, run=tmp_path / "new")
    with pytest.raises(UserError, match=r"was begun from .*step-.*leave out --from"):
        seq2seq.train(from_run=old.checkpoints.all()[0].path, run=run.path, resume=True)
    with pytest.raises(UserError, match="was begun without --from"):
        seq2seq.train(from_run=old.path, run=broken.path, resume=True)
    for each in (run, broken):
        forget_checkpoints(each)
    with pytest.raises(UserError, match="step-"):
        seq2seq.train(run.path / "config.yaml", run=run.path, resume=True)
    with pytest.raises(UserError, match="no checkpoint yet"):
        open_source(broken.path)


# ---------------------------------------------------------------------------------------------------- at its end

ENDS = {  # scores and losses of the validations, settings, the line
    "still better": ([10, 20, 30], [3, 2, 1.5], {}, "still improving: at the end BLEU 30.0 is the best so far; raise"),
    "loss falls": ([10, 30, 20], [3, 2, 1.5], {}, "still improving: at the end dev loss 1.500 nats/token is the low"),
    "patience": ([30, 20, 20], [3, 2, 1], {"patience": 2}, "training.patience=4"),
    "minutes": ([10, 20, 30], [3, 2, 1], {"max_minutes": 3, "max_updates": 900}, "training.max_minutes=6"),
    "fixed length": (
        [10, 20, 30],
        [3, 2, 1],
        {"schedule": "cosine"},
        "train anew, since the cosine schedule has ended",
    ),
    "better all the same": ([10, 20, 30], [3, 2, 4], {}, "though dev loss has risen since update 20 (2.000 to 4.000"),
    "overfitting": ([10, 30, 20], [3, 2, 4], {}, "dev loss has risen since update 20 (2.000 to 4.000 nats/token); the"),
    "flat": ([10, 30, 20], [3, 2, 2.01], {}, None),
    "one validation": ([10], [3], {}, None),
    "stuck": ([0, 0, 0], [3, 2, 4], {}, "dev loss has risen since update 20"),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_training_says_at_its_end_what_it_saw(tmp_path, name):
    scores, losses, keys, expected = ENDS[name]
    keys = {"early_stopping_metric": "bleu", "max_updates": 10 * len(scores)} | keys
    training = load_config(write_config(tmp_path, training=keys)).training
    progress, records = Progress(), []
    for score, loss in zip(scores, losses, strict=True):
        progress.update += 10
        progress.count_validation({"bleu": score, "loss": loss}, training)
        records.append({"update": progress.update, "split": "dev", "bleu": score, "loss": loss})
    lines = advise(records, progress, training, tmp_path / "run")
    assert len(lines) == (expected is not None)
    assert not expected or expected in lines[0]


def test_the_command_at_the_end_goes_on(tmp_path, caplog):
    caplog.set_level("INFO")
    run = train(load_config(write_config(tmp_path)), tmp_path / "a run")
    (line,) = [line for line in caplog.messages if line.startswith("still improving")]
    command = shlex.split(line.partition("--resume: ")[2])
    assert command[0] == "seq2seq"
    assert main(command[1:]) == 0
    assert run.checkpoints.named("last").update == 60


# ------------------------------------------------------------------------------------------------------- units


def test_train_and_dev_loss_are_the_same_measure(tmp_path, monkeypatch):
    """Without dropout, at a learning rate of nearly 0, on the same text, both say the same."""
    path = write_config(tmp_path, model={"dropout": 0.0}, training={"learning_rate": 1e-12, "max_updates": 10})
    config = load_config(path, [f"data.dev={tmp_path / 'train'}", "training.batch_tokens=100000"])
    run = train(config, tmp_path / "run")
    trained, dev = (next(r for r in run.metrics.records() if r["split"] == split) for split in ("train", "dev"))
    assert trained["cross_entropy"] == pytest.approx(dev["loss"], rel=1e-5)
    assert trained["loss"] > trained["cross_entropy"]  # the smoothed one


def test_no_line_of_a_resumed_training_shows_what_it_does_not_know(tmp_path, caplog, monkeypatch):
    """A validation that is due at once has no losses of the training to show; a clock may be too coarse for a speed."""
    config = load_config(write_config(tmp_path), ["training.max_updates=20", "training.save_every=10"])

    def killed(self):
        raise KeyError

    validation = importlib.import_module("seq2seq.training.validation").Validation
    with monkeypatch.context() as patched:
        patched.setattr(validation, "run", killed)
        with pytest.raises(KeyError):
            train(config, tmp_path / "run")
    caplog.set_level("INFO")
    monkeypatch.setattr(loop.Stopwatch, "seconds", lambda self: 0.0)
    run = train(config, tmp_path / "run", resume=True)
    text = "\n".join(caplog.messages) + json.dumps(run.metrics.records())
    assert not any(wrong in text.lower() for wrong in ("nan", "inf ", " 0 tokens/s"))
