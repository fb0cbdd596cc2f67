"""Tables as people bring them: separators, columns, headers, and what is said where a table is not as it seems."""

import gzip
import json
import logging
import shutil

import pytest
from faults import mistake
from tiny import write_config

from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.data.corpus import read_pairs
from seq2seq.data.formats import describe_table, first_line, suspect_header
from seq2seq.data.lines import stream_lines
from seq2seq.data.store import Store
from seq2seq.data.tables import Form
from seq2seq.errors import UserError
from seq2seq.runs.run import Run

PAIRS = [("The goat sings.", "La chèvre chante."), ('He said "yes", twice.', "Il a dit « oui » ; deux fois.")]
SCORED = "no\tsure\tFrench\tEnglish\n" + "".join(f"{n}\t0.{n}\t{tgt}\t{src}\n" for n, (src, tgt) in enumerate(PAIRS))
PLAIN = "".join(f"{src}\t{tgt}\n" for src, tgt in PAIRS)
QUOTED = "".join(f'"{src}",{tgt}\n'.replace('"yes"', '""yes""') for src, tgt in PAIRS)


def write(folder, name, text, encoding="utf-8"):
    data = text.encode(encoding)
    (folder / name).write_bytes(gzip.compress(data) if name.lower().endswith(".gz") else data)
    return folder / name


READ = {  # the file, its text, columns, header; whether a header is found
    "tabs": ("t.tsv", PLAIN, None, "auto", False),
    "txt, as downloaded": ("t.txt", PLAIN.replace("\n", "\tCC-BY #1\n"), [1, 2], "auto", False),
    "packed, upper case": ("t.TXT.GZ", PLAIN, None, "auto", False),
    "a byte order mark before a header": ("t.tsv", "\ufeffen\tfr\n" + PLAIN, None, "auto", True),
    "a header in the other order": (
        "t.tsv",
        "French text\tEnglish_text\n" + "".join(f"{t}\t{s}\n" for s, t in PAIRS),
        None,
        "auto",
        True,
    ),
    "a header of codes with regions": ("t.tsv", "en_US\tfr-FR\n" + PLAIN, None, "auto", True),
    "a header of codes of three letters": ("t.tsv", "eng\tFRA\n" + PLAIN, None, "auto", True),
    "a header of codes of three letters in the other order": (
        "t.tsv",
        "fre\teng\n" + "".join(f"{tgt}\t{src}\n" for src, tgt in PAIRS),
        None,
        "auto",
        True,
    ),
    "a header of another language": ("t.tsv", "English\tGerman\n" + PLAIN, None, "auto", True),
    "the same, in the other order": (
        "t.tsv",
        "German\tEnglish\n" + "".join(f"{t}\t{s}\n" for s, t in PAIRS),
        None,
        "auto",
        True,
    ),
    "a header of sides": ("t.tsv", "Source\tTarget\n" + PLAIN, None, "auto", True),
    "a header in other words": ("t.tsv", "one\tother\n" + PLAIN, None, True, True),
    "columns by number, in another order": ("t.tsv", SCORED, [4, 3], "auto", True),
    "columns by name, in any case": ("t.tsv", SCORED, [" english", "FRENCH"], "auto", True),
    "a name and a number": ("t.tsv", SCORED, ["English", 3], "auto", True),
    "CSV": ("t.csv", QUOTED, None, "auto", False),
    "CSV, packed, CRLF": ("t.csv.gz", QUOTED.replace("\n", "\r\n"), None, "auto", False),
    "CSV of a spreadsheet": (
        "t.csv",
        "".join(f'"{s}";"{t}";\n'.replace('"yes"', '""yes""') for s, t in PAIRS),
        None,
        "auto",
        False,
    ),
    "CSV with tabs": ("t.csv", QUOTED.replace(",L", "\tL").replace(",I", "\tI"), None, "auto", False),
    "CSV with a header": (
        "t.csv",
        "id,English,French\n7," + QUOTED.replace("\n", "\n7,", 1),
        ["english", "french"],
        "auto",
        True,
    ),
    "line breaks in cells": (
        "t.csv",
        QUOTED.replace("goat sings", "goat\nsings").replace("chèvre chante.", "chèvre chante."),
        None,
        "auto",
        False,
    ),
    "trailing tabs": ("t.tsv", PLAIN.replace("\n", "\t\t\n"), None, "auto", False),
    "a separator that is named": (
        "t.csv",
        "sep=\t\nEnglish\tFrench\n" + QUOTED.replace(",L", "\tL").replace(",I", "\tI"),
        None,
        "auto",
        True,
    ),
    "empty cells at the end": ("t.tsv", PLAIN.replace("\n", "\t\n", 1).replace(".\n", ".\tx\n"), [1, 2], "auto", False),
    "semicolons, and a comma in every text": (
        "t.csv",
        "".join(f"{s};{t}\n" for s, t in [("Meier, Anna", "Anna Meier"), ("3,5", "three, no, five")]),
        None,
        "auto",
        False,
    ),
    "the same, quoted": ("t.csv", '"a,b";"c,d"\n"e,f";"g,h"\n', None, "auto", False),
    "a header in the languages themselves": ("t.tsv", "Français\tEnglish\nb\ta\n", None, "auto", True),
    "a header of which one name is understood": ("t.tsv", "Français\tAnglais\nb\ta\n", None, True, True),
    "two keys": (
        "t.jsonl",
        "".join(json.dumps({"a": s, "b": t, "n": 1}) + "\n" for s, t in PAIRS),
        ["a", "b"],
        "auto",
        False,
    ),
    "texts beside an object that is called translation": (
        "t.jsonl",
        "".join(json.dumps({"en": s, "fr": t, "translation": {"en": "x", "fr": "y"}}) + "\n" for s, t in PAIRS),
        None,
        "auto",
        False,
    ),
    "a line for spreadsheets in capitals": ("t.csv", "SEP=,\n" + QUOTED, None, "auto", False),
    "wrapped objects": (
        "t.jsonl",
        "".join(json.dumps({"translation": {"en": s, "fr": t}}) + "\n" for s, t in PAIRS),
        None,
        "auto",
        False,
    ),
}


