"""Which script a text is in: Latin, Cyrillic, Hangul, ..."""

import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

_UNSEEN = 0xFFFF
_ONE = dict.fromkeys(
    ("Cjk", "Ideographic", "Hiragana", "Katakana", "Katakana-Hiragana"), "Han or Kana"
)  # Japanese mixes them


class Scripts:
    """A counter of letters by script, for many texts at once. A script is the first word of its letters' Unicode names.

    Attributes:
        names: the classes of characters: space, sign (no letter), and every script that was met.
        widths: for each class, the bytes that one of its characters takes in UTF-8.
    """

    def __init__(self) -> None:
        self.names, self.widths = ["space", "sign", "Latin"], [1, 1, 1]
        self._classes = np.full(0x110000, _UNSEEN, np.uint16)  # by code point

    def count(self, texts: Sequence[str]) -> Int[np.ndarray, "texts classes"]:
        """Count the characters of each class in each text; add the scripts that are new."""
        # look up the classes of characters that were not met before
        codes = np.frombuffer("".join(texts).encode("utf-32-le"), "<u4")
        for code in np.unique(codes[self._classes[codes] == _UNSEEN]):
            self._classes[code] = self._class(chr(code))

        # one count for each text and class
        text, size = np.repeat(np.arange(len(texts)), [len(text) for text in texts]), len(self.names)
        return np.bincount(text * size + self._classes[codes], minlength=len(texts) * size).reshape(-1, size)

    def _class(self, character: str) -> int:
        """Return the class of a character; add it if it is new."""
        if unicodedata.category(character)[0] not in "LM":
            return int(character != " ")
        first, *rest = unicodedata.name(character, "UNNAMED").split()
        name = (rest[0] if first in ("FULLWIDTH", "HALFWIDTH") else first).title()
        if name == "Combining":  # an accent, which any script may use
            return 1
        name = _ONE.get(name, name)
        if name not in self.names:
            self.names.append(name)
            self.widths.append(len(character.encode()))
        return self.names.index(name)
