"""Signs that do not belong to a text: what is looked for in each side of a pair, and how a line with it is shown."""

import re
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from seq2seq.data.tables import QUOTED
from seq2seq.text import normalize as normalizing
from seq2seq.text.languages import script_of
from seq2seq.text.normalize import normalize

WIDTH = 40  # characters of a text that are printed

# Names may be copied, or stand in another script. A text with at least SENTENCE bytes of letters in UTF-8 is hardly a
# name. (Bytes, because a Hangul or Han letter has three of them and says more than a Latin letter.)
SENTENCE = 16
CLEAR = 0.9  # share of these bytes in one script, for the line to be in this script: the rest may be names, or code

# replacement characters; UTF-8 that was read as Latin-1 or Windows-1252. Editions use letters of private use on purpose
_BROKEN = re.compile("[\ufffd-\uffff]|[ÂÃ][\x80-\xbf]|â€")
_ENTITY = re.compile(r"&(#[0-9]+|#[xX][0-9a-fA-F]+|[A-Za-z]{2,8}[0-9]{0,2});")
_MARKUP = re.compile(
    r"</[A-Za-z][\w:]*>|<[A-Za-z][\w:]*( [^<>]*)?=[^<>]*>|<(br|b|i|u|p|tu|seg|doc)( ?/)?>|<[!?](xml|DOCTYPE|--)", re.I
)
_WORD = re.compile(r"[^\W\d_]+")
_ENCLOSED = re.compile(r"/.*/|\[.*\]")  # a pronunciation, as dictionaries print it
_COMMENT = re.compile(r"#+ |%+ |//")
# spaces without width, and marks of the direction of writing
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2061-\u2064\u2066-\u2069]")
_BREAK_WITHOUT_WIDTH = ("Thai", "Lao", "Khmer", "Myanmar", "Tibetan", "Javanese")  # scripts that write U+200B
# a Latin letter beside a Cyrillic one, or beside a Greek one that looks Latin; phones are written with other Greek ones
_ALIKE = "\u0400-\u052fΑΒΕΖΗΙΚΜΝΟΡΤΥΧο"
_MIXED = re.compile(f"[A-Za-z][{_ALIKE}]|[{_ALIKE}][A-Za-z]")
_APOSTROPHE = re.compile(r"(?<=[^\W\d_])['’ʼ‘`´](?=[^\W\d_])")
_CHOICE = re.compile(r"[^\s;|]\s*([;|])\s*[^\s;|]|\w (/) \w")  # a sign between two translations
_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\[nrt](?![a-z])")
_NUMBERED = re.compile(r"[(\[]?\d+[.):\]]*\s+\S")
_SPACED = re.compile(r"\w [.,!?]( |$)")
_CUT = re.compile(r"\S@@( |$)|▁")
_SHOWN_AT = {
    "entity": _ENTITY,
    "escape": _ESCAPE,
    "markup": _MARKUP,
    "mixed": _MIXED,
    "apostrophe": _APOSTROPHE,
    "choices": _CHOICE,
}
APOSTROPHES = "'’ʼ‘`´"


def scripts_of_text(text: str) -> tuple[str, str]:
    """Return the script of nearly all letters of a text, and the same if they are enough to tell; else empty texts."""
    sizes: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if script := script_of(character):
            sizes[script] += count * len(character.encode())
    script = max(sizes, key=lambda name: sizes[name], default="")
    main = script if sizes[script] >= CLEAR * sizes.total() else ""
    return main, main if sizes[script] >= SENTENCE else ""


def is_sentence(text: str) -> bool:
    """Say whether a text has several words, and enough letters to be no name."""
    words = _WORD.findall(text)
    return len(words) > 1 and len("".join(words).encode()) >= SENTENCE


def is_comment(text: str) -> bool:
    """Say whether a text begins like a comment."""
    return _COMMENT.match(text) is not None


def is_broken(text: str) -> bool:
    """Say whether a text, not normalized, has control characters or was decoded wrongly."""
    return normalizing.is_broken(text) or bool(not text.isascii() and _BROKEN.search(text))


def apostrophe(text: str) -> int:
    """Return the number of the first apostrophe within a word, an index of `APOSTROPHES` plus 1; 0 if there is none."""
    return 1 + APOSTROPHES.index(found[0]) if (found := _APOSTROPHE.search(text)) else 0


def _has_invisible(text: str) -> bool:
    found = {} if text.isascii() else {*_INVISIBLE.findall(text)}
    return bool(found) and (found != {"\u200b"} or scripts_of_text(text)[0] not in _BREAK_WITHOUT_WIDTH)


def _has_choices(text: str) -> bool:
    text = _ENTITY.sub("", text) if "&" in text else text
    return any(sign in text for sign in ";|/") and _CHOICE.search(text) is not None


class Sign(NamedTuple):
    """A sign of a faulty line."""

    says: str
    has: Callable[[str], bool]  # whether a normalized text has it
    least: float = 0.0  # more than this share of a split's lines must have it


SIGNS = {  # by the kind of finding
    "invisible": Sign("signs without width", _has_invisible),
    "mixed": Sign("letters of two scripts in a word", lambda text: not text.isascii() and bool(_MIXED.search(text))),
    "escape": Sign("escaped characters", lambda text: "\\" in text and bool(_ESCAPE.search(text))),
    "entity": Sign("HTML entities", lambda text: "&" in text and bool(_ENTITY.search(text))),
    "markup": Sign("mark-up", lambda text: "<" in text and bool(_MARKUP.search(text))),
    "enclosed": Sign("between signs, as in /.../ or [...]", lambda text: bool(_ENCLOSED.fullmatch(text)), least=0.5),
    "cut": Sign("pieces of words, as @@ or ▁ mark them", lambda text: bool(_CUT.search(text)), least=0.5),
    "numbered": Sign("a number at the beginning", lambda text: bool(_NUMBERED.match(text)), least=0.8),
}
TRAITS: dict[str, Callable[[str], bool]] = {
    **{kind: sign.has for kind, sign in SIGNS.items()},
    "quoted": lambda text: bool(QUOTED.fullmatch(text)),
    "doubled": lambda text: bool(QUOTED.fullmatch(text)) and '""' in text[1:-1],
    "choices": _has_choices,
    "spaced": lambda text: bool(_SPACED.search(text)),
    "letters": lambda text: any(map(str.isalpha, text)),
}
"""What is asked of each normalized text of a side."""


def shown(text: str, kind: str) -> str:
    """Return a text cut to one line; of one with a sign that was found, the part around it."""
    if kind in ("broken", "invisible"):
        is_wrong = is_broken if kind == "broken" else _INVISIBLE.search
        begin = max(0, next(i for i in range(len(text)) if is_wrong(text[i : i + 2])) - WIDTH // 2)
        part = text[begin : begin + WIDTH]
        text = "…" * (begin > 0) + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in part)
    text = normalize(text)
    if (pattern := _SHOWN_AT.get(kind)) and (match := pattern.search(text)):
        begin = max(0, min(match.start() - WIDTH // 2, len(text) - WIDTH))
        text = "…" * (begin > 0) + text[begin + (begin > 0) :]
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
