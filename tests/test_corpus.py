"""Reading, checking and encoding parallel text."""

import gzip
import io
import json
import os
import tracemalloc
import unicodedata
from pathlib import Path

import pytest
from faults import (
    FILES,
    JSONL,
    LINES,
    ORDINARY,
    READERS,
    ROWS,
    STRANGE,
    SURROGATES,
    TEN_MB,
    TSV,
    mistake,
    rows_as,
    without_permission,
    write_pairs,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import write_config

from seq2seq.config import load_config
from seq2seq.data.corpus import LONGEST_TOKEN, Pair, encode_pairs, read_pairs
from seq2seq.data.dataset import evenly_spaced, learn_tokenizers
from seq2seq.data.formats import stream_pairs
from seq2seq.data.lines import decode_lines, stream_lines
from seq2seq.errors import UserError
from seq2seq.text.normalize import normalize
from seq2seq.text.tokenizer import EOS, train_tokenizers

ANY_TEXT = st.text(st.characters(), max_size=40)


class Letters:
    """A tokenizer with one token a letter."""

    def encode_lines(self, lines):
        return [[ord(letter) for letter in line] for line in lines]


def write_sides(folder, src, tgt, ending=""):
    for language, text in (("en", src), ("de", tgt)):
        data = text.encode("utf-8")
        (folder / f"p.{language}{ending}").write_bytes(gzip.compress(data) if ending else data)
    return folder / "p"


@settings(deadline=None, max_examples=200)
@given(ANY_TEXT)
def test_normalizing_twice_changes_nothing(text):
    assert normalize(normalize(text)) == normalize(text)


@settings(deadline=None, max_examples=200)
@given(ANY_TEXT)
def test_normalized_text_is_one_clean_line_of_utf_8(text):
    clean = normalize(text)
    assert clean == " ".join(clean.split())
    assert not any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in clean)
    assert unicodedata.is_normalized("NFC", clean)
    assert clean.encode("utf-8").decode("utf-8") == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  a\t b \r", "a b"),
        ("a\u2028b\u0085c\vd\fe", "a b c d e"),
        ("a\0b\x1b[0m", "a b [0m"),
        ("\ufeffa", "a"),
        ("wal\u00adking a\u2060b", "walking ab"),  # a soft hyphen, a word joiner
        ("Prix\u00a0: 5\u202f€", "Prix : 5 €"),
        ("e\u0301", "é"),
        ("a\ud800b", "a\ufffdb"),
        ("… ½ ﬁ", "… ½ ﬁ"),
        ("\u3000\u00a0", ""),
        ("\u200b \u200e", ""),
        ("ខ\u200bគ", "ខ\u200bគ"),
    ],
)
def test_normalize_cleans_spaces_and_composes_but_rewrites_nothing_else(text, clean):
    assert normalize(text) == clean


@settings(deadline=None, max_examples=100)
@given(st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=20), max_size=6))
def test_only_line_feeds_end_lines(tmp_path_factory, lines):
    file = tmp_path_factory.mktemp("lines") / "text"
    for end in ("\n", "\r\n"):
        file.write_bytes("".join(line + end for line in ["first", *lines]).encode("utf-8"))
        assert list(stream_lines(file)) == ["first", *lines]


def test_a_lone_carriage_return_does_not_end_a_line(tmp_path):
    (tmp_path / "text").write_bytes(b"a\rb\r\nc")
    assert list(stream_lines(tmp_path / "text")) == ["a\rb", "c"]


def test_a_file_whose_lines_end_in_carriage_returns_alone_is_an_error(tmp_path):
    (tmp_path / "text").write_bytes(b"a\rb\r")
    assert "its lines end in carriage returns" in mistake(lambda: list(stream_lines(tmp_path / "text")))
    (tmp_path / "text").write_bytes(b"a\r")
    assert list(stream_lines(tmp_path / "text")) == ["a"]


def test_the_byte_order_mark_is_removed(tmp_path):
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbfa\n")
    assert list(stream_lines(tmp_path / "text")) == ["a"]


def test_blank_lines_count_as_lines(tmp_path):
    (tmp_path / "text").write_bytes(b"\n\na\n\n")
    assert list(stream_lines(tmp_path / "text")) == ["", "", "a", ""]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_two_files_are_read_side_by_side_and_normalized(tmp_path, ending):
    prefix = write_sides(tmp_path, "a\u2028b\n\nc\r\n", "x\ny \tz\n\n", ending)
    assert read_pairs(prefix, "en", "de") == [("a b", "x"), ("", "y z"), ("c", "")]


