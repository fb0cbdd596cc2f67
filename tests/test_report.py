"""The report of an evaluation: what it counts, what it marks, and that nothing in a text becomes mark-up."""

import re
from html.parser import HTMLParser

import pytest
from tiny import write_config

from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.evaluation.evaluate import Evaluation
from seq2seq.evaluation.measures import count_all
from seq2seq.evaluation.report import Confusion, _marked, confuse, repeats, save_report
from seq2seq.text.tokenizer import train_tokenizers
from seq2seq.training.train import train

LINES = [  # source, reference, translation
    ("a dog", "ein Hund", "ein Hund"),
    ("a rare cat", "eine Katze", ""),
    ('a <b>house</b> & a "tree"', "ein <b>Haus</b>", 'a <b>house</b> & a "tree"'),
    ("a dog and a cat", "ein Hund und eine Katze", "ein ein ein Hund"),
    ("a dog or a cat", "ein Hund oder eine Katze", "ein ein ein Hund"),
]


def report_of(tmp_path, lines, training):
    sources, references, hypotheses = map(list, zip(*lines, strict=True))
    counts = count_all(hypotheses, [references], lowercase=False, with_ter=True)
    measures = {name: each.measure() for name, each in counts.items()}
    rest = {
        "beam": 5,
        "length_penalty": 0.6,
        "shortlist": False,
        "precision": "fp32",
        "mbr": False,
        "seconds": 1.0,
        "notes": [],
    }
    texts = {"sources": sources, "references": [references], "hypotheses": hypotheses, "counts": counts}
    tokenizers = train_tokenizers("word", 99, True, False, "split", sources, references)
    evaluation = Evaluation(sentences=len(lines), **rest, **measures, **texts)
    save_report(tmp_path / "report.html", "run: <test>", evaluation, tokenizers, training)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


class Cells(HTMLParser):
    """The texts of the rows of all tables, and all tags."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.tags = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag == "table":
            self.rows.append([])  # what follows is in no cell of it

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def test_a_report_counts_what_goes_wrong_and_groups_the_lines(tmp_path):
    page = report_of(tmp_path, LINES, ["a dog"] * 6 + ["a cat and a cat"] * 2)
    rows = {row[0]: row[1:] for row in Cells(page).rows if row}
    assert rows["length"] == ["81.2 % of the reference's characters", ""]
    assert rows["empty"] == ["1 line (20.0%)", "2"]
    assert rows["copied source"] == ["1 line (20.0%)", "3"]
    assert rows["repeats itself"] == ["2 lines (40.0%)", "4, 5"]
    assert rows["same for different sources"] == ["2 lines (40.0%)", "4, 5"]
    # by length: 2, 3, 5, 5, 5 words; by the rarest word: dog 6, rare 0, house 0, and 2, or 0
    assert {name: rows[name][0] for name in ("2", "3", "5")} == {"2": "1", "3": "1", "5": "3"}
    assert {name: rows[name][0] for name in ("never seen", "1 to 4", "5 to 19")} == {
        "never seen": "3",
        "1 to 4": "1",
        "5 to 19": "1",
    }
    assert rows["5 to 19"][-1] == "100.0"
    assert re.findall("line ([0-9]+)", page)[0] == "2"  # the worst line comes first
    assert "line 1<" not in page  # a perfect line is not among the worst


def test_a_text_never_becomes_mark_up_and_nothing_is_fetched(tmp_path):
    page = report_of(tmp_path, LINES, [])
    assert "b" not in Cells(page).tags
    assert "&lt;b&gt;house&lt;/b&gt; &amp; a &#34;tree&#34;" in page
    assert "run: &lt;test&gt;" in page
    assert not re.search("https?:|<script|<link|src=", page)
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page


@pytest.mark.parametrize(
    ("reference", "hypothesis", "marked"),
    [
        ("a b c", "a x c", ("a <del>b</del> c", "a <ins>x</ins> c")),
        ("a b c d", "a d", ("a <del>b c</del> d", "a d")),
        ("a d", "a b c d", ("a d", "a <ins>b c</ins> d")),
        ("ihn", "ihm", ("ih<del>n</del>", "ih<ins>m</ins>")),
        ("a b", "", ("<del>a b</del>", "")),
        ("a < b", "a & b", ("a <del>&lt;</del> b", "a <ins>&amp;</ins> b")),
    ],
)
def test_differences_are_marked_word_by_word_or_letter_by_letter(reference, hypothesis, marked):
    assert _marked(reference, hypothesis) == marked


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ha ha ha", True),
        ("a b a b a b", True),
        ("a b a b", False),
        ("xabababx", True),
        ("zzz", False),
        ("", False),
    ],
)
def test_something_three_times_in_a_row_repeats_itself(text, found):
    assert repeats(text) is found


def test_evaluate_writes_a_report_even_if_the_training_text_is_gone(tmp_path, capsys):
    config = load_config(write_config(tmp_path), ["training.max_updates=2"])
    run = train(config, tmp_path / "run")
    for file in tmp_path.glob("train.*"):
        file.unlink()
    assert main(["evaluate", str(run.path), "--report", str(tmp_path / "report.htm")]) == 2
    assert "--report" in capsys.readouterr().err
    assert main(["evaluate", str(run.path), "--report", str(tmp_path / "report.html")]) == 0
    assert "unknown: no corpus at" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert main(["evaluate", str(run.path), "--report", str(tmp_path / "none/report.html")]) == 2


def test_confusions_are_the_fewest_edits_of_signs():
    pairs = [("abc", "abd"), ("abc", "ab"), ("c", "d"), ("a", "xa")]
    assert confuse([[*map(list, pair)] for pair in pairs]) == (
        [Confusion("c", "d", 2, 3), Confusion("", "x", 1, 0), Confusion("c", "", 1, 3)],
        4,
    )


def test_a_report_on_words_shows_confusions_and_what_training_has_seen(tmp_path):
    lines = [("af", "aː v", "a v"), ("var", "v aː r", "v a r"), ("og", "ɔː ɣ", "ɔː ɣ")]
    rows = {row[0]: row[1:] for row in Cells(report_of(tmp_path, lines, ["af", "og"])).rows if row}
    assert rows["aː"] == ["a", "2", "2"]
    assert rows["in the training text"][0] == "2"
    assert (rows["in the training text"][-1], rows["new"][-1]) == ("50.0", "0.0")
    assert "28.57 %" in report_of(tmp_path, lines, [])  # 2 of 7 phones
