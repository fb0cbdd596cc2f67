"""Token ids on disk: the same as in memory, however they are made, and damage is noticed."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import WORDS, write_config

from seq2seq.config import load_config
from seq2seq.data import batches, store
from seq2seq.data import dataset as training_data
from seq2seq.data.corpus import encode_corpus
from seq2seq.data.store import prepare
from seq2seq.data.worker import Worker, in_order
from seq2seq.doctor.check import check
from seq2seq.errors import UserError
from seq2seq.text.tokenizer import Tokenizers, WordTokenizer, load_tokenizers, train_tokenizers
from seq2seq.training.train import train

LONGEST = 8
SENTENCES = st.lists(st.sampled_from([*WORDS, " ", "\u2028", "new"]), max_size=8).map(" ".join)
CORPUS = [(" ".join(list(WORDS)[n % 5 : n % 5 + n % 6]), "Katze" if n % 7 else "") for n in range(50)]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "tokenizer"
    train_tokenizers("bpe", 300, False, False, "split", [" ".join(WORDS)], [" ".join(WORDS.values())]).save(folder)
    return folder


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of five pairs, all of them tokenized here."""
    monkeypatch.setattr(store, "CHUNK", 5)
    monkeypatch.setattr(store, "FEW", 100)


def encoded(rows, folder):
    made = load_tokenizers(folder)
    return encode_corpus(rows, made.src, made.tgt, LONGEST)


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
    """A list that grows by the size of each chunk that is tokenized in this process."""
    sizes, real = [], store._encode
    monkeypatch.setattr(store, "_encode", lambda rows, *rest: sizes.append(len(rows)) or real(rows, *rest))
    return sizes


def error_of(function, *arguments):
    try:
        function(*arguments)
    except UserError as error:
        return str(error)


class KilledError(Exception):
    pass


def killed_after(rows):
    yield from rows
    raise KilledError


# ------------------------------------------------------------------------------------------------------- what it holds


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), max_size=20), st.integers(1, 25))
def test_a_store_holds_what_encode_corpus_gives(tmp_path_factory, tokenizers, rows, chunk):
    rows = [("cat", "ja"), *rows]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "CHUNK", chunk)
        made = prepare(tmp_path_factory.mktemp("store") / "store", rows, tokenizers, LONGEST, {})
    assert (pairs_of(made), made.report) == encoded(rows, tokenizers)


@pytest.mark.parametrize(("here", "processes"), [(0, 1), (3, 3)])
def test_any_number_of_processes_writes_the_same_bytes(tmp_path, tokenizers, monkeypatch, here, processes):
    prepare(tmp_path / "alone", CORPUS, tokenizers, LONGEST, {})
    monkeypatch.setattr(store, "FEW", here)
    monkeypatch.setattr(store, "PROCESSES", processes)
    in_this_process = count_encoded(monkeypatch)
    prepare(tmp_path / "together", CORPUS, tokenizers, LONGEST, {})
    assert contents(tmp_path / "alone") == contents(tmp_path / "together")
    assert in_this_process == [5] * here


def test_ids_of_a_large_vocabulary_survive(tmp_path):
    words = [f"w{n}" for n in range(70_000)]
    vocabulary = WordTokenizer(words, "split", False)
    Tokenizers(vocabulary, vocabulary, "word", False, "split").save(tmp_path / "tokenizer")
    rows = [(words[-1], words[0]), (words[1], words[-2])]
    made = prepare(tmp_path / "store", rows, tmp_path / "tokenizer", LONGEST, {})
    assert pairs_of(made) == encoded(rows, tmp_path / "tokenizer")[0]


def test_a_corpus_of_which_nothing_is_left_is_an_error(tmp_path, tokenizers):
    with pytest.raises(UserError, match=r"no sentence pair is left: kept 0 of 2 pairs"):
        prepare(tmp_path / "store", [("", "Katze"), ("cat " * 9, "Katze")], tokenizers, LONGEST, {})


# ------------------------------------------------------------------------------------------ stopped, and made again