@pytest.mark.parametrize("name", ["p.tsv", "p.tsv.gz", "p.jsonl", "p.jsonl.gz"])
def test_a_table_is_found_by_its_name_and_by_its_prefix(tmp_path, name):
    rows = [("a  b", "x"), ("c", "y")]
    if ".tsv" in name:
        text = "".join(f"{s}\t{t}\n" for s, t in rows)
    else:
        text = "".join(json.dumps({"de": t, "en": s, "id": 1}) + "\n" for s, t in rows)
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert read_pairs(tmp_path / name, "en", "de") == read_pairs(tmp_path / "p", "en", "de") == [("a b", "x"), rows[1]]


def test_two_files_come_before_a_table(tmp_path):
    prefix = write_sides(tmp_path, "a\n", "x\n")
    (tmp_path / "p.tsv").write_text("other\tother\n", encoding="utf-8")
    assert read_pairs(prefix, "en", "de") == [("a", "x")]


def test_kept_pairs_end_in_eos():
    encoded, _ = encode_pairs([Pair("ab", "x")], Letters(), Letters(), max_length=5)
    assert encoded == [([97, 98, EOS], [120, EOS])]


def test_blank_and_too_long_pairs_are_dropped_counted_and_reported():
    pairs = [Pair("ab", "x"), Pair("", "x"), Pair("a", ""), Pair("abcd", "x"), Pair("a", "wxyz"), Pair("abc", "xyz")]
    encoded, report = encode_pairs(pairs, Letters(), Letters(), max_length=3)
    assert [len(src) for src, _ in encoded] == [3, 4]
    assert str(report) == "kept 2 of 6 pairs; dropped 2 blank and 2 longer than 3 tokens"


@pytest.mark.parametrize(
    ("name", "rows"), [("p.tsv", "a\tx\n\nb\ty\n"), ("p.jsonl", '{"en":"a","de":"x"}\n \n{"en":"b","de":"y"}\n')]
)
def test_a_blank_row_of_a_table_is_a_blank_pair(tmp_path, name, rows):
    (tmp_path / name).write_text(rows, encoding="utf-8")
    assert read_pairs(tmp_path / name, "en", "de") == [("a", "x"), ("", ""), ("b", "y")]


def test_a_pipe_by_the_prefix_of_a_corpus_is_said_to_be_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "pipe: that is not an ordinary file" in mistake(read_pairs, tmp_path / "pipe", "en", "de")


def test_a_table_that_is_named_and_missing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"z\.tsv: no such file"):
        read_pairs(tmp_path / "z.tsv", "en", "de")


def test_a_stream_is_read_no_further_than_it_is_asked(tmp_path):
    (tmp_path / "p.tsv").write_text("a  b\tx\nno partner\n", encoding="utf-8")
    stream = stream_pairs(tmp_path / "p", "en", "de")
    assert next(stream) == ("a  b", "x")
    with pytest.raises(UserError, match=r"p\.tsv:2"):
        next(stream)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_stream_takes_the_memory_of_a_line(tmp_path, ending):
    text = "".join(f"{n} words and some more of them\n" for n in range(20_000))
    prefix = write_sides(tmp_path, text, text, ending)
    tracemalloc.start()
    try:
        assert sum(1 for _ in stream_pairs(prefix, "en", "de")) == 20_000
        assert tracemalloc.get_traced_memory()[1] < len(text) / 2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("src", "tgt"), [("a\nb\n", "x\n" * 5), ("a\n" * 5, "x\ny\n")])
def test_an_unequal_side_is_found_when_the_shorter_ends(tmp_path, src, tgt):
    stream = stream_pairs(write_sides(tmp_path, src, tgt), "en", "de")
    assert len([next(stream), next(stream)]) == 2
    longer = "en" if len(src) > len(tgt) else "de"
    with pytest.raises(
        UserError, match=rf"p\.en has {src.count(chr(10))} lines .* has {tgt.count(chr(10))}: .*p\.{longer}:3 has"
    ):
        next(stream)


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(1, 40))
def test_a_sample_is_evenly_spaced_and_all_where_there_are_few(number, most):
    kept = evenly_spaced(iter(range(number)), most)
    assert kept == list(range(0, number, kept[1] if len(kept) > 1 else number or 1))
    assert min(number, most / 2) <= len(kept) <= most
    assert len(kept) == number or number > most


# ------------------------------------------------------------------------------------------- every fault, every reader

