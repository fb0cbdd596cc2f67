"""The page: one file that holds every weight, runs nothing that a text says, and needs nothing from outside."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from seq2seq.errors import UserError
from seq2seq.plots import AttentionMap, save_page

ROWS, COLUMNS = ["▁Der", "▁Leh", "rer", "</s>"], ["▁그", "▁선생", "님은", "</s>"]
WORDS = [0, 1, 1, 2]
HOSTILE = ["</script><b>x</b>", "<!--<script>", "&lt;", "a\u2028b", '"\\', "{{data}}", "</s>"]


def map_of(rows, columns, heads):
    weights = np.random.default_rng(3).dirichlet(np.ones(4), (heads, 4))
    return AttentionMap(rows, columns, [f"head {i + 1}" for i in range(heads)], weights, WORDS, WORDS)


class Tags(HTMLParser):
    """The elements of a page: their names, and the text of those with an id or a script's."""

    def __init__(self, page):
        super().__init__()
        self.names, self.texts = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        assert not {name for name, _ in attrs if name.startswith("on") or name in ("src", "href", "action")}

    def handle_data(self, data):
        self.texts.append(data)


def page_of(folder, *arguments):
    save_page(folder / "a.html", *arguments)
    return (folder / "a.html").read_text(encoding="utf-8")


def data_of(page):
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(data)


def hostile(folder):
    bad = AttentionMap.of_tokens(HOSTILE, HOSTILE, [[1 / 7] * 7] * 7)
    return page_of(folder, "</title><script>alert(1)</script>", '<b onclick="x">{{text}}', bad)


def test_the_page_holds_the_weights_of_every_head_and_their_mean_first(tmp_path):
    decoder = map_of(ROWS, COLUMNS, heads=3)
    [view] = data_of(page_of(tmp_path, "그 선생님은", "Der Lehrer", decoder))
    tokens, words = view["maps"]["tokens"], view["maps"]["words"]
    assert tokens["heads"] == ["mean of all heads", "head 1", "head 2", "head 3"]
    assert np.array(tokens["weights"]) == pytest.approx(np.stack([decoder.weights.mean(0), *decoder.weights]), abs=5e-5)
    assert np.array(words["weights"][1:]) == pytest.approx(decoder.words().weights, abs=5e-5)
    assert (tokens["rows"], tokens["columns"]) == (["_Der", "_Leh", "rer", "</s>"], ["_그", "_선생", "님은", "</s>"])
    assert view["row_words"] == view["column_words"] == WORDS
    assert (words["rows"], words["columns"]) == (["Der", "Lehrer", "</s>"], ["그", "선생님은", "</s>"])


def test_self_attention_of_the_encoder_is_a_view_of_its_own(tmp_path):
    encoder = map_of(COLUMNS, COLUMNS, heads=2)
    views = data_of(page_of(tmp_path, "그 선생님은", "Der Lehrer", map_of(ROWS, COLUMNS, heads=1), encoder))
    assert [view["name"] for view in views] == ["translation → source", "source → source"]
    heads = [view["maps"]["tokens"]["heads"] for view in views]
    assert heads == [["head 1"], ["mean of all heads", "head 1", "head 2"]]


def test_every_view_offers_the_same_choice_of_words_and_tokens(tmp_path):
    whole, pieces = AttentionMap.of_tokens(["a"], ["b"], [[1.0]]), map_of(COLUMNS, COLUMNS, heads=1)
    assert [list(view["maps"]) for view in data_of(page_of(tmp_path, "b", "a", whole))] == [["words"]]
    assert [list(v["maps"]) for v in data_of(page_of(tmp_path, "b", "a", whole, pieces))] == [["words", "tokens"]] * 2


def test_text_and_tokens_are_inert_whatever_they_spell(tmp_path):
    page = hostile(tmp_path)
    harmless = page_of(tmp_path, "a", "b", AttentionMap.of_tokens(["x"], ["y"], [[1.0]]))
    assert Tags(page).names == Tags(harmless).names
    shown = ["".join(c if c.isprintable() else f"<{ord(c):04X}>" for c in token) for token in HOSTILE]
    assert data_of(page)[0]["maps"]["words"]["rows"] == shown
    assert {"</title><script>alert(1)</script>", '<b onclick="x">{{text}}'} <= {*Tags(page).texts}
    assert "\u2028" not in page


def test_the_page_needs_nothing_from_outside(tmp_path):
    page = page_of(tmp_path, "그 선생님은", "Der Lehrer", map_of(ROWS, COLUMNS, heads=2))
    names = page.replace("http://www.w3.org/2000/svg", "")  # the name of a format, which nobody fetches
    assert not re.findall(r"https?:|src\s*=|href\s*=\"|url\(|@import|fetch\(|import\(", names)
    assert "default-src 'none'" in page


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_the_script_can_be_parsed(tmp_path):
    page = hostile(tmp_path)
    [script] = re.findall(r'<script type="module">\n(.*?)</script>', page, re.DOTALL)
    (tmp_path / "page.mjs").write_text(script, encoding="utf-8")
    done = subprocess.run(["node", "--check", tmp_path / "page.mjs"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_both_sides_have_their_language_unless_it_is_only_the_ending_of_a_file(tmp_path):
    one = AttentionMap.of_tokens(["x"], ["y"], [[1.0]])
    page = page_of(tmp_path, "y", "x", one, one, ("ko", "tok"))
    assert [view["languages"] for view in data_of(page)] == [
        {"rows": "", "columns": "ko"},
        {"rows": "ko", "columns": "ko"},
    ]
    assert '<h1 dir="auto" lang="ko">' in page
    assert '<p dir="auto" lang="">' in page


def test_another_ending_or_a_missing_folder_is_an_error_that_names_the_file(tmp_path):
    one = AttentionMap.of_tokens(["x"], ["y"], [[1.0]])
    with pytest.raises(UserError, match=r"a\.png: the page is an \.html file"):
        save_page(tmp_path / "a.png", "y", "x", one)
    with pytest.raises(UserError, match=r"nowhere.a\.html: No such file"):
        save_page(tmp_path / "nowhere" / "a.html", "y", "x", one)
