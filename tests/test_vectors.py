"""Pretrained word vectors, and what the library behind them must not leave behind."""

import gzip
import ssl

import pytest
import torch
from faults import without_permission

from seq2seq.errors import UserError
from seq2seq.text.tokenizer import WordTokenizer
from seq2seq.text.vectors import load_vectors

LINES = "cat 1 2 3\ndog 4 5 6\n</s> 7 8 9\n<unk> 7 8 9\nÄpfel 0.5 -1e-2 0\n"


@pytest.fixture
def words():
    return WordTokenizer(["dog", "bird", "Äpfel"], "split", lowercase=False)


def write(folder, text, name="vectors.txt"):
    (folder / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return folder / name


@pytest.mark.parametrize("header", ["", "5 3\n"])
@pytest.mark.parametrize("name", ["vectors.txt", "vectors.txt.gz"])
def test_words_in_the_file_get_its_vectors_and_others_none(tmp_path, words, header, name):
    vectors, found = load_vectors(write(tmp_path, header + LINES, name), words)
    assert found.tolist() == [False] * 4 + [True, False, True]
    assert torch.equal(vectors[4:], torch.tensor([[4, 5, 6], [0, 0, 0], [0.5, -0.01, 0]]))
    assert not vectors[:4].any()


def test_tls_verification_stays_on(tmp_path, words):
    before = ssl._create_default_https_context
    load_vectors(write(tmp_path, LINES), words)
    assert ssl._create_default_https_context is before
    with pytest.raises(UserError):
        load_vectors(write(tmp_path, "cat 1 2 3\ndog 4 5\n"), words)
    assert ssl._create_default_https_context is before


def test_nothing_is_left_beside_the_file_or_where_one_stands(tmp_path, words, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    load_vectors(write(tmp_path, LINES), words)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["here", "vectors.txt"]


def test_a_changed_file_is_read_anew(tmp_path, words):
    load_vectors(write(tmp_path, LINES), words)
    vectors, _ = load_vectors(write(tmp_path, "dog 9 9 9\n"), words)
    assert vectors[4].tolist() == [9, 9, 9]


def test_no_progress_bar_is_shown(tmp_path, words, capfd):
    load_vectors(write(tmp_path, LINES), words)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat 1 2 3\ndog 4 5\n", r"vectors\.txt:2: 2 numbers after the word; every line needs 3"),
        ("2 3\ncat 1 2 3\ndog 4 5 6 7\n", r"vectors\.txt:3: 4 numbers after the word; every line needs 3"),
        ("cat 1 2 3\n\n", r"vectors\.txt:2: 0 numbers"),
        ("cat 1 2 3\ndog 4 5 x\n", r"vectors\.txt:2: could not convert .*'x'"),
        ("cat 1 2\ndog 3 4\n", r"vectors\.txt:1: 2 numbers"),
        ("cat 1 2 3\ndog 4\n", r"vectors\.txt:2: 1 numbers after the word; every line needs 3"),
        ("cat 1 2 3\n\0\n", r"vectors\.txt:2: 0 numbers after the word"),
        ("cat\t1\t2\t3\n", r"vectors\.txt:1: 0 numbers after the word; every line needs 3"),
        ("dog 1 2 nan\n", r"vectors\.txt:1: a number is not finite; write it out, or leave the word out"),
        ("cat 1 2 3\ndog 1 2 -inf\n", r"vectors\.txt:2: a number is not finite"),
        ("\ufeffdog 1 2 3\n", r"vectors\.txt:1: begins with a byte order mark"),
        ("2 3\n", r"vectors\.txt: not a file of word vectors"),
        ("", r"vectors\.txt: not a file of word vectors"),
    ],
)
def test_a_line_that_is_no_vector_is_named(tmp_path, words, text, message):
    with pytest.raises(UserError, match=message):
        load_vectors(write(tmp_path, text), words)


def test_a_file_that_cannot_be_read_is_named(tmp_path, words):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UserError, match=f"{path}: no such file; give a local text file of word vectors"):
            load_vectors(path, words)
    with (
        without_permission(write(tmp_path, LINES)),
        pytest.raises(UserError, match="cannot be read: Permission denied"),
    ):
        load_vectors(tmp_path / "vectors.txt", words)


@pytest.mark.parametrize("damage", [lambda data: b"cat 1 2 3\n", lambda data: data[:-9]])
def test_a_file_that_is_not_whole_gzip_is_named(tmp_path, words, damage):
    file = write(tmp_path, LINES, "vectors.gz")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match=r"vectors\.gz: cannot be read"):
        load_vectors(file, words)


def test_a_word_that_is_no_utf_8_is_left_out_and_carriage_returns_do_no_harm(tmp_path, words):
    (tmp_path / "vectors").write_bytes(b"3 3\r\ndog 1 2 3\r\n\xff 1 2 3\r\nbird 4 5 6\r\n")
    vectors, found = load_vectors(tmp_path / "vectors", words)
    assert found.tolist() == [False] * 4 + [True, True, False]
    assert vectors[5].tolist() == [4, 5, 6]
