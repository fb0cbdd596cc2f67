"""A run that was stopped, however it was, goes on as if nothing had happened."""

import importlib
import io
import json
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import killed_before
from safetensors.torch import load_file
from tiny import write_config

from seq2seq import load
from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.errors import UserError
from seq2seq.fast import precision
from seq2seq.fast.precision import FP32
from seq2seq.runs import environment
from seq2seq.runs.metrics import Metrics
from seq2seq.runs.run import Run
from seq2seq.training.processes import ALONE
from seq2seq.training.progress import Progress
from seq2seq.training.resume import collect_state, restore_state
from seq2seq.training.stop import Stop, Stopped
from seq2seq.training.train import train

KEPT = Path(__file__).parent / "kept"
loop = importlib.import_module("seq2seq.training.train")


def weights(run):
    return load_file(run.checkpoints.named("last").path / "model.safetensors")


def timeless(run):
    """The metrics, but for what the clock says."""
    times = ("seconds", "tokens_per_second")
    return [{key: value for key, value in record.items() if key not in times} for record in run.metrics.records()]


def watched(run):
    """The attention that was kept, byte by byte; None of a model without attention."""
    file = run.path / "attention.jsonl"
    return file.read_bytes() if file.exists() else None


def must_be_the_same(run, other):
    ours, theirs = weights(run), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert timeless(run) == timeless(other)
    assert watched(run) == watched(other)
    assert [run.checkpoints.named(name).name for name in ("best", "last")] == [
        other.checkpoints.named(name).name for name in ("best", "last")
    ]


def stopping(monkeypatch, number, before, *, when="update"):
    """Have the process send itself a signal: before an update, or in the middle of a validation."""
    module = loop if when == "update" else importlib.import_module("seq2seq.training.validation")
    name = "update" if when == "update" else "measure"
    real, calls = getattr(module, name), count(1)

    def send(*args, **options):
        if next(calls) == before:
            os.kill(os.getpid(), number)
        return real(*args, **options)

    monkeypatch.setattr(module, name, send)


def stopped(monkeypatch, config, path, before, *, number=signal.SIGTERM, when="update", resume=False):
    with monkeypatch.context() as patched:
        stopping(patched, number, before, when=when)
        with pytest.raises(Stopped) as caught:
            train(config, path, resume=resume)
    return caught.value


SCHEDULES = ("constant", "plateau", "inverse_sqrt", "one_cycle", "cosine")
OPTIMIZERS = ("adam", "adamw", "sgd", "sgd", "adam")


CASES = list(zip(SCHEDULES, OPTIMIZERS, (1, 2, 1, 2, 1), strict=True))


@pytest.mark.parametrize(("schedule", "optimizer", "accumulate"), CASES)
def test_a_stopped_run_ends_with_the_same_bits(tmp_path, monkeypatch, schedule, optimizer, accumulate):
    """With dropout, in the middle of an epoch, between two records, for every optimizer, schedule and accumulation."""
    training = {
        "optimizer": optimizer,
        "schedule": schedule,
        "accumulate": accumulate,
        "warmup_updates": 5,
        "decay_patience": 1,
        "validate_every": 20,
        "weight_decay": 0.01,
    }
    config = load_config(write_config(tmp_path, training=training), ["training.max_updates=40"])
    whole = train(config, tmp_path / "whole")
    assert stopped(monkeypatch, config, tmp_path / "run", before=7).exit_code == 143
    assert Run(tmp_path / "run").checkpoints.named("last").name == "step-000007"
    stopped(monkeypatch, config, tmp_path / "run", before=20, resume=True, number=signal.SIGINT)
    must_be_the_same(train(config, tmp_path / "run", resume=True), whole)


