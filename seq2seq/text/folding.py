"""What both kinds of tokenizer share: the special tokens, and how a text is spelled before it is cut."""

import re
import unicodedata
from functools import cache
from typing import NamedTuple

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = ["<pad>", "<unk>", "<s>", "</s>"]


class Folding(NamedTuple):
    """What happens to a text before it is cut into tokens. Symbols stay as they are."""

    lowercase: bool = False
    decompose: bool = False  # into letters and accents, and Hangul syllables into jamo; `normalize` composes them again
    symbols: tuple[str, ...] = ()  # texts that are one token each

    def split(self, text: str) -> list[str]:
        """Return the parts of a text, spelled anew; the symbols in it have the odd indices."""
        parts = _symbol_pattern(self.symbols).split(text) if self.symbols else [text]
        return [part if i % 2 else self._spell(part) for i, part in enumerate(parts)]

    def __call__(self, text: str) -> str:
        """Return the whole text, spelled anew."""
        return "".join(self.split(text)) if self.symbols else self._spell(text)

    def _spell(self, text: str) -> str:
        text = text.lower() if self.lowercase else text
        return unicodedata.normalize("NFD", text) if self.decompose else text


NO_FOLDING = Folding()


@cache
def _symbol_pattern(symbols: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(symbols, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, longest_first))})")
