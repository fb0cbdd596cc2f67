"""Reading, checking and encoding parallel text."""

import gzip
import json
import tracemalloc
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.data.corpus import Pair, encode_corpus, read_lines, read_pairs, stream_pairs
from seq2seq.errors import UserError
from seq2seq.text.normalize import normalize
from seq2seq.text.tokenizer import EOS

ANY_TEXT = st.text(st.characters(), max_size=40)


class Letters:
    """One token a letter: enough of a tokenizer for encode_corpus."""

    def encode(self, text):
        return [ord(letter) for letter in text]


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
        ("Prix\u00a0: 5\u202f€", "Prix : 5 €"),
        ("e\u0301", "é"),
        ("a\ud800b", "a\ufffdb"),
        ("… ½ ﬁ", "… ½ ﬁ"),
        ("\u3000\u00a0", ""),
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
        assert read_lines(file) == ["first", *lines]


def test_a_lone_carriage_return_does_not_end_a_line(tmp_path):
    (tmp_path / "text").write_bytes(b"a\rb\r\nc")
    assert read_lines(tmp_path / "text") == ["a\rb", "c"]


def test_the_byte_order_mark_is_removed(tmp_path):
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbfa\n")
    assert read_lines(tmp_path / "text") == ["a"]


def test_blank_lines_count_as_lines(tmp_path):
    (tmp_path / "text").write_bytes(b"\n\na\n\n")
    assert read_lines(tmp_path / "text") == ["", "", "a", ""]


def test_bad_utf_8_is_reported_with_its_line_and_byte(tmp_path):
    (tmp_path / "text").write_bytes("fine\nä\n".encode() + b"ab\xe9 c\n")
    with pytest.raises(UserError, match=r"text:3: byte 3 of the line \(0xe9\) is not UTF-8"):
        read_lines(tmp_path / "text")


@pytest.mark.parametrize("damage", [lambda d: d[:-9], lambda d: b"plain text", lambda d: d[:12] + b"\xff" * 8 + d[20:]])
def test_a_damaged_gzip_file_is_the_users_to_mend(tmp_path, damage):
    (tmp_path / "text.gz").write_bytes(damage(gzip.compress(b"some lines of text, some lines more\n" * 5)))
    with pytest.raises(UserError, match=r"text\.gz: not a whole gzip file"):
        read_lines(tmp_path / "text.gz")


def test_a_missing_file_and_a_directory_are_the_users_to_mend(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UserError, match=f"{path}: cannot be read"):
            read_lines(path)


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


def test_a_missing_corpus_lists_what_was_looked_for(tmp_path):
    with pytest.raises(UserError, match=r"nothing found; looked for .*p\.en with .*p\.de, .*p\.tsv and .*p\.jsonl"):
        read_pairs(tmp_path / "p", "en", "de")


def test_a_missing_side_names_the_one_that_exists(tmp_path):
    (tmp_path / "p.en").write_text("a\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"only .*p\.en exists"):
        read_pairs(tmp_path / "p", "en", "de")


def test_sides_of_different_length_are_named_with_the_first_line_alone(tmp_path):
    prefix = write_sides(tmp_path, "a\nb\n", "x\ny\nz\n")
    with pytest.raises(UserError, match=r"p\.en has 2 lines but .*p\.de has 3: .*p\.de:3 has no partner"):
        read_pairs(prefix, "en", "de")


def test_an_empty_corpus_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"p\.en: empty"):
        read_pairs(write_sides(tmp_path, "", ""), "en", "de")


@pytest.mark.parametrize(("row", "count"), [("a", 1), ("a\tb\tc", 3)])
def test_a_tsv_row_without_two_cells_is_reported_with_its_line(tmp_path, row, count):
    (tmp_path / "p.tsv").write_text(f"a\tx\n{row}\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"p\.tsv:2: {count} tab-separated cells"):
        read_pairs(tmp_path / "p", "en", "de")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "is not an object"),
        ('{"en": "a"}', r"\"de\" is missing among \['en'\]"),
        ('{"en": "a", "de": 3}', '"de" is 3, not a string'),
    ],
)
def test_a_bad_json_row_is_reported_with_its_line(tmp_path, row, message):
    (tmp_path / "p.jsonl").write_text(f'{{"en": "a", "de": "x"}}\n{row}\n', encoding="utf-8")
    with pytest.raises(UserError, match=rf"p\.jsonl:2: .*{message}"):
        read_pairs(tmp_path / "p", "en", "de")


def test_kept_pairs_end_in_eos():
    encoded, _ = encode_corpus([Pair("ab", "x")], Letters(), Letters(), max_length=5)
    assert encoded == [([97, 98, EOS], [120, EOS])]


def test_blank_and_too_long_pairs_are_dropped_counted_and_reported():
    pairs = [Pair("ab", "x"), Pair("", "x"), Pair("a", ""), Pair("abcd", "x"), Pair("a", "wxyz"), Pair("abc", "xyz")]
    encoded, report = encode_corpus(pairs, Letters(), Letters(), max_length=3)
    assert [len(src) for src, _ in encoded] == [3, 4]
    assert str(report) == "kept 2 of 6 pairs; dropped 2 blank and 2 longer than 3 tokens"


def test_a_corpus_of_which_nothing_is_left_is_an_error():
    with pytest.raises(UserError, match=r"no sentence pair is left: .* raise data\.max_length"):
        encode_corpus([Pair("", "x"), Pair("abc", "x")], Letters(), Letters(), max_length=2)


@pytest.mark.parametrize(
    ("name", "rows"), [("p.tsv", "a\tx\n\nb\ty\n"), ("p.jsonl", '{"en":"a","de":"x"}\n \n{"en":"b","de":"y"}\n')]
)
def test_a_blank_row_of_a_table_is_a_blank_pair(tmp_path, name, rows):
    (tmp_path / name).write_text(rows, encoding="utf-8")
    assert read_pairs(tmp_path / name, "en", "de") == [("a", "x"), ("", ""), ("b", "y")]


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