def test_a_stopped_run_with_averaged_weights_and_word_dropout_ends_with_the_same_bits(tmp_path, monkeypatch):
    """The checkpoint's model is the mean m_t = d m_{t-1} + (1 - d) w_t; the training goes on with the weights w_t."""
    keys = {"ema": 0.9, "save_every": 1, "keep": 30}
    config = load_config(
        write_config(tmp_path, training=keys, model={"word_dropout": 0.2}), ["training.max_updates=15"]
    )
    whole = train(config, tmp_path / "whole")
    stopped(monkeypatch, config, tmp_path / "run", before=7)
    run = train(config, tmp_path / "run", resume=True)
    must_be_the_same(run, whole)

    # the mean, weight by weight
    w = [checkpoint.training_state()["weights"]["decoder.W_c.weight"] for checkpoint in run.checkpoints.all()]
    mean = w[0]
    for t in range(1, 15):
        d = min(0.9, (1 + t) / (10 + t))
        mean = d * mean + (1 - d) * w[t]
    torch.testing.assert_close(weights(run)["decoder.W_c.weight"], mean)
    assert not torch.equal(mean, w[-1])


@pytest.mark.skipif(not precision._cpu_has_bf16(), reason="this CPU does not compute in bfloat16")
def test_a_stopped_run_in_bf16_ends_with_the_same_bits(tmp_path, monkeypatch):
    config = load_config(write_config(tmp_path), ["training.precision=bf16", "search.precision=bf16"])
    whole = train(config, tmp_path / "whole")
    stopped(monkeypatch, config, tmp_path / "run", 17)
    must_be_the_same(train(config, tmp_path / "run", resume=True), whole)
    assert {"precision": "bf16", "products": "bf16"}.items() <= whole.environment().items()


def test_a_run_keeps_its_library_and_another_machine_is_named(tmp_path, monkeypatch, caplog):
    config = load_config(write_config(tmp_path))
    stopped(monkeypatch, config, tmp_path / "run", 17)
    known = Run(tmp_path / "run").environment()["products"]
    monkeypatch.setattr(precision, "fastest_float32", lambda: "bf16" if known == "ieee" else "ieee")
    monkeypatch.setattr(environment, "_processor", lambda: "another processor")
    run = train(config, tmp_path / "run", resume=True)
    assert run.checkpoints.named("last").training_state()["machine"]["products"] == known
    (line,) = [message for message in caplog.messages if "last digits" in message]
    assert line.startswith("processor: another processor, before: ")


@pytest.mark.parametrize("model", [{"decoder": {"cell": "gru", "hidden_size": 24, "input_feeding": True}}, {}])
def test_a_run_stopped_in_a_validation_does_that_again(tmp_path, monkeypatch, model):
    config = load_config(write_config(tmp_path, model=model, training={"schedule": "plateau", "decay_patience": 1}))
    whole = train(config, tmp_path / "whole")
    stopped(monkeypatch, config, tmp_path / "run", before=2, when="validation")
    run = Run(tmp_path / "run")
    assert run.checkpoints.named("last").name == "step-000020"
    assert [record["update"] for record in run.metrics.records() if record["split"] == "dev"] == [10]
    must_be_the_same(train(config, tmp_path / "run", resume=True), whole)


def test_pieces_that_are_drawn_at_random_are_the_same_after_a_stop(tmp_path, monkeypatch):
    keys = {"type": "unigram", "vocab_size": 400, "sampling": 0.3}
    config = load_config(write_config(tmp_path, tokenizer=keys))
    whole = train(config, tmp_path / "whole")
    stopped(monkeypatch, config, tmp_path / "run", before=7)
    must_be_the_same(train(config, tmp_path / "run", resume=True), whole)
    plain = train(load_config(write_config(tmp_path, tokenizer=keys | {"sampling": 0})), tmp_path / "plain")
    assert [record["loss"] for record in timeless(plain)] != [record["loss"] for record in timeless(whole)]


def test_a_run_stopped_at_the_update_of_a_validation_validates_first(tmp_path, monkeypatch):
    config = load_config(write_config(tmp_path))
    whole = train(config, tmp_path / "whole")
    stopped(monkeypatch, config, tmp_path / "run", before=10)
    must_be_the_same(train(config, tmp_path / "run", resume=True), whole)


