"""Who looks at whom: the attention weights of one sentence, as plain values, with the tokens they belong to."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from jaxtyping import Float
from wcwidth import wcwidth

BYTES = re.compile("(?:<0x[0-9A-F]{2}>)+")  # pieces that spell a letter which the vocabulary lacks


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """The weights of one sentence: a row a token that looks, a column a token looked at, a table a head.

    `row_words` and `column_words` number the word that each token belongs to, from 0 on; a piece of a word has the
    number of the piece before it. `</s>`, the last token, is a word of its own.
    """

    rows: list[str]  # the translation; in self-attention the source
    columns: list[str]  # the source
    heads: list[str]  # their names
    weights: Float[np.ndarray, "head row column"]  # each from 0 to 1
    row_words: list[int]
    column_words: list[int]

    @classmethod
    def of_tokens(cls, rows: list[str], columns: list[str], weights: Sequence[Sequence[float]]) -> "AttentionMap":
        """One head, and every token a word."""
        table = np.array(weights, dtype=float).reshape(1, len(rows), len(columns))
        return cls(rows, columns, ["attention"], table, [*range(len(rows))], [*range(len(columns))])

    def head(self, index: int) -> "AttentionMap":
        """One head alone."""
        return self._with([self.heads[index]], self.weights[index : index + 1])

    def mean(self) -> "AttentionMap":
        """The mean of all heads, as one head."""
        return self._with(["mean of all heads" if len(self.heads) > 1 else self.heads[0]], self.weights.mean(0)[None])

    def has_whole_words(self) -> bool:
        """Whether every token is a word, so that merging changes nothing but marks."""
        return all(len(set(words)) == len(words) for words in (self.row_words, self.column_words))

    def words(self) -> "AttentionMap":
        """Pieces merged to words: what a word looks at is the mean over its pieces, what it receives their sum."""
        onto = _membership(self.column_words)
        of = _membership(self.row_words)
        weights = (of / of.sum(1, keepdims=True)) @ self.weights @ onto.T
        rows, columns = _joined(self.rows, self.row_words), _joined(self.columns, self.column_words)
        return AttentionMap(rows, columns, self.heads, weights, list(range(len(rows))), list(range(len(columns))))

    def links(self) -> list[tuple[int, int]]:
        """(source word, target word) for each word of the translation, in its order: the word it looks at most.

        Words count from 0, heads are averaged. A word that looks at `</s>` most has no link, and `</s>` has none.
        """
        weights = self.words().mean().weights[0]
        best = weights.argmax(1)
        return [(int(s), t) for t, s in enumerate(best[:-1]) if s < weights.shape[1] - 1 and weights[t, s] > 0]

    def pharaoh(self) -> str:
        """The links as other tools read them: `0-0 1-2`, source before target."""
        return " ".join(f"{s}-{t}" for s, t in self.links())

    def _with(self, heads: list[str], weights: Float[np.ndarray, "head row column"]) -> "AttentionMap":
        return AttentionMap(self.rows, self.columns, heads, weights, self.row_words, self.column_words)


def _membership(words: Sequence[int]) -> Float[np.ndarray, "word token"]:
    """1 where a token belongs to a word."""
    return (np.arange(max(words) + 1)[:, None] == np.array(words)).astype(float)


def _joined(tokens: Sequence[str], words: Sequence[int]) -> list[str]:
    """The tokens of each word, without sentencepiece's mark of a space, and bytes as the letters that they spell."""
    groups = groupby(zip(words, tokens, strict=True), key=lambda pair: pair[0])
    joined = ("".join(token for _, token in group).removeprefix("▁") for _, group in groups)
    return [BYTES.sub(lambda match: _letters(match[0]), word) for word in joined]


def _letters(spelled: str) -> str:
    return bytes(int(code[2:], 16) for code in spelled.strip("<>").split("><")).decode("utf-8", errors="replace")


def beside(maps: Mapping[str, AttentionMap]) -> AttentionMap:
    """Maps of the same tokens, each of one head, as the heads of one map, under the names given."""
    first = next(iter(maps.values()))
    assert all((m.rows, m.columns, len(m.heads)) == (first.rows, first.columns, 1) for m in maps.values())
    weights = np.concatenate([m.weights for m in maps.values()])
    return AttentionMap(first.rows, first.columns, list(maps), weights, first.row_words, first.column_words)


def readable(token: str) -> str:
    """A token as pictures show it: sentencepiece's word mark `▁` as `_`, what cannot be seen by its code."""
    shown = "".join(c if c.isprintable() else f"<{ord(c):04X}>" for c in token.replace("▁", "_"))
    return f"◌{shown}" if not shown or wcwidth(shown[0]) == 0 else shown  # a mark alone needs something to sit on
