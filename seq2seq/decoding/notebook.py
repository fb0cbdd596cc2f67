"""Attention weights as HTML for a notebook: a table that needs no script, no style sheet and no other file.

A cell is transparent where the weight is 0, so the table fits a light and a dark page.
"""

from collections.abc import Sequence
from html import escape

from seq2seq.shapes import Array, Float

MOST_CELLS = 10_000  # of a table; a larger one would make the notebook slow
LABEL = "font-weight:normal;padding:2px 4px;background:none;border:0"
UPRIGHT = f"{LABEL};writing-mode:vertical-rl;transform:rotate(180deg);text-align:left;vertical-align:bottom"
FRAME = "border-collapse:collapse;font-size:12px;width:auto;margin:6px 18px 6px 0;color:inherit"


def html_table(
    rows: Sequence[str], columns: Sequence[str], weights: Float[Array, "row column"], caption: str = ""
) -> str:
    """Return the weights of a head as a table; what a cell says when it is pointed at is its weight in numbers."""
    if weights.size > MOST_CELLS:
        return f"<p>{escape(caption)} {len(rows):,} by {len(columns):,} tokens are too many to be drawn here</p>"
    row_labels, column_labels = ([escape(token) for token in tokens] for tokens in (rows, columns))
    head = "".join(f'<th scope="col" style="{UPRIGHT}"><bdi>{label}</bdi></th>' for label in column_labels)
    lines = [f"<tr><td style='{LABEL}'></td>{head}</tr>"]
    for row, values in zip(row_labels, weights.tolist(), strict=True):
        cells = (
            f'<td title="{row} → {column}: {value:.3f}" style="background:rgba(70,125,190,{min(value, 1.0):.3f});'
            'min-width:18px;height:18px;padding:0;border:1px solid rgba(128,128,128,.25)"></td>'
            for column, value in zip(column_labels, values, strict=True)
        )
        lines.append(f'<tr><th scope="row" style="{LABEL};text-align:right"><bdi>{row}</bdi></th>{"".join(cells)}</tr>')
    named = f'<caption style="text-align:left;color:inherit">{escape(caption)}</caption>' if caption else ""
    return f'<table dir="ltr" style="{FRAME}">{named}{"".join(lines)}</table>'
