"""Some languages: code, English name, own name, and script, as the names of its letters in Unicode begin."""

import re
import unicodedata
from functools import cache
from typing import NamedTuple

# `_` stands for a space
_KNOWN = """
af afrikaans afrikaans Latin, ar arabic العربية Arabic, bg bulgarian български Cyrillic, bn bengali বাংলা Bengali,
ca catalan català Latin, cs czech čeština Latin, cy welsh cymraeg Latin, da danish dansk Latin,
de german deutsch Latin, el greek ελληνικά Greek, en english english Latin, eo esperanto esperanto Latin,
es spanish español Latin, et estonian eesti Latin, eu basque euskara Latin, fa persian فارسی Arabic,
fi finnish suomi Latin, fr french français Latin, ga irish gaeilge Latin, he hebrew עברית Hebrew,
hi hindi हिन्दी Devanagari, hr croatian hrvatski Latin, hu hungarian magyar Latin, id indonesian indonesia Latin,
is icelandic íslenska Latin, it italian italiano Latin, ja japanese 日本語 Han or Kana, ka georgian ქართული Georgian,
ko korean 한국어 Hangul, la latin latina Latin, lt lithuanian lietuvių Latin, lv latvian latviešu Latin,
mr marathi मराठी Devanagari, nl dutch nederlands Latin, no norwegian norsk Latin, oc occitan occitan Latin,
pl polish polski Latin, pt portuguese português Latin, ro romanian română Latin, ru russian русский Cyrillic,
sk slovak slovenčina Latin, sl slovenian slovenščina Latin, sv swedish svenska Latin, sw swahili kiswahili Latin,
ta tamil தமிழ் Tamil, te telugu తెలుగు Telugu, th thai ไทย Thai, tr turkish türkçe Latin,
uk ukrainian українська Cyrillic, ur urdu اردو Arabic, vi vietnamese tiếng_việt Latin, zh chinese 中文 Han or Kana
"""

_JAPANESE = dict.fromkeys(("Cjk", "Ideographic", "Hiragana", "Katakana", "Katakana-Hiragana"), "Han or Kana")


class Language(NamedTuple):
    """The names and the script of a language."""

    name: str  # in English
    own_name: str  # in the language itself
    script: str


def _parse() -> dict[str, Language]:
    entries = (entry.split(maxsplit=3) for entry in _KNOWN.split(","))
    return {code: Language(name, own_name.replace("_", " "), script) for code, name, own_name, script in entries}


LANGUAGES = _parse()
"""A language by its code in ISO 639-1."""


def language_name(code: str) -> str:
    """Return the English name of a language, or its code if it is none of those known."""
    return LANGUAGES[base_code(code)].name.capitalize() if base_code(code) in LANGUAGES else code


def language_code(name: str) -> str:
    """Return the language code in the name of a side of the data: de for de, lc.norm.tok.de, DE and german."""
    code = re.sub("_", "-", name.split(".")[-1])
    named = next((known for known, language in LANGUAGES.items() if language.name == code.lower()), code)
    language, dash, rest = named.partition("-")
    return f"{language.lower()}{dash}{rest}"


def base_code(code: str) -> str:
    """Return the code without region and script: zh for zh-Hant."""
    return code.lower().partition("-")[0]


@cache
def script_of(character: str) -> str:
    """Return the script of a letter, the first word of its Unicode name; empty for signs, and accents of any script."""
    if unicodedata.category(character)[0] not in "LM":
        return ""
    first, *rest = unicodedata.name(character, "UNNAMED").split()
    script = (rest[0] if first in ("FULLWIDTH", "HALFWIDTH") else first).title()
    return {"Combining": "", **_JAPANESE}.get(script, script)


def are_exchanged(scripts: tuple[str, str], codes: tuple[str, str]) -> bool:
    """Return whether the texts of two sides stand in each other's place, as their scripts tell.

    A side has another script than its language, and the other side has this script, which is not that of its own
    language. Romanized text and phones have another script too, but the other side is then where it belongs.
    """
    own = [LANGUAGES[code].script if (code := base_code(language_code(name))) in LANGUAGES else "" for name in codes]
    return any(
        own[side] and scripts[side] and scripts[side] != own[side] == scripts[1 - side] != own[1 - side]
        for side in (0, 1)
    )
