"""The run folder: what is kept, how it is written, and what damage does."""

import importlib
import itertools
import json
import os
import re
import resource
import shutil
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from faults import before_the_first, largest_file
from tiny import write_config

from seq2seq.build import build_model
from seq2seq.config import load_config
from seq2seq.data.dataset import data_digests, learn_tokenizers
from seq2seq.devices import choose_device, free_memory
from seq2seq.errors import UserError
from seq2seq.files import fingerprint
from seq2seq.runs.checkpoints import Checkpoint
from seq2seq.runs.fitting import count_parameters, must_fit
from seq2seq.runs.metrics import weakness
from seq2seq.runs.run import AFTER_CONFIG, Run
from seq2seq.text.vectors import start_from_vectors
from seq2seq.training.train import train

checkpoints = importlib.import_module("seq2seq.runs.checkpoints")


@pytest.fixture
def config(tmp_path):
    return load_config(write_config(tmp_path))


@pytest.fixture
def tokenizers(config):
    return learn_tokenizers(config)


@pytest.fixture
def run(tmp_path, config, tokenizers):
    run = Run.create(tmp_path / "run", config, data_digests(config))
    run.save_tokenizers(tokenizers)
    return run


def save(run, config, tokenizers, update, *, best=True, keep=2):
    torch.manual_seed(update)
    model = build_model(config, tokenizers)
    run.checkpoints.save(update, model, {"update": update}, best=best, keep=keep)
    return model


def names(run):
    return sorted(path.name for path in (run.path / "checkpoints").iterdir())


def test_a_folder_that_holds_a_run_is_refused_and_both_ways_out_are_named(run, config):
    with pytest.raises(UserError, match=r"already holds a run.*--resume.*--run DIR"):
        Run.create(run.path, config, {})


def test_a_folder_with_a_file_of_the_name_of_a_run_s_is_no_place_for_a_run(config, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "log.txt").write_text("mine")  # a shell may write its log there
    (folder / "environment.json").touch()  # a start that was killed has left it
    Run(folder).must_be_new()
    for name in ("test.json", "store"):
        (folder / name).write_text("mine")
    with pytest.raises(UserError, match=r"is no run, but has store, test.json, as a run would: name another folder"):
        train(config, folder)
    assert {file.name for file in folder.iterdir()} == {"log.txt", "environment.json", "store", "test.json"}


def test_no_file_of_a_run_is_unknown(config, tmp_path):
    train(config, tmp_path / "run")
    made = {file.name for file in (tmp_path / "run").iterdir() if file.name[0] != "."}
    assert made <= {*AFTER_CONFIG, "config.yaml", "environment.json", "checkpoints"}


def test_a_run_in_the_place_of_a_config_is_continued_or_needs_another_folder(run):
    fix = f"`seq2seq train {run.path}/config.yaml --run {run.path} --resume` continues it; --run DIR trains another"
    for given in (run.path, run.path / "config.yaml"):
        with pytest.raises(UserError, match=f"is (the config of )?a run; {re.escape(fix)}"):
            Run.default_path(given)
    assert Run.default_path(Path("configs/toy.yaml")) == Path("runs/toy")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "there is no such folder; `seq2seq train CONFIG --run nowhere` makes one"),
        ("folder", "it has no config.yaml; `seq2seq train CONFIG --run folder` makes one"),
        ("runs", "but a folder of runs; name one, such as runs/a"),
        ("The cat sees.", "nothing of this name exists; a text to translate comes from standard input"),
        ("~/run", "since ~ stands for nothing here; write the whole path"),
        ("https://example.org/a.s2s", "but an address; download the file first"),
    ],
)
def test_a_name_that_is_no_run_gets_a_way_out(tmp_path, monkeypatch, name, says):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    for run in ("b", "a"):
        (Path("runs") / run).mkdir(parents=True)
        (Path("runs") / run / "config.yaml").touch()
    with pytest.raises(UserError) as raised:
        Run.open(name)
    assert str(raised.value).startswith(f"{name}: not a run folder, {says}")


