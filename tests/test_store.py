"""Token ids on disk: the same as in memory, however they are made, and damage is noticed."""

import json
import shutil

import pytest
from faults import before_the_first, largest_file, mistake
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import WORDS, write_config

from seq2seq.config import load_config
from seq2seq.data import batches, dataset, store
from seq2seq.data.corpus import encode_pairs
from seq2seq.data.dataset import data_digests, learn_tokenizers, prepare_store
from seq2seq.data.store import open_or_build
from seq2seq.doctor.check import check
from seq2seq.errors import UserError
from seq2seq.text.tokenizer import Tokenizers, WordTokenizer, train_tokenizers
from seq2seq.text.vocabularies import load_tokenizers, save_tokenizers
from seq2seq.training.train import train

LONGEST = 8
SENTENCES = st.lists(st.sampled_from([*WORDS, " ", "\u2028", "new"]), max_size=8).map(" ".join)
CORPUS = [(" ".join(list(WORDS)[n % 5 : n % 5 + n % 6]), "Katze" if n % 7 else "") for n in range(50)]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "tokenizer"
    lines = [" ".join(WORDS)], [" ".join(WORDS.values())]
    save_tokenizers(train_tokenizers("bpe", 300, False, False, "split", *lines), folder)
    return folder


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(store, "CHUNK", 5)


def encoded(rows, folder):
    made = load_tokenizers(folder)
    return encode_pairs(rows, made.src, made.tgt, LONGEST)


def pairs_of(made):
    pairs = []
    for chunk, place in enumerate(made.begins):
        for src, tgt in made.lengths(chunk).tolist():
            pairs.append((made.tokens[place : place + src].tolist(), made.tokens[place + src :][:tgt].tolist()))
            place += src + tgt
    return pairs


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def count_encoded(monkeypatch):
    """A list that grows by the size of each chunk that is tokenized."""
    sizes, real = [], store.encode_pairs
    monkeypatch.setattr(store, "encode_pairs", lambda rows, *rest: sizes.append(len(rows)) or real(rows, *rest))
    return sizes


def error_of(function, *arguments):
    try:
        function(*arguments)
    except UserError as error:
        return str(error)


class KilledError(Exception):
    pass


def stopped_after(rows, kind=KilledError):
    yield from rows
    raise kind("stopped")


# ------------------------------------------------------------------------------------------------------- what it holds


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), max_size=20), st.integers(1, 25))
def test_a_store_holds_what_encode_pairs_gives(tmp_path_factory, tokenizers, rows, chunk):
    rows = [("cat", "ja"), *rows]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "CHUNK", chunk)
        made = open_or_build(tmp_path_factory.mktemp("store") / "store", rows, tokenizers, LONGEST, {})
    assert (pairs_of(made), made.report) == encoded(rows, tokenizers)


def test_ids_of_a_large_vocabulary_survive(tmp_path):
    words = [f"w{n}" for n in range(70_000)]
    vocabulary = WordTokenizer(words, "split")
    save_tokenizers(Tokenizers(vocabulary, vocabulary, ("word", "word"), False, "split"), tmp_path / "tokenizer")
    rows = [(words[-1], words[0]), (words[1], words[-2])]
    made = open_or_build(tmp_path / "store", rows, tmp_path / "tokenizer", LONGEST, {})
    assert pairs_of(made) == encoded(rows, tmp_path / "tokenizer")[0]


def test_a_corpus_of_which_nothing_is_left_is_an_error(tmp_path, tokenizers):
    with pytest.raises(UserError, match=r"no sentence pair is left: kept 0 of 2 pairs.*; raise data\.max_length"):
        open_or_build(tmp_path / "store", [("", "Katze"), ("cat " * 9, "Katze")], tokenizers, LONGEST, {})


# ------------------------------------------------------------------------------------------ stopped, and made again


@pytest.mark.parametrize("rows", [0, 5, 32, len(CORPUS)])
@pytest.mark.parametrize("kind", [KilledError, UserError, OSError])
def test_a_store_that_was_cut_short_is_built_anew_to_the_same_bytes(tmp_path, tokenizers, rows, kind):
    open_or_build(tmp_path / "whole", CORPUS, tokenizers, LONGEST, {})
    with pytest.raises(UserError if kind is OSError else kind):
        open_or_build(tmp_path / "stopped", stopped_after(CORPUS[:rows], kind), tokenizers, LONGEST, {})
    assert not (tmp_path / "stopped").exists()
    assert not (tmp_path / ".new-stopped").exists()
    open_or_build(tmp_path / "stopped", CORPUS, tokenizers, LONGEST, {})
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_what_a_killed_process_left_beside_is_removed(tmp_path, tokenizers):
    shutil.copytree(
        open_or_build(tmp_path / "whole", CORPUS, tokenizers, LONGEST, {})._folder, tmp_path / ".new-killed"
    )
    (tmp_path / ".new-killed" / "more").write_text("")
    open_or_build(tmp_path / "killed", CORPUS, tokenizers, LONGEST, {})
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert not (tmp_path / ".new-killed").exists()


