"""`seq2seq split`: parts that share no source and no target, chosen by the texts alone, and a config that trains."""

import json
import random
import re
import shlex
from contextlib import suppress
from itertools import combinations

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.config.sizes import SENTENCES, fitting_config
from seq2seq.data.corpus import read_pairs
from seq2seq.data.splitting import DROPPED, divide
from seq2seq.errors import UserError

PARTS = ("train", "dev", "test")


def corpus(pairs, seed=1):
    """Pairs of which some share a source or a target, one comes twice, and one is blank."""
    rng = random.Random(seed)
    rows = [(f"source {rng.randrange(pairs)}", f"target {rng.randrange(pairs)}") for _ in range(pairs // 3)]
    rows += [(f"a sentence {n}", f"its translation {n}") for n in range(pairs - len(rows) - 2)]
    return [*rows, rows[0], ("", "blank")]


def parts_of(rows, division):
    return [[row for row, part in zip(rows, division.part, strict=True) if part == number] for number in range(3)]


def check_division(rows, division, by_source=False):
    parts = parts_of(rows, division)
    kept = [pair for part in parts for pair in part]
    assert len(kept) == len(set(kept))  # none is repeated
    assert set(kept) == {row for row in rows if all(row)}  # none is lost
    assert division.blank + division.repeated == (division.part == DROPPED).sum() == len(rows) - len(kept)
    for one, other in combinations(parts, 2):
        for side in range(1 if by_source else 2):
            assert not {pair[side] for pair in one} & {pair[side] for pair in other}
    return [len(part) for part in parts]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(*[st.integers(0, 30).map(str)] * 2), min_size=1, max_size=60), st.integers(0, 3))
def test_no_source_and_no_target_is_in_two_parts_and_none_is_lost(rows, seed):
    with suppress(UserError):  # too few
        division = divide(rows, None, None, seed)
        check_division(rows, division, division.by_source)


@pytest.mark.parametrize(("pairs", "expected"), [(30, 2), (1_000, 99), (20_000, 1_000)])
def test_dev_and_test_are_a_tenth_and_at_most_1000(pairs, expected):
    rows = corpus(pairs)
    division = divide(rows, None, None, 1)
    sizes = check_division(rows, division)
    assert sizes[1:] == [expected, expected]
    assert (division.blank, division.repeated >= 1, division.by_source) == (1, True, False)


def test_the_parts_depend_on_texts_and_seed_and_not_on_the_order_of_lines():
    rows = corpus(500)
    turned = rows[::-1]
    here, there, other = (divide(lines, 40, 30, seed) for lines, seed in ((rows, 1), (turned, 1), (rows, 2)))
    assert [set(part) for part in parts_of(rows, here)] == [set(part) for part in parts_of(turned, there)]
    assert set(parts_of(rows, here)[1]) != set(parts_of(rows, other)[1])
    assert check_division(rows, here)[1:] == [40, 30]


def test_where_targets_connect_everything_sources_alone_are_kept_apart():
    rows = [(f"a sentence {n}", ("yes", "no")[n % 2]) for n in range(100)]
    division = divide(rows, None, 0, 1)
    assert division.by_source
    assert check_division(rows, division, by_source=True) == [90, 10, 0]


@pytest.mark.parametrize(
    ("rows", "dev", "says"),
    [
        ([("a", "b")] * 5, None, "1 different pairs: too few to divide"),
        ([("a", str(n)) for n in range(50)], None, "50 different pairs, 50 of one source: none are left"),
        (corpus(50), 40, "dev 40 and test 4 leave too few of them for training"),
    ],
)
def test_what_cannot_be_divided_is_an_error(rows, dev, says):
    with pytest.raises(UserError, match=re.escape(says)):
        divide(rows, dev, None, 1)


def test_words_are_told_from_sentences_in_any_script():
    words = [(f"haus{n}", f"h a ʊ s {n}") for n in range(50)]
    many_signs = [(f"haus{n}", f"h a {chr(0x4E00 + n)}") for n in range(1200)]
    for rows, types in (
        (words, ("char", "word")),
        ([(tgt, src) for src, tgt in words], ("word", "char")),
        ([(tgt, tgt + " ə") for _, tgt in words], ("word", "word")),
        (many_signs, ("char", "char")),
        ([(f"sing{n}", f"sang{n}") for n in range(50)], ("char", "char")),
        ([(f"sing{n} V;PST;3;SG", f"sang{n}") for n in range(50)], ("char", "char")),  # with features
        ([(f"我们都在河边的花园里{n}", f"We are in the garden {n}") for n in range(50)], None),
        ([(f"あの庭で{n}", f"in that garden {n}") for n in range(50)], None),
        (corpus(50), None),
    ):
        assert divide(rows, None, None, 1).types == types, rows[0]


