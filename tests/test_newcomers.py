"""What newcomers bring and read: repeated words, headers, too few pairs, wrong paths, tables, foreign letters."""

import re

import pytest
import torch
import yaml
from test_constraints import LINES
from tiny import write_config

from seq2seq.build import build_model
from seq2seq.commands.main import main
from seq2seq.config import SearchConfig
from seq2seq.config.reading import parse_config
from seq2seq.data.corpus import read_pairs
from seq2seq.data.tables import stream_column
from seq2seq.decoding.translator import Translator
from seq2seq.doctor.findings import Part, Split, diagnose
from seq2seq.errors import UserError
from seq2seq.text.tokenizer import train_tokenizers

RUNNING = [f"{word}\t{word.upper()}" for word in ["und"] * 30 + ["der"] * 9 + [f"w{n}" for n in range(30)] * 2]


def split(tmp_path, capsys, name, lines, *options):
    (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    assert (
        main(["split", str(tmp_path / name), "--src", "old", "--tgt", "new", "--out", str(tmp_path / "out"), *options])
        == 0
    )
    files = {part: (tmp_path / f"out/{part}.old").read_text("utf-8").splitlines() for part in ("train", "dev", "test")}
    return capsys.readouterr().out, files


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_repeats_are_kept_on_one_side_when_asked(tmp_path, capsys, seed):
    out, files = split(tmp_path, capsys, "text.tsv", RUNNING, "--keep-repeats", "--seed", seed)
    assert "99 pairs; 0 blank ones left out, 67 repeated ones kept" in out
    words = [word for part in files.values() for word in part]
    assert sorted(words) == sorted(line.split("\t")[0] for line in RUNNING)
    assert sum(len({*part}) for part in files.values()) == len({*words}) == 32
    assert files["dev"]
    assert files["test"]


@pytest.mark.parametrize(
    ("name", "lines", "options", "says"),
    [
        ("text.tsv", RUNNING, [], "--keep-repeats keeps how often each occurs"),
        ("text.tsv", RUNNING[40:], [], None),  # half of them
        ("text.tsv", ["Wort\tLaut", *RUNNING], [], "text.tsv:1 is taken for a pair: 'Wort' and 'Laut'"),
        (
            "text.tsv",
            ["Wort\tLaut", *RUNNING],
            ["--header", "true"],
            "text.tsv:1 is a header, no pair: 'Wort' and 'Laut'",
        ),
        ("text.tsv", ["Ein Satz.\tEine Zeile.", *RUNNING], [], None),
        ("text.tsv", ['"er sagte ""ja"""\tja', *RUNNING], [], "1 pairs still have the quotation marks of CSV"),
        ("text.tsv", ['"ja"\tja', *RUNNING], [], None),  # a quotation
        ("text.tsv", [f'"{n}"\t{n}' for n in range(30)], [], "30 pairs still have the quotation marks of CSV"),
        ("text.csv", [f'"{n}",{n}' for n in range(30)], [], None),
        ("text.tsv", ["a\tb", "c\td", "e\tf", "g\th"], [], "only 2 training pairs: a model cannot learn from so few"),
        ("text.tsv", [f"{n}\t{n}" for n in range(200)], [], None),
    ],
)
def test_split_says_what_looks_wrong_and_how_to_mend_it(tmp_path, capsys, name, lines, options, says):
    signs = "keep-repeats|is taken for a pair: 'E|quotation marks|cannot learn"
    out, _ = split(tmp_path, capsys, name, lines, *options)
    assert says in out if says else not (re.search(signs, out) and len(lines) > 100), out


def test_a_missing_corpus_says_where_it_was_looked_for_and_what_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.en").touch()
    (tmp_path / "data/train.de.gz").touch()
    (tmp_path / "words.tsv").touch()
    for prefix, says in [
        ("data/trian", f"nothing found in {tmp_path}; did you mean data/train?"),
        ("wrods", f"nothing found in {tmp_path}; did you mean words?"),
        ("dta/train", f"nothing found in {tmp_path}, which has no folder dta;"),
        (str(tmp_path / "data/trian"), f"nothing found; did you mean {tmp_path}/data/train?"),
        (str(tmp_path / "dta/train"), f"nothing found, and no folder {tmp_path}/dta;"),
        ("~/train", "nothing found; ~ stands for nothing here, so write the whole path;"),
        ("data\\train", "nothing found; the folders of a path are separated by /, not by \\;"),
        ("data/xyz", f"nothing found in {tmp_path}; looked for"),
    ]:
        with pytest.raises(UserError, match=re.escape(says)):
            read_pairs(prefix, "en", "de")


@pytest.mark.parametrize(
    ("name", "text", "column", "expected"),
    [
        ("t.tsv", "id\tEnglish\n1\tthe cat\n2\tthe\t3\n", "english", ["the cat", "the"]),
        ("t.tsv", "1\tthe cat\n\n", "2", ["the cat", ""]),
        ("t.txt", "the cat\t1\n", "1", ["the cat"]),
        ("t.csv", 'a,b\n"x, ""y""",2\n', "a", ['x, "y"']),
        ("t.jsonl", '{"src": "the cat", "n": 1}\n', "src", ["the cat"]),
        ("t.jsonl", '{"src": "the cat", "n": 1}\n', "n", 'key "n" is 1, not a string; --column chooses a key'),
        ("t.jsonl", '{"src": "the cat"}\n', "tgt", 'key "tgt" is missing among'),
        ("t.tsv", "a\tb\n", "3", "there is no column 3"),
        ("t.tsv", "a\tb\n", "0", "there is no column 0"),
        ("t.tsv", "a\tb\n", "c", "there is no column c"),
        ("t.tsv", "a\ta\n", "a", "there is no column a"),
    ],
)
def test_one_column_of_a_table_is_read(tmp_path, name, text, column, expected):
    (tmp_path / name).write_text(text)
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            list(stream_column(str(tmp_path / name), column))
    else:
        assert list(stream_column(str(tmp_path / name), column)) == expected


def test_letters_of_private_use_are_no_fault_and_those_of_a_wrong_decoding_are():
    rows = [("va\ue5dc", "van"), ("gÃ¼t", "gut"), ("e\ufffd", "er")]
    findings = diagnose([Split("train", [Part({"old": "a", "new": "b"})], lambda: rows)]).findings
    assert [(f.kind, f.lines) for f in findings if f.kind == "broken"] == [("broken", [2, 3])]


def table_config(tmp_path, rows, **tokenizer):
    (tmp_path / "t.tsv").write_text("".join(f"{src}\t{tgt}\n" for src, tgt in rows), encoding="utf-8")
    data = {"train": str(tmp_path / "t.tsv"), "dev": str(tmp_path / "t.tsv"), "src": "ko", "tgt": "ipa"}
    (tmp_path / "c.yaml").write_text(
        yaml.safe_dump({"data": data, "tokenizer": {"type": "char", "vocab_size": 400} | tokenizer})
    )
    return str(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("rows", "decompose", "hints"),
    [
        ([("한국", "h a n ɡ u k"), ("나라", "n a ɾ a")], False, True),
        ([("한국", "h a n ɡ u k"), ("나라", "n a ɾ a")], True, False),
        ([("나는 한국에 있다", "I am in Korea"), ("비가 온다", "it rains")], False, False),  # sentences
        ([("한국", "한궁"), ("나라", "나라")], False, False),
        ([("land", "l a n d"), ("sea", "s i")], False, False),
    ],
)
def test_check_hints_at_jamo_for_words_in_hangul_that_are_spelled_in_another_script(
    tmp_path, capsys, rows, decompose, hints
):
    assert main(["check", table_config(tmp_path, rows * 20, decompose=decompose)]) == 0
    assert ("tokenizer.decompose: true" in capsys.readouterr().out) == hints


def test_another_script_after_from_is_a_warning_with_its_share(tmp_path, caplog, capsys):
    keys = ["training.max_updates=2", "tokenizer.type=unigram", "tokenizer.vocab_size=400", "data.test=null"]
    assert main(["train", str(write_config(tmp_path)), "--run", str(tmp_path / "run"), *keys]) == 0
    (tmp_path / "t.tsv").write_text("тихо\tdie Katze\nдом\tdie Katze\n" * 60, encoding="utf-8")
    data = [f"data.{part}={tmp_path / 't.tsv'}" for part in ("train", "dev")]
    capsys.readouterr()
    assert (
        main(
            ["train", "--from", str(tmp_path / "run"), "--run", str(tmp_path / "new"), *data, "training.max_updates=2"]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert re.search("[78][0-9]% of the tokens of en are bytes or unknown, .*; train without --from", out)
    assert "tokens of de are bytes" not in out


def test_runs_that_cut_bleu_otherwise_are_compared_with_a_note(tmp_path, capsys):
    for name, tokenize in (("a", "13a"), ("b", "char")):
        keys = ["training.max_updates=2", f"evaluation.bleu_tokenize={tokenize}"]
        assert main(["train", str(write_config(tmp_path)), "--run", str(tmp_path / name), *keys]) == 0
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert (
        f"BLEU cuts all translations by 13a, as {tmp_path}/a does; {tmp_path}/b has evaluation.bleu_tokenize char"
        in (capsys.readouterr().out)
    )

    # a table is translated by its column, and is otherwise an error
    (tmp_path / "t.tsv").write_text("id\tEnglish\n1\tthe cat\n")
    command = ["translate", str(tmp_path / "a"), "--input", str(tmp_path / "t.tsv")]
    assert main(command) == 2
    assert "t.tsv: a table by its name (.tsv)" in capsys.readouterr().err
    assert main([*command, "--column", "english"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("beam", [1, 4])
def test_a_decomposed_vocabulary_obeys_prefix_and_ban(beam):
    tokenizers = train_tokenizers("char", 400, True, False, "split", LINES * 3, LINES, decompose=True)
    data, sizes = {"train": "train", "dev": "dev", "src": "en", "tgt": "de"}, {"cell": "gru", "hidden_size": 8}
    config = parse_config({"data": data, "model": {"embedding_size": 6, "encoder": sizes, "decoder": sizes}}, "test")
    torch.manual_seed(1)
    translator = Translator(build_model(config, tokenizers).eval(), tokenizers, SearchConfig(max_length=20))
    for prefix in ("너는 개", "Café", "하"):
        (found,) = translator.translate(["너는"], beam=beam, prefix=prefix)
        assert found.text.startswith(prefix)
    (free,) = translator.translate(["너는"], beam=beam, prefix="너는")
    (banned,) = translator.translate(["너는"], beam=beam, prefix="너", ban=["너는"])
    assert "너는" not in banned.text.split()
    assert free.text.startswith("너는")
