"""A run in one file: the commands take it like the folder, and what is not the file that was written is refused."""

import hashlib
import json
import stat
import zipfile
from pathlib import Path

import pytest
from tiny import write_config

import seq2seq
from seq2seq.commands.main import main

LINES = ["the old cat sees the dog", "", "네 the dog likes the cat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained run of subwords, `run`, and the file that it was exported to, `tiny.s2s`."""
    folder = tmp_path_factory.mktemp("export")
    config = write_config(folder, tokenizer={"type": "bpe", "vocab_size": 300})
    assert main(["train", str(config), "--run", str(folder / "run"), "training.max_updates=10"]) == 0
    assert main(["translate", str(folder / "run"), "--input", str(folder / "dev.en"), "--shortlist"]) == 0
    assert main(["export", str(folder / "run"), str(folder / "tiny.s2s"), "--license", "CC0-1.0"]) == 0
    (folder / "lines").write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")
    return folder


@pytest.fixture
def in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


def output(capsys, *arguments):
    code = main(arguments)
    shown = capsys.readouterr()
    assert code == 0, shown.err
    return shown.out


@pytest.mark.parametrize(
    "arguments",
    [
        "translate RUN --input lines --json --attention",
        "translate RUN --input lines --shortlist",
        "attention RUN --input lines --words",
        "align RUN --input lines",
        "align RUN --data dev",
        "score RUN --data dev",
        "compare run RUN --split dev",
    ],
)
def test_a_command_says_the_same_of_the_file_as_of_the_folder(in_folder, capsys, arguments):
    of_folder, of_file = (output(capsys, *arguments.replace("RUN", run).split()) for run in ("run", "tiny.s2s"))
    assert of_file.replace("tiny.s2s", "run").split() == of_folder.split()


def test_the_file_is_measured_and_drawn_and_loaded_from_python(in_folder, folder, capsys):
    results = [json.loads(output(capsys, "evaluate", run, "--data", "test", "--json")) for run in ("run", "tiny.s2s")]
    assert results[0]["bleu"] == results[1]["bleu"]
    output(capsys, "plot", "tiny.s2s", "--attention", LINES[0], "--output", "drawn.svg")
    assert seq2seq.load("tiny.s2s").translate(LINES) == seq2seq.load("run").translate(LINES)


def test_a_training_starts_from_the_file(in_folder, capsys):
    text = ["data.train=train", "data.dev=dev", "training.max_updates=2"]
    output(capsys, "train", "--from", "tiny.s2s", "--run", "more", *text)
    begun = json.loads(Path("more/environment.json").read_text(encoding="utf-8"))["from"]
    weights = next(Path("run/checkpoints").glob(f"{begun['checkpoint']}/model.safetensors")).read_bytes()
    assert begun["sha256"] == hashlib.sha256(weights).hexdigest()


def test_the_same_run_gives_the_same_file_and_an_export_of_the_file_too(in_folder, folder, capsys):
    output(capsys, "export", "run", "again.s2s", "--license", "CC0-1.0")
    output(capsys, "export", "tiny.s2s", "copy.s2s")
    assert len({Path(name).read_bytes() for name in ("tiny.s2s", "again.s2s", "copy.s2s")}) == 1
    card = json.loads(zipfile.ZipFile("tiny.s2s").read("card.json"))
    assert (card["source"], card["target"], card["license"], card["version"]) == (
        "en",
        "de",
        "CC0-1.0",
        seq2seq.__version__,
    )
    kept = json.loads(Path("run/test.json").read_text(encoding="utf-8"))
    assert card["scores"]["test"]["bleu"] == kept["bleu"]


def test_the_file_holds_no_optimizer_and_no_path_and_unpacked_is_a_run(in_folder, folder, tmp_path, capsys):
    with zipfile.ZipFile("tiny.s2s") as file:
        assert not [name for name in file.namelist() if name.endswith(".pt")]
        assert str(folder).encode() not in b"".join(map(file.read, file.namelist()))
        file.extractall(tmp_path / "unpacked")
    of_file = output(capsys, "translate", "tiny.s2s", "--input", "lines")
    assert output(capsys, "translate", str(tmp_path / "unpacked"), "--input", "lines") == of_file


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate tiny.s2s", "it holds no test set; give another with --split or --data"),
        ("compare tiny.s2s tiny.s2s", "it holds no dev set"),
        ("plot tiny.s2s", "it has no learning curves"),
        ("bench tiny.s2s", "it holds no text to train on"),
        ("train tiny.yaml --run tiny.s2s --resume", "start one from it with --from FILE --run DIR"),
        ("train tiny.yaml --run tiny.s2s", "start one from it with --from FILE --run DIR"),
        ("train --from tiny.s2s --run other", "data.train is missing"),
        ("export run tiny.s2s", "tiny.s2s: exists, and nothing is overwritten"),
        ("export run nowhere/tiny.s2s", "nowhere/tiny.s2s: cannot be written"),
    ],
)
def test_what_needs_a_folder_says_so_in_one_line(in_folder, capsys, arguments, message):
    before = Path("tiny.s2s").read_bytes()
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert Path("tiny.s2s").read_bytes() == before