@pytest.mark.parametrize(
    ("rows", "joint"),
    [
        ([(f"der rote Baum {n}", f"the red tree {n}") for n in range(50)], True),
        ([(f"{n} 그는 빨간 나무를 심었다 (TV)", f"{n} he planted a red tree (TV)") for n in range(50)], False),
        ([(f"{n} красное дерево в лесу", f"{n} червоне дерево в лісі") for n in range(50)], True),
        ([(f"{n} красное дерево в лесу", f"{n} a red tree in the forest") for n in range(50)], False),
        ([(f"{n} 12345 67890", f"{n} 54321 09876") for n in range(50)], True),  # no letters
        ([("слово" + "ы" * n, "slovo" + "y" * n) for n in range(9)], True),  # words, whose tokens are letters
    ],
)
def test_sides_in_the_same_letters_share_a_vocabulary(rows, joint):
    division = divide(rows, None, None, 1)
    assert division.joint == joint
    both = [{c for row in rows for c in row[side]} for side in (0, 1)]
    assert division.tokens == (len(both[0] | both[1]) if joint else max(map(len, both)))


def test_one_target_of_many_sources_may_be_a_placeholder():
    rows = corpus(300)
    holes = [(f"another sentence {n}", "NA") for n in range(30)]
    assert divide(rows + holes[:10], None, None, 1).common is None  # few
    assert divide(rows + holes, None, None, 1).common == (30, 301)
    labels = [(f"a sentence {n}", ("yes", "no", "maybe")[n % 3]) for n in range(99)]
    assert divide(labels, None, 0, 1).common is None


def test_the_vocabulary_has_room_for_every_sign():
    rows = [(f"haus{n}", f"h {chr(97 + n % 26)}{chr(97 + n // 26)}") for n in range(600)]  # 601 signs of 27 letters
    assert divide(rows, None, None, 1).tokens == 601


@pytest.mark.parametrize("pairs", [1, *(int(size.pairs) - 1 for size in SENTENCES[:-1]), 1_000_000])
@pytest.mark.parametrize("characters", [80, 3_000])
@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("types", [None, ("char", "char"), ("char", "word")])
def test_a_fitting_config_is_valid_and_has_room_for_every_character(pairs, characters, joint, types):
    data = {"train": "x", "dev": "y", "src": "no", "tgt": "en"}
    config = yaml.safe_load(fitting_config(data, pairs, characters, joint, types))
    assert config["data"] == data  # `no` is quoted
    assert config["tokenizer"]["vocab_size"] >= characters + 261
    type, can_be = {None: ("unigram", True), ("char", "char"): ("char", True)}.get(types, (["char", "word"], False))
    assert (config["tokenizer"]["type"], config["tokenizer"].get("joint", True)) == (type, joint and can_be)


# ------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(f"the {a} {b} sings", f"{b} canta, {a}") for a in "abcdefgh" for b in "klmnopqr"]
    text = "".join(f"{tgt}\t{src}\tCC-BY {n}\n" for n, (src, tgt) in enumerate([*rows, rows[0]]))
    (tmp_path / "songs.txt").write_text(text, encoding="utf-8")
    return "songs.txt"


SPLIT = ["split", "songs.txt", "--src", "en", "--tgt", "oc", "--columns", "2,1"]


def test_the_command_writes_parts_and_a_config_and_its_next_commands_run(table, tmp_path, capsys):
    assert main(SPLIT) == 0
    out = capsys.readouterr().out
    assert "65 pairs; 0 blank and 1 repeated ones left out\ntrain 52, dev 6, test 6\n" in out
    pairs = {part: read_pairs(f"songs/{part}", "en", "oc") for part in PARTS}
    assert {part: len(rows) for part, rows in pairs.items()} == {"train": 52, "dev": 6, "test": 6}
    assert all("sings" in src and "canta" in tgt for rows in pairs.values() for src, tgt in rows)
    commands = [shlex.split(line)[1:] for line in out.splitlines() if line.startswith("  seq2seq ")]
    assert [command[0] for command in commands] == ["check", "train", "translate"]
    assert main([*commands[0], "--json"]) == 0
    assert {f["kind"] for f in json.loads(capsys.readouterr().out)["findings"]} <= {"novel"}
    small = ["training.max_updates=2", "training.warmup_updates=1", "model.embedding_size=16"]
    small += ["model.encoder.hidden_size=16", "model.decoder.hidden_size=16"]
    assert main([*commands[1], *small]) == 0
    (tmp_path / "in").write_text("the a k sings\n")
    assert main([*commands[2], "--input", "in"]) == 0


