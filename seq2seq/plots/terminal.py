"""Attention as text: for a terminal, a log or a pipe."""

import os
import shutil
import sys
import unicodedata
from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

from wcwidth import clip, ljust, rjust, wcswidth, wrap

from seq2seq.decoding.attention_map import AttentionMap, readable

SHADES = ((0.75, "█"), (0.5, "▓"), (0.25, "▒"), (0.05, "░"), (0.0, "·"))  # the least weight of each shade
# the colors from weight 0 to 1, brighter step by step, and apart from a black and from a white background
RAMP = ((27, 32, 39), (36, 72, 117), (70, 125, 190), (130, 190, 215), (255, 214, 90))  # red, green, blue
RAMP_256 = (234, 236, 238, 24, 25, 31, 68, 74, 110, 152, 186, 221)
NARROWEST = 40  # columns; no picture is narrower
LEAST_ROWS = 5  # rows that are shown on the smallest screen


class Screen(NamedTuple):
    """The screen that a picture is drawn for; by default a file or a pipe, which has any height and no colors."""

    width: int = 80
    height: int | None = None  # lines; None: any number
    colors: int = 0  # 0, 256 or 2**24

    @classmethod
    def in_use(cls) -> "Screen":
        """Return the screen of standard output, with the colors that the environment promises."""
        width, height = shutil.get_terminal_size()
        if not sys.stdout.isatty():
            return cls(width)
        colors = 256 if "256color" in os.environ.get("TERM", "") else 0
        if os.environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
            colors = 2**24
        is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return cls(width, height, 0 if is_plain else colors)


def terminal_attention(
    map: AttentionMap, screen: Screen | None = None, more: str = "`seq2seq attention --output x.html`"
) -> str:
    """Draw the weights as text: each row token looks at the column tokens, and a stronger cell is a greater weight.

    The columns have their tokens above them, or numbers where these do not fit. What is too wide is drawn in panels,
    one below the other, on a screen the first alone; of rows beyond the screen's height a line says how many there are
    and that `more` shows them. Several heads stand below each other under their names. A map that `is_large` is not
    drawn. The text has colors and no other codes that control a terminal.
    """
    if map.is_large():
        size = f"{len(map.rows):,} by {len(map.columns):,} tokens"
        return f"({size} are too many to be drawn as text; `seq2seq attention` with --output draws a .png)"
    screen = screen or Screen.in_use()
    screen = screen._replace(width=max(screen.width, NARROWEST))
    rows, columns = ([_label(token, screen.width // 3) for token in tokens] for tokens in (map.rows, map.columns))

    # the heads, each in panels
    parts = []
    for name, weights in zip(map.heads, map.weights.tolist(), strict=True):
        parts += [name] if len(map.heads) > 1 else []
        parts += _panels(rows, columns, weights, screen, more)

    # the legend
    if screen.colors:
        scale = f"0 {''.join(cell(i / 12, 2, screen.colors) for i in range(13))}\x1b[0m 1"
    else:
        scale = "from " + " ".join(f"{shade} {least:g}" for least, shade in reversed(SHADES[:-1]))
    return "\n\n".join([*parts, f"a row: where its token looks\nweight {scale}"])


def cell(weight: float, width: int, colors: int) -> str:
    """Return a cell for a weight, so many columns wide; a colored one lasts until the next code."""
    if not colors:
        shade = next((shade for least, shade in SHADES if weight >= least), SHADES[-1][1])
        return (shade * (1 if shade == "·" else max(width - 1, 1))).ljust(width)
    weight = min(max(weight, 0.0), 1.0)
    if colors == 256:
        return f"\x1b[48;5;{RAMP_256[round(weight * (len(RAMP_256) - 1))]}m{' ' * width}"
    place = weight * (len(RAMP) - 1)
    low = min(int(place), len(RAMP) - 2)
    parts = (round(a + (place - low) * (b - a)) for a, b in zip(RAMP[low], RAMP[low + 1], strict=True))
    return f"\x1b[48;2;{';'.join(map(str, parts))}m{' ' * width}"


def _panels(
    rows: list[str], columns: list[str], weights: list[list[float]], screen: Screen, more: str
) -> Iterator[str]:
    """Yield the heat map of a head in panels that fit."""
    # the columns have their labels above them, or numbers
    margin = max(map(wcswidth, rows), default=0) + 1
    widths = [max(wcswidth(column), 2) + 1 for column in columns]
    is_numbered = sum(widths) > screen.width - margin
    across = len(columns)
    if is_numbered:
        widths = [len(str(len(columns))) + 1] * len(columns)
        across = max((screen.width - margin) // widths[0], 1)
        if screen.height is None:
            across = ceil(len(columns) / ceil(len(columns) / across))  # panels of about the same width
    end = "\x1b[0m" if screen.colors else ""
    for start in range(0, len(columns), across):
        # the header
        panel = range(start, min(start + across, len(columns)))
        heads = [str(i + 1) if is_numbered else columns[i] for i in panel]
        tokens = "  ".join(f"{i + 1}\u00a0{columns[i]}" for i in panel)  # a number stays beside its token
        key = [line.replace("\u00a0", " ") for line in wrap(tokens, screen.width)] if is_numbered else []
        header = "".join(ljust(head, widths[i]) for i, head in zip(panel, heads, strict=True))
        lines = [*key, " " * margin + header]

        # the rows, as many as the screen has lines beside header, legend, translation and prompt
        most = len(rows) if screen.height is None else max(screen.height - len(lines) - 7, LEAST_ROWS)
        for label, row in zip(rows[:most], weights, strict=False):
            cells = "".join(cell(row[i], widths[i], screen.colors) for i in panel)
            lines.append(f"{rjust(label, margin - 1)} {cells}{end}")

        # on a screen the first panel alone
        left = {"rows": len(rows) - min(most, len(rows)), "columns": len(columns) - len(panel)}
        if screen.height is not None and any(left.values()):
            counts = " and ".join(f"{count} more {name}" for name, count in left.items() if count)
            yield "\n".join([*lines, f"{counts}: {more} shows them"])
            return
        yield "\n".join(line.rstrip() for line in lines)


def _label(token: str, width: int) -> str:
    """Return a token as far as it fits, with `…` at its end; a mark ends one that is written from right to left."""
    label = readable(token)
    if wcswidth(label) > width:
        label = clip(label, 0, width - 1).rstrip() + "…"
    is_leftward = any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in label)
    return label + "\u200e" if is_leftward else label  # so that the labels of a line keep their order