ROWS_AT_FAULT = {
    "one cell": (TSV, b"the cat", ": 1 tab-separated cell (1 'the cat'); a row needs exactly 2"),
    "three cells": (TSV, b"the\tcat\tdie Katze", ": 3 tab-separated cells (1 'the', 2 'cat', 3 'die Katze'); a row"),
    "not JSON": (JSONL, b'{"en": "the', ": not JSON"),
    "a list": (JSONL, b'["the", "die"]', ': \'["the", "die"]\' is not an object; write {'),
    "a key is missing": (JSONL, b'{"en": "the"}', ": key \"de\" is missing among ['en']; give"),
    "a number": (JSONL, b'{"en": "the", "de": 1}', ': key "de" is 1, not a string; give'),
    "null": (JSONL, b'{"en": null, "de": "x"}', ': key "en" is None, not a string; give'),
    "100,000 brackets": (JSONL, b"[" * 100_000, ": not JSON"),
    "10 MB of keys": (JSONL, b'{"' + b"k" * TEN_MB + b'": 1}', ': key "en" is missing among'),
    "a line that would be two": (JSONL, b'"the \xe2\x80\xa8\xc2\x85 cat"', "is not an object; write {"),
}
CASES = [(reader, fault) for reader in READERS for fault in LINES]
CASES += [(reader, fault) for fault, (readers, *_) in ROWS_AT_FAULT.items() for reader in readers]
CASES += [(reader, fault) for reader in READERS for fault in FILES if reader.endswith(".gz") or fault == "a folder"]


def pairs_at_fault(folder, reader, fault):
    """Write pairs with a fault; what must be said."""
    lines, other = rows_as(reader, ROWS)
    if fault in LINES:
        change, says = LINES[fault]
        return [f"{write_pairs(folder, reader, change(lines), other)}{says}"]
    if fault in ROWS_AT_FAULT:
        _, row, *says = ROWS_AT_FAULT[fault]
        file = write_pairs(folder, reader, [*lines[:3], row, *lines[4:]], other)
        return [f"{file}:4: ", *says]
    file = write_pairs(folder, reader, lines, other)
    damage, says = FILES[fault]
    damage(file)
    return [f"{file}: {says}"]


@pytest.mark.parametrize(("reader", "fault"), CASES)
def test_pairs_at_fault_are_an_error_that_names_file_line_and_fix(tmp_path, reader, fault):
    needed = pairs_at_fault(tmp_path, reader, fault)
    said = mistake(read_pairs, tmp_path / "pairs", "en", "de")
    assert all(part in said for part in needed), said


SIDES_AT_FAULT = {  # the sides, what is said
    "no partner": ("a\nb\n", "x\ny\nz\n", "pairs.en has 2 lines but {}.de has 3: {}.de:3 has no partner"),
    "more sources": ("a\nb\nc", "x\n", "pairs.en has 3 lines but {}.de has 1: {}.en:2 has no partner"),
    "one empty side": ("", "x\n", "pairs.en has 0 lines but {}.de has 1: {}.de:1 has no partner"),
    "empty": ("", "", "pairs.en: empty; a corpus needs at least one sentence pair"),
    "one side": ("a\n", None, "pairs: only {}.en exists; looked for {}.en with {}.de"),
    "nothing": (None, None, "pairs: nothing found; looked for {}.en with {}.de, {}.tsv, {}.jsonl, {}.csv and {}.txt"),
}


@pytest.mark.parametrize("fault", SIDES_AT_FAULT)
def test_sides_that_do_not_fit_are_an_error(tmp_path, fault):
    src, tgt, says = SIDES_AT_FAULT[fault]
    for language, text in (("en", src), ("de", tgt)):
        if text is not None:
            (tmp_path / f"pairs.{language}").write_text(text, encoding="utf-8")
    assert says.replace("{}", str(tmp_path / "pairs")) in mistake(read_pairs, tmp_path / "pairs", "en", "de")


@pytest.mark.parametrize("reader", [*TSV, *JSONL])
def test_an_empty_table_is_an_error(tmp_path, reader):
    file = write_pairs(tmp_path, reader, [])
    assert f"{file}: empty; a corpus needs at least one sentence pair" in mistake(read_pairs, file, "en", "de")


def test_pairs_that_the_system_does_not_give_are_an_error(tmp_path):
    (tmp_path / "closed").mkdir()
    file = write_pairs(tmp_path, "tsv", *rows_as("tsv", ROWS))
    denied, inside = "cannot be read: Permission denied; give", tmp_path / "closed" / "pairs"
    with without_permission(file):
        assert f"{file}: {denied} a file that can be read" in mistake(read_pairs, file, "en", "de")
    with without_permission(tmp_path / "closed"):
        assert f"{inside}.en: {denied} another name, or mend that" in mistake(read_pairs, inside, "en", "de")
    assert "cannot be read: File name too long; give" in mistake(read_pairs, "x" * 300, "en", "de")