@pytest.mark.parametrize(
    ("first", "second", "src", "tgt", "exchanged"),
    [
        ("the red apple {}", "그 빨간 사과 {}", "ko", "en", True),
        ("the red apple {}", "그 빨간 사과 {}", "korean", "en-GB", True),
        ("the red apple {}", "그 빨간 사과 {}", "en", "ko", False),
        ("слово {}", "s l o v a {}", "ru", "ipa", False),
        ("s l o v a {}", "слово {}", "ru", "ipa", True),
        ("그 빨간 사과 {}", "ku ppalgan sagwa {}", "ko", "ko-latn", False),
        ("the red apple {}", "der rote Apfel {}", "de", "en", False),
        ("17 {}", "18 {}", "de", "ko", False),
    ],
)
def test_exchanged_columns_are_told_by_their_scripts(tmp_path, capsys, first, second, src, tgt, exchanged):
    lines = (f"{first}\t{second}\n".replace("{}", "abcdefghij"[i % 10] * (1 + i // 10)) for i in range(40))
    (tmp_path / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
    main(["split", str(tmp_path / "pairs.tsv"), "--src", src, "--tgt", tgt, "--out", str(tmp_path / "out")])
    assert ("are the two sides exchanged?" in capsys.readouterr().out) == exchanged


def test_a_row_with_too_few_cells_is_an_error_that_names_its_line(tmp_path, capsys):
    lines = [f"word{i} one\tmot{i} un" for i in range(30)]
    lines[7] = '"word7 one\tmot7 un\nmot7 deux"'
    (tmp_path / "pairs.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert (
        main(["split", str(tmp_path / "pairs.tsv"), "--src", "en", "--tgt", "fr", "--out", str(tmp_path / "out")]) == 2
    )
    assert "pairs.tsv:9: 1 tab-separated cell" in capsys.readouterr().err


def test_nothing_is_overwritten_and_nothing_is_left_behind(table, tmp_path, capsys, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "empty").mkdir()
    assert main([*SPLIT, "--out", "full"]) == 2
    assert "--out full: exists, and nothing is overwritten" in capsys.readouterr().err
    assert main([*SPLIT, "--out", "empty"]) == 0
    assert main([*SPLIT, "--out", "new/folder", "--test", "0"]) == 0
    assert sorted(file.name for file in (tmp_path / "new/folder").iterdir()) == [
        *(f"dev.{code}" for code in ("en", "oc")),
        "folder.yaml",
        *(f"train.{code}" for code in ("en", "oc")),
    ]
    monkeypatch.setattr("seq2seq.files.publish", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
    assert main([*SPLIT, "--out", "other"]) == 2
    assert "other: cannot be written: No space" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full", "new", "songs.txt"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--dev", "0"], "dev needs at least 1 pair"),
        (["--src", "a/b"], "--src a/b: files are named by it"),
        (["--src", "oc"], "--src and --tgt are both oc"),
        (["--columns", "4,1"], "songs.txt:1: 3 tab-separated cells"),
        (["--columns", "x,y"], "there is no column x"),
        (["--out", "songs.txt"], "--out songs.txt: exists"),
    ],
)
def test_options_that_do_not_fit_are_an_error(table, tmp_path, capsys, options, says):
    assert main([*SPLIT, *options]) == 2
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["songs.txt"]


def test_a_config_without_dev_is_told_of_split(tmp_path):
    (tmp_path / "c.yaml").write_text("data: {train: a.tsv, src: en, tgt: fr}")
    with pytest.raises(UserError, match=r"data\.dev is missing; `seq2seq split FILE` makes train, dev and test of one"):
        load_config(tmp_path / "c.yaml")


def test_a_division_takes_the_memory_of_hashes():
    parts = divide(((f"s {n}", f"t {n}") for n in range(1000)), 10, 10, 1).part
    assert parts.dtype.kind == "i"
    assert np.bincount(parts).tolist() == [980, 10, 10]