FEATURES = [("walk V;PST", "walked"), ("go V;PST", "went")]
READ |= {
    "a word and its features": ("t.tsv", "walk\twalked\tV;PST\ngo\twent\tV;PST\n", ["1+3", 2], "auto", False),
    "the same by name": ("t.csv", "f,w,t\nwalked,walk,V;PST\nwent,go,V;PST\n", ["w+t", "f"], "auto", True),
    "a name with a plus": ("t.tsv", "w+t\tf\nwalk V;PST\twalked\ngo V;PST\twent\n", ["w+t", "f"], "auto", True),
}
OTHER_PAIRS = {  # of some of these
    "a word and its features": FEATURES,
    "the same by name": FEATURES,
    "a name with a plus": FEATURES,
    "semicolons, and a comma in every text": [("Meier, Anna", "Anna Meier"), ("3,5", "three, no, five")],
    "the same, quoted": [("a,b", "c,d"), ("e,f", "g,h")],
    "a header in the languages themselves": [("a", "b")],
    "a header of which one name is understood": [("a", "b")],
}


@pytest.mark.parametrize("case", READ)
def test_a_table_is_read_by_its_columns_and_its_header_is_no_pair(tmp_path, case):
    name, text, columns, header, has_header = READ[case]
    form, file = Form("en", "fr", columns, header), write(tmp_path, name, text)
    assert read_pairs(file, *form) == OTHER_PAIRS.get(case, PAIRS)
    assert (describe_table(file, form) is not None) == has_header


PAIRS_OF_WORDS = {  # no headers
    "Deutsch\tGerman": "de en",
    "English\tanglais": "en fr",
    "id\tIch": "en de",
    "Latin\tLatin": "en de",
    "it\tla": "en es",
    "no\tde": "en nl",
    "cat\test": "en fr",
    "fin\tpor": "fr es",
}