@pytest.mark.parametrize("rows", range(0, len(CORPUS) + 1, 5))
@pytest.mark.parametrize("torn", [0, 3])
def test_a_preparation_that_was_killed_goes_on_to_the_same_bytes(tmp_path, tokenizers, monkeypatch, rows, torn):
    prepare(tmp_path / "whole", CORPUS, tokenizers, LONGEST, {})
    with pytest.raises(KilledError):
        prepare(tmp_path / "killed", killed_after(CORPUS[:rows]), tokenizers, LONGEST, {})
    assert not (tmp_path / "killed").exists()
    for file in (tmp_path / ".killed").glob("*[nl]"):  # a chunk that was being written
        if file.name != "store.json":
            file.write_bytes(file.read_bytes() + b"{" * torn)
    again = count_encoded(monkeypatch)
    prepare(tmp_path / "killed", CORPUS, tokenizers, LONGEST, {})
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert sum(again) == len(CORPUS) - rows
    assert not (tmp_path / ".killed").exists()


@pytest.mark.parametrize("name", ["tokens.bin", "lengths.bin", "chunks.jsonl"])
def test_what_a_power_cut_left_unwritten_is_made_again(tmp_path, tokenizers, monkeypatch, name):
    prepare(tmp_path / "whole", CORPUS, tokenizers, LONGEST, {})
    with pytest.raises(KilledError):
        prepare(tmp_path / "killed", killed_after(CORPUS[:30]), tokenizers, LONGEST, {})
    file = tmp_path / ".killed" / name
    file.write_bytes(file.read_bytes()[:-40] + bytes(40))
    again = count_encoded(monkeypatch)
    prepare(tmp_path / "killed", CORPUS, tokenizers, LONGEST, {})
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert len(CORPUS) - 30 < sum(again) < len(CORPUS)


def test_a_store_is_made_once(tmp_path, tokenizers):
    first = prepare(tmp_path / "store", CORPUS, tokenizers, LONGEST, {"train.en": "1"})
    second = prepare(tmp_path / "store", killed_after([]), tokenizers, LONGEST, {"train.en": "1"})
    assert (pairs_of(first), first.report) == (pairs_of(second), second.report)


@pytest.mark.parametrize("name", ["store", ".store"])
@pytest.mark.parametrize("changed", ["data", "max_length", "tokenizer"])
def test_a_store_of_anything_else_is_made_anew(tmp_path, tokenizers, name, changed):
    corpus = CORPUS if name == "store" else killed_after(CORPUS[:30])
    settings = {"tokenizers": tokenizers, "max_length": 2, "data": {"train.en": "1"}}
    if name == "store":
        prepare(tmp_path / "store", corpus, **settings)
    else:
        with pytest.raises(KilledError):
            prepare(tmp_path / "store", corpus, **settings)
    if changed == "data":
        settings["data"] = {"train.en": "2"}
    elif changed == "max_length":
        settings["max_length"] = 3
    else:
        vocabulary = WordTokenizer(["Katze", *WORDS], "split", False)
        settings["tokenizers"] = tmp_path / "tokenizer"
        Tokenizers(vocabulary, vocabulary, "word", False, "split").save(settings["tokenizers"])
    prepare(tmp_path / "store", CORPUS, **settings)
    prepare(tmp_path / "other", CORPUS, **settings)
    assert contents(tmp_path / "store") == contents(tmp_path / "other")