def rewritten(change):
    """A hostile twin of the file: `change` maps its members, (ZipInfo, content), to others."""
    with zipfile.ZipFile("tiny.s2s") as old, zipfile.ZipFile("hostile.s2s", "w") as new:
        for info, content in change([(info, old.read(info)) for info in old.infolist()]):
            new.writestr(info, content)


def added(name, content=b"x", mode=stat.S_IFREG, method=zipfile.ZIP_STORED):
    info = zipfile.ZipInfo(name)
    info.external_attr, info.compress_type = mode << 16, method
    return lambda members: [*members, (info, content)]


def replaced(name, content):
    return lambda members: [(info, content if info.filename == name else old) for info, old in members]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (added("evil.py"), "'evil.py' is no member"),
        (added("../config.yaml"), "'../config.yaml' is no member"),
        (added("/etc/passwd"), "'/etc/passwd' is no member"),
        (added("tokenizer/"), "'tokenizer/' is no member"),
        (added("config.yaml"), "'config.yaml' is no member of an exported run, or one too many"),
        (added("checkpoints/step-1/training.pt"), "is no member"),
        (added("checkpoints/step-1/manifest.json", mode=stat.S_IFLNK), "no ordinary file"),
        (added("checkpoints/step-1/manifest.json", bytes(10**7), method=zipfile.ZIP_DEFLATED), "is compressed"),
        (added("checkpoints/step-1/manifest.json"), "checkpoints/step-1/manifest.json is not what was exported"),
        (replaced("config.yaml", b"seed: 2\n"), "config.yaml is not what was exported"),
        (replaced("confidence.json", b"{}"), "confidence.json is not what was exported"),
        (lambda members: [m for m in members if m[0].filename != "SHA256SUMS"], "SHA256SUMS is missing"),
        (lambda members: [m for m in members if m[0].filename != "card.json"], "card.json is missing"),
        (lambda members: [], "SHA256SUMS is missing"),
        (lambda m: [pair for i in range(200) for pair in added(f"checkpoints/step-{i}/manifest.json")([])], "at most"),
    ],
)
def test_another_archive_is_refused_in_one_line(in_folder, capsys, change, message):
    rewritten(change)
    assert main(["translate", "hostile.s2s", "--input", "lines"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("seq2seq: error: hostile.s2s: damaged, ")
    assert message in error
    assert error.count("\n") == 1


def test_a_file_in_which_any_byte_is_changed_or_missing_is_refused_or_reads_the_same(in_folder, folder, capsys):
    whole, wanted = Path("tiny.s2s").read_bytes(), output(capsys, "translate", "tiny.s2s", "--input", "lines")
    step = len(whole) // 40
    for at in range(0, len(whole), step):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]):
            Path("damaged.s2s").write_bytes(damaged)
            code = main(["translate", "damaged.s2s", "--input", "lines"])
            shown = capsys.readouterr()
            assert shown.out == wanted if code == 0 else (code == 2 and shown.err.count("\n") == 1), at
