"""Attention as a page to explore: one HTML file that needs no network, no library and no other file.

Its style and its script, in the folder `page`, are also those of the page that `seq2seq serve` shows.
"""

import json
import re
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from seq2seq.decoding.attention_map import AttentionMap, readable
from seq2seq.errors import UserError
from seq2seq.files import replace_text
from seq2seq.text.languages import LANGUAGES, language_code

FILES = ("attention.html", "page.css", "attention.js")  # the template, and what it is filled with
UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}  # could end the script, or a line in it


def save_page(
    path: Path,
    text: str,
    translation: str,
    decoder: AttentionMap | None,
    encoder: AttentionMap | None = None,
    languages: tuple[str, str] = ("", ""),
) -> None:
    """Write an `.html` page with the weights of every head and their mean.

    Its reader points at a word to see its links, keeps several to add them up, and chooses a head, and words or tokens.
    `decoder` is the attention of the translation to the source, and `encoder` that of the source to itself; None if the
    model has none. `languages` are the codes of source and target, by which a browser chooses fonts and voices.

    Raises:
        UserError: the ending is another one, the folder does not exist, or a map has too many cells for a browser.
    """
    if path.suffix.lower() != ".html":
        raise UserError(f"{path}: the page is an .html file; give the file this ending")

    for large in (map for map in (decoder, encoder) if map and map.is_large()):
        size = f"{len(large.rows):,} by {len(large.columns):,} tokens"
        raise UserError(f"{path}: {size} are too many for a page; shorten the text, or write a .png file or --json")

    # a language that is a file's ending, but no code, would mislead a browser
    source, target = (code if code in LANGUAGES else "" for code in map(language_code, languages))
    views = [
        view | {"languages": {"rows": target if view["rows"] == "translation" else source, "columns": source}}
        for view in make_views(decoder, encoder)
    ]

    # fill the template in one pass, so that no field can fill another
    folder = files("seq2seq.plots").joinpath("page")
    template, style, script = (folder.joinpath(name).read_text(encoding="utf-8") for name in FILES)
    data = json.dumps(views, ensure_ascii=False, separators=(",", ":")).translate(UNSAFE)
    fields = {"text": escape(text), "translation": escape(translation), "source": source, "target": target}
    fields |= {"style": style, "script": script, "data": data}
    page = re.sub(r"\{\{(\w+)\}\}", lambda field: fields[field[1]], template)
    try:
        replace_text(path, page)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give a file in a folder that can be written to") from None


def make_views(decoder: AttentionMap | None, encoder: AttentionMap | None = None) -> list[dict[str, Any]]:
    """Return what the reader of a page can choose to see, as its script reads it: a view for each map that there is.

    A view holds its map in words and, where those differ from the words in any of the views, in tokens, and the number
    of the word that each token belongs to. The page shows the first: words, unless a side is one word that is spelled.
    """
    maps = [map for map in (decoder, encoder) if map]
    units = ["words"] if all(map.has_whole_words() for map in maps) else ["words", "tokens"]
    if any(map.has_spelled_word() for map in maps):
        units.reverse()
    return [
        {
            "name": name,
            "rows": rows,
            "columns": columns,
            "maps": {unit: _plain(map.words() if unit == "words" else map) for unit in units},
            "row_words": list(map.row_words),
            "column_words": list(map.column_words),
        }
        for map, name, rows, columns in (
            (decoder, "translation → source", "translation", "source"),
            (encoder, "source → source", "source (queries)", "source (keys)"),
        )
        if map
    ]


def _plain(map: AttentionMap) -> dict[str, Any]:
    """Return the weights as the script of the page reads them; the mean of several heads comes first."""
    heads, weights = map.heads, map.weights
    if len(heads) > 1:
        mean = map.mean()
        heads, weights = [*mean.heads, *heads], np.concatenate([mean.weights, weights])
    rows, columns = ([readable(token) for token in tokens] for tokens in (map.rows, map.columns))
    return {"rows": rows, "columns": columns, "heads": heads, "weights": weights.astype(float).round(4).tolist()}
