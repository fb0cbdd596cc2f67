"""Hostile data: every fault, in every file that is read, for every command that reads it.

A fault is either an error (one line that names the file, the line and the fix; exit code 2) or it is handled, and what
was handled is counted. `docs/data.md` is the table of these tests.
"""

import gzip
import io
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny import WORDS, write_config

from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.data import dataset as training_data
from seq2seq.data import store
from seq2seq.data.corpus import LONGEST_TOKEN
from seq2seq.data.dataset import learn_tokenizers, prepare_store
from seq2seq.data.store import Chunk, prepare
from seq2seq.decoding import translator as translation
from seq2seq.decoding.translator import LONGEST, Translator
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import evaluate
from seq2seq.text.tokenizer import load_tokenizers, train_tokenizers

TEN_MB = 10_000_000
ROWS = [("the cat sees the old dog", "die Katze sieht die alte Hund"), ("old dog", "alte Hund")] * 20
NOBODY = 65534


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def run(folder):
    """A trained run."""
    config = write_config(folder, training={"max_updates": 60, "validate_every": 20})
    assert main(["train", str(config), "--run", str(folder / "run")]) == 0
    return str(folder / "run")


@pytest.fixture
def spare(run, tmp_path):
    """A copy of the run, to be damaged."""
    return Path(shutil.copytree(run, tmp_path / "spare"))


@pytest.fixture
def refused(capsys):
    """Runs a command that must fail as the user's mistake, in one line in which all of these stand."""

    def refused(arguments, *needed):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        err = capsys.readouterr().err
        assert code == 2, err
        assert err.count("\n") == 1, err
        assert len(err.splitlines()) == 1, err
        assert err.startswith("seq2seq: error: ")
        assert len(err) < 1000
        for part in needed:
            assert str(part) in err, err

    return refused


