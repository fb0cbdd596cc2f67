"""Pictures: attention in the terminal and in files, learning curves."""

import logging
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from wcwidth import wcswidth

from seq2seq.decoding.attention_map import readable
from seq2seq.errors import UserError
from seq2seq.plots import AttentionMap, Screen, figures, save_attention, save_curves, save_page, terminal_attention
from seq2seq.plots.comparison import save_comparison
from seq2seq.plots.terminal import SHADES, cell

SOURCE = ["▁그", "▁게으른", "▁선생님", "은", "▁웃었다", ".", "</s>"]
TOKENS = ["▁Der", "▁faule", "▁Leh", "rer", "▁lach", "te", ".", "</s>"]
MAP = AttentionMap.of_tokens(TOKENS, SOURCE, [[0.02 * (i + j) for j in range(7)] for i in range(8)])
RARE = "\U0001d2c0"  # a letter that hardly any font has


def flat(rows, columns, weight=0.1):
    """A map of one head with the same weight everywhere."""
    return AttentionMap.of_tokens(rows, columns, [[weight] * len(columns)] * len(rows))


def with_heads(map, names):
    """The map with its weights under several names."""
    weights = np.repeat(map.weights, len(names), axis=0)
    return AttentionMap(map.rows, map.columns, names, weights, map.row_words, map.column_words)


def panels_of(picture, rows):
    """The panels of a picture in the terminal, each as (key, header, rows)."""
    panels = [panel.split("\n") for panel in picture.split("\n\n")[:-1]]
    return [(lines[: -rows - 1], lines[-rows - 1], lines[-rows:]) for lines in panels]


def columns_of(text):
    """How many columns of a terminal a text takes."""
    return wcswidth(re.sub("\x1b\\[[0-9;]*m", "", text))


def record(update, split="dev", **numbers):
    return {"update": update, "split": split, **numbers}


METRICS = [
    record(10, "train", loss=3.0, learning_rate=2e-3, tokens_per_second=900.0),
    record(20, "train", loss=2.0, learning_rate=2e-3, tokens_per_second=950.0),
    record(20, loss=2.5, bleu=12.0, chrf=31.0, exact_match=0.0),
    record(40, loss=1.5, bleu=29.0, chrf=44.0, exact_match=7.0),
    record(60, loss=1.75, bleu=21.0, chrf=46.0, exact_match=5.0),
]


def texts_of(path: Path) -> list[str]:
    """The texts of an SVG picture."""
    return ["".join(e.itertext()) for e in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]


# ------------------------------------------------------------------------------------------------ in the terminal


ARABIC, KOREAN = ["كَتَب", "ولد", "على"], ["가가", "나"]


@pytest.mark.parametrize("width", [40, 100])
@pytest.mark.parametrize(
    ("source", "tokens"),
    [
        (SOURCE, TOKENS),
        (TOKENS, SOURCE),
        (["né", "\u0301"], ["先生", "🙂"]),
        (KOREAN * 9, ARABIC * 8),
        (ARABIC, KOREAN),
    ],
)
def test_a_cell_stands_below_its_source_token_and_beside_its_own_in_any_script(source, tokens, width):
    diagonal = AttentionMap.of_tokens(tokens, source, np.eye(len(tokens), len(source)).tolist())
    picture = terminal_attention(diagonal, Screen(width, None, 2**24))
    assert max(map(columns_of, picture.split("\n"))) <= width
    seen = 0
    for _, header, rows in panels_of(picture, len(tokens)):
        assert len(set(map(columns_of, rows))) == 1
        for label in list(re.finditer(r"\S+", header))[: len(tokens) - seen]:
            before, _, _ = rows[seen].partition("\x1b[48;2;255;214;90m")
            assert columns_of(before) == columns_of(header[: label.start()])
            seen += 1
    assert seen == min(len(source), len(tokens))