# ----------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("name", ["tokens.bin", "lengths.bin"])
@settings(deadline=None, max_examples=20)
@given(st.data())
def test_a_flipped_byte_is_noticed_in_its_chunk_and_in_no_other(tmp_path_factory, tokenizers, name, data):
    folder = tmp_path_factory.mktemp("store") / "store"
    prepare(folder, CORPUS, tokenizers, LONGEST, {})
    content = bytearray((folder / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / name).write_bytes(content)
    made = prepare(folder, CORPUS, tokenizers, LONGEST, {})
    errors = list(filter(None, (error_of(made.lengths, chunk) for chunk in range(len(made.begins)))))
    assert errors == [
        f"{folder / name}: damaged, not what was written; delete {folder}, and training with --resume makes it again"
    ]


@pytest.mark.parametrize("name", ["tokens.bin", "lengths.bin", "chunks.jsonl"])
@pytest.mark.parametrize("damage", [lambda content: content[:-2], lambda content: b"}" + content, None])
def test_a_file_of_another_size_or_missing_is_noticed_at_once(tmp_path, tokenizers, name, damage):
    prepare(tmp_path / "store", CORPUS, tokenizers, LONGEST, {})
    file = tmp_path / "store" / name
    file.write_bytes(damage(file.read_bytes())) if damage else file.unlink()
    with pytest.raises(UserError, match=rf"{name}: damaged, .*; delete .*store, and") as error:
        prepare(tmp_path / "store", CORPUS, tokenizers, LONGEST, {})
    assert "\n" not in str(error.value)


def test_a_store_that_cannot_be_written_is_the_users_to_mend(tmp_path, tokenizers):
    with pytest.raises(UserError, match=r"nowhere/store: cannot be written: No such file or directory"):
        prepare(tmp_path / "nowhere" / "store", CORPUS, tokenizers, LONGEST, {})


# ---------------------------------------------------------------------------------------------------------- workers


def test_results_come_in_the_order_of_their_calls():
    assert list(in_order(pow, ((2, n) for n in range(20)), 3)) == [2**n for n in range(20)]


def test_no_call_no_process(monkeypatch):
    monkeypatch.setattr("seq2seq.data.worker.Popen", None)
    assert list(in_order(pow, [], 3)) == []


def test_no_more_calls_are_drawn_than_processes_and_one():
    drawn = []
    results = in_order(pow, ((2, drawn.append(n) or n) for n in range(20)), 2)
    assert next(results) == 1
    assert len(drawn) == 3
    results.close()


def test_what_a_call_prints_does_not_disturb(capfd):
    with Worker() as worker:
        for number in (1, 2):
            worker.begin(print, "printed", number)
            assert worker.result() is None
    assert capfd.readouterr() == ("", "printed 1\nprinted 2\n")


def test_a_users_mistake_there_is_raised_here(tmp_path):
    with Worker() as worker:
        worker.begin(load_tokenizers, tmp_path)
        with pytest.raises(UserError, match=r"tokenizer\.json: not a readable"):
            worker.result()


def test_a_worker_that_dies_is_an_error_that_says_so():
    with Worker() as worker:
        worker.begin(os._exit, 9)
        with pytest.raises(UserError, match=r"has died \(exit code 9\): free some memory"):
            worker.result()
        with pytest.raises(UserError, match="has died"):
            worker.begin(pow, 2, 3)


def test_workers_end_with_the_process_that_asks(tmp_path):
    """Even where that is killed; and a script needs no `__main__` guard."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from seq2seq.data.worker import Worker\n"
        "worker = Worker()\n"
        "worker.begin(os.getpid)\n"
        "print(worker.result(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert len(done.stdout.split()) == 1  # the script ran once
    assert done.stderr == ""  # to its end, which came when the worker, too, had closed it


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


def test_the_vocabulary_of_a_large_corpus_is_learned_elsewhere_and_is_the_same(tmp_path, monkeypatch):
    config = load_config(write_config(tmp_path), ["tokenizer.type=bpe", "tokenizer.vocab_size=300"])
    training_data.learn_tokenizers(config).save(tmp_path / "here")
    monkeypatch.setattr(training_data, "FEW", 0)
    monkeypatch.setattr(training_data, "_learn", None)
    training_data.learn_tokenizers(config).save(tmp_path / "there")
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_a_bad_line_at_the_end_of_a_large_corpus_leaves_no_run_behind_and_check_finds_it_too(tmp_path, monkeypatch):
    config = load_config(write_config(tmp_path))
    monkeypatch.setattr(training_data, "FEW", 0)
    with open(tmp_path / "train.en", "ab") as src, open(tmp_path / "train.de", "ab") as tgt:
        src.write(b"cat \xff\n")
        tgt.write(b"Katze\n")
    with pytest.raises(UserError, match=r"train\.en:121: byte 5 of the line"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=r"train\.en:121: byte 5 of the line"):
        list(check(config))
