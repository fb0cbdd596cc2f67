"""The normalization of text. It is applied to training text, to input, and to every translation."""

import re
import unicodedata

_SPACES = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ufeff]+")
_WITHOUT_WIDTH = " \u00ad\u200b\u200c\u200d\u200e\u200f\u2060"  # inside of a text they may mean something
_INVISIBLE = re.compile("[\u00ad\u2060]")  # where a line may or must not break: no part of a word
_SURROGATES = re.compile("[\ud800-\udfff]")
# what `is_broken` finds: what `normalize` removes, without tabs, line ends and all kinds of spaces
_BROKEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")


def normalize(text: str) -> str:
    """Return one line of clean text: NFC, single spaces, none at the ends. Normalizing twice changes nothing.

    White space of every kind (tabs, no-break spaces, U+2028, ...), control characters (NUL, ESC, the C1 block, ...) and
    byte order marks become spaces, so that the words around them stay separate. Soft hyphens and word joiners are
    removed. A lone surrogate, which UTF-8 cannot hold, becomes U+FFFD. A text of nothing but spaces and signs without
    width is empty.
    """
    visible = _SPACES.sub(" ", _INVISIBLE.sub("", _SURROGATES.sub("\ufffd", text)))
    clean = unicodedata.normalize("NFC", visible.strip(" "))
    return clean if clean.strip(_WITHOUT_WIDTH) else ""


def is_broken(text: str) -> bool:
    """Say whether a text holds control characters, U+2028, U+2029, byte order marks or lone surrogates.

    Nobody types these on purpose, and `normalize` removes them. Tabs, line ends and all kinds of spaces do not count.
    """
    return _BROKEN.search(text) is not None