def test_the_config_in_the_run_has_absolute_paths_and_the_same_values(run, config, monkeypatch, tmp_path):
    relative = config.model_copy(update={"data": config.data.model_copy(update={"train": "train"})})
    monkeypatch.chdir(tmp_path)
    run.save_config(relative)
    assert run.config() == config


def test_the_environment_names_versions_command_and_the_digests_of_the_data(run):
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__
    assert set(environment["data"]) == {"train", "dev", "test"}
    assert environment["threads"] == torch.get_num_threads()
    assert environment["processor"]
    assert {"train.en", "train.de"} <= set(environment["data"]["train"])
    assert all(len(digest) == 64 for digest in environment["data"]["train"].values())


def test_a_loaded_model_is_the_saved_one(run, config, tokenizers):
    saved = save(run, config, tokenizers, 10)
    loaded, _ = run.load_model()
    assert not loaded.training
    for (name, a), (_, b) in zip(saved.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


def test_a_config_that_exchanges_the_languages_is_an_error(run, config, tokenizers):
    save(run, config, tokenizers, 10)
    file = run.path / "config.yaml"
    text = file.read_text(encoding="utf-8")
    turned = text.replace("src: en", "src: X").replace("tgt: de", "tgt: en").replace("src: X", "src: de")
    assert turned != text
    file.write_text(turned, encoding="utf-8")
    with pytest.raises(UserError, match=r"data.src is de and data.tgt en, but the run was begun with en as the source"):
        run.load_model()
    file.write_text(text.replace("src: en", "src: eng"), encoding="utf-8")
    run.load_model()  # another name for the same language


@pytest.mark.parametrize("tie", ["none", "decoder", "all"])
def test_tied_weights_are_still_tied_after_loading(run, config, tokenizers, tie):
    config = config.model_copy(update={"model": config.model.model_copy(update={"tie_embeddings": tie})})
    run.save_config(config)
    save(run, config, tokenizers, 10)
    model, _ = run.load_model()
    tied = {
        "W_y": model.decoder.W_y.weight.data_ptr() == model.decoder.embedding.weight.data_ptr(),
        "source": model.encoder.embedding.weight.data_ptr() == model.decoder.embedding.weight.data_ptr(),
    }
    assert tied == {"W_y": tie != "none", "source": tie == "all"}


def test_best_and_last_name_checkpoints_and_only_the_newest_and_the_best_are_kept(run, config, tokenizers):
    for update, best in ((10, True), (20, False), (30, False), (40, False)):
        save(run, config, tokenizers, update, best=best)
    assert run.checkpoints.named("best").name == "step-000010"
    assert run.checkpoints.named("last").name == "step-000040"
    assert names(run) == ["step-000010", "step-000030", "step-000040"]


@pytest.mark.parametrize("name", ["model.safetensors", "training.pt"])
def test_a_changed_byte_is_noticed(run, config, tokenizers, name):
    save(run, config, tokenizers, 10)
    file = run.checkpoints.named("last").path / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match=rf"{name}: damaged"):
        run.checkpoints.named("last").verify()