def test_a_signal_while_the_end_is_saved_is_not_forgotten(tmp_path, monkeypatch):
    config = load_config(write_config(tmp_path), ["training.max_updates=12"])
    real = Metrics.add

    def add(metrics, record):
        real(metrics, record)
        if record["update"] == 12 and record["split"] == "dev":
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Metrics, "add", add)
        with pytest.raises(Stopped, match="at its end") as caught:
            train(config, tmp_path / "run")
    assert caught.value.exit_code == 143
    must_be_the_same(train(config, tmp_path / "run", resume=True), train(config, tmp_path / "whole"))


def test_stopped_before_the_first_update_nothing_is_lost(tmp_path, monkeypatch):
    config = load_config(write_config(tmp_path))
    whole = train(config, tmp_path / "whole")
    module = importlib.import_module("seq2seq.data.dataset")
    with monkeypatch.context() as patched:
        patched.setattr(module, "make_batches", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(Stopped, match="before another update; what was saved is intact"):
            train(config, tmp_path / "run")
    must_be_the_same(train(config, tmp_path / "run", resume=True), whole)


@pytest.mark.parametrize("lengths", [(12, 23), (25,), (20,)])
def test_a_run_that_ended_early_and_goes_on_equals_one_that_was_longer_from_the_start(tmp_path, lengths):
    """The validation at the end of a shorter one counts for nothing, not even for the learning rate."""
    training = {"schedule": "plateau", "decay_patience": 1, "learning_rate": 0.05}
    path = write_config(tmp_path, training=training)
    whole = train(load_config(path), tmp_path / "whole")
    for length in lengths:
        run = train(load_config(path, [f"training.max_updates={length}"]), tmp_path / "run", resume=True)
        assert run.metrics.records()[-1]["split"] == "dev"
        assert run.metrics.records()[-1]["update"] == length
        load(run.path).translate(["the cat"])
    must_be_the_same(train(load_config(path), tmp_path / "run", resume=True), whole)


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_a_run_that_was_paused_equals_one_that_was_not(tmp_path, schedule):
    config = load_config(write_config(tmp_path, training={"schedule": schedule, "decay_patience": 1}))
    for until in (7, 20, 20, 23):
        run = train(config, tmp_path / "paused", resume=True, until=until)
        assert run.checkpoints.named("last").update == until
        assert run.metrics.records()[-1]["update"] == until
    assert not (run.path / "confidence.json").exists()
    must_be_the_same(train(config, tmp_path / "paused", resume=True), train(config, tmp_path / "whole"))


def test_all_random_states_are_put_back():
    """Those of Python and numpy too, from which nothing draws here, but what a user adds may."""

    def drawn():
        return random.random(), np.random.random(), np.random.normal(), torch.rand(()).item()

    device, model = torch.device("cpu"), torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    np.random.normal()  # numpy keeps a second one for the next call
    state = collect_state(Progress(), optimizer, 0, ALONE, device, FP32)
    before = drawn()
    assert drawn() != before
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    restore_state(torch.load(file, weights_only=True), [], optimizer, ALONE, device)
    assert drawn() == before


# --------------------------------------------------------------------------------------------------------- by signal


def command(tmp_path, *options):
    return [
        sys.executable,
        "-m",
        "seq2seq",
        "train",
        str(tmp_path / "tiny.yaml"),
        "--run",
        str(tmp_path / "run"),
        *options,
    ]


def begun(tmp_path, *options):
    """A training in a process of its own, when it has saved its first checkpoint."""
    process = subprocess.Popen(
        command(tmp_path, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=one_thread()
    )
    for line in process.stdout:
        if re.match(r"update +[0-9]", line):
            return process
    raise AssertionError(process.stderr.read())


def one_thread():
    return os.environ | {"OMP_NUM_THREADS": "1"}


LONG = {"max_updates": 100_000, "validate_every": 10, "patience": 0}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_saves_and_leaves_with_its_exit_code(tmp_path, number, code):
    write_config(tmp_path, training=LONG)
    process = begun(tmp_path)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in errors
    (update,) = re.findall(r"seq2seq: stopped after update ([0-9,]+), which is saved; --resume goes on", errors)
    run = Run(tmp_path / "run")
    assert run.checkpoints.find("last").training_state()["progress"]["update"] == int(update.replace(",", ""))


def test_a_second_signal_leaves_at_once(monkeypatch):
    with Stop() as stop, stop.deferred():
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked == signal.SIGINT
        assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_under_torchrun_a_second_signal_is_the_first_once_more():
    with Stop(ignore_second=True) as stop, stop.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked == signal.SIGTERM


def test_a_signal_that_is_ignored_stays_ignored():
    """As under nohup, or where a shell's & has begun it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_held_signal_ends_a_part_that_is_released():
    with Stop() as stop, stop.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped), stop.deferred(on=False):
            raise AssertionError("not reached")


def test_a_time_budget_saves_and_leaves_with_0(tmp_path, capsys):
    path = write_config(tmp_path, training=LONG)
    assert main(["train", str(path), "--run", str(tmp_path / "run"), "training.max_minutes=0.01"]) == 0
    assert "training.max_minutes (0.01) reached" in capsys.readouterr().out
    assert Run(tmp_path / "run").checkpoints.find("last")


def test_killed_at_any_moment_it_resumes_to_the_same_bits(tmp_path):
    """kill -9 before an update and in a save; `scripts/soak.py` does it fifty times."""
    training = {"max_updates": 60, "save_every": 3}
    path = write_config(tmp_path, training=training)
    whole = train(load_config(path), tmp_path / "whole")
    places = [("seq2seq.training.train", "update", 8), ("seq2seq.runs.checkpoints", "sync", 5)]
    for number, place in enumerate(places):
        environment = killed_before(tmp_path / f"kill-{number}", *place)
        process = subprocess.run(command(tmp_path, "--resume"), capture_output=True, env=environment)
        assert process.returncode == -signal.SIGKILL, process.stderr
    subprocess.run(command(tmp_path, "--resume"), check=True, capture_output=True, env=one_thread())
    must_be_the_same(Run(tmp_path / "run"), whole)


# --------------------------------------------------------------------------------------------------- another process


def test_of_two_trainings_into_one_new_folder_one_is_refused(tmp_path, monkeypatch):
    """The other one begins while the first learns its vocabulary."""
    path = write_config(tmp_path)
    module = importlib.import_module("seq2seq.data.dataset")
    real = module.learn_tokenizers

    def learn_tokenizers(*args):
        command = ["train", str(path), "--run", str(tmp_path / "run"), "training.max_updates=10"]
        subprocess.run([sys.executable, "-m", "seq2seq", *command], check=True, capture_output=True)
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(module, "learn_tokenizers", learn_tokenizers)
        with pytest.raises(UserError, match="already holds a run"):
            train(load_config(path, ["seed=4"]), tmp_path / "run")
    run = Run(tmp_path / "run")
    assert run.config().seed == 3
    load(run.path)


def test_two_trainings_into_one_folder_the_second_is_refused(tmp_path, capfd):
    path = write_config(tmp_path, training=LONG)
    process = begun(tmp_path)
    assert main(["train", str(path), "--run", str(tmp_path / "run"), "--resume"]) == 2
    assert f"{tmp_path / 'run'}: another training is writing into it" in capfd.readouterr().err
    process.kill()
    process.communicate()
    assert main(["train", str(path), "--run", str(tmp_path / "run"), "--resume", "training.max_updates=1"]) == 0


# ------------------------------------------------------------------------------------------------------------ changes


def trained(tmp_path, **training):
    path = write_config(tmp_path, training={"max_updates": 20} | training)
    return path, train(load_config(path), tmp_path / "run")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("training.learning_rate=0.5", r"training\.learning_rate = 0\.01, and the config now says 0\.5"),
        ("model.dropout=0.4", r"model\.dropout = 0\.1, and the config now says 0\.4"),
        ("training.accumulate=2", r"training\.accumulate = 1, and the config now says 2"),
        ("seed=9", r"seed = 3, and the config now says 9"),
        ("training.optimizer=sgd", r"training\.optimizer = adam"),
    ],
)
def test_another_config_is_named_and_goes_on_where_that_is_allowed(tmp_path, override, named):
    path, run = trained(tmp_path)
    config = load_config(path, ["training.max_updates=30", override])
    with pytest.raises(UserError, match=named + r".*--allow-changes"):
        train(config, run.path, resume=True)
    assert run.config().training.max_updates == 20
    train(config, run.path, resume=True, allow_changes=True)
    assert run.checkpoints.named("last").name == "step-000030"
    train(config, run.path, resume=True)  # it is the run's config now


def test_pieces_may_be_drawn_otherwise_where_changes_are_allowed(tmp_path):
    path = write_config(tmp_path, tokenizer={"type": "bpe", "vocab_size": 400}, training={"max_updates": 10})
    train(load_config(path), tmp_path / "run")
    config = load_config(path, ["training.max_updates=20", "tokenizer.sampling=0.1"])
    with pytest.raises(UserError, match=r"tokenizer\.sampling = 0\.0, and the config now says 0\.1.*--allow-changes"):
        train(config, tmp_path / "run", resume=True)
    run = train(config, tmp_path / "run", resume=True, allow_changes=True)
    assert run.checkpoints.named("last").name == "step-000020"


@pytest.mark.parametrize(
    "override",
    ["training.max_updates=30", "training.patience=9", "training.max_minutes=9", "training.keep=9", "search.beam=2"],
)
def test_what_has_no_effect_on_the_past_may_change(tmp_path, override):
    path, run = trained(tmp_path)
    train(load_config(path, [override]), run.path, resume=True)


def test_a_run_that_is_beyond_its_end_says_so(tmp_path, caplog):
    path, run = trained(tmp_path, schedule="constant")
    with caplog.at_level(logging.INFO, "seq2seq"):
        train(load_config(path, ["training.max_updates=10"]), run.path, resume=True)
    assert "finished after update 20, beyond training.max_updates (10): nothing is trained" in caplog.messages


@pytest.mark.parametrize("allow_changes", [False, True])
def test_another_vocabulary_cannot_be_asked_for(tmp_path, allow_changes):
    path, run = trained(tmp_path)
    config = load_config(path, ["tokenizer.vocab_size=9"])
    with pytest.raises(UserError, match=r"tokenizer\.vocab_size = 50.*train in another folder"):
        train(config, run.path, resume=True, allow_changes=allow_changes)


def test_a_model_of_another_size_is_refused_before_anything_is_written(tmp_path):
    path, run = trained(tmp_path)
    before = (run.path / "config.yaml").read_text()
    config = load_config(path, ["model.decoder.hidden_size=32"])
    with pytest.raises(
        UserError, match=r"do not fit this run's config: \S+ has the size \[.*\], and the config makes it \["
    ):
        train(config, run.path, resume=True, allow_changes=True)
    assert (run.path / "config.yaml").read_text() == before


def test_an_optimizer_that_is_allowed_to_change_has_the_settings_of_the_config(tmp_path):
    path, run = trained(tmp_path)
    config = load_config(path, ["training.max_updates=30", "training.weight_decay=0.5"])
    train(config, run.path, resume=True, allow_changes=True)
    state = run.checkpoints.named("last").training_state()["optimizer"]
    assert [group["weight_decay"] for group in state["param_groups"]] == [0.5]
    assert {int(of["step"]) for of in state["state"].values()} == {30}  # its memory goes on


@pytest.mark.parametrize("split", ["train", "dev"])
def test_other_data_are_named_and_go_on_where_that_is_allowed(tmp_path, split):
    path, run = trained(tmp_path)
    for language, word in (("en", "cat"), ("de", "Katze")):
        with open(tmp_path / f"{split}.{language}", "a") as file:
            file.write(f"{word}\n")
    config = load_config(path, ["training.max_updates=30"])
    with pytest.raises(UserError, match=rf"{split}\.de of data\.{split} has changed.*--allow-changes"):
        train(config, run.path, resume=True)
    train(config, run.path, resume=True, allow_changes=True)
    assert len((run.path / "store" / "lengths.bin").read_bytes()) == 8 * (121 if split == "train" else 120)
    train(config, run.path, resume=True)


def test_data_that_were_moved_are_the_same_data(tmp_path, monkeypatch):
    path = write_config(tmp_path)
    whole = train(load_config(path), tmp_path / "whole")
    stopped(monkeypatch, load_config(path), tmp_path / "run", before=7)
    (tmp_path / "moved").mkdir()
    for split, name in (("train", "corpus"), ("dev", "dev")):
        for language in ("en", "de"):
            (tmp_path / f"{split}.{language}").rename(tmp_path / "moved" / f"{name}.{language}")
    moved = [f"data.train={tmp_path}/moved/corpus", f"data.dev={tmp_path}/moved/dev"]
    must_be_the_same(train(load_config(path, moved), tmp_path / "run", resume=True), whole)


def test_a_damaged_environment_is_named_and_made_anew_where_that_is_allowed(tmp_path):
    path, run = trained(tmp_path)
    (run.path / "environment.json").write_text("{")
    config = load_config(path, ["training.max_updates=30"])
    with pytest.raises(UserError, match=r"unknown whether the data of .*environment\.json: damaged.*--allow-changes"):
        train(config, run.path, resume=True)
    train(config, run.path, resume=True, allow_changes=True)
    assert run.environment()["data"]["train"]


def test_another_tokenizer_is_named_by_resuming_and_by_translating(tmp_path):
    path, run = trained(tmp_path)
    file = run.path / "tokenizer" / "joint.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:-2], lines[-1], lines[-2]]) + "\n")
    config = load_config(path, ["training.max_updates=30"])
    with pytest.raises(UserError, match=r"joint\.txt is not what step-000020 was trained with.*--allow-changes"):
        train(config, run.path, resume=True)
    with pytest.raises(UserError, match=r"joint\.txt: differs from the file that step-000020 was trained with"):
        load(run.path)
    train(config, run.path, resume=True, allow_changes=True)


# --------------------------------------------------------------------------------------------------------- a kept run


@pytest.fixture
def kept_run(tmp_path):
    """The run in tests/kept, which an earlier commit made, on the corpus beside it."""
    folder = Path(shutil.copytree(KEPT, tmp_path / "kept"))
    config = folder / "run" / "config.yaml"
    config.write_text(config.read_text().replace("FOLDER", str(folder)))
    return Run(folder / "run")


def test_a_kept_run_translates_as_it_did(kept_run):
    translations = load(kept_run.path).translate(["the old cat sees the dog", "dog likes 네"])
    expected = json.loads((kept_run.path.parent / "translations.json").read_text())
    assert [t.text for t in translations] == [text for text, _ in expected]
    assert [t.score for t in translations] == pytest.approx([score for _, score in expected], abs=1e-4)


def test_a_kept_run_can_be_resumed(kept_run):
    before = timeless(kept_run)
    config = load_config(kept_run.path / "config.yaml", ["training.max_updates=300"])
    run = train(config, kept_run.path, resume=True)
    assert timeless(run)[: len(before)] == before
    assert [r["update"] for r in run.metrics.records() if r["split"] == "dev"] == [100, 200, 300]