def test_source_tokens_that_do_not_fit_are_numbered_and_drawn_in_panels_unless_it_is_a_screen():
    source = [f"▁word{i}" for i in range(40)]
    picture = terminal_attention(flat(TOKENS, source), Screen(60))
    keys = " ".join(line for key, _, _ in panels_of(picture, len(TOKENS)) for line in key)
    assert keys.split() == [part for i in range(40) for part in (str(i + 1), f"_word{i}")]
    [(_, header, _)] = panels_of(terminal_attention(flat(TOKENS, source), Screen(60, 99), "more"), len(TOKENS) + 1)
    on_screen = terminal_attention(flat(TOKENS, source), Screen(60, 99), more="`:html x.html`")
    assert f"{40 - int(header.split()[-1])} more columns: `:html x.html` shows them" in on_screen


def test_a_picture_is_no_higher_than_the_screen_and_says_what_is_missing():
    long = flat([f"word{i}" for i in range(50)], SOURCE)
    picture = terminal_attention(long, Screen(100, 24), more="`:html x.html`")
    assert len(picture.split("\n")) <= 21
    shown = sum("word" in line for line in picture.split("\n"))
    assert f"{50 - shown} more rows: `:html x.html` shows them" in picture


def test_tokens_too_long_for_the_terminal_are_cut_and_still_aligned():
    picture = terminal_attention(flat(["c" * 99, "d"], ["가" * 99, "b"]), Screen(40))
    assert max(wcswidth(line) for line in picture.split("\n")) <= 40
    assert picture.count("…") == 2