@pytest.mark.parametrize("first", PAIRS_OF_WORDS)
def test_a_pair_that_names_a_language_is_no_header(tmp_path, first):
    file = write(tmp_path, "t.tsv", f"{first}\na\tb\n")
    assert read_pairs(file, *PAIRS_OF_WORDS[first].split()) == [tuple(first.split("\t")), ("a", "b")]


def test_a_cell_of_csv_may_be_long_and_one_of_many_lines_is_warned_of(tmp_path, caplog):
    long = "x" * 200_000
    assert read_pairs(write(tmp_path, "t.csv", f"{long},b\n"), "en", "fr") == [(long, "b")]
    file = write(tmp_path, "u.csv", '"a,b\n' + "c,d\n" * 9 + 'e",f\ng,h\n')
    assert read_pairs(file, "en", "fr")[-1] == ("g", "h")
    assert caplog.messages == [f"{file}:1: a row of 11 lines: is the end of a quotation missing there?"]


def test_an_empty_last_cell_of_the_first_row_is_a_column(tmp_path):
    file = write(tmp_path, "t.tsv", "a\tb\t\nc\td\te\n")
    assert read_pairs(file, "en", "fr", [1, 3]) == [("a", ""), ("c", "e")]


def test_blank_rows_and_empty_cells_are_blank_sides(tmp_path):
    file = write(tmp_path, "t.tsv", "\n\t\na\t\n\tb\nen\tfr\n")
    assert read_pairs(file, "en", "fr") == [("", ""), ("", ""), ("a", ""), ("", "b"), ("en", "fr")]
    assert read_pairs(write(tmp_path, "t.csv", "a,\n\n,b\n"), "en", "fr") == [("a", ""), ("", ""), ("", "b")]


