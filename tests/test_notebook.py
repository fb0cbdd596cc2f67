"""What a notebook shows of translations and attention maps."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from seq2seq.decoding.attention_map import AttentionMap
from seq2seq.decoding.translation import Translation

EVIL = ["<script>alert(1)</script>", '"><img src=x onerror=y>', "&amp;", "\x1b[31m", "عربي", "</s>"]


def tables_of(shown):
    """The tables of a piece of HTML, which must be well formed, each as (caption, columns, rows, weights)."""
    tables = []
    for table in ElementTree.fromstring(f"<div>{shown}</div>").iter("table"):
        head, *lines = table.iter("tr")
        weights = [
            [float(re.findall(r"rgba\(70,125,190,([\d.]+)\)", cell.get("style"))[0]) for cell in line.iter("td")]
            for line in lines
        ]
        columns, rows = ([th.findtext("bdi") for line in part for th in line.iter("th")] for part in ([head], lines))
        tables.append((table.findtext("caption"), columns, rows, weights))
    return tables


def test_a_map_is_a_table_for_each_head_whose_colors_are_the_weights():
    weights = np.random.default_rng(1).random((2, 2, 3))
    map = AttentionMap(["▁a", "b"], ["▁c", "d", "</s>"], ["head 1", "head 2"], weights, [0, 0], [0, 0, 1])
    tables = tables_of(map._repr_html_())
    assert [table[:3] for table in tables] == [(name, ["_c", "d", "</s>"], ["_a", "b"]) for name in map.heads]
    assert np.array([table[3] for table in tables]) == pytest.approx(weights, abs=5e-4)
    [(caption, *_)] = tables_of(map.mean().head(0)._repr_html_())
    assert caption is None


def test_a_translation_shows_its_text_its_doubt_and_where_it_looked():
    weights = np.full((6, 6), 0.5).tolist()
    translation = Translation("".join(EVIL[:3]), -1.0, -1.0, EVIL, EVIL, [], weights, unsure="<b>strange</b>")
    shown = translation._repr_html_()
    root = ElementTree.fromstring(f"<div>{shown}</div>")
    assert {*(each.tag for each in root.iter())} == {"div", "table", "tr", "td", "th", "bdi"}
    texts = [each.text for each in root.iter("div")]
    assert texts[1:3] == ["".join(EVIL[:3]), "unsure: <b>strange</b>"]
    [(_, columns, rows, _)] = tables_of(shown)
    assert columns == rows == [*EVIL[:3], "<001B>[31m", *EVIL[4:]]
    assert not re.search(r"script|https?:|url\(|src=", re.sub("&lt;.*?&gt;|&quot;&gt;.*?&gt;", "", shown))
    assert tables_of(Translation("a", 0.0, 0.0, [], [])._repr_html_()) == []


def test_of_very_many_cells_the_mean_is_shown_or_none():
    def of(heads, tokens):
        names = [f"head {i}" for i in range(heads)]
        return AttentionMap(["a"] * tokens, ["b"] * tokens, names, np.zeros((heads, tokens, tokens)), [0], [0])

    assert [caption for caption, *_ in tables_of(of(2, 80)._repr_html_())] == ["mean of all heads"]
    assert "101 by 101 tokens are too many" in of(1, 101)._repr_html_()
