"""The attention weights of one sentence as plain values, with the tokens that they belong to.

numpy is imported when it is used, because a machine that only translates may lack it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from seq2seq.decoding import notebook
from seq2seq.shapes import Array, Float

# cells of a head at most in text and on a page, where each of them is a character or an element: 500 by 500 tokens. A
# picture can be larger
MOST_CELLS = 250_000
MOST_HIDDEN = 3  # heads that are shown beside their mean without being asked for


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """The weights of one sentence: for each head a table, with a row per looking token and a column per source token.

    `row_words` and `column_words` give the number of the word that each token belongs to, counted from 0. `</s>`, the
    last token of a sentence, is a word of its own.
    """

    rows: list[str]  # tokens of the translation, or of the source in self-attention
    columns: list[str]  # tokens of the source
    heads: list[str]  # the names of the heads
    weights: Float[Array, "head row column"]  # each from 0 to 1
    row_words: list[int]
    column_words: list[int]

    @classmethod
    def of_tokens(cls, rows: list[str], columns: list[str], weights: Sequence[Sequence[float]]) -> "AttentionMap":
        """Return a map of one head in which every token is a word."""
        import numpy as np

        table = np.array(weights, dtype=float).reshape(1, len(rows), len(columns))
        return cls(rows, columns, ["attention"], table, [*range(len(rows))], [*range(len(columns))])

    def _repr_html_(self) -> str:
        """Return the weights for a notebook: each head, or of very many cells the mean of the heads."""
        map = self if self.weights.size <= notebook.MOST_CELLS else self.mean()
        rows, columns = ([readable(token) for token in tokens] for tokens in (self.rows, self.columns))
        captions = map.heads if len(self.heads) > 1 else [""]
        tables = (notebook.html_table(rows, columns, *each) for each in zip(map.weights, captions, strict=True))
        return f'<div style="display:flex;flex-wrap:wrap">{"".join(tables)}</div>'

    def is_large(self) -> bool:
        """Return whether a head has more than `MOST_CELLS`."""
        return len(self.rows) * len(self.columns) > MOST_CELLS

    @classmethod
    def join(cls, maps: Sequence["AttentionMap"]) -> "AttentionMap":
        """Return the map of a text from those of its sentences: a token looks at its own sentence only."""
        import numpy as np

        rows, columns = [row for map in maps for row in map.rows], [column for map in maps for column in map.columns]
        weights = np.zeros((len(maps[0].heads), len(rows), len(columns)))
        row_words, column_words = list[int](), list[int]()
        for map in maps:
            at = np.s_[:, len(row_words) :, len(column_words) :]
            weights[at][:, : len(map.rows), : len(map.columns)] = map.weights
            for words, more in ((row_words, map.row_words), (column_words, map.column_words)):
                first = words[-1] + 1 if words else 0
                words += [first + word for word in more]
        return cls(rows, columns, maps[0].heads, weights, row_words, column_words)

    def head(self, index: int) -> "AttentionMap":
        """Return the map of one head."""
        return replace(self, heads=[self.heads[index]], weights=self.weights[index : index + 1])

    def mean(self) -> "AttentionMap":
        """Return the mean of all heads, as the map of one head."""
        heads = ["mean of all heads"] if len(self.heads) > 1 else self.heads
        return replace(self, heads=heads, weights=self.weights.mean(0)[None])

    def select(self, head: str) -> "AttentionMap":
        """Return one head by its number from 1 on, their `mean`, `all` of them, or for `auto` `mean_and_hidden`."""
        if head == "all":
            return self
        if head == "auto":
            return self.mean_and_hidden()
        return self.mean() if head == "mean" else self.head(int(head) - 1)

    def mean_and_hidden(self) -> "AttentionMap":
        """Return the mean of all heads, and beside it the heads that it hides most, at most `MOST_HIDDEN`.

        A head is hidden if in a quarter of the rows or more it gives most of its weight to a column that is not the
        first of the mean.
        """
        import numpy as np

        mean = self.mean()
        elsewhere = (self.weights.argmax(2) != mean.weights.argmax(2)) & (self.weights.max(2) > 0.5)
        shares = elsewhere.mean(1)
        hidden = [head for head in np.argsort(-shares, kind="stable") if shares[head] >= 0.25][:MOST_HIDDEN]
        hidden.sort()
        names = [f"{self.heads[head]}, which the mean hides" for head in hidden]
        weights = np.concatenate([mean.weights, self.weights[hidden]]) if hidden else mean.weights
        return replace(self, heads=[*mean.heads, *names], weights=weights)

    def has_whole_words(self) -> bool:
        """Return whether every token is a word, so that `words` merges nothing."""
        return all(len(set(words)) == len(words) for words in (self.row_words, self.column_words))

    def has_spelled_word(self) -> bool:
        """Return whether a side is one word, letter by letter: merged into that word, its weights say nothing."""
        sides = ((self.rows, self.row_words), (self.columns, self.column_words))
        return any(
            len(set(words)) == 2 < len(words) and 2 * sum(len(token) == 1 for token in tokens) > len(tokens)
            for tokens, words in sides
        )

    def words(self) -> "AttentionMap":
        """Merge pieces into words: a word looks with the mean of its pieces, and receives the sum of their weights."""
        row_pieces, column_pieces = _word_by_token(self.row_words), _word_by_token(self.column_words)
        weights = row_pieces / row_pieces.sum(1, keepdims=True) @ self.weights @ column_pieces.T
        rows, columns = _join_pieces(self.rows, self.row_words), _join_pieces(self.columns, self.column_words)
        return AttentionMap(rows, columns, self.heads, weights, [*range(len(rows))], [*range(len(columns))])

    def pharaoh(self, by: str = "word") -> str:
        """Link each word of the translation to the source word it looks at most; return the links in Pharaoh format.

        In `0-0 1-2` the source word comes before the target word, both counted from 0. Heads are averaged. `</s>` is
        not counted; it has no link, nor has a word that looks at `</s>` most. With `by="token"` tokens are linked.
        """
        map = (self.words() if by == "word" else self).mean()
        rows, columns = _count_words(map.rows), _count_words(map.columns)
        best = [(s, t) for t, s in enumerate(map.weights[0].argmax(1)) if map.weights[0, t, s] > 0]
        return " ".join(f"{columns[s]}-{rows[t]}" for s, t in best if s in columns and t in rows)


def _count_words(tokens: Sequence[str]) -> dict[int, int]:
    """Return the number of each token but `</s>`, by its index."""
    return {index: number for number, index in enumerate(i for i, token in enumerate(tokens) if token != "</s>")}


def _word_by_token(words: Sequence[int]) -> Float[Array, "word token"]:
    import numpy as np

    return (np.arange(max(words) + 1)[:, None] == np.array(words)).astype(float)


def _join_pieces(tokens: Sequence[str], words: Sequence[int]) -> list[str]:
    """Return the text of each word, without sentencepiece's space mark; bytes become the characters they encode."""

    def spell(codes: re.Match[str]) -> str:
        return bytes.fromhex(re.sub("<0x|>", "", codes[0])).decode("utf-8", errors="replace")

    groups = groupby(zip(words, tokens, strict=True), key=lambda pair: pair[0])
    joined = ("".join(token for _, token in group).removeprefix("▁") for _, group in groups)
    return [re.sub("(?:<0x[0-9A-F]{2}>)+", spell, word) for word in joined]  # bytes of an unknown character


def beside(maps: Mapping[str, AttentionMap]) -> AttentionMap:
    """Return one map whose heads are the given maps, under their names. All have one head and the same tokens."""
    import numpy as np

    first = next(iter(maps.values()))
    return replace(first, heads=list(maps), weights=np.concatenate([m.weights for m in maps.values()]))


def readable(token: str) -> str:
    """Return a token as pictures show it: sentencepiece's space `▁` as `_`, invisible characters as their codes."""
    from wcwidth import wcwidth

    shown = "".join(c if c.isprintable() else f"<{ord(c):04X}>" for c in token.replace("▁", "_"))
    return f"◌{shown}" if not shown or wcwidth(shown[0]) == 0 else shown  # a combining accent needs a base character