REFUSED = {  # the file, its text, columns, header; what is said after its name
    "more than two": (
        "t.tsv",
        SCORED,
        None,
        "auto",
        ":1: 4 tab-separated cells (1 'no', 2 'sure', 3 'French', 4 'English'"
        "); a row needs exactly 2, the source and the target; choose source and target by their "
        "numbers or names: data.columns: [English, French], or --columns English,French",
    ),
    "as downloaded": (
        "t.txt",
        "a\tb\tc\n",
        None,
        "auto",
        ":1: 3 tab-separated cells (1 'a', 2 'b', 3 'c'); a row needs "
        "exactly 2, the source and the target; choose source and target by their numbers or names: data.columns: "
        "[N, M], or --columns N,M (1+3 joins two",
    ),
    "a comment": ("t.tsv", "# exported\na\tb\n", None, "auto", "if the line is a comment, delete it and all others"),
    "a comment of a dictionary": ("t.txt", ";;; # words\na\tb\n", None, "auto", "if the line is a comment, delete it"),
    "a comment of as many cells": ("t.tsv", "# a\tb\nc\td\te\n", None, "auto", "; if line 1 ('# a') is a comment"),
    "a comment further down": ("t.tsv", "a\tb\n# c\n", None, "auto", ":2: 1 tab-separated cell (1 '# c'); a row needs"),
    "the end of a file of DOS": ("t.tsv", "a\tb\n\x1a\n", None, "auto", ":2: 1 tab-separated cell (1 '\\x1a')"),
    "a comma in a cell": ("t.csv", 'a,b,"c"\nd,e,f\n', None, "auto", "; or quote cells that hold commas"),
    "a line break in a cell": ("t.tsv", 'a\t"b\nc"\n', None, "auto", "if cells are quoted as in CSV, let its name"),
    "a header of JSON lines": ("t.jsonl", '{"en": "a", "fr": "b"}\n', None, True, "but JSON lines have none"),
    "a key twice": ("t.jsonl", '{"en": "a", "fr": "b", "en": "c"}\n', None, "auto", ":1: not JSON (the key en appears"),
    "one key for both": ("t.jsonl", '{"en": "a", "fr": "b"}\n', ["en", "en"], "auto", "has the key en twice"),
    "numbers in quotation marks": ("t.tsv", "a\tb\n", ["1", "2"], "auto", "a number has no quotation marks"),
    "equals signs": ("t.tsv", "der Hund = the dog\n", None, "auto", "if ' = ' separates them, replace it by a tab"),
    "three bars": ("t.txt", "der Hund ||| the dog\n", None, "auto", "if ' ||| ' separates them, replace it by a tab"),
    "many spaces": ("t.txt", "der Hund    the dog\n", None, "auto", "if '    ' separates them, replace it by a tab"),
    "a joined column twice": ("t.tsv", "a\tb\tc\n", ["1+3", 3], "auto", "asks for column 3 twice"),
    "a part that is not there": ("t.tsv", "a\tb\tc\n", ["1+4", 2], "auto", "there is no column 4"),
    "no such number": ("t.tsv", PLAIN, [1, 3], "auto", "there is no column 3, which data.columns (--columns) asks for"),
    "no such name": ("t.tsv", SCORED, ["German", 3], "auto", "there is no column German, which data.columns"),
    "a name twice": ("t.csv", "x,x\na,b\n", ["x", 2], "auto", "2 columns have the name x, which"),
    "one column twice": ("t.csv", "x,y\na,b\n", ["x", 1], "auto", "asks for column 1 twice"),
    "names without a header": ("t.tsv", SCORED, ["French", "English"], False, "choose columns by number"),
    "numbers of keys": ("t.jsonl", '{"a": "b"}\n', [1, 2], "auto", "JSON lines have keys: name them"),
    "other keys": ("t.jsonl", '{"a": "b"}\n', None, "auto", "or name other keys: data.columns: [KEY, KEY]"),
    "a ragged row": (
        "t.tsv",
        "a\tb\tc\nd\n",
        [1, 2],
        "auto",
        ":2: 1 tab-separated cell (1 'd'); a row needs exactly 3, as",
    ),
    "a tab in a text": ("t.tsv", "a\tb\nc\td\te\n", None, "auto", ":2: 3 tab-separated cells (1 'c', 2 'd', 3 'e')"),
    "a tab in a text, chosen": ("t.tsv", "a\tb\nc\td\te\n", [2, 1], "auto", ":2: 3 tab-separated cells"),
    "quotes in tabs": (
        "t.tsv",
        'a\tb\n"c\nd"\te\n',
        None,
        "auto",
        "if cells are quoted as in CSV, let its name end in .csv",
    ),
    "commas in tabs": (
        "t.tsv",
        "a,b\n",
        None,
        "auto",
        "if commas or semicolons separate them, let the name end in .csv",
    ),
    "one side": (
        "t.txt",
        "A goat\n",
        None,
        "auto",
        "if it is one side of a corpus, name the two files NAME.en and NAME.fr",
    ),
    "an open quote": ("t.csv", 'a,b\n"c,d\n', None, "auto", ":2: not CSV (unexpected end of data); a cell that begins"),
    "a quote too many": ("t.csv", 'a,b\n"c"d,e\n', None, "auto", ":2: not CSV ("),
    "gzip by another name": (
        "t.tsv",
        "\x1f\x8b\x08\x00",
        None,
        "auto",
        ": not plain text in UTF-8: it is packed by gzip",
    ),
    "a spreadsheet": ("t.csv", "PK\x03\x04", None, "auto", "save the table as CSV in UTF-8"),
    "two separators": ("t.csv", "a,b;c\nd,e;f\n", None, "auto", "say which in a first line of its own: sep=, or sep=;"),
    "two separators that look like punctuation": ("t.csv", "a, b; c\nd, e; f\n", None, "auto", "sep=, or sep=;"),
    "lines that end in CR": (
        "t.tsv",
        "a\tb\rc\td\r",
        None,
        "auto",
        ": its lines end in carriage returns",
    ),
    "PO": ("t.po", 'msgid "a"', None, "auto", ": the file exists, but PO holds more than pairs: convert it"),
    "XLIFF": ("t.en.xliff", "<xliff>", None, "auto", ": the file exists, but XLIFF is mark-up: convert it"),
    "OpenDocument": ("t.ods", "PK", None, "auto", "a spreadsheet must be saved as CSV in UTF-8"),
    "xz": ("t.tsv.xz", "\xfd7zXZ", None, "auto", "of packed files only .gz is read: unpack it"),
    "TMX": ("t.tmx", "<tmx>", None, "auto", ": the file exists, but TMX is mark-up: convert it"),
    "SGM": ("t.en.sgm", "<seg>", None, "auto", ": the file exists, but SGM is mark-up"),
    "an unknown ending": ("t.dat", PLAIN, None, "auto", "the name of a table ends in .tsv, .jsonl, .csv, .txt"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_is_not_as_it_seems_is_an_error_with_the_way_out(tmp_path, case):
    name, text, columns, header, says = REFUSED[case]
    file = write(tmp_path, name, text, "latin-1" if "\x8b" in text else "utf-8")
    said = mistake(read_pairs, file, "en", "fr", columns, header)
    assert says in said, said
    assert str(file) in said


def test_utf_16_is_named_with_and_without_its_mark_and_a_folder_too(tmp_path):
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        assert "it is UTF-16; convert" in mistake(read_pairs, write(tmp_path, "t.tsv", PLAIN, encoding), "en", "fr")
    assert "that is a folder" in mistake(read_pairs, tmp_path, "en", "fr")


@pytest.mark.parametrize("value", ["2,3", "[2]", "[2, 2]", "[0, 1]", "[1, 2, 3]", "[en, no]", "[1.5, 2]", "[en, '']"])
def test_wrong_columns_in_a_config_are_an_error_with_an_example(tmp_path, value):
    with pytest.raises(UserError, match=r"data\.columns is .*; write two numbers, \[2, 3\], or two names"):
        load_config(write_config(tmp_path), [f"data.columns={value}"])


# ------------------------------------------------------------------------------------------------------- commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run trained from tables with three columns and a header, and the same text in two files."""
    folder = tmp_path_factory.mktemp("tables")
    config = write_config(folder, training={"max_updates": 20, "validate_every": 10})
    tables = []
    for name in ("train", "dev", "test"):
        rows = enumerate(read_pairs(folder / name, "en", "de"))
        write(folder, f"{name}.csv", "n,German,English\n" + "".join(f'{n},"{tgt}","{src}"\n' for n, (src, tgt) in rows))
        tables.append(f"data.{name}={folder / name}.csv")
    assert main(["train", str(config), *tables, "data.columns=[English, German]", "--run", str(folder / "run")]) == 0
    assert main(["train", str(config), "--run", str(folder / "plain")]) == 0
    return folder


def printed(capsys, *arguments):
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_a_run_from_tables_equals_one_from_two_files(folder):
    runs = [Run(folder / name) for name in ("run", "plain")]
    weights = [(run.checkpoints.named("last").path / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1]


def test_a_suspected_header_and_exchanged_sides_are_said_by_every_command_that_reads_pairs(folder, capsys, caplog):
    rows = "".join(f"{ko}\tthe red house\n" for ko in ("그 빨간 집", "그 집"))
    write(folder, "korean.tsv", "Zieltext\tQuelle\n" + rows * 4)
    run = folder / "turned"
    shutil.copytree(folder / "plain", run)
    config = (run / "config.yaml").read_text().replace("tgt: de", "tgt: ko")
    (run / "config.yaml").write_text(config)
    environment = (run / "environment.json").read_text().replace('"de"', '"ko"')
    (run / "environment.json").write_text(environment)
    for command in ("evaluate", "score", "align"):
        caplog.clear()
        printed(capsys, command, run, "--data", folder / "korean.tsv")
        said = "\n".join(caplog.messages)
        assert "korean.tsv:1 is taken for a pair: 'Zieltext' and 'Quelle'" in said
        assert "en is written in Hangul, ko in Latin: are the two sides exchanged?" in said or command == "align"


def test_a_column_by_number_whose_first_cell_is_a_name_is_translated_with_a_warning(folder, capsys, caplog):
    write(folder, "named.tsv", "en\tde\nthe cat sees\tx\n")
    lines = printed(capsys, "translate", folder / "plain", "--input", folder / "named.tsv", "--column", "1")
    assert lines.count("\n") == 2
    assert any("named.tsv:1: 'en' is read as a text; if it is the name" in message for message in caplog.messages)
    caplog.clear()
    lines = printed(capsys, "translate", folder / "plain", "--input", folder / "named.tsv", "--column", "en")
    assert (lines.count("\n"), "is read as a text" in caplog.text) == (1, False)


def test_evaluate_and_score_read_the_tables_of_the_run_and_others(folder, capsys, caplog):
    run, plain = folder / "run", folder / "plain"
    lines = ["--src", folder / "test.en", "--tgt", folder / "test.de"]
    scores = printed(capsys, "score", plain, *lines)
    assert scores.count("\n") == 12
    assert printed(capsys, "score", run, "--data", folder / "test.csv") == scores
    assert printed(capsys, "score", plain, "--data", folder / "test.csv", "--columns", "3,2") == scores
    assert printed(capsys, "score", plain, "--data", folder / "test") == scores
    assert any("test.csv:1 is a header, no pair" in message for message in caplog.messages)

    evaluated = json.loads(printed(capsys, "evaluate", plain, "--json"))
    for arguments in ([run], [run, "--data", folder / "test.csv"], [plain, "--data", folder / "test"]):
        found = json.loads(printed(capsys, "evaluate", *arguments, "--json"))
        assert found | {"seconds": 0} == evaluated | {"seconds": 0}
    assert len(list((run / "evaluations").glob("test.csv-*.json"))) == 1


WRONG = {
    "--data beside --src": ("--data test.csv --src test.en --tgt test.de", "are both given; give one of them"),
    "--columns without --data": (
        "--src test.en --tgt test.de --columns 1,2",
        "say how --data is read; give --data FILE",
    ),
    "one column": ("--data test.csv --columns 1", "--columns 1: give two columns, such as 1,2 or english,french"),
    "no number": ("--data test.csv --columns 0,1", "--columns 0,1: give two columns"),
    "nothing": ("", "give --src and --tgt, or --data"),
    "a table as both sides": ("--src test.csv --tgt test.csv", "--data test.csv reads its columns"),
}


@pytest.mark.parametrize("case", WRONG)
def test_options_that_do_not_fit_are_an_error(folder, capsys, monkeypatch, case):
    monkeypatch.chdir(folder)
    options, says = WRONG[case]
    assert main(["score", "plain", *options.split()]) == 2
    assert says in capsys.readouterr().err


def test_tabs_in_plain_text_are_counted_in_one_warning(folder, tmp_path, capsys, caplog):
    table = write(tmp_path, "lines.txt", "the cat\tdie Katze\nold dog\nthe dog\tx\n")
    said = (
        f"{table}: read as plain text, a sentence a line; 2 lines have tabs, which become spaces; of a table, give one"
    )
    for arguments in (["translate", folder / "plain", "--input", table], ["score", folder / "plain", "--src", table]):
        other = ["--tgt", write(tmp_path, "other", "a\nb\nc\n")] if "score" in arguments else []
        caplog.clear()
        with caplog.at_level(logging.WARNING, "seq2seq"):
            printed(capsys, *arguments, *other)
        assert [said in message for message in caplog.messages if "unsure" not in message] == [True]


def test_other_columns_of_the_same_file_are_another_text(folder, capsys):
    """Resumed with other columns, a run makes its store of token ids anew."""
    config, run = str(folder / "run" / "config.yaml"), str(folder / "run")
    before = Store(folder / "run" / "store").inputs
    turned = ["data.columns=[German, English]", "training.max_updates=22"]
    assert main(["train", config, *turned, "--run", run, "--resume"]) == 2
    assert "data.columns" in capsys.readouterr().err
    assert main(["train", config, *turned, "--run", run, "--resume", "--allow-changes"]) == 0
    assert Store(folder / "run" / "store").inputs != before


@pytest.mark.parametrize(
    "above", ["", "\n\n", "A list of words\n", "A list of words\t\n\t\n", "A list, 2020\nby me\n\n"]
)
def test_a_title_may_stand_above_the_header(tmp_path, above):
    file = write(tmp_path, "t.tsv", f"{above}is\tipa\naf\taː v\n\nvar\tv aː r\n")
    form = Form("is", "ipa")
    assert read_pairs(file, *form) == [("af", "aː v"), ("", ""), ("var", "v aː r")]
    header = above.count("\n") + 1
    assert first_line(file, form) == header + 1
    assert describe_table(file, form).startswith(f"{file}:{header} is a header")
    assert suspect_header(file, form) is None


def test_what_stands_above_a_table_without_a_header_is_no_title(tmp_path):
    file = write(tmp_path, "t.tsv", "A list of words\naf\taː v\n")
    with pytest.raises(UserError, match=r"t.tsv:1: 1 tab-separated cell \(1 'A list of words'\)"):
        read_pairs(file, "is", "ipa")


@pytest.mark.parametrize(
    ("first", "is_header"),
    [
        ("word\tpronunciation", True),
        ("Lemma\tipa", True),
        ("ipa\tword", True),
        ("foo\tipa", False),
        ("ipa\tipa", False),
    ],
)
def test_a_header_may_name_kinds_of_text(tmp_path, first, is_header):
    file = write(tmp_path, "t.tsv", f"{first}\naf\taː v\n")
    assert (describe_table(file, Form("is", "ipa")) is not None) == is_header
    assert len(read_pairs(file, "is", "ipa")) == 2 - is_header


TEXT = "Ein Mann läuft über die Straße, und die Frau grüßt ihn später. Das Mädchen hört Übungen für Anfänger.\n" * 20


@pytest.mark.parametrize(
    ("encoding", "text", "named"),
    [
        ("utf-16-le", "친구를 만났어요.\n거기 있어요.\n", "UTF-16LE"),
        ("utf-16-be", "친구를 만났어요.\n거기 있어요.\n", "UTF-16BE"),
        ("cp949", "친구를 만났어요. 그리고 집에 갔어요.\n거기 있어요. 오늘은 날씨가 좋아요.\n" * 20, "CP949"),
        ("cp1251", "Мъжът върви по улицата и поздравява жената.\n" * 20, "CP1251"),
        ("cp1252", TEXT, "CP1252"),
        ("cp1252", "café\nok\n", "CP1252"),
        ("mac_roman", "L’été, “café” à Noël, dans la maison de mon père\n", "MACINTOSH"),
    ],
)
def test_an_error_guesses_the_encoding_of_what_is_no_utf_8(tmp_path, encoding, text, named):
    (tmp_path / "t").write_bytes(text.encode(encoding))
    with pytest.raises(UserError, match=rf"not UTF-8; convert the file to UTF-8, for example with iconv -f {named} -t"):
        list(stream_lines(tmp_path / "t"))


def test_a_key_of_json_lines_may_be_in_an_object(tmp_path):
    row = {"meta": {"src": {"text": "a"}, "tgt": "b"}, "x.y": "c"}
    file = write(tmp_path, "t.jsonl", json.dumps(row) + "\n")
    assert read_pairs(file, "en", "fr", ["meta.src.text", "meta.tgt"]) == [("a", "b")]
    assert read_pairs(file, "en", "fr", ["x.y", "meta.tgt"]) == [("c", "b")]
    for key in ("meta.src", "meta.none", "meta.tgt.text", "x.z"):
        with pytest.raises(UserError, match=rf't.jsonl:1: key "{key}" is '):
            read_pairs(file, "en", "fr", [key, "meta.tgt"])


def test_a_first_pair_of_few_phones_is_no_suspected_header(tmp_path):
    file = write(tmp_path, "t.tsv", "af\taː v\nafar\taː v a r\naldur\ta l t ʏ r\n")
    assert suspect_header(file, Form("is", "ipa")) is None
