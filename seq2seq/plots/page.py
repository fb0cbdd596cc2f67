"""Attention as a page to explore: one HTML file that needs no network, no library and no other file."""

import json
import re
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from seq2seq.decoding.attention_map import AttentionMap, readable
from seq2seq.errors import UserError

DECIMALS = 4  # of the weights in the page
UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}  # would end a script, or a line of one


def save_page(
    path: Path, text: str, translation: str, decoder: AttentionMap | None, encoder: AttentionMap | None = None
) -> None:
    """The weights as an `.html` page: point at a word to see its links, choose a head, words or tokens.

    Every head is in it, and their mean first.

    Args:
        path: the file to write.
        text: the source.
        translation: of it.
        decoder: what the translation looked at, where the model has attention.
        encoder: what the source looked at in itself, where the encoder has self-attention.

    Raises:
        UserError: another ending, or a folder that is not there.
    """
    if path.suffix.lower() != ".html":
        raise UserError(f"{path}: the page is an .html file; give the file this ending")
    tokens = not all(seen.has_whole_words() for seen in (decoder, encoder) if seen)
    views = []
    if decoder:
        views.append(_view("translation → source", "translation", "source", decoder, tokens=tokens))
    if encoder:
        views.append(_view("source → source", "source, looking", "source, looked at", encoder, tokens=tokens))
    data = json.dumps(views, ensure_ascii=False, separators=(",", ":")).translate(UNSAFE)
    fields = {"text": escape(text), "translation": escape(translation), "data": data}
    template = files("seq2seq.plots").joinpath("page.html").read_text(encoding="utf-8")
    page = re.sub(r"\{\{(\w+)\}\}", lambda field: fields[field[1]], template)  # in one pass: no field fills another
    try:
        path.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give a file in a folder that can be written to") from None


def _view(name: str, rows: str, columns: str, seen: AttentionMap, *, tokens: bool) -> dict[str, Any]:
    """What one choice of the page shows: its name, what its rows and columns are, its map in words and in tokens."""
    maps = {"words": _map(seen.words()), **({"tokens": _map(seen)} if tokens else {})}
    return {"name": name, "rows": rows, "columns": columns, "maps": maps}


def _map(seen: AttentionMap) -> dict[str, Any]:
    """The heads, their mean first where there are several, as the script of the page reads them."""
    heads, weights = seen.heads, seen.weights
    if len(heads) > 1:
        mean = seen.mean()
        heads, weights = [*mean.heads, *heads], np.concatenate([mean.weights, weights])
    return {
        "rows": [readable(token) for token in seen.rows],
        "columns": [readable(token) for token in seen.columns],
        "heads": heads,
        "weights": weights.astype(float).round(DECIMALS).tolist(),
    }