def test_a_table_is_not_read_in_the_place_of_sides_of_which_one_is_misspelled(tmp_path):
    for name in ("pairs.en", "pairs.de", "pairs.tsv"):
        (tmp_path / name).write_text("a\tb\n", encoding="utf-8")
    pairs = tmp_path / "pairs"
    said = f"{pairs}.en has no partner, and {pairs}.tsv is there too; name the whole file {pairs}.tsv to read that, or "
    assert f"{said}mend data.src (en) and data.tgt (dee)" in mistake(read_pairs, pairs, "en", "dee")


def test_a_corpus_that_a_script_fetches_names_the_script(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)
    said = mistake(read_pairs, "nowhere/multi30k/train", "en", "de")
    assert said.endswith("; `python scripts/download_multi30k.py` fetches it")


def test_a_line_without_end_is_an_error_that_names_it(monkeypatch):
    monkeypatch.setattr("seq2seq.data.lines.LONGEST_LINE", 100)
    lines = decode_lines(io.BytesIO(b"x" * 98 + b"\n" + b"x" * 1000), "tape")
    assert mistake(list, lines) == "tape:2: a line of over 100 bytes; write a sentence a line"


def test_a_device_that_breaks_while_it_is_read_is_an_error():
    class Broken(io.RawIOBase):
        def readinto(self, buffer):
            raise OSError(5, "Input/output error")

        def readable(self):
            return True

    lines = decode_lines(io.BufferedReader(Broken()), "tape")
    assert mistake(list, lines) == "tape: cannot be read: Input/output error; give a file that can be read"


# -------------------------------------------------------------------------------------------------- what is cleaned


def kept_of(folder):
    """What is kept of the pairs in a folder, and the report."""
    return encode_pairs(stream_pairs(folder / "pairs", "en", "de"), Letters(), Letters(), 100)


@pytest.mark.parametrize("reader", READERS)
def test_strange_characters_are_cleaned_and_counted_and_ordinary_ones_are_only_cleaned(tmp_path, reader):
    ordinary = {text: clean for text, clean in ORDINARY.items() if not (reader in TSV and "\t" in text)}
    texts = STRANGE | ordinary | (SURROGATES if reader in JSONL else {})
    write_pairs(tmp_path, reader, *rows_as(reader, [(text, "die") for text in texts]))
    kept, report = kept_of(tmp_path)
    assert ["".join(map(chr, src[:-1])) for src, _ in kept] == list(texts.values())
    assert report.cleaned == len(texts) - len(ordinary)


@pytest.mark.parametrize("reader", READERS)
def test_a_byte_order_mark_at_the_start_and_carriage_returns_at_the_ends_change_nothing(tmp_path, reader):
    lines, other = rows_as(reader, ROWS)
    write_pairs(tmp_path, reader, lines, other)
    clean = kept_of(tmp_path)
    write_pairs(tmp_path, reader, [b"\xef\xbb\xbf" + lines[0] + b"\r", *(line + b"\r" for line in lines[1:])], other)
    assert kept_of(tmp_path) == clean
    assert clean[1].cleaned == 0


# ---------------------------------------------------------------------------------------------------- lines of 10 MB


def test_a_line_of_10_mb_is_dropped_and_counted_and_teaches_no_vocabulary(tmp_path):
    learned = []
    for rows in ([("the cat " * (TEN_MB // 8), "die"), ("the", "x" * TEN_MB), *ROWS], ROWS):
        write_pairs(tmp_path, "en", *rows_as("en", rows))
        data, tokenizer = {"train": str(tmp_path / "pairs")}, {"type": "unigram", "vocab_size": 400}
        tokenizers = learn_tokenizers(load_config(write_config(tmp_path, data=data, tokenizer=tokenizer)))
        learned.append(tokenizers.src.pieces(range(len(tokenizers.src))))
        _, report = encode_pairs(rows, tokenizers.src, tokenizers.tgt, 100)
        assert (report.kept, report.too_long) == (len(ROWS), len(rows) - len(ROWS))
    assert learned[0] == learned[1]


def test_a_line_is_too_long_by_its_characters_only_where_its_tokens_would_be_too_many():
    """The longest piece that sentencepiece learns is far from what a token is given."""
    lines = ["x" * n for n in range(1, 200)] * 5
    pieces = train_tokenizers("bpe", 1000, True, False, "split", lines, lines).src
    assert max(map(len, pieces.pieces(range(len(pieces))))) <= 16 < LONGEST_TOKEN
