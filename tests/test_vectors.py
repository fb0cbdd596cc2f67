"""Pretrained word vectors, as they are published."""

import gzip
import struct

import pytest
import torch
from faults import without_permission

from seq2seq.errors import UserError
from seq2seq.text.tokenizer import WordTokenizer
from seq2seq.text.vectors import load_vectors

LINES = "cat 1 2 3\ndog 4 5 6\n</s> 7 8 9\n<unk> 7 8 9\nÄpfel 0.5 -1e-2 0\n"


@pytest.fixture
def words():
    return WordTokenizer(["dog", "bird", "Äpfel"], "split")


def write(folder, text, name="vectors.txt"):
    (folder / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return folder / name


@pytest.mark.parametrize("header", ["", "5 3\n"])
@pytest.mark.parametrize("name", ["vectors.txt", "vectors.txt.gz"])
def test_words_in_the_file_get_its_vectors_and_others_none(tmp_path, words, header, name):
    vectors, found, _ = load_vectors(write(tmp_path, header + LINES, name), words)
    assert found.tolist() == [False] * 4 + [True, False, True]
    assert torch.equal(vectors[4:], torch.tensor([[4, 5, 6], [0, 0, 0], [0.5, -0.01, 0]]))
    assert not vectors[:4].any()


def test_nothing_is_left_beside_the_file_or_where_one_stands(tmp_path, words, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    load_vectors(write(tmp_path, LINES), words)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["here", "vectors.txt"]


def test_a_changed_file_is_read_anew(tmp_path, words):
    load_vectors(write(tmp_path, LINES), words)
    vectors, _, _ = load_vectors(write(tmp_path, "dog 9 9 9\n"), words)
    assert vectors[4].tolist() == [9, 9, 9]


@pytest.mark.parametrize(
    ("text", "vectors", "skipped"),
    [
        ("dog\t1\t2\t3\nbird\t4 5  6\n", {"dog": [1, 2, 3], "bird": [4, 5, 6]}, 0),
        ("2 3\n. . . 1 2 3\ndog 4 5 6\nR$ 0,00 7 8 9\n", {"dog": [4, 5, 6]}, 0),
        ("R$ 0,00 7 8 9\ndog 4 5 6\nbird 1 1 1\n", {"dog": [4, 5, 6], "bird": [1, 1, 1]}, 0),
        ("2 1 2 3\n1984 1 2 3\ndog 4 5 6\n", {"dog": [4, 5, 6]}, 0),
        (" 1 2 3\ndog 4 5 6\nbird 7 8 9\n\n", {"dog": [4, 5, 6], "bird": [7, 8, 9]}, 2),
        ("dog 1 2 3\nbird 4 5\n", {"dog": [1, 2, 3]}, 1),
        ("dog 1 2 3\nbird 4 5 x\n", {"dog": [1, 2, 3]}, 1),
        ("dog 1 2 nan\nbird 1 2 3\n", {"bird": [1, 2, 3]}, 1),
        ("dog 1 2 3\ndog 4 5 6\n", {"dog": [1, 2, 3]}, 0),
        ("\ufeffdog 1 2 3\n", {"dog": [1, 2, 3]}, 0),
        ("dog 1\r\nbird 2\r\n", {"dog": [1], "bird": [2]}, 0),
        (f"{'9' * 5000} 3\ndog 5\n", {"dog": [5]}, 0),
    ],
)
def test_files_as_published_load_and_odd_lines_are_skipped_and_counted(tmp_path, words, text, vectors, skipped):
    loaded = load_vectors(write(tmp_path, text), words)
    found = {words.pieces([i])[0]: loaded.vectors[i].tolist() for i in range(len(words)) if loaded.found[i]}
    assert (found, loaded.skipped) == (vectors, skipped)


@pytest.mark.parametrize("newline", [b"", b"\n"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_binary_vectors_of_word2vec_are_read(tmp_path, words, newline, pack):
    entries = {"dog": [1, 2, 3], "x": [9, 9, 9], "Äpfel": [0.5, -1, 0]}
    packed = [word.encode() + b" " + struct.pack("<3f", *vector) + newline for word, vector in entries.items()]
    (tmp_path / "vectors.bin").write_bytes(pack(b"3 3\n" + b"".join(packed)))
    vectors, found, skipped = load_vectors(tmp_path / "vectors.bin", words)
    assert (vectors[found].tolist(), skipped) == ([entries["dog"], entries["Äpfel"]], 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"2 3\n", "0 of 0 lines are odd"),
        (b"", "no line ends with numbers"),
        (b"a text\nof words\n", "no line ends with numbers"),
        (b"dog " + b"1" * 2**22, "a line of over 4,194,304 bytes"),
        (b"5 0\n", "vectors of 0 numbers"),
        (b"5 9999999999\n", "vectors of 9,999,999,999 numbers"),
        (b"2 3\ndog 1 2 3\ncat 1 2\ncat\n", "2 of 3 lines are odd"),
        (b"\xba\x16\x4f\x2f\x0c\0", "a model of fastText: give its .vec file"),
        (b"PK\x03\x04", "a zip archive: unpack it"),
        (b"\x80\x04\x95", "a pickle, which may hold code"),
    ],
)
def test_another_file_is_told_for_what_it_is(tmp_path, words, content, message):
    (tmp_path / "vectors").write_bytes(content)
    with pytest.raises(UserError, match=f"{tmp_path / 'vectors'}: .*{message}"):
        load_vectors(tmp_path / "vectors", words)


def test_a_file_that_cannot_be_read_is_named(tmp_path, words):
    problems = {tmp_path / "missing": "no such file", tmp_path: "not an ordinary file"}
    for path, problem in problems.items():
        with pytest.raises(UserError, match=f"{path}: {problem}; give a local file of word vectors"):
            load_vectors(path, words)
    with (
        without_permission(write(tmp_path, LINES)),
        pytest.raises(UserError, match="cannot be read: Permission denied"),
    ):
        load_vectors(tmp_path / "vectors.txt", words)


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:-1]])
def test_a_file_that_is_not_whole_gzip_is_named(tmp_path, words, damage):
    file = write(tmp_path, LINES, "vectors.gz")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match=r"vectors\.gz: cannot be read"):
        load_vectors(file, words)


def test_a_word_that_is_no_utf_8_is_left_out_and_carriage_returns_do_no_harm(tmp_path, words):
    (tmp_path / "vectors").write_bytes(b"3 3\r\ndog 1 2 3\r\n\xff 1 2 3\r\nbird 4 5 6\r\n")
    vectors, found, skipped = load_vectors(tmp_path / "vectors", words)
    assert (found.tolist(), skipped) == ([False] * 4 + [True, True, False], 1)
    assert vectors[5].tolist() == [4, 5, 6]