def test_a_store_is_made_once(tmp_path, tokenizers):
    first = open_or_build(tmp_path / "store", CORPUS, tokenizers, LONGEST, {"train.en": "1"})
    second = open_or_build(tmp_path / "store", stopped_after([]), tokenizers, LONGEST, {"train.en": "1"})
    assert (pairs_of(first), first.report) == (pairs_of(second), second.report)


@pytest.mark.parametrize("changed", ["data", "max_length", "tokenizer"])
def test_a_store_of_anything_else_is_made_anew(tmp_path, tokenizers, changed):
    settings = {"tokenizers": tokenizers, "max_length": 2, "data": {"train.en": "1"}}
    open_or_build(tmp_path / "store", CORPUS, **settings)
    if changed == "data":
        settings["data"] = {"train.en": "2"}
    elif changed == "max_length":
        settings["max_length"] = 3
    else:
        vocabulary = WordTokenizer(["Katze", *WORDS], "split")
        settings["tokenizers"] = tmp_path / "tokenizer"
        save_tokenizers(Tokenizers(vocabulary, vocabulary, ("word", "word"), False, "split"), settings["tokenizers"])
    open_or_build(tmp_path / "store", CORPUS, **settings)
    open_or_build(tmp_path / "other", CORPUS, **settings)
    assert contents(tmp_path / "store") == contents(tmp_path / "other")


# ----------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("name", ["tokens.bin", "lengths.bin"])
@settings(deadline=None, max_examples=20)
@given(st.data())
def test_a_flipped_byte_is_noticed_in_its_chunk_and_in_no_other(tmp_path_factory, tokenizers, name, data):
    folder = tmp_path_factory.mktemp("store") / "store"
    open_or_build(folder, CORPUS, tokenizers, LONGEST, {})
    content = bytearray((folder / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / name).write_bytes(content)
    made = open_or_build(folder, CORPUS, tokenizers, LONGEST, {})
    errors = list(filter(None, (error_of(made.lengths, chunk) for chunk in range(len(made.begins)))))
    assert errors == [
        f"{folder / name}: damaged, not what was written; delete {folder}, and training with --resume makes it again"
    ]


@pytest.mark.parametrize("name", ["tokens.bin", "lengths.bin", "store.json"])
@pytest.mark.parametrize("damage", [lambda content: content[:-2], lambda content: b"}" + content, None])
def test_a_file_of_another_size_or_missing_is_noticed_at_once(tmp_path, tokenizers, name, damage):
    open_or_build(tmp_path / "store", CORPUS, tokenizers, LONGEST, {})
    file = tmp_path / "store" / name
    file.write_bytes(damage(file.read_bytes())) if damage else file.unlink()
    with pytest.raises(UserError, match=rf"{name}: (damaged, |cannot be read: ).*; delete .*store, and") as error:
        open_or_build(tmp_path / "store", CORPUS, tokenizers, LONGEST, {})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: [],
        lambda record: {**record, "chunks": None},
        lambda record: {**record, "chunks": [{**record["chunks"][0], "tokens": "9"}]},
        lambda record: {**record, "chunks": [{**record["chunks"][0], "report": {"kept": 1.5}}]},
        lambda record: {**record, "inputs": {**record["inputs"], "dtype": "<f8"}},
        lambda record: {**record, "unknown": 1},
        lambda record: {**record, "chunks": record["chunks"][1:]},
    ],
)
def test_a_store_json_that_we_never_wrote_is_one_error(tmp_path, tokenizers, damage):
    open_or_build(tmp_path / "store", CORPUS, tokenizers, LONGEST, {})
    file = tmp_path / "store" / "store.json"
    file.write_text(json.dumps(damage(json.loads(file.read_bytes()))))
    assert "\n" not in error_of(open_or_build, tmp_path / "store", CORPUS, tokenizers, LONGEST, {})


def test_a_store_that_cannot_be_written_is_the_users_to_mend(tmp_path, tokenizers):
    (tmp_path / "nowhere").touch()
    with pytest.raises(UserError, match=r"nowhere/store: cannot be written: Not a directory"):
        open_or_build(tmp_path / "nowhere" / "store", CORPUS, tokenizers, LONGEST, {})


