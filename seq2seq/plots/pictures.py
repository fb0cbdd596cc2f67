"""Attention as a picture in a file: one heat map for each head."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil, log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seq2seq.decoding.attention_map import AttentionMap, readable
from seq2seq.plots import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL, SMALL_CELL = 0.3, 0.18  # inches: the side of a cell in a single panel, and in one of several
GAP_X, GAP_Y = 0.3, 0.5  # inches between panels; a panel's name stands below it
MANY_CELLS = 10_000  # in a panel of an .svg: they are one embedded image, not a path each
PANELS = 5  # of one sentence over time, so that its tokens can still be read
LETTER = 0.085  # inches: the width of a letter in a panel's name


def spread(map: AttentionMap, most: int = PANELS) -> AttentionMap:
    """Return at most `most` of the heads of a map whose heads follow each other in time.

    The first and the last are among them, and the weights change about equally much from each to the next.
    """
    # the way of the weights: how much they have changed until each head
    steps = np.abs(np.diff(map.weights, axis=0)).sum((1, 2))
    way = np.concatenate([[0.0], steps.cumsum()])

    # divide the longest part of it, near its middle, again and again
    chosen = sorted({0, len(way) - 1})
    while len(chosen) < min(most, len(way)):
        parts = [(i, j) for i, j in pairwise(chosen) if j - i > 1]
        i, j = max(parts, key=lambda part: way[part[1]] - way[part[0]])
        chosen.append(min(range(i + 1, j), key=lambda k: abs(2 * way[k] - way[i] - way[j])))
        chosen.sort()
    return replace(map, heads=[map.heads[i] for i in chosen], weights=map.weights[chosen])


def save_attention(path: Path, map: AttentionMap, *, rows: str = "translation", in_a_row: bool = False) -> None:
    """Draw the weights as heat maps into a `.png` or `.svg` file, whose size grows with the sentence.

    Several heads are panels of the same size and colors, each with its name below; `in_a_row` puts them side by side.
    `rows` is the label of the rows.

    Raises:
        UserError: the ending is another one, the folder does not exist, or matplotlib is not installed.
    """
    figures.check(path)
    from matplotlib.figure import Figure

    # texts and sizes; only a single panel has room for large letters
    is_single = len(map.heads) == 1
    columns, labels = ([readable(token) for token in tokens] for tokens in (map.columns, map.rows))
    families = figures.fonts(path, {*"".join([*columns, *labels, *map.heads])})
    text: dict[str, Any] = {"fontfamily": families, "fontsize": 10 if is_single else 7, "parse_math": False}
    cell = CELL if is_single else SMALL_CELL

    # a panel for each head; only the outer ones name their tokens
    figure = Figure()
    across = _add_panels(figure, map.heads, cell * len(columns), cell * len(labels), in_a_row)
    for i, (axes, name, weights) in enumerate(zip(figure.axes, map.heads, map.weights, strict=True)):
        mesh: Any
        height, width = weights.shape
        if weights.size > MANY_CELLS and path.suffix.lower() == ".svg":
            place = (0, width, height, 0)
            mesh = axes.imshow(weights, "Blues", aspect="auto", interpolation="none", vmin=0, vmax=1, extent=place)
        else:
            mesh = axes.pcolormesh(weights, cmap="Blues", vmin=0, vmax=1, edgecolors="#e4e4e4", linewidth=cell * 1.6)
            axes.invert_yaxis()
        x_labels, y_labels = columns if i < across else [], labels if i % across == 0 else []
        axes.set_xticks([x + 0.5 for x in range(len(x_labels))], x_labels, **text)
        axes.set_yticks([y + 0.5 for y in range(len(y_labels))], y_labels, **text)
        axes.tick_params(axis="x", labelrotation=90, labeltop=True, labelbottom=False)
        axes.tick_params(length=0, pad=4 if is_single else 2)
        axes.spines[:].set_visible(False)
        if not is_single:
            below: dict[str, Any] = {"xytext": (0, -5), "textcoords": "offset points", "va": "top"}
            axes.annotate(name, (0, 0), xycoords="axes fraction", **below, **text | {"fontsize": 9})

    # names of rows and columns, and the scale of the colors
    first = figure.axes[0]
    first.xaxis.set_label_position("top")
    first.set_xlabel("source", color=figures.QUIET, labelpad=8)
    first.set_ylabel(rows, color=figures.QUIET, labelpad=8)
    width, box = figure.get_figwidth(), first.get_position()
    bar = figure.add_axes((1 + CELL / width, box.y0, CELL / 2 / width, box.height))
    bar.tick_params(labelsize=text["fontsize"])
    figure.colorbar(mesh, cax=bar, ticks=[0, 0.5, 1]).outline.set_visible(False)
    bar.set_ylabel("attention weight", color=figures.QUIET, labelpad=8)
    figures.save(figure, path)


def _add_panels(figure: "Figure", names: Sequence[str], width: float, height: float, in_a_row: bool) -> int:
    """Add a panel of `width` by `height` inches for each name, from the top left, and return how many are side by side.

    Together they are somewhat wider than high, and few places stay empty: three panels stand in one row or column.
    """
    # how many panels across and down
    longest = max(map(len, names)) if len(names) > 1 else 0
    pitch_x, pitch_y = GAP_X + max(width, LETTER * longest), GAP_Y + height

    def misfit(across: int) -> float:
        down = ceil(len(names) / across)
        return abs(log(pitch_x * across / (pitch_y * down) / 1.5)) + 4 * (across * down / len(names) - 1)

    across = len(names) if in_a_row else min(range(1, len(names) + 1), key=misfit)
    down = ceil(len(names) / across)

    # place them from the top left
    whole_x, whole_y = pitch_x * across - GAP_X, pitch_y * down - GAP_Y
    figure.set_size_inches(whole_x, whole_y)
    for i in range(len(names)):
        row, column = divmod(i, across)
        x, y = column * pitch_x, whole_y - row * pitch_y - height
        figure.add_axes((x / whole_x, y / whole_y, width / whole_x, height / whole_y))
    return across
