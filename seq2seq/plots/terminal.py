"""Attention as plain text: for a terminal, a log or a pipe."""

import shutil
from collections.abc import Iterator
from itertools import pairwise

from wcwidth import wcswidth

from seq2seq.decoding.attention_map import AttentionMap, readable

SHADES = ((0.75, "██"), (0.5, "▓▓"), (0.25, "▒▒"), (0.05, "░░"), (0.0, " ·"))  # the least weight of each cell


def terminal_attention(map: AttentionMap, width: int | None = None) -> str:
    """Draw the weights as text: each row token looks at the column tokens, and a darker cell is a greater weight.

    A long source is cut into panels, one below the other, and so are several heads, each under its name. `width`
    is in columns of the terminal, by default those of the terminal in use; no picture is narrower than 40. A map that
    `is_large` is not drawn; a line says so.
    """
    if map.is_large():
        size = f"{len(map.rows):,} by {len(map.columns):,} tokens"
        return f"({size} are too many to be drawn as text; `seq2seq attention` with --output draws a .png)"
    width = max(width or shutil.get_terminal_size().columns, 40)
    rows, columns = ([_clip(readable(t), width // 3) for t in tokens] for tokens in (map.rows, map.columns))
    parts = []
    for name, weights in zip(map.heads, map.weights.tolist(), strict=True):
        parts += [name] if len(map.heads) > 1 else []
        parts += _panels(rows, columns, weights, width)
    legend = " ".join(f"{cell[0]} {least:g}" for least, cell in reversed(SHADES[:-1]))
    return "\n\n".join([*parts, f"weight from: {legend}"])


def shade(weight: float) -> str:
    """Return the cell for a weight."""
    return next((cell for least, cell in SHADES if weight >= least), SHADES[-1][1])


def _panels(rows: list[str], columns: list[str], weights: list[list[float]], width: int) -> Iterator[str]:
    """Yield the heat map of a head in panels that fit; each has a staircase of column labels above its rows."""
    # cut where a panel or the label of its last column would be too wide
    margin, starts = max(map(wcswidth, rows), default=0) + 1, [0]
    for i, column in enumerate(columns):
        if i > starts[-1] and margin + 2 * (i - starts[-1]) + wcswidth(f" ┌ {column}") > width:
            starts.append(i)

    # draw them
    for start, stop in pairwise([*starts, len(columns)]):
        lines = [" " * margin + " │" * i + f" ┌ {column}" for i, column in enumerate(columns[start:stop])]
        for label, row in zip(rows, weights, strict=True):
            lines.append(" " * (margin - 1 - wcswidth(label)) + f"{label} {''.join(map(shade, row[start:stop]))}")
        yield "\n".join(lines)


def _clip(text: str, width: int) -> str:
    """Return the text, or as much of its beginning as fits, with `…` at its end."""
    if wcswidth(text) <= width:
        return text
    end = next(end for end in range(len(text), -1, -1) if wcswidth(text[:end]) < width)
    return text[:end] + "…"
