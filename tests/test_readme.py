"""Every command of the README and of docs/start.md, in its order, on a shortened corpus and a shortened training."""

import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seq2seq.commands.main import main
from seq2seq.config.sizes import SENTENCES, WORDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
START = (ROOT / "docs/start.md").read_text(encoding="utf-8")
PYTHON = (ROOT / "docs/python.md").read_text(encoding="utf-8")
LINES = {"train": 300, "dev": 15, "test": 15, "pronouns": 15}


def blocks(language, page=README):
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def shortened(config):
    """The text of a config, with a tiny model and a training of four updates."""
    text = re.sub(r"max_updates: \d+", "max_updates: 4", config.read_text(encoding="utf-8"))
    text = re.sub(r"warmup_updates: \d+", "warmup_updates: 2", text)
    return re.sub(r"size: 256", "size: 32", text)


def commands():
    lines = [line.split("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("seq2seq ")]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder like a clone of the repository, its corpus and its trainings cut short."""
    clone = tmp_path_factory.mktemp("clone")
    for path in sorted((ROOT / "data/toy").iterdir()):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        short = clone / "data/toy" / path.name
        short.parent.mkdir(parents=True, exist_ok=True)
        short.write_text("".join(lines[: LINES.get(path.name.split(".")[0], 300)]), encoding="utf-8")
    shutil.copytree(ROOT / "configs", clone / "configs")
    for config in (clone / "configs").glob("*.yaml"):
        config.write_text(shortened(config), encoding="utf-8")
    (clone / "mine").mkdir()
    for split in ("train", "dev", "test"):
        for toy, mine in (("en", "fr"), ("de", "oc")):
            shutil.copy(clone / f"data/toy/{split}.{toy}", clone / f"mine/{split}.{mine}")
    for language in ("fr", "oc"):
        shutil.copy(clone / f"mine/train.{language}", clone / f"mine/more.{language}")
    toy = (clone / "configs/toy.yaml").read_text(encoding="utf-8")
    mine = re.sub(r"data:\n(  .*\n)+", blocks("yaml")[0], toy)
    (clone / "configs/mine.yaml").write_text(mine, encoding="utf-8")
    return clone


@pytest.fixture
def in_clone(clone, monkeypatch):
    monkeypatch.chdir(clone)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"The cat ate the fish.\n"), encoding="utf-8"))


def test_make_train_trains_the_toy_config(in_clone):
    assert "seq2seq train configs/toy.yaml --run $(RUN)" in (ROOT / "Makefile").read_text()
    assert main(["train", "configs/toy.yaml", "--run", "runs/toy"]) == 0


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_each_command_of_the_readme_works(in_clone, command, capsys):
    assert main(command) == 0, capsys.readouterr().err
    assert capsys.readouterr().out


def test_the_way_from_one_file_to_a_translator_works(in_clone, clone, capsys):
    make_table, *rest = blocks("sh", START)
    subprocess.run(make_table, shell=True, check=True)
    for number, command in enumerate(rest, start=1):
        assert main(shlex.split(command)[1:]) == 0, capsys.readouterr().err
        if number == 1:
            next_commands = START.split("Next:\n")[1].split("```")[0]
            assert capsys.readouterr().out.endswith(f"Next:\n{next_commands}")
            config = clone / "sentences/sentences.yaml"
            config.write_text(shortened(config), encoding="utf-8")
    assert number == 5
    assert capsys.readouterr().out.count("\n") > 30


def test_the_sizes_on_the_page_are_those_of_the_config():
    numbers = [
        re.findall(r"[\d.]+", row.replace(",", "")) for row in re.findall(r"^\| (?:below|more).*", START, re.MULTILINE)
    ]
    sizes = [[*sentences, words.batch_tokens, words.updates] for sentences, words in zip(SENTENCES, WORDS, strict=True)]
    assert [[float(number) for number in row] for row in numbers] == [
        [number for number in size if isinstance(number, int | float) and number != float("inf")] for size in sizes
    ]


@pytest.mark.parametrize("block", blocks("python"))
def test_the_python_of_the_readme_works(in_clone, block, capsys):
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_the_page_of_python_examples_runs_from_top_to_bottom(in_clone, capsys):
    names = {}
    for block in blocks("python", PYTHON):
        exec(compile(block, "docs/python.md", "exec"), names)
        assert capsys.readouterr().out
    assert names["both"] == [
        names["translator"].translate(texts) for texts in (["The dog slept."], ["The cat ate the fish."])
    ]


@pytest.mark.parametrize("config", sorted(path.name for path in (ROOT / "configs").glob("toy_*.yaml")))
def test_the_other_toy_configs_train(in_clone, config, capsys):
    assert main(["train", f"configs/{config}"]) == 0, capsys.readouterr().err