def test_whoever_may_read_the_folder_may_read_the_weights(run, config, tokenizers):
    run.path.chmod(0o755)
    save(run, config, tokenizers, 10)
    assert (run.checkpoints.named("last").path / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_missing_file_is_noticed(run, config, tokenizers):
    save(run, config, tokenizers, 10)
    (run.checkpoints.named("last").path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="incomplete checkpoint"):
        run.load_model()


def flip_a_bit(checkpoint):
    data = bytearray((checkpoint / "model.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (checkpoint / "model.safetensors").write_bytes(data)


def cut_short(checkpoint):
    os.truncate(checkpoint / "training.pt", 100)


def lose_the_manifest(checkpoint):
    (checkpoint / "manifest.json").unlink()


DAMAGES = [flip_a_bit, cut_short, lose_the_manifest, shutil.rmtree]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("pointer", ["best", "last"])
def test_a_damaged_checkpoint_is_noticed_and_the_newest_good_one_used_with_a_warning(
    run, config, tokenizers, caplog, damage, pointer
):
    for update in (10, 20, 30):
        save(run, config, tokenizers, update, keep=3)
    damage(run.checkpoints.named(pointer).path)
    assert run.checkpoints.find(pointer).name == "step-000020"
    assert "step-000030" in caplog.text
    assert "going on with" in caplog.text
    run.load_model()


def test_a_pointer_that_names_nothing_does_not_hide_the_checkpoints_and_is_a_warning(
    run, config, tokenizers, caplog, monkeypatch
):
    monkeypatch.setattr(checkpoints, "PAUSE", 0)
    save(run, config, tokenizers, 10)
    last = run.path / "last"
    texts = [b"", b"\xff", b"step-000099\n", b"../../elsewhere", b"step-000010\nstep-000010\n", b"x" * 10_000]
    damages = [lambda text=text: last.write_bytes(text) for text in texts]
    damages += [lambda: last.symlink_to(run.path / "best"), lambda: os.mkfifo(last), last.mkdir, lambda: None]
    for damage in damages:
        last.unlink(missing_ok=True)
        damage()
        caplog.clear()
        assert run.checkpoints.find("last").name == "step-000010"
        (warning,) = caplog.messages
        assert f"going on with {run.path}/checkpoints/step-000010 instead" in warning
        if last.is_dir():
            last.rmdir()


def test_strays_among_the_checkpoints_neither_count_nor_stop_a_training(run, config, tokenizers, tmp_path):
    for update in (10, 20, 30):
        save(run, config, tokenizers, update, keep=3)
    folder, archive = run.path / "checkpoints", tmp_path / "archive"
    (folder / "step-000010").rename(archive)
    (folder / "step-000010").symlink_to(archive)
    (folder / "step-000001").write_text("a file")
    (folder / "step-000002").symlink_to("nowhere")
    (folder / ".new-step-000040").symlink_to(archive)
    for name in (".DS_Store", "joint.txt~", "src.model"):
        (run.path / "tokenizer" / name).write_text("")
    (run.path / "tokenizer" / ".ipynb_checkpoints").mkdir()
    shutil.copytree(folder / "step-000020", folder / "step-000099")
    assert [each.update for each in run.checkpoints.all()] == [10, 20, 30, 99]
    with pytest.raises(UserError, match="damaged"):
        run.checkpoints.all()[-1].verify()
    run.checkpoints.rewind(run.checkpoints.find("last"), 30)
    run.load_model()
    for update in (40, 50):
        save(run, config, tokenizers, update, keep=1)
    assert names(run) == [".DS_Store", ".undone-step-000099", "step-000001", "step-000002", "step-000050"][1:]
    assert len([*archive.iterdir()]) == 3


def test_a_link_in_a_run_is_replaced_or_refused_and_what_it_points_to_stays(run, config, tokenizers, tmp_path):
    save(run, config, tokenizers, 10)
    victim = tmp_path / "victim"
    for name in (
        "best",
        "last",
        "metrics.jsonl",
        ".new-best",
        ".lock",
        "environment.json",
        "config.yaml",
        "tensorboard",
    ):
        file = run.path / name
        victim.write_bytes(file.read_bytes() if file.is_file() else b"precious")
        file.unlink(missing_ok=True)
        file.symlink_to(victim)
        before = victim.read_bytes()
        with suppress(UserError), run.writing():
            run.save_config(config)
            run.save_data_digests(config, {"train": {}, "dev": {}})
            save(run, config, tokenizers, 20)
            run.metrics.with_tensorboard(0).add({"update": 20, "split": "dev"})
        assert victim.read_bytes() == before, name
        file.unlink(missing_ok=True)


@pytest.mark.parametrize("kind", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir, "sparse"])
def test_where_a_small_file_is_expected_anything_else_is_an_error_before_it_is_read(run, config, tokenizers, kind):
    save(run, config, tokenizers, 10)
    run.metrics.add({"update": 10, "split": "dev"})
    step = "checkpoints/step-000010"
    for name in ("config.yaml", "tokenizer/tokenizer.json", "tokenizer/joint.txt", "metrics.jsonl", "environment.json"):
        must_be_refused(run, name, kind, lambda: (run.load_model(), run.environment(), run.metrics.records()))
    for name in (f"{step}/manifest.json", f"{step}/model.safetensors", f"{step}/training.pt"):
        must_be_refused(run, name, kind, lambda: run.checkpoints.find("last"))


def must_be_refused(run, name, kind, read):
    file = run.path / name
    file.rename(run.path / "whole")
    if kind == "sparse":
        file.write_bytes(b"")
        os.truncate(file, 20 * 2**30)
    else:
        kind(file)
    with pytest.raises(UserError, match=f"{file.name}|{file.parent.name}"):
        read()
    file.rmdir() if file.is_dir() else file.unlink()
    (run.path / "whole").rename(file)
    read()


def test_a_reader_takes_the_next_checkpoint_where_a_training_deletes_the_one_that_it_reads(
    run, config, tokenizers, monkeypatch
):
    save(run, config, tokenizers, 10, keep=1)
    for name in ("verify", "changed_tokenizer", "load_weights"):
        update = run.checkpoints.named("last").update + 10
        with monkeypatch.context() as patched:
            patched.setattr("seq2seq.runs.run.PAUSE", 0)
            before_the_first(
                patched, Checkpoint, name, lambda update=update: save(run, config, tokenizers, update, keep=1)
            )
            model, _ = run.load_model()
        torch.manual_seed(update)
        assert torch.equal(model.decoder.W_y.weight, build_model(config, tokenizers).decoder.W_y.weight)


def test_a_copy_of_a_checkpoint_is_none(run, config, tokenizers):
    save(run, config, tokenizers, 10)
    shutil.copytree(run.checkpoints.named("last").path, run.path / "checkpoints" / "step-000010.bak")
    assert [checkpoint.name for checkpoint in run.checkpoints.all()] == ["step-000010"]


def test_a_checkpoint_is_no_run_and_its_run_is_named(run, config, tokenizers):
    save(run, config, tokenizers, 10)
    with pytest.raises(UserError, match=f"step-000010: a checkpoint; give its run, {re.escape(str(run.path))}, "):
        Run.open(run.checkpoints.named("best").path)


def test_a_missing_file_of_the_tokenizer_or_config_is_named(run, config, tokenizers):
    save(run, config, tokenizers, 10)
    (run.path / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer/tokenizer.json: missing; copy the run folder again"):
        run.load_model()
    (run.path / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"config.yaml: missing, though the folder holds a run"):
        run.config()


def test_what_only_a_training_needs_may_be_damaged_where_one_translates(run, config, tokenizers, caplog):
    save(run, config, tokenizers, 10)
    cut_short(run.checkpoints.named("best").path)
    run.load_model()
    assert not caplog.text
    with pytest.raises(UserError, match="No other checkpoint is undamaged"):
        run.checkpoints.find("last")


def test_a_run_that_has_lost_its_config_is_a_run(run, config, tokenizers):
    save(run, config, tokenizers, 10)
    (run.path / "config.yaml").unlink()
    with pytest.raises(UserError, match="already holds a run"):
        train(config, run.path)
    with pytest.raises(UserError, match=r"config\.yaml: missing"):
        train(config, run.path, resume=True)


def test_a_config_that_was_cut_off_is_an_error(run):
    file = run.path / "config.yaml"
    file.write_text(file.read_text().partition("search:")[0])
    with pytest.raises(UserError, match=r"config\.yaml: damaged, the section search is missing; put the old file back"):
        run.config()


def test_only_damaged_checkpoints_are_an_error_that_names_the_first(run, config, tokenizers):
    for update in (10, 20):
        save(run, config, tokenizers, update)
        flip_a_bit(run.checkpoints.named("last").path)
    with pytest.raises(UserError, match=r"step-000020/model\.safetensors: damaged"):
        run.checkpoints.find("last")


def test_the_only_good_one_is_never_deleted(run, config, tokenizers, monkeypatch):
    """Not before the new one is whole and has its name: the process dies in each moment of a save."""
    for keep in (1, 2):
        save(run, config, tokenizers, 10, keep=keep)
        for moment in itertools.count(1):
            with monkeypatch.context() as patched:
                if not dies_at(patched, moment, lambda: save(run, config, tokenizers, 20, keep=keep)):  # noqa: B023
                    break
            assert run.checkpoints.find("last").name in ("step-000010", "step-000020")
            assert run.checkpoints.find("best")
        assert moment > 20
        assert run.checkpoints.named("last").name == "step-000020"
        shutil.rmtree(run.path / "checkpoints")


def test_a_checkpoint_that_is_written_again_is_never_gone(run, config, tokenizers, monkeypatch):
    """As after a stop at the update of a validation: the process dies in each moment of the second save."""
    save(run, config, tokenizers, 10, keep=1)
    for moment in itertools.count(1):
        with monkeypatch.context() as patched:
            if not dies_at(patched, moment, lambda: save(run, config, tokenizers, 10, keep=1)):
                break
        with run.writing():
            pass
        assert run.checkpoints.find("last").name == "step-000010"
    assert moment > 20
    assert names(run) == ["step-000010"]


class DiesError(BaseException):
    pass


def dies_at(monkeypatch, moment, work):
    """Whether the process died, at the so-manyth time that it asked the system to change or to keep a file."""
    calls = itertools.count(1)

    def dying(real):
        def call(*args, **options):
            if next(calls) == moment:
                raise DiesError
            return real(*args, **options)

        return call

    for name in ("open", "fsync", "rename", "unlink", "rmdir", "mkdir", "replace"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    try:
        work()
    except DiesError:
        return True
    return False


def test_metrics_are_on_disk_before_the_checkpoint_that_counts_them(run, config, tokenizers, monkeypatch):
    run.metrics.add({"update": 1, "split": "train"})
    synced, real = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (synced.append(os.readlink(f"/proc/self/fd/{handle}")), real(handle))
    )
    save(run, config, tokenizers, 10)
    checkpoints = run.path / "checkpoints"
    expected = [run.path / "metrics.jsonl", *(checkpoints / ".new-step-000010" / name for name in FILES), checkpoints]
    assert {str(path) for path in expected} <= set(synced)
    assert synced.index(str(expected[0])) < synced.index(str(checkpoints))
    assert synced.index(str(checkpoints)) > max(synced.index(str(path)) for path in expected[1:-1])


FILES = ("model.safetensors", "training.pt", "manifest.json")


def test_a_full_disk_is_one_error_and_what_was_there_is_whole(run, config, tokenizers, monkeypatch):
    save(run, config, tokenizers, 10)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for size in (0, 1000, 30_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            with pytest.raises(UserError, match=r"step-000020: cannot be written: .*; what was saved before is whole"):
                save(run, config, tokenizers, 20)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert names(run) == ["step-000010"]
        assert run.checkpoints.find("last").name == "step-000010"
    signal.signal(signal.SIGXFSZ, before)
    save(run, config, tokenizers, 20)
    assert run.checkpoints.find("last").name == "step-000020"


def test_a_disk_that_is_full_for_a_line_of_metrics_is_an_error_too(run):
    run.metrics.add({"update": 1, "split": "train"})
    full = pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written: File too large; .* go on with")
    with largest_file(run.metrics.size()), full:
        run.metrics.add({"update": 2, "split": "train"})


def test_rewinding_makes_the_folder_what_it_was(run, config, tokenizers):
    sizes = {}
    for update in (10, 20, 30, 40):
        run.metrics.add({"update": update, "split": "dev"})
        save(run, config, tokenizers, update, best=update in (10, 30), keep=4)
        sizes[update] = run.metrics.size()
    run.checkpoints.rewind(Checkpoint(run.path / "checkpoints" / "step-000020"), 10)
    run.metrics.cut(20, sizes[20])
    assert [run.checkpoints.named(name).name for name in ("best", "last")] == ["step-000010", "step-000020"]
    assert names(run) == [".undone-step-000030", ".undone-step-000040", "step-000010", "step-000020"]
    assert [record["update"] for record in run.metrics.records()] == [10, 20]
    save(run, config, tokenizers, 30, keep=4)
    assert names(run) == [".undone-step-000040", "step-000010", "step-000020", "step-000030"]


def test_an_undone_checkpoint_does_not_come_back_and_leftovers_of_a_killed_process_go(run, config, tokenizers):
    for update in (10, 20):
        save(run, config, tokenizers, update)
    run.checkpoints.rewind(Checkpoint(run.path / "checkpoints" / "step-000010"), 10)
    leftovers = [run.path / ".new-best", run.path / ".new-shortlist-9.safetensors", run.path / ".new-store"]
    for left in leftovers[:2]:
        left.write_text("half")
    leftovers[2].mkdir()
    shutil.copytree(run.path / "tokenizer", run.path / ".old-tokenizer")
    (run.path / "checkpoints" / "step-000010").rename(run.path / "checkpoints" / ".old-step-000010")
    with run.writing():
        assert names(run) == [".undone-step-000020", "step-000010"]
    assert not any(path.exists() for path in [*leftovers, run.path / ".old-tokenizer"])


def test_metrics_that_lack_lines_are_a_warning(run, caplog):
    run.metrics.add({"update": 10, "split": "dev"})
    run.metrics.cut(10, 10_000)
    assert "metrics.jsonl lacks lines" in caplog.text
    assert len(run.metrics.records()) == 1


def test_weights_of_another_model_are_refused(run, config, tokenizers):
    save(run, config, tokenizers, 10)
    decoder = config.model.decoder.model_copy(update={"num_layers": 2})
    run.save_config(config.model_copy(update={"model": config.model.model_copy(update={"decoder": decoder})}))
    with pytest.raises(UserError, match=r"these weights do not fit this run.s config: .*decoder.bridge.weight"):
        run.load_model()


def test_weights_that_are_not_finite_are_an_error_that_names_the_checkpoint(run, config, tokenizers):
    model = build_model(config, tokenizers)
    model.decoder.W_y.bias.data[7] = torch.nan
    run.checkpoints.save(5, model, {"update": 5}, best=True, keep=2)
    with pytest.raises(UserError, match=r"step-000005: the weights decoder\.W_y\.bias are not finite"):
        run.load_model()


def test_a_model_larger_than_the_memory_is_an_error_before_it_is_built(config, tokenizers, monkeypatch):
    count = count_parameters(build_model(config, tokenizers))
    for training, numbers in ((False, 1), (True, 4)):
        monkeypatch.setattr("seq2seq.runs.fitting.free_memory", lambda device, numbers=numbers: 4 * count * numbers)
        must_fit(config, tokenizers, torch.device("cpu"), training=training)
        monkeypatch.setattr("seq2seq.runs.fitting.free_memory", lambda device, numbers=numbers: 4 * count * numbers - 1)
        with pytest.raises(UserError, match=f"its {count:,} parameters need .* lower one of model.embedding_size"):
            must_fit(config, tokenizers, torch.device("cpu"), training=training)
    assert 0 < free_memory(torch.device("cpu")) < 2**50


def test_a_run_without_a_checkpoint_says_so(run):
    with pytest.raises(UserError, match="no checkpoint yet"):
        run.load_model()


def test_a_checkpoint_with_a_pickle_payload_is_refused_and_nothing_runs(run, config, tokenizers):
    """Also where its manifest vouches for it."""

    class Payload:
        def __reduce__(self):
            return (Path.touch, (run.path / "was_here",))

    save(run, config, tokenizers, 10)
    checkpoint = run.checkpoints.named("last").path
    torch.save({"progress": Payload()}, checkpoint / "training.pt")
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["files"]["training.pt"] = fingerprint(checkpoint / "training.pt")
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"training\.pt: refused, it holds more than tensors, numbers and strings"):
        train(config, run.path, resume=True)
    assert not (run.path / "was_here").exists()


def test_the_newest_checkpoints_are_kept_by_number_not_by_name(run, config, tokenizers):
    for update in (999_998, 999_999, 1_000_000):
        save(run, config, tokenizers, update, best=update == 999_998, keep=1)
    assert names(run) == ["step-1000000", "step-999998"]


def test_a_kill_between_the_pointers_leaves_last_behind_best(run, config, tokenizers, monkeypatch):
    """So that the validation is done again; the other way round the best checkpoint would be forgotten."""
    module = importlib.import_module("seq2seq.runs.checkpoints")
    real, written = module.replace_text, []

    def replace_text(path, text):
        if written:
            raise KeyboardInterrupt
        written.append(path.name)
        real(path, text)

    monkeypatch.setattr(module, "replace_text", replace_text)
    with pytest.raises(KeyboardInterrupt):
        save(run, config, tokenizers, 10)
    assert written == ["best"]


def test_a_line_of_metrics_cut_short_by_a_kill_does_not_count(run):
    run.metrics.add({"update": 10, "split": "dev"})
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"update": 20, "spl')
    assert [record["update"] for record in run.metrics.records()] == [10]


@pytest.mark.parametrize("line", [b'{"update": 20, "spl', b"\xff\x00", b"null", b"", b'{"update": 20}'])
def test_a_broken_line_of_metrics_is_an_error_that_names_file_and_line(run, line):
    run.metrics.add({"update": 10, "split": "dev"})
    with open(run.path / "metrics.jsonl", "ab") as file:
        file.write(line + b"\n")
    run.metrics.add({"update": 30, "split": "dev"})
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: damaged.*; delete the line") as error:
        run.metrics.records()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"data": 5}', '{"data": {"train": {}}}'])
def test_a_missing_or_damaged_environment_is_an_error_that_names_the_file(run, text):
    file = run.path / "environment.json"
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(UserError, match=r"environment\.json: (cannot be read|damaged)") as error:
        run.environment()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [None, "{", "[]", "{}"])
def test_a_missing_or_damaged_manifest_is_an_error_that_names_the_file(run, config, tokenizers, text):
    save(run, config, tokenizers, 10)
    file = run.checkpoints.named("last").path / "manifest.json"
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json: (cannot be read|damaged).*; use another checkpoint"):
        run.load_model()


def error_of(read):
    try:
        read()
    except UserError as error:
        return str(error)


WRONG = [None, -1, "x", [], {"a": []}, True, 10**30]  # put in place of each value of a JSON file
DEEP = "[" * 100_000


def wrong(value):
    """Whatever may be at fault in a JSON value: other types and missing keys, at each place."""
    yield from WRONG
    for key in value if isinstance(value, dict) else []:
        yield {other: value[other] for other in value if other != key}
        yield from ({**value, key: inner} for inner in wrong(value[key]))


def test_no_value_of_a_json_file_that_we_never_wrote_is_more_than_one_error_of_one_line(run, config, tokenizers):
    save(run, config, tokenizers, 10)
    run.metrics.add({"update": 10, "split": "dev", "loss": 1.0})
    checkpoint = run.checkpoints.named("best")
    for file, read in (
        (run.path / "environment.json", run.environment),
        (run.path / "metrics.jsonl", run.metrics.records),
        (run.path / "tokenizer" / "tokenizer.json", run.tokenizers),
        (checkpoint.path / "manifest.json", checkpoint.verify),
    ):
        whole = file.read_text()
        for text in [DEEP, "", "{", *map(json.dumps, wrong(json.loads(whole)))]:
            file.write_text(text + "\n")
            said = error_of(read)
            assert said is None or file.name in said or "word_tokenizer" in said or checkpoint.name in said
            assert "\n" not in (said or "")
            assert len(said or "") < 500
        file.write_text(whole)
        read()


def test_metrics_are_cut_back_to_the_checkpoint(run):
    sizes = []
    for update in (10, 20, 20, 30):
        run.metrics.add({"update": update, "split": "dev"})
        sizes.append(run.metrics.size())
    run.metrics.cut(20, sizes[1])
    assert [record["update"] for record in run.metrics.records()] == [10, 20]


def test_metrics_are_never_cut_within_a_line(run):
    for update in (10, 20, 30):
        run.metrics.add({"update": update, "split": "dev"})
    run.metrics.cut(30, run.metrics.size() - 3)  # as a checkpoint of another run may count them
    assert [record["update"] for record in run.metrics.records()] == [10, 20]
    assert (run.path / "metrics.jsonl").read_text().endswith("}\n")


def test_a_line_that_was_deleted_from_the_metrics_lets_none_stand_twice(run):
    for update in (5, 10, 15, 20):
        run.metrics.add({"update": update, "split": "train"})
    size = run.metrics.size() // 4
    lines = (run.path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run.path / "metrics.jsonl").write_bytes(b"".join(lines[1:]))
    run.metrics.cut(10, 2 * size)
    assert [record["update"] for record in run.metrics.records()] == [10]


def test_padding_has_a_zero_embedding(config, tokenizers):
    model = build_model(config, tokenizers)
    assert not model.encoder.embedding.weight[0].any()
    assert not model.decoder.embedding.weight[0].any()


def test_pretrained_vectors_become_embeddings_and_only_those_found(config, tokenizers, tmp_path):
    (tmp_path / "vectors").write_text("cat " + " ".join(["0.5"] * 24) + "\nzebra " + " ".join(["1"] * 24) + "\n")
    settings = config.model_dump()
    settings["model"]["pretrained_embeddings"] = {"src": str(tmp_path / "vectors")}
    config = type(config)(**settings)
    torch.manual_seed(0)
    before = build_model(config, tokenizers).encoder.embedding.weight.clone()
    torch.manual_seed(0)
    model = build_model(config, tokenizers)
    report = start_from_vectors(model, tokenizers, dict(config.model.pretrained_embeddings))
    cat = tokenizers.src.encode("cat")[0]
    after = model.encoder.embedding.weight
    assert torch.equal(after[cat], torch.full((24,), 0.5))
    others = torch.arange(len(after)) != cat
    assert torch.equal(after[others], before[others])
    assert "1 of" in report[0]


def test_vectors_of_another_size_name_the_key_and_both_sizes(config, tokenizers, tmp_path):
    (tmp_path / "vectors").write_text("cat 1 2 3\n")
    settings = config.model_dump()
    settings["model"]["pretrained_embeddings"] = {"tgt": str(tmp_path / "vectors")}
    config = type(config)(**settings)
    with pytest.raises(UserError, match=r"pretrained_embeddings\.tgt.*3 numbers.*embedding_size to 3 \(it is 24\)"):
        start_from_vectors(build_model(config, tokenizers), tokenizers, dict(config.model.pretrained_embeddings))


def test_a_device_that_is_not_there_is_named():
    absent = "mps" if not torch.backends.mps.is_available() else "cuda:99"
    with pytest.raises(UserError, match=f"to be {absent}"):
        choose_device(absent)


def test_a_run_is_only_its_path(run):
    assert replace(run) == Run(run.path)


@pytest.mark.parametrize(
    ("scores", "is_weak"),
    [
        ({"bleu": 7.0, "chrf": 22.6, "exact_match": 0.9}, True),  # fluent nonsense
        ({"bleu": 33.0, "chrf": 55.0, "exact_match": 4.0}, False),
        ({"bleu": 1.0, "chrf": 75.0, "exact_match": 60.0}, False),  # words
        ({"bleu": 18.0, "chrf": 20.0, "exact_match": 0.0}, False),  # Chinese
        ({"chrf": 20.0}, False),  # what is not known is no reason
    ],
)
def test_a_model_that_gets_most_of_dev_wrong_is_weak(scores, is_weak):
    assert (weakness(scores) is not None) == is_weak