@pytest.mark.parametrize(
    ("environment", "is_terminal", "screen"),
    [
        ({"COLORTERM": "truecolor", "TERM": "xterm"}, True, Screen(50, 9, 2**24)),
        ({"COLORTERM": "24bit", "TERM": "xterm-256color"}, True, Screen(50, 9, 2**24)),
        ({"TERM": "xterm-256color"}, True, Screen(50, 9, 256)),
        ({"TERM": "vt100"}, True, Screen(50, 9, 0)),
        ({"COLORTERM": "truecolor", "NO_COLOR": "1"}, True, Screen(50, 9, 0)),
        ({"COLORTERM": "truecolor", "NO_COLOR": ""}, True, Screen(50, 9, 2**24)),
        ({"COLORTERM": "truecolor", "TERM": "dumb"}, True, Screen(50, 9, 0)),
        ({"COLORTERM": "truecolor"}, False, Screen(50, None, 0)),
    ],
)
def test_the_screen_has_the_size_and_the_colors_of_the_terminal_in_use(monkeypatch, environment, is_terminal, screen):
    for name in ("COLORTERM", "TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"COLUMNS": "50", "LINES": "9", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal, raising=False)
    assert Screen.in_use() == screen


def test_a_greater_weight_is_never_shaded_or_colored_darker():
    def light(colored):
        *code, last = re.findall(r"\d+", colored)[1:]
        if code == ["5"] and int(last) > 231:  # a gray
            return 10 * (int(last) - 232) + 8
        steps, cube = (0, 95, 135, 175, 215, 255), int(last) - 16
        parts = (
            [steps[cube // 36], steps[cube // 6 % 6], steps[cube % 6]]
            if code == ["5"]
            else [*map(int, code[1:]), int(last)]
        )
        return np.dot(parts, (0.2126, 0.7152, 0.0722))

    order = "".join(shade for _, shade in reversed(SHADES))
    for colors in (0, 256, 2**24):
        cells = [cell(i / 500, 2, colors) for i in range(501)]
        lights = [light(each) if colors else order.index(each[0]) for each in cells]
        assert all(before <= after + 0.5 for before, after in pairwise(lights))
        assert lights[0] < lights[-1]
        assert (cell(-0.1, 2, colors), cell(1.1, 2, colors)) == (cells[0], cells[-1])


def test_several_heads_stand_below_each_other_under_their_names():
    two = with_heads(MAP, ["head 1", "head 2"])
    one = terminal_attention(MAP, Screen(80)).rpartition("\n\n")[0]
    parts = terminal_attention(two, Screen(80)).rpartition("\n\n")[0]
    assert parts == f"head 1\n\n{one}\n\nhead 2\n\n{one}"


# ------------------------------------------------------------------------------------------------------- in files


def test_a_png_is_a_picture_that_grows_with_the_sentence(tmp_path):
    sizes = []
    for n in (2, 8):
        save_attention(tmp_path / "a.png", flat(TOKENS[:n], TOKENS[:n]))
        data = (tmp_path / "a.png").read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        sizes.append((int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")))
    assert sizes[0] < sizes[1]
    assert min(sizes[0]) > 100


def test_an_svg_holds_the_tokens_as_text_whatever_fonts_there_are(tmp_path, caplog):
    source = [*SOURCE, "$a_b$", "<&>", "100 $ 그", RARE]
    save_attention(tmp_path / "a.svg", flat(TOKENS, source))
    assert {*map(readable, source), *map(readable, TOKENS), "attention weight"} <= {*texts_of(tmp_path / "a.svg")}
    assert caplog.text == ""


def test_the_cells_of_a_long_sentence_are_one_image_in_the_svg(tmp_path):
    long = [f"word{i}" for i in range(150)]
    save_attention(tmp_path / "a.svg", flat(long, long))
    assert (tmp_path / "a.svg").stat().st_size < 500_000
    assert set(long) < set(texts_of(tmp_path / "a.svg"))
    tags = Counter(e.tag.rpartition("}")[2] for e in ElementTree.parse(tmp_path / "a.svg").iter())
    assert (tags["image"], tags["path"] < 100) == (2, True)  # the cells and the scale


def test_a_picture_as_text_and_a_page_refuse_more_cells_than_can_be_shown(tmp_path):
    large = flat(["a"] * 501, ["b"] * 500)
    assert "\n" not in terminal_attention(large)
    assert "501 by 500 tokens are too many to be drawn as text" in terminal_attention(large)
    with pytest.raises(UserError, match=r"a.html: 501 by 500 tokens are too many for a page; shorten the text"):
        save_page(tmp_path / "a.html", "b", "a", large)


def test_each_head_is_a_panel_with_its_name(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(figure))
    names = [f"update {n},000" for n in range(7)]
    save_attention(tmp_path / "a.png", with_heads(MAP, names))
    *panels, bar = drawn[0].axes
    assert [axes.texts[0].get_text() for axes in panels] == names
    assert all(axes.collections[0].get_array().tolist() == MAP.weights[0].tolist() for axes in panels)
    boxes = [axes.get_position() for axes in [*panels, bar]]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_picture_of_one_head_has_no_name_but_says_what_its_rows_are(tmp_path):
    save_attention(tmp_path / "a.svg", MAP, rows="source (queries)")
    assert {"source", "source (queries)"} <= {*texts_of(tmp_path / "a.svg")}
    assert not {"attention", "translation"} & {*texts_of(tmp_path / "a.svg")}


def test_letters_that_no_font_has_are_named_once_with_what_to_install(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [])
    with caplog.at_level(logging.WARNING):
        save_attention(tmp_path / "a.png", MAP)
    [message] = [r.getMessage() for r in caplog.records]
    assert "a.png" in message
    assert "그" in message
    assert "Noto Sans CJK" in message


def test_a_font_file_that_cannot_be_read_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [str(tmp_path / "broken.ttf")])
    save_attention(tmp_path / "a.svg", MAP)
    assert "_그" in texts_of(tmp_path / "a.svg")


def test_curves_name_the_best_validation_of_each_score_and_ring_it(tmp_path):
    save_curves(tmp_path / "c.svg", METRICS)
    texts = texts_of(tmp_path / "c.svg")
    assert "dev: cross entropy, best 1.5 at 40" in texts
    assert "BLEU, best 29 at 40" in texts
    assert "chrF, best 46 at 60" in texts
    assert "exact match, best 7 at 40" in texts


def test_the_ring_is_on_the_best_validation(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(figure))
    save_curves(tmp_path / "c.png", METRICS)
    loss, scores, *_ = drawn[0].axes
    rings = [line.get_xydata().tolist() for line in (*loss.lines, *scores.lines) if line.get_marker() == "o"]
    assert rings == [[[40, 1.5]], [[40, 29.0]], [[60, 46.0]], [[40, 7.0]]]


def test_a_run_before_its_first_validation_has_curves_too(tmp_path):
    save_curves(tmp_path / "c.png", METRICS[:1])
    assert (tmp_path / "c.png").stat().st_size > 10_000


def test_a_curve_of_very_many_validations_is_thinned_out_and_still_rings_the_best(tmp_path):
    many = [record(10 * i, loss=1.0, bleu=12.0 + (i == 4999), chrf=9.0) for i in range(9000)]
    save_curves(tmp_path / "a.svg", many)
    assert "BLEU, best 13 at 49,990" in texts_of(tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size < 2_000_000


def test_the_picture_of_a_large_comparison_has_its_best_rows_and_short_labels(tmp_path):
    labels = [f"{i:03} " + "long " * 50 for i in range(120)]
    save_comparison(tmp_path / "a.svg", "keys", "dev BLEU", labels, [[float(i)] for i in range(120)])
    texts = texts_of(tmp_path / "a.svg")
    shown = [text for text in texts if text.endswith("…")]
    assert [text[:3] for text in shown] == [f"{i:03}" for i in range(20, 120)]
    assert "keys: the best 100 of 120" in texts
    assert all(len(text) == 60 for text in shown)


def test_the_axes_have_units(tmp_path):
    save_curves(tmp_path / "c.svg", METRICS)
    assert {"updates", "nats per target token", "target tokens per second"} <= {*texts_of(tmp_path / "c.svg")}


def test_curves_show_the_attention_where_validations_measured_it(tmp_path):
    save_curves(tmp_path / "old.svg", METRICS)
    assert not [text for text in texts_of(tmp_path / "old.svg") if text.startswith("Attention")]
    health = {"attention_entropy": 0.5, "attention_coverage": 0.8, "attention_diagonality": -0.3, "attention_eos": 0.1}
    later = [record(80, **health, loss=1.0), record(100, **{**health, "attention_eos": None}, loss=1.0)]
    save_curves(tmp_path / "new.svg", [*METRICS, *later])
    texts = {*texts_of(tmp_path / "new.svg")}
    assert {"Attention: spread", "entropy", "weight on </s>", "Attention: reach and order"} <= texts
    assert {"Loss", "Scores on the dev set", "Learning rate", "Speed"} <= texts


def test_curves_of_a_negative_diagonality_are_within_their_panel(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(figure))
    save_curves(tmp_path / "c.png", [record(u, attention_diagonality=d) for u, d in ((1, -0.9), (2, 1.2))])
    low, high = drawn[0].axes[3].get_ylim()
    assert low < -0.9
    assert high > 1.2


def test_no_metrics_are_an_error(tmp_path):
    with pytest.raises(UserError, match="no metrics"):
        save_curves(tmp_path / "c.png", [])


@pytest.mark.parametrize("name", ["a.pdf", "a", "a.png.gz"])
def test_another_ending_is_an_error_that_names_the_endings(tmp_path, name):
    with pytest.raises(UserError, match=r"\.png or \.svg"):
        save_attention(tmp_path / name, MAP)


def test_a_missing_folder_is_an_error_that_names_the_file(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.a\.png: No such file"):
        save_curves(tmp_path / "nowhere" / "a.png", METRICS)


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r'pip install "seq2seq-attention\[plot\]"'):
        save_curves(tmp_path / "c.png", METRICS)