def test_a_store_that_cannot_be_replaced_stays_as_it_was(tmp_path, tokenizers):
    open_or_build(tmp_path / "store", CORPUS, tokenizers, LONGEST, {"train": "1"})
    before = contents(tmp_path / "store")
    with largest_file(100):
        said = mistake(open_or_build, tmp_path / "store", CORPUS * 10, tokenizers, LONGEST, {"train": "2"})
    assert said.endswith("store: cannot be written: File too large; mend that and go on with --resume")
    assert contents(tmp_path / "store") == before


# ----------------------------------------------------------------------------------- a file that changes meanwhile

CHANGES = {
    "in place": lambda file: file.write_bytes(file.read_bytes().replace(b"e", b"a")),
    "grown": lambda file: file.write_bytes(file.read_bytes() + b"the cat\n"),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:50]),
    "replaced": lambda file: (file.with_name("new").write_bytes(b"the\n" * 120), file.with_name("new").rename(file)),
    "garbage": lambda file: file.write_bytes(b"\xff" * 3000),
    "gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_file_that_changes_while_it_is_read_is_found_and_nothing_made_of_it_is_left(tmp_path, monkeypatch, how):
    config, file = load_config(write_config(tmp_path)), tmp_path / "train.en"
    before, digests = file.read_bytes(), data_digests(config)["train"]
    save_tokenizers(learn_tokenizers(config, digests), tmp_path / "tokenizer")
    places = (config, tmp_path / "store", tmp_path / "tokenizer", digests)
    for module, name, read in (
        (store, "encode_pairs", lambda: prepare_store(*places)),
        (dataset, "is_too_long", lambda: learn_tokenizers(config, digests)),
    ):
        with monkeypatch.context() as patched:
            before_the_first(patched, module, name, lambda: CHANGES[how](file))
            assert mistake(read).startswith(f"{file}: has changed while it was read; when nothing writes into it any")
        assert not [*tmp_path.glob("*store")]
        file.write_bytes(before)
    assert prepare_store(*places).report.kept == 120


# ---------------------------------------------------------------------------------------------------------- training


@pytest.fixture
def small_parts(monkeypatch):
    """A tiny corpus is a large one: eight chunks of sixteen pairs, four parts."""
    monkeypatch.setattr(store, "CHUNK", 16)
    monkeypatch.setattr(batches, "PART", 2)


def test_a_training_over_parts_resumes_to_the_same_bits_and_tokenizes_no_more(tmp_path, monkeypatch, small_parts):
    path = write_config(tmp_path, training={"max_updates": 60})
    whole = train(load_config(path), tmp_path / "whole")
    assert whole.checkpoints.named("last").training_state()["progress"]["position"]["epoch"] > 0
    parts = set()
    for updates in (10, 20, 40, 60):
        again = count_encoded(monkeypatch)
        resumed = train(load_config(path, [f"training.max_updates={updates}"]), tmp_path / "resumed", resume=True)
        assert again == ([16] * 7 + [8] if updates == 10 else [])
        parts.add(resumed.checkpoints.named("last").training_state()["progress"]["position"]["part"])
    assert len(parts) > 1
    ends = [contents(run.checkpoints.named("last").path)["model.safetensors"] for run in (whole, resumed)]
    assert ends[0] == ends[1]


def test_a_store_that_is_deleted_is_made_again_by_resuming(tmp_path, small_parts):
    path = write_config(tmp_path)
    run = train(load_config(path, ["training.max_updates=20"]), tmp_path / "run")
    before = contents(run.path / "store")
    (run.path / "store" / "tokens.bin").write_bytes(bytes(len(before["tokens.bin"])))
    with pytest.raises(UserError, match=r"store/tokens\.bin: damaged"):
        train(load_config(path), tmp_path / "run", resume=True)
    shutil.rmtree(run.path / "store")
    train(load_config(path), tmp_path / "run", resume=True)
    assert contents(run.path / "store") == before


def test_a_bad_line_at_the_end_of_a_corpus_leaves_no_run_behind_and_check_finds_it_too(tmp_path):
    config = load_config(write_config(tmp_path))
    with open(tmp_path / "train.en", "ab") as src, open(tmp_path / "train.de", "ab") as tgt:
        src.write(b"cat \xff\n")
        tgt.write(b"Katze\n")
    with pytest.raises(UserError, match=r"train\.en:121: byte 5 of the line"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=r"train\.en:121: byte 5 of the line"):
        list(check(config))