@pytest.fixture
def accepted(capsys):
    """Runs a command that must not fail; what it has printed."""

    def accepted(arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return accepted


def commands_on(config, spare):
    """The commands that read the config and the training pairs."""
    return {
        "train": ["train", config, "--run", spare],
        "check": ["check", config],
        "bench": ["bench", config, "--updates", "1"],
        "compare": ["compare", config, "--vary", "search.beam=1,2", "--seeds", "1", "--run", spare],
    }


ON_CONFIGS = ["train", "check", "bench", "compare"]


@contextmanager
def largest_file(size):
    """Files of this process can grow to so many bytes, as on a disk that gets full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def without_permission(*paths, closed=0, places=()):
    """Files and folders that may be used in no way that `closed` lacks; by someone who is not root.

    `places` are folders that are used as well.
    """
    modes = {path: path.stat().st_mode for path in paths}
    is_root = os.geteuid() == 0  # and may do anything: another user goes there in its place
    if is_root:
        modes |= {
            parent: parent.stat().st_mode
            for place in (*paths, *places)
            for parent in Path(place).parents
            if not parent.stat().st_mode & 0o001
        }
    for path, mode in modes.items():
        path.chmod(closed if path in paths else mode | 0o011)
    try:
        if is_root:
            os.seteuid(NOBODY)
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)


# ---------------------------------------------------------------------------------------- the training pairs: errors

SIDES, TSV, JSONL = ["en", "en.gz"], ["tsv", "tsv.gz"], ["jsonl", "jsonl.gz"]
READERS = [*SIDES, *TSV, *JSONL]


def packed(name, content):
    return gzip.compress(content) if name.endswith(".gz") else content


def rows_as(reader, rows):
    """The lines of the file that is damaged, and of the other side."""
    if reader in TSV:
        return [f"{src}\t{tgt}".encode() for src, tgt in rows], None
    if reader in JSONL:
        return [json.dumps({"en": src, "de": tgt}).encode() for src, tgt in rows], None
    return [src.encode() for src, _ in rows], [tgt.encode() for _, tgt in rows]


def write_pairs(folder, reader, lines, other=None):
    """Training pairs in one of the formats; the file that was written first."""
    file = folder / f"pairs.{reader}"
    file.write_bytes(packed(reader, b"".join(line + b"\n" for line in lines)))
    if other is not None:
        partner = folder / f"pairs.{reader.replace('en', 'de')}"
        partner.write_bytes(packed(reader, b"".join(line + b"\n" for line in other)))
    return file


def config_on(folder, prefix, **sections):
    """The tiny config, on other training pairs."""
    data = {"train": str(prefix), **sections.pop("data", {})}
    return write_config(folder, data=data, **sections)


def in_line(number, change):
    return lambda lines: [change(line) if n == number else line for n, line in enumerate(lines, start=1)]


LINES = {  # of any file of text: what happens to its lines, what is said after the file's name
    "bad UTF-8": (
        in_line(3, lambda line: line[:9] + b"\xe9" + line[9:]),
        ":3: byte 10 of the line (0xe9) is not UTF-8",
    ),
    "a surrogate's bytes": (
        in_line(2, lambda line: b"\xed\xa0\x80" + line),
        ":2: byte 1 of the line (0xed) is not UTF",
    ),
    "UTF-16": (
        lambda lines: b"\n".join(lines).decode().encode("utf-16").split(b"\n"),
        ":1: byte 1 of the line (0xff) is not UTF-8; convert the file to UTF-8",
    ),
}
ROWS_AT_FAULT = {
    "one cell": (TSV, b"the cat", ":4: 1 tab-separated cells; a row needs exactly 2"),
    "three cells": (TSV, b"the\tcat\tdie Katze", ":4: 3 tab-separated cells; a row needs exactly 2"),
    "not JSON": (JSONL, b'{"en": "the', ":4: not JSON"),
    "a list": (JSONL, b'["the", "die"]', ':4: \'["the", "die"]\' is not an object; write {'),
    "a key is missing": (JSONL, b'{"en": "the"}', ":4: key \"de\" is missing among ['en']; give"),
    "a number": (JSONL, b'{"en": "the", "de": 1}', ':4: key "de" is 1, not a string; give'),
    "null": (JSONL, b'{"en": null, "de": "x"}', ':4: key "en" is None, not a string; give'),
    "a number of 5,000 digits": (JSONL, b'{"en": ' + b"1" * 5000 + b"}", ":4: not an object of texts; write {"),
    "100,000 brackets": (JSONL, b"[" * 100_000, ":4: not an object of texts; write {"),
    "10 MB of keys": (JSONL, b'{"' + b"k" * TEN_MB + b'": 1}', ':4: key "en" is missing among'),
    "a line that would be two": (JSONL, b'"the \xe2\x80\xa8\xc2\x85 cat"', "is not an object; write {"),
}
FILES = {  # what happens to the file as it is on disk
    "cut short": (lambda file: file.write_bytes(file.read_bytes()[:-9]), "not a whole gzip file", "pack it again"),
    "not gzip": (lambda file: file.write_bytes(b"the cat\n"), "not a whole gzip file", "pack it again"),
    "flipped": (
        lambda file: file.write_bytes(file.read_bytes()[:14] + b"\xff" * 6 + file.read_bytes()[20:]),
        "not a whole gzip file",
        "pack it again",
    ),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), "cannot be read: Is a directory", "give a file"),
}
CASES = [(reader, fault) for reader in READERS for fault in LINES]
CASES += [(reader, fault) for fault, (readers, _, _) in ROWS_AT_FAULT.items() for reader in readers]
CASES += [(reader, fault) for reader in READERS for fault in FILES if reader.endswith(".gz") or fault == "a folder"]


@pytest.mark.parametrize(("reader", "fault"), CASES)
@pytest.mark.parametrize("split", ["train", "dev"])
def test_pairs_at_fault_are_an_error_that_names_file_line_and_fix(tmp_path, refused, reader, fault, split):
    lines, other = rows_as(reader, ROWS)
    if fault in LINES:
        change, says = LINES[fault]
        file = write_pairs(tmp_path, reader, change(lines), other)
        needed = [f"{file}{says}", "convert the file to UTF-8"]
    elif fault in ROWS_AT_FAULT:
        _, row, says = ROWS_AT_FAULT[fault]
        file = write_pairs(tmp_path, reader, [*lines[:3], row, *lines[4:]], other)
        needed = [f"{file}:4", says]
    else:
        file = write_pairs(tmp_path, reader, lines, other)
        damage, *says = FILES[fault]
        damage(file)
        needed = [f"{file}: {says[0]}", says[1]]
    config = write_config(tmp_path, data={split: str(tmp_path / "pairs")})
    commands = commands_on(config, tmp_path / "run")
    for command in ON_CONFIGS if split == "train" else ["train"]:
        refused(commands[command], *needed)
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize("command", ON_CONFIGS)
@pytest.mark.parametrize(
    ("src", "tgt", "says"),
    [
        ("a\nb\n", "x\ny\nz\n", "pairs.en has 2 lines but {}/pairs.de has 3: {}/pairs.de:3 has no partner"),
        ("a\nb\nc", "x\n", "pairs.en has 3 lines but {}/pairs.de has 1: {}/pairs.en:2 has no partner"),
        ("", "x\n", "pairs.en has 0 lines but {}/pairs.de has 1: {}/pairs.de:1 has no partner"),
        ("", "", "pairs.en: empty; a corpus needs at least one sentence pair"),
        ("\n \n", "\n\u2028\n", "no text to learn a vocabulary from: every line of the training corpus is blank"),
        ("a\n", None, "pairs: only {}/pairs.en exists; looked for {}/pairs.en with {}/pairs.de"),
        (None, None, "pairs: nothing found; looked for {}/pairs.en with {}/pairs.de, {}/pairs.tsv and {}/pairs.jsonl"),
    ],
)
def test_sides_that_do_not_fit_are_an_error(tmp_path, refused, command, src, tgt, says):
    for language, text in (("en", src), ("de", tgt)):
        if text is not None:
            (tmp_path / f"pairs.{language}").write_text(text, encoding="utf-8")
    config = config_on(tmp_path, tmp_path / "pairs")
    refused(commands_on(config, tmp_path / "run")[command], says.replace("{}", str(tmp_path)))


@pytest.mark.parametrize("reader", [*TSV, *JSONL])
def test_an_empty_table_is_an_error(tmp_path, refused, reader):
    file = write_pairs(tmp_path, reader, [])
    refused(["check", config_on(tmp_path, file)], f"{file}: empty; a corpus needs at least one sentence pair")


@pytest.mark.parametrize("reader", READERS)
def test_pairs_that_may_not_be_read_are_an_error(tmp_path, refused, run, reader):
    file = write_pairs(tmp_path, reader, *rows_as(reader, ROWS))
    config = config_on(tmp_path, tmp_path / "pairs")
    with without_permission(file):
        refused(["check", config], f"{file}: cannot be read: Permission denied", "give a file that can be")


def test_a_folder_that_may_not_be_looked_into_is_an_error(tmp_path, refused, run):
    (tmp_path / "closed").mkdir()
    file = write_pairs(tmp_path / "closed", "tsv", *rows_as("tsv", ROWS))
    config = config_on(tmp_path, file.with_suffix(""))
    with without_permission(tmp_path / "closed"):
        refused(
            ["bench", config], f"{tmp_path / 'closed'}", "cannot be read: Permission denied; give a file that can be"
        )


def test_a_name_too_long_for_a_file_is_an_error(tmp_path, refused):
    refused(["bench", config_on(tmp_path, "x" * 300)], "cannot be read: File name too long; give a file that can be")


# -------------------------------------------------------------------------------------- the training pairs: handling

STRANGE = {  # in the text: (as it stands, what it is cleaned to)
    "NUL": ("the\0cat", "the cat"),
    "ESC": ("the \x1b[31mcat", "the [31mcat"),
    "DEL": ("the\x7fcat", "the cat"),
    "C1": ("the\x85cat\x9f", "the cat"),
    "U+2028": ("the\u2028cat", "the cat"),
    "U+2029": ("the cat\u2029", "the cat"),
    "form feed": ("the\fcat", "the cat"),
    "byte order mark inside": ("the \ufeffcat", "the cat"),
}
ESCAPED = {  # only an escape of JSON can spell it
    "lone surrogate": ('"the \\ud800cat"', "the \ufffdcat"),
    "low surrogate": ('"the \\udc00cat"', "the \ufffdcat"),
    "escaped NUL": ('"the\\u0000cat"', "the cat"),
}
ORDINARY = {  # not counted
    "tab": ("the \t cat", "the cat"),
    "spaces": ("  the   cat ", "the cat"),
    "no-break space": ("the\u00a0cat\u3000", "the cat"),
    "decomposed": ("the cat e\u0301", "the cat é"),
}


def stored(folder, config):
    """The store of a config's training pairs, and its bytes."""
    config = load_config(config)
    shutil.rmtree(folder, ignore_errors=True)
    tokenizers = learn_tokenizers(config)
    tokenizers.save(folder / "tokenizer")
    made = prepare_store(config, folder / "store", folder / "tokenizer", {})
    return made.report, [(folder / "store" / name).read_bytes() for name in ("lengths.bin", "tokens.bin")]


def same_as_clean(tmp_path, reader, lines, other, rows):
    """The report of these lines, which must give the ids that clean rows give."""
    write_pairs(tmp_path, reader, lines, other)
    report, ids = stored(tmp_path / "strange", config_on(tmp_path, tmp_path / "pairs"))
    write_pairs(tmp_path, reader, *rows_as(reader, rows))
    clean, clean_ids = stored(tmp_path / "clean", config_on(tmp_path, tmp_path / "pairs"))
    assert ids == clean_ids
    assert clean.cleaned == 0
    assert (report.kept, report.blank, report.too_long) == (clean.kept, clean.blank, clean.too_long)
    return report


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", [*STRANGE, *ORDINARY])
def test_strange_characters_are_cleaned_and_counted_and_ordinary_ones_are_only_cleaned(tmp_path, reader, name):
    text, clean = {**STRANGE, **ORDINARY}[name]
    if name == "tab" and reader in TSV:
        pytest.skip("a tab parts the cells of a row")
    lines, other = rows_as(reader, [(text, "die Katze"), *ROWS])
    report = same_as_clean(tmp_path, reader, lines, other, [(clean, "die Katze"), *ROWS])
    assert report.cleaned == (name in STRANGE)
    assert ("; cleaned 1 with control or broken characters" in str(report)) == (name in STRANGE)


@pytest.mark.parametrize("name", ESCAPED)
def test_what_json_escapes_spell_is_cleaned_and_counted(tmp_path, name):
    escaped, clean = ESCAPED[name]
    lines, _ = rows_as("jsonl", ROWS)
    line = f'{{"en": {escaped}, "de": "die Katze"}}'.encode()
    assert same_as_clean(tmp_path, "jsonl", [line, *lines], None, [(clean, "die Katze"), *ROWS]).cleaned == 1


@pytest.mark.parametrize("reader", READERS)
def test_a_byte_order_mark_at_the_start_and_carriage_returns_at_the_ends_change_nothing(tmp_path, reader):
    lines, other = rows_as(reader, ROWS)
    strange = [b"\xef\xbb\xbf" + lines[0] + b"\r", *(line + b"\r" for line in lines[1:])]
    assert same_as_clean(tmp_path, reader, strange, other, ROWS).cleaned == 0


def test_a_pair_is_counted_once_whichever_side_is_strange_and_whatever_becomes_of_it(tmp_path):
    rows = [("a\0", "b\0"), ("a", "b\0"), ("\0", "b"), ("a " * 200 + "\0", "b"), *ROWS]
    write_pairs(tmp_path, "tsv", *rows_as("tsv", rows))
    report, _ = stored(tmp_path / "made", config_on(tmp_path, tmp_path / "pairs"))
    assert (report.cleaned, report.kept, report.blank, report.too_long) == (4, len(ROWS) + 2, 1, 1)


def test_a_training_and_a_check_say_what_was_cleaned(tmp_path, accepted):
    write_pairs(tmp_path, "en", *rows_as("en", [("the\0cat", "die"), *ROWS]))
    config = config_on(tmp_path, tmp_path / "pairs", training={"max_updates": 2, "validate_every": 2})
    said = "kept 41 of 41 pairs; dropped 0 blank and 0 longer than 100 tokens; cleaned 1 with control or broken"
    assert f"training pairs: {said}" in accepted(["train", config, "--run", tmp_path / "run"])
    assert said in accepted(["check", config])


def test_the_chunks_of_a_store_that_did_not_count_what_was_cleaned_still_load(tmp_path):
    write_pairs(tmp_path, "tsv", *rows_as("tsv", [("the\0cat", "die"), *ROWS]))
    config = load_config(config_on(tmp_path, tmp_path / "pairs"))
    learn_tokenizers(config).save(tmp_path / "tokenizer")
    made = prepare_store(config, tmp_path / "store", tmp_path / "tokenizer", {})
    journal = tmp_path / "store" / "chunks.jsonl"
    assert made.report.cleaned == 1
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert all(line.pop("cleaned") is not None for line in lines)
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = prepare_store(config, tmp_path / "store", tmp_path / "tokenizer", {})
    assert (again.report.kept, again.report.cleaned) == (made.report.kept, 0)
    assert Chunk(**lines[0]).kept == 41


# --------------------------------------------------------------------------------------------------- a line of 10 MB

LONG = {
    "words": "the cat " * (TEN_MB // 8),
    "one word": "x" * TEN_MB,
    "spaces": " " * TEN_MB,
    "brackets": "(" * TEN_MB,
    "NULs": "\0" * TEN_MB,
}


@pytest.mark.parametrize("type", ["unigram", "word"])
def test_a_line_of_10_mb_is_dropped_and_counted_and_teaches_no_vocabulary(tmp_path, type):
    rows = [(LONG["words"], "die"), ("the", LONG["one word"]), *ROWS]
    tokenizer = {"type": type, "vocab_size": 400}
    write_pairs(tmp_path, "en", *rows_as("en", rows))
    report, ids = stored(tmp_path / "long", config_on(tmp_path, tmp_path / "pairs", tokenizer=tokenizer))
    assert (report.kept, report.too_long) == (len(ROWS), 2)
    write_pairs(tmp_path, "en", *rows_as("en", ROWS))
    assert stored(tmp_path / "short", config_on(tmp_path, tmp_path / "pairs", tokenizer=tokenizer))[1] == ids
    for file in (tmp_path / "short" / "tokenizer").iterdir():
        assert file.read_bytes() == (tmp_path / "long" / "tokenizer" / file.name).read_bytes()


def test_a_line_is_too_long_by_its_characters_only_where_its_tokens_would_be_too_many():
    """The longest piece that sentencepiece learns is far from what a token is given."""
    lines = ["x" * n for n in range(1, 200)] * 5
    pieces = train_tokenizers("bpe", 1000, True, False, "split", lines, lines).src
    assert max(map(len, pieces.pieces(range(len(pieces))))) <= 16 < LONGEST_TOKEN


def test_a_corpus_of_nothing_but_10_mb_lines_is_an_error(tmp_path, refused):
    write_pairs(tmp_path, "tsv", *rows_as("tsv", [(LONG["one word"], "die")]))
    refused(["check", config_on(tmp_path, tmp_path / "pairs")], "blank or too long; raise data.max_length")


def test_a_dev_line_of_10_mb_neither_stops_a_training_nor_counts_in_its_loss(tmp_path, accepted, caplog):
    write_pairs(tmp_path, "en", *rows_as("en", [(LONG["words"], "die"), ("the", LONG["words"]), *ROWS]))
    data, training = {"dev": str(tmp_path / "pairs"), "test": None}, {"max_updates": 2, "validate_every": 2}
    config = write_config(tmp_path, data=data, training=training, search={"beam": 1, "max_length": 10})
    with caplog.at_level(logging.WARNING, "seq2seq"):
        accepted(["train", config, "--run", tmp_path / "run"])
    assert "cut 1 line after 2,000 tokens; write a sentence a line" in caplog.messages
    losses = [json.loads(line).get("loss") for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < loss < 20 for loss in losses)


@pytest.fixture
def short_translations(monkeypatch):
    """Searches end early, so that tests of long lines do not take long."""
    real = translation.Limits
    monkeypatch.setattr(translation, "Limits", lambda b, e, f, most: real(b, e, f, most.clamp(max=20)))


@pytest.mark.parametrize("name", LONG)
def test_a_line_of_10_mb_is_cut_and_translated_in_its_place(
    run, tmp_path, accepted, caplog, monkeypatch, short_translations, name
):
    (tmp_path / "in").write_text(f"the cat\n{LONG[name]}\nold dog\n", encoding="utf-8")
    (tmp_path / "short").write_text("the cat\nold dog\n", encoding="utf-8")
    longest = []
    real = translation._encode_line
    monkeypatch.setattr(
        translation,
        "_encode_line",
        lambda tokenizer, text: longest.append(len(real(tokenizer, text)[0])) or real(tokenizer, text),
    )
    with caplog.at_level(logging.WARNING, "seq2seq"):
        lines = accepted(["translate", run, "--input", tmp_path / "in"]).split("\n")
    assert len(lines) == 4
    assert [lines[0], *lines[2:]] == accepted(["translate", run, "--input", tmp_path / "short"]).split("\n")
    assert max(longest) <= LONGEST
    assert bool(lines[1]) == (name not in ("spaces", "NULs"))
    assert caplog.messages == ["cut 1 line after 2,000 tokens; write a sentence a line"] * bool(lines[1])


def test_no_tokenizer_is_given_more_of_a_line_than_it_can_need(run, monkeypatch, short_translations):
    translator, seen = Translator.load(run), []
    real = translator.tokenizers.src.encode
    monkeypatch.setattr(translator.tokenizers.src, "encode", lambda text: seen.append(len(text)) or real(text))
    translator.translate([LONG["words"], LONG["one word"]], beam=1)
    assert seen == [LONGEST * LONGEST_TOKEN] * 2


def test_a_line_of_as_many_tokens_as_are_allowed_is_whole_and_one_more_is_cut(run, caplog, short_translations):
    translator = Translator.load(run)
    with caplog.at_level(logging.WARNING, "seq2seq"):
        (whole,) = translator.translate(["cat " * LONGEST], attention=False)
        assert caplog.messages == []
        (cut,) = translator.translate(["cat " * (LONGEST + 1)], attention=False)
    assert whole == cut
    assert len(whole.source_tokens) == LONGEST + 1  # with </s>
    assert caplog.messages == ["cut 1 line after 2,000 tokens; write a sentence a line"]


def test_a_reader_of_10_mb_lines_says_so_on_standard_error(run, tmp_path):
    (tmp_path / "in").write_text(f"{LONG['brackets']}\nthe cat\n{LONG['words']}\n", encoding="utf-8")
    code = (
        "import resource, sys\n"
        "from seq2seq.commands.main import main\n"
        "from seq2seq.decoding import translator\n"
        "real = translator.Limits\n"
        "translator.Limits = lambda b, e, f, most: real(b, e, f, most.clamp(max=20))\n"
        f"code = main(['translate', {run!r}, '--input', {str(tmp_path / 'in')!r}])\n"
        "assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2_000_000, 'two gigabytes'\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.count("\n")) == (0, 3)
    assert done.stderr == "cut 2 lines after 2,000 tokens; write a sentence a line\n"


def test_evaluate_cuts_a_source_and_a_reference_of_10_mb(run, tmp_path, accepted, caplog, short_translations):
    for name, lines in (("src", [LONG["words"], "the cat"]), ("ref", ["die Katze", LONG["words"]])):
        (tmp_path / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    with caplog.at_level(logging.WARNING, "seq2seq"):
        out = accepted(["evaluate", run, "--src", tmp_path / "src", "--ref", tmp_path / "ref", "--json"])
    assert json.loads(out)["sentences"] == 2
    assert sorted(caplog.messages) == [
        "cut 1 line after 2,000 tokens; write a sentence a line",
        "cut 1 reference after 2,000 words",
    ]


def test_a_reference_is_measured_up_to_where_it_is_cut(run, short_translations):
    long = evaluate(Translator.load(run), ["the cat"], [["the cat " * LONGEST]])
    assert long.references == [[" ".join(["the cat"] * (LONGEST // 2))]]


@pytest.mark.parametrize("side", ["source", "target"])
def test_no_score_is_given_for_a_part_of_a_line_of_10_mb(run, tmp_path, refused, side):
    for name in ("source", "target"):
        (tmp_path / name).write_text(f"the\n{LONG['words'] if name == side else 'cat'}\n", encoding="utf-8")
    src, tgt = tmp_path / "source", tmp_path / "target"
    refused(
        ["score", run, "--src", src, "--tgt", tgt],
        f"{src} with {tgt}: line 2 of the {side} has more than 2,000 tokens; split it into sentences",
    )


def test_attention_to_a_line_of_10_mb_is_to_its_beginning(run, tmp_path, accepted, short_translations):
    (tmp_path / "in").write_text(f"{LONG['words']}\nthe cat\n", encoding="utf-8")
    out = accepted(["attention", run, "--input", tmp_path / "in", "--json"])
    assert [len(json.loads(line)["columns"]) for line in out.splitlines()] == [LONGEST + 1, 3]


# ------------------------------------------------------------------------- lines to translate, to measure, to score


def reading(command, run, file, other):
    """A command that reads a file of lines."""
    return {
        "translate": ["translate", run, "--input", file],
        "translate --json": ["translate", run, "--input", file, "--json"],
        "attention json": ["attention", run, "--input", file, "--json"],
        "align": ["align", run, "--input", file],
        "evaluate --src": ["evaluate", run, "--src", file, "--ref", other],
        "evaluate --ref": ["evaluate", run, "--src", other, "--ref", file],
        "evaluate --ref --ref": ["evaluate", run, "--src", other, "--ref", other, file],
        "score --src": ["score", run, "--src", file, "--tgt", other],
        "score --tgt": ["score", run, "--src", other, "--tgt", file],
    }[command]


ON_LINES = ["translate", "translate --json", "attention json", "align"]
ON_TWO_FILES = ["evaluate --src", "evaluate --ref", "evaluate --ref --ref", "score --src", "score --tgt"]


def write_lines(folder, name, lines):
    (folder / name).write_bytes(packed(name, b"".join(line + b"\n" for line in lines)))
    return folder / name


SOURCES = [src.encode() for src, _ in ROWS]


@pytest.mark.parametrize("command", [*ON_LINES, *ON_TWO_FILES])
@pytest.mark.parametrize("name", ["lines", "lines.gz"])
@pytest.mark.parametrize("fault", [*LINES, *FILES, "missing", "no permission"])
def test_lines_at_fault_are_an_error_that_names_file_line_and_fix(run, tmp_path, refused, command, name, fault):
    other = write_lines(tmp_path, "other", SOURCES)
    file = write_lines(tmp_path, name, LINES[fault][0](SOURCES) if fault in LINES else SOURCES)
    arguments = reading(command, run, file, other)
    if fault in LINES:
        refused(arguments, f"{file}{LINES[fault][1]}", "convert the file to UTF-8")
    elif fault == "missing":
        file.unlink()
        refused(arguments, f"{file}: ", "No such file or directory; give a file that can be")
    elif fault == "no permission":
        with without_permission(file, places=[run]):
            refused(arguments, f"{file}: ", "Permission denied; give a file that can be")
    elif fault == "a folder":
        FILES[fault][0](file)
        refused(arguments, f"{file}: ", "Is a directory; give a file that can be")
    elif name.endswith(".gz"):
        damage, *says = FILES[fault]
        damage(file)
        refused(arguments, f"{file}: {says[0]}", says[1])


@pytest.mark.parametrize("command", ON_TWO_FILES)
def test_files_of_different_length_are_an_error(run, tmp_path, refused, command):
    file, other = write_lines(tmp_path, "lines", SOURCES), write_lines(tmp_path, "other", SOURCES[:-1])
    refused(reading(command, run, file, other), f"{file}:40 has no partner; line n of one must translate line n")


def test_empty_files_are_nothing_to_measure_but_nothing_to_complain_of_elsewhere(run, tmp_path, refused, accepted):
    file, other = write_lines(tmp_path, "lines", []), write_lines(tmp_path, "other", [])
    refused(reading("evaluate --src", run, file, other), f"{file}: empty; there is nothing to measure")
    for command in (*ON_LINES, "score --src"):
        assert accepted(reading(command, run, file, other)) == ""


@pytest.mark.parametrize("data", [b"the cat\nab\xff\n", "the cat\n".encode("utf-16")])
def test_standard_input_at_fault_is_an_error_that_names_the_line(run, monkeypatch, refused, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    line = 2 if data.startswith(b"the") else 1
    refused(["translate", run], f"standard input:{line}: byte", "is not UTF-8; convert the file to UTF-8")


def test_a_device_that_breaks_while_it_is_read_is_an_error():
    class Broken(io.RawIOBase):
        def readinto(self, buffer):
            raise OSError(5, "Input/output error")

        def readable(self):
            return True

    from seq2seq.data.corpus import decode_lines

    with pytest.raises(UserError, match="tape: cannot be read: Input/output error; give"):
        list(decode_lines(io.BufferedReader(Broken()), "tape"))


@pytest.mark.parametrize("name", [*STRANGE, *ORDINARY, "carriage return", "byte order mark"])
def test_strange_characters_in_a_line_to_translate_are_cleaned_and_move_no_line(run, tmp_path, accepted, name):
    begin = b"\xef\xbb\xbf" if name == "byte order mark" else b""
    end = b"\r" if name == "carriage return" else b""
    text, clean = {**STRANGE, **ORDINARY}.get(name, ("the cat", "the cat"))
    strange = write_lines(tmp_path, "strange", [begin + b"old dog" + end, text.encode() + end, b"the dog" + end])
    ordinary = write_lines(tmp_path, "clean", [b"old dog", clean.encode(), b"the dog"])
    for command in ("translate --json", "attention json"):
        assert accepted(reading(command, run, strange, None)) == accepted(reading(command, run, ordinary, None))
    assert accepted(reading("score --tgt", run, strange, ordinary)) == accepted(
        reading("score --tgt", run, ordinary, strange)
    )


def test_a_lone_surrogate_in_python_is_cleaned(run):
    translator = Translator.load(run)
    assert translator.translate(["the \ud800 cat\udfff"]) == translator.translate(["the \ufffd cat\ufffd"])
    assert translator.score(["the \udc00"], ["die \ud800"]) == translator.score(["the \ufffd"], ["die \ufffd"])


# ------------------------------------------------------------------------------------- an output is worth its input


@pytest.mark.parametrize("command", ON_LINES)
@pytest.mark.parametrize(
    "fault", ["missing", "a folder", "no permission", "UTF-16", "cut short", "not gzip", "flipped"]
)
def test_an_input_that_cannot_be_read_leaves_the_output_as_it_was(run, tmp_path, refused, command, fault):
    file = write_lines(tmp_path, "lines.gz" if fault in FILES and fault != "a folder" else "lines", SOURCES)
    kept = tmp_path / "kept"
    kept.write_text("kept\n")
    arguments = [*reading(command, run, file, None), "--output", kept]
    if fault == "no permission":
        kept.chmod(0o666)
        with without_permission(file, places=[run]):
            refused(arguments, file)
    else:
        if fault in FILES:
            FILES[fault][0](file)
        elif fault == "UTF-16":
            write_lines(tmp_path, "lines", LINES[fault][0](SOURCES))
        else:
            file.unlink()
        refused(arguments, file)
    assert kept.read_text() == "kept\n"


def test_a_fault_far_into_the_input_leaves_the_output_up_to_there(run, tmp_path, refused):
    lines = [b"the cat"] * 600
    file = write_lines(tmp_path, "lines", [*lines, b"\xff"])
    refused(
        ["translate", run, "--input", file, "--output", tmp_path / "out", "--batch-size", "8"], f"{file}:601: byte 1"
    )
    written = (tmp_path / "out").read_text().splitlines()
    assert 0 < len(written) <= 600
    assert len(set(written)) == 1


# -------------------------------------------------------------------------------------------------- the config's text

TEXTS = {  # what stands in the file, what is said after its name
    "empty": (b"", ": data is missing"),
    "bad UTF-8": (b"data: \xff", ": this is not UTF-8 text; convert it"),
    "UTF-16": ("data: {}".encode("utf-16"), ": this is not UTF-8 text; convert it"),
    "NUL": (b"data: \0", "special characters are not allowed"),
    "ESC": (b"data: \x1b[31m", "special characters are not allowed"),
    "tab": (b"data:\n\ttrain: a\n", ":2: "),
    "no YAML": (b"data: [a, b", ":1: "),
    "a list": (b"- a\n", ": a config is a section of keys"),
    "a word": (b"train\n", ": a config is a section of keys"),
    "twice": (b"seed: 1\nseed: 2\n", ":2: the key seed appears twice"),
    "unknown": (b"data: {trian: a}\n", ":1: data.trian is not a key; did you mean train?"),
    "two documents": (b"seed: 1\n---\nseed: 2\n", ":2: "),
    "a Python object": (b"seed: !!python/object:os.system {}\n", ":1: "),
    "a bad timestamp": (b"seed: !!timestamp x\n", ":1: 'x' is not a valid timestamp"),
    "a bad bool": (b"seed: !!bool x\n", ":1: 'x' is not a valid bool"),
    "an empty int": (b"seed: !!int ''\n", ":1: '' is not a valid int"),
    "a date that is none": (b"seed: 2020-99-99\n", ":1: '2020-99-99' is not a valid timestamp"),
    "a number of 5,000 digits": (b"seed: " + b"1" * 5000 + b"\n", ":1: '1111"),
    "a time of 1,000 parts": (b"seed: 1" + b":59" * 1000 + b".5\n", ":1: '1:59"),
    "2,000 brackets": (b"data: " + b"[" * 2000, ": nested too deep; docs/config.md explains every key"),
    "recursion": (b"data: &a {train: *a}\n", ":1: data.train is a section"),
    "1 MB": (b"data: '" + b"a" * 1_000_000 + b"'\n", ":1: data is "),
}


@pytest.mark.parametrize("fault", [*TEXTS, "missing", "a folder", "no permission"])
def test_a_config_at_fault_is_an_error_that_names_file_line_and_fix(tmp_path, refused, run, fault):
    file = tmp_path / "a.yaml"
    commands = commands_on(file, tmp_path / "run")
    if fault in TEXTS:
        content, says = TEXTS[fault]
        file.write_bytes(content)
        needed = [f"{file}", says]
    elif fault == "a folder":
        file.mkdir()
        del commands["compare"], commands["bench"]  # for them a folder is a run
        needed = [f"{file}: Is a directory"]
    elif fault == "no permission":
        file.write_text("seed: 1\n")
        needed = [f"{file}: Permission denied"]
    else:
        needed = [f"{file}: No such file or directory"]
    for arguments in commands.values() if fault != "1 MB" else [commands["check"]]:
        if fault == "no permission":
            with without_permission(file):
                refused(arguments, *needed)
        else:
            refused(arguments, *needed)


@pytest.mark.parametrize(
    "text", ["seed=\x1b[2J", "seed=a\nb", "seed=\ud800", "a\nb=1", "=", "seed", "seed=" + "[" * 9999]
)
def test_an_override_at_fault_is_an_error_of_one_line(tmp_path, refused, text):
    refused(["check", write_config(tmp_path), text], "seq2seq: error: ")


# ------------------------------------------------------------------------------------------------------- word vectors

DIMENSIONS = 24
VECTOR = b" 0.5" * DIMENSIONS
VECTORS = {  # the file's lines, what is said after its name
    "too few numbers": ([b"cat" + VECTOR, b"dog" + VECTOR[4:]], ":2: 23 numbers after the word; every line needs 24"),
    "too many numbers": ([b"cat" + VECTOR, b"dog" + VECTOR * 2], ":2: 48 numbers after the word; every line needs 24"),
    "a line cut after one number": ([b"cat" + VECTOR, b"dog 0.5"], ":2: 1 numbers after the word; every line needs 24"),
    "a word for a number": ([b"cat" + VECTOR[4:] + b" x"], ":1: could not convert string to float: b'x'; a line is"),
    "10 MB for a number": ([b"cat" + VECTOR[4:] + b" " + b"x" * TEN_MB], ":1: could not convert"),
    "10 MB of numbers": ([b"cat" + VECTOR, b"dog" + b" 1" * (TEN_MB // 2)], ":2: 5,000,000 numbers after the word"),
    "NUL": ([b"cat" + VECTOR, b"\0"], ":2: 0 numbers after the word"),
    "tabs": ([b"cat" + VECTOR.replace(b" ", b"\t")], ":1: 0 numbers after the word; every line needs 3"),
    "not a number": ([b"cat" + VECTOR[4:] + b" nan"], ":1: a number is not finite; write it out, or leave the word"),
    "infinite": ([b"dog" + VECTOR, b"cat" + VECTOR[4:] + b" -inf"], ":2: a number is not finite"),
    "byte order mark": ([b"\xef\xbb\xbfcat" + VECTOR], ":1: begins with a byte order mark"),
    "empty": ([], ": not a file of word vectors; a line is a word and its numbers"),
    "a header alone": ([b"1 24"], ": not a file of word vectors; a line is a word and its numbers"),
    "wrong size": ([b"cat 1 2 3"], ", with vectors of 3 numbers; set model.embedding_size to 3 (it is 24)"),
}


def on_vectors(folder, file):
    return write_config(folder, model={"pretrained_embeddings": {"src": str(file)}})


@pytest.mark.parametrize("fault", [*VECTORS, *FILES, "missing", "no permission"])
def test_word_vectors_at_fault_are_an_error_that_names_file_line_and_fix(tmp_path, refused, run, fault):
    gzipped = fault in FILES and fault != "a folder"
    file = write_lines(
        tmp_path, "vectors.gz" if gzipped else "vectors", VECTORS.get(fault, ([b"cat" + VECTOR] * 9,))[0]
    )
    if fault in FILES:
        FILES[fault][0](file)
        needed = [f"{file}: "]
    elif fault == "missing":
        file.unlink()
        needed = [f"{file}: no such file; give a local text file of word vectors"]
    else:
        needed = [str(file), VECTORS[fault][1] if fault in VECTORS else ": cannot be read: Permission denied; give"]
    commands = commands_on(on_vectors(tmp_path, file), tmp_path / "run")
    if fault == "no permission":
        with without_permission(file):
            refused(commands["check"], *needed)
    else:
        for command in ("train", "check", "compare"):
            refused(commands[command], *needed)


def test_word_vectors_that_are_no_utf_8_or_end_in_carriage_returns_are_no_fault(tmp_path, accepted):
    file = write_lines(tmp_path, "vectors", [b"1 24\r", b"cat" + VECTOR + b"\r", b"\xff" + VECTOR, b"dog" + VECTOR])
    assert "src: 2 of " in accepted(["check", on_vectors(tmp_path, file)])


# ------------------------------------------------------------------------------------------------------ the run folder


def on_run(run, lines):
    """The commands that read a run."""
    return {
        "evaluate": ["evaluate", run],
        "translate": ["translate", run, "--input", lines],
        "score": ["score", run, "--src", lines, "--tgt", lines],
        "attention": ["attention", run, "the cat"],
        "plot --attention": ["plot", run, "--attention", "the cat"],
        "compare": ["compare", run, run],
        "bench": ["bench", run, "--updates", "1"],
    }


IN_A_RUN = {  # of a file in the run folder: what is in it, what is said
    "config.yaml": (b"data: [", "config.yaml:1: "),
    "config.yaml ": (b"\xff", "config.yaml:1: this is not UTF-8 text"),
    "tokenizer/joint.txt": (b"", "tokenizer/joint.txt: "),
    "tokenizer/joint.txt ": (b"\xff\xfe", "tokenizer/joint.txt: "),
    "tokenizer/tokenizer.json": (b"{", "tokenizer/tokenizer.json: "),
    "tokenizer/tokenizer.json ": (b"[]", "tokenizer/tokenizer.json: "),
    "tokenizer/tokenizer.json  ": (b"[" * 100_000, "tokenizer/tokenizer.json: "),
}


@pytest.mark.parametrize("fault", IN_A_RUN)
def test_a_damaged_file_of_a_run_is_named(spare, tmp_path, refused, fault):
    content, says = IN_A_RUN[fault]
    (spare / fault.strip()).write_bytes(content)
    lines = write_lines(tmp_path, "lines", SOURCES)
    for arguments in on_run(spare, lines).values():
        refused(arguments, f"{spare}/{says}")


@pytest.mark.parametrize("name", ["config.yaml", "tokenizer/joint.txt", "tokenizer/tokenizer.json"])
def test_a_file_of_a_run_that_may_not_be_read_is_named(spare, tmp_path, refused, name):
    lines = write_lines(tmp_path, "lines", SOURCES)
    with without_permission(spare / name):
        refused(["translate", spare, "--input", lines], spare / name)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: b"garbage",
        lambda content: content[:40] + b"\xff" * 40 + content[80:],
    ],
)
def test_a_damaged_model_of_sentencepiece_is_an_error_or_still_a_tokenizer(tmp_path, damage):
    train_tokenizers("bpe", 300, True, False, "split", ["the cat"], ["die"]).save(tmp_path)
    (tmp_path / "joint.model").write_bytes(damage((tmp_path / "joint.model").read_bytes()))
    with pytest.raises(UserError, match=r"joint\.model: not a readable sentencepiece model; copy the run folder again"):
        load_tokenizers(tmp_path)


@pytest.mark.parametrize(
    "description",
    [
        {"type": "word", "joint": True, "lowercase": False, "word_tokenizer": 3},
        {"type": "word", "joint": True, "lowercase": False, "word_tokenizer": "nonsense"},
        {"type": "wrod", "joint": True, "lowercase": False, "word_tokenizer": "split"},
        {"type": "word", "joint": "no", "lowercase": "no", "word_tokenizer": "split"},
        {"type": ["word"], "joint": True, "lowercase": False, "word_tokenizer": "split"},
        {"type": "word"},
        [],
        None,
    ],
)
def test_a_description_of_a_tokenizer_that_we_never_wrote_is_refused(tmp_path, description):
    train_tokenizers("word", 300, True, False, "split", ["the cat"], ["die"]).save(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="tokenizer"):
        load_tokenizers(tmp_path)


METRICS = {  # the second line
    "not JSON": (b'{"update": 1', "metrics.jsonl, line 2: damaged, not JSON"),
    "bad UTF-8": (b'{"update": 1, "split": "\xff"}', "metrics.jsonl, line 2: damaged, not JSON"),
    "NULs": (b"\0" * 50, "metrics.jsonl, line 2: damaged, not JSON"),
    "a list": (b"[]", "metrics.jsonl, line 2: damaged, '[]' where a JSON object should be"),
    "a missing key": (b'{"update": 1}', "metrics.jsonl, line 2: damaged, it has no 'split'"),
}


@pytest.mark.parametrize("fault", METRICS)
def test_damaged_metrics_are_named_with_their_line(spare, refused, fault):
    lines = (spare / "metrics.jsonl").read_bytes().split(b"\n")
    (spare / "metrics.jsonl").write_bytes(b"\n".join([lines[0], METRICS[fault][0], *lines[2:]]))
    refused(["plot", spare], f"{spare}/{METRICS[fault][1]}", "delete the line")


def test_metrics_cut_short_by_a_kill_are_drawn_without_their_last_line(spare, accepted):
    (spare / "metrics.jsonl").write_bytes((spare / "metrics.jsonl").read_bytes()[:-7])
    accepted(["plot", spare])


def test_no_metrics_are_nothing_to_draw(spare, refused):
    (spare / "metrics.jsonl").write_bytes(b"")
    refused(["plot", spare], "there are no metrics to draw yet; train at least")


# ----------------------------------------------------------------------------------- a file that changes meanwhile

CHANGES = {
    "in place": lambda file: file.write_bytes(file.read_bytes().replace(b"e", b"a")),
    "grown": lambda file: file.write_bytes(file.read_bytes() + b"the cat\n"),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:50]),
    "replaced": lambda file: (file.with_name("new").write_bytes(b"the\n" * 120), file.with_name("new").rename(file)),
    "garbage": lambda file: file.write_bytes(b"\xff" * 3000),
    "gone": lambda file: file.unlink(),
}


def changing(monkeypatch, module, name, change):
    """Have a change happen just before a function of a module runs for the first time."""
    real, changes = getattr(module, name), [change]
    monkeypatch.setattr(module, name, lambda *a, **k: (changes and changes.pop()(), real(*a, **k))[1])


STORED = ("tokens.bin", "lengths.bin", "chunks.jsonl")


@pytest.fixture(scope="module")
def unchanged(folder):
    """The store of a training that nothing disturbed."""
    (folder / "unchanged").mkdir()
    config = write_config(folder / "unchanged", training={"max_updates": 1, "validate_every": 1})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "CHUNK", 16)
        assert main(["train", str(config), "--run", str(folder / "unchanged" / "run")]) == 0
    return [(folder / "unchanged" / "run" / "store" / name).read_bytes() for name in STORED]


@pytest.mark.parametrize(("how", "language"), [*((how, "en") for how in CHANGES), ("in place", "de"), ("grown", "de")])
def test_a_file_that_changes_while_it_is_encoded_is_found_and_nothing_made_of_it_is_left(
    tmp_path, monkeypatch, refused, accepted, unchanged, how, language
):
    monkeypatch.setattr(store, "CHUNK", 16)
    config = write_config(tmp_path, training={"max_updates": 1, "validate_every": 1})
    file, run = tmp_path / f"train.{language}", tmp_path / "run"
    before = file.read_bytes()
    with monkeypatch.context() as patched:
        changing(patched, store, "_encode", lambda: CHANGES[how](file))
        refused(["train", config, "--run", run], f"{file}: has changed while it was read", "train in another folder")
    assert not (run / "store").exists()
    assert not (run / ".store").exists()
    refused(["train", config, "--run", run, "--resume"], f"train.{language}")
    file.write_bytes(before)
    accepted(["train", config, "--run", run, "--resume"])
    assert [(run / "store" / name).read_bytes() for name in STORED] == unchanged


@pytest.mark.parametrize("how", CHANGES)
def test_a_file_that_changes_while_the_vocabulary_is_learned_is_found_before_a_run_is_begun(
    tmp_path, monkeypatch, refused, how
):
    config, file = write_config(tmp_path), tmp_path / "train.en"
    changing(monkeypatch, training_data, "train_tokenizers", lambda: CHANGES[how](file))
    refused(["train", config, "--run", tmp_path / "run"], f"{file}: has changed while it was read")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_file_that_appears_beside_the_pairs_meanwhile_is_no_change(tmp_path, monkeypatch, accepted):
    config = write_config(tmp_path, training={"max_updates": 2, "validate_every": 2})
    changing(monkeypatch, store, "_encode", lambda: (tmp_path / "train.en.swp").write_text("an editor's\n"))
    accepted(["train", config, "--run", tmp_path / "run"])


# ------------------------------------------------------------------------------------------------- no space, no rights


def printing(command, run, lines):
    return {
        "evaluate": ["evaluate", run, "--split", "dev"],
        "evaluate --json": ["evaluate", run, "--split", "dev", "--json"],
        "translate": ["translate", run, "--input", lines],
        "translate --json": ["translate", run, "--input", lines, "--json"],
        "score": ["score", run, "--src", lines, "--tgt", lines],
        "attention": ["attention", run, "the cat"],
        "attention json": ["attention", run, "--input", lines, "--json"],
        "attention picture": ["attention", run, "the cat", "--output", lines.with_name("a.png")],
        "plot": ["plot", run, "--output", lines.with_name("a.png")],
        "compare": ["compare", run, run],
        "check": ["check", f"{run}/config.yaml"],
        "check --json": ["check", f"{run}/config.yaml", "--json"],
        "bench": ["bench", run, "--updates", "1"],
        "train": ["train", f"{run}/config.yaml", "--run", lines.with_name("new"), "training.max_updates=1"],
    }[command]


PRINTING = ["evaluate", "evaluate --json", "translate", "translate --json", "score", "check", "check --json", "bench"]
PRINTING += ["attention", "attention json", "attention picture", "plot", "compare", "train"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("command", PRINTING)
def test_a_standard_output_that_is_full_is_an_error(run, tmp_path, monkeypatch, refused, command):
    lines = write_lines(tmp_path, "lines", SOURCES)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        refused(printing(command, run, lines), "standard output: cannot be written: No space left on device; make room")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_standard_output_that_is_full_leaves_python_nothing_to_add(run, tmp_path):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "seq2seq", "score", run, "--src", tmp_path / "in", "--tgt", tmp_path / "in"]
            if write_lines(tmp_path, "in", SOURCES)
            else [],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert done.returncode == 2
    assert done.stderr == (
        "seq2seq: error: standard output: cannot be written: No space left on device; make room, or write to another "
        "file\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("command", ON_LINES)
def test_an_output_file_that_is_full_is_an_error(run, tmp_path, refused, command):
    arguments = reading(command, run, write_lines(tmp_path, "lines", SOURCES), None)
    refused(
        [*arguments, "--output", "/dev/full"], "--output /dev/full: cannot be written: No space left on device; make"
    )


def test_a_translation_that_fills_the_disk_is_an_error_that_names_the_file(run, tmp_path, refused):
    lines, out = write_lines(tmp_path, "lines", SOURCES * 20), tmp_path / "out"
    with largest_file(500):
        refused(
            ["translate", run, "--input", lines, "--output", out], f"--output {out}: cannot be written: File too large"
        )
    assert out.stat().st_size <= 500


def test_an_evaluation_that_cannot_be_kept_leaves_the_last_one_whole(spare, tmp_path, refused, accepted):
    accepted(["evaluate", spare])
    before = {name: (spare / name).read_bytes() for name in ("test.hyp", "test.json")}
    with largest_file(100):
        refused(["evaluate", spare, "--beam", "1"], f"{spare}/test.hyp: cannot be written: File too large; mend that")
    assert {name: (spare / name).read_bytes() for name in before} == before


def test_a_store_that_fills_the_disk_is_an_error_and_goes_on_when_there_is_room(tmp_path, refused, accepted):
    write_pairs(tmp_path, "tsv", *rows_as("tsv", ROWS * 60))
    config = config_on(tmp_path, tmp_path / "pairs", training={"max_updates": 2, "validate_every": 2})
    accepted(["train", config, "--run", tmp_path / "whole"])
    size = (tmp_path / "whole" / "store" / "tokens.bin").stat().st_size
    with largest_file(size - 1):
        refused(
            ["train", config, "--run", tmp_path / "run"],
            f"{tmp_path}/run/store: cannot be written: File too large; mend that and go on with --resume",
        )
    assert not (tmp_path / "run" / "store").exists()
    accepted(["train", config, "--run", tmp_path / "run", "--resume"])
    for name in STORED:
        assert (tmp_path / "run" / "store" / name).read_bytes() == (tmp_path / "whole" / "store" / name).read_bytes()


def test_a_store_that_cannot_be_replaced_stays_as_it_was(tmp_path):
    train_tokenizers("word", 50, True, False, "split", list(WORDS), list(WORDS.values())).save(tmp_path / "tokenizer")
    prepare(tmp_path / "store", ROWS, tmp_path / "tokenizer", 100, {"train": "1"})
    before = {file.name: file.read_bytes() for file in (tmp_path / "store").iterdir()}
    with largest_file(100), pytest.raises(UserError, match=r"store: cannot be written: File too large; mend that"):
        prepare(tmp_path / "store", ROWS * 10, tmp_path / "tokenizer", 100, {"train": "2"})
    assert {file.name: file.read_bytes() for file in (tmp_path / "store").iterdir()} == before


def test_a_folder_that_may_not_be_written_to_is_an_error(spare, run, tmp_path, refused):
    (tmp_path / "closed").mkdir()
    lines, new = write_lines(tmp_path, "lines", SOURCES), tmp_path / "closed" / "new"
    config = write_config(tmp_path)
    with without_permission(tmp_path / "closed", spare, closed=0o555, places=[run]):
        refused(["translate", run, "--input", lines, "--output", new], f"--output {new}: Permission denied; give")
        refused(["plot", run, "--output", f"{new}.png"], f"{new}.png: Permission denied; give")
        refused(["attention", run, "cat", "--output", f"{new}.html"], f"{new}.html: ", "Permission denied")
        refused(["train", config, "--run", new], f"{new}: cannot be written: Permission denied; choose another")
        refused(["evaluate", spare], f"{spare}/test.hyp: cannot be written: Permission denied; mend that")
