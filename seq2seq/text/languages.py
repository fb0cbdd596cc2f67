"""Some languages: codes, English name, own name, and script, as the names of its letters in Unicode begin."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

# the code in ISO 639-1, those in ISO 639-2, the names, the script; `_` stands for a space
_KNOWN = """
af afr afrikaans afrikaans Latin, ar ara arabic العربية Arabic, bg bul bulgarian български Cyrillic,
bn ben bengali বাংলা Bengali, ca cat catalan català Latin, cs ces/cze czech čeština Latin,
cy cym/wel welsh cymraeg Latin, da dan danish dansk Latin, de deu/ger german deutsch Latin,
el ell/gre greek ελληνικά Greek, en eng english english Latin, eo epo esperanto esperanto Latin,
es spa spanish español Latin, et est estonian eesti Latin, eu eus/baq basque euskara Latin,
fa fas/per persian فارسی Arabic, fi fin finnish suomi Latin, fr fra/fre french français Latin,
ga gle irish gaeilge Latin, he heb hebrew עברית Hebrew, hi hin hindi हिन्दी Devanagari,
hr hrv croatian hrvatski Latin, hu hun hungarian magyar Latin, id ind indonesian indonesia Latin,
is isl/ice icelandic íslenska Latin, it ita italian italiano Latin, ja jpn japanese 日本語 Han or Kana,
ka kat/geo georgian ქართული Georgian, ko kor korean 한국어 Hangul, la lat latin latina Latin,
lt lit lithuanian lietuvių Latin, lv lav latvian latviešu Latin, mr mar marathi मराठी Devanagari,
nl nld/dut dutch nederlands Latin, no nor norwegian norsk Latin, oc oci occitan occitan Latin,
pl pol polish polski Latin, pt por portuguese português Latin, ro ron/rum romanian română Latin,
ru rus russian русский Cyrillic, sk slk/slo slovak slovenčina Latin, sl slv slovenian slovenščina Latin,
sv swe swedish svenska Latin, sw swa swahili kiswahili Latin, ta tam tamil தமிழ் Tamil, te tel telugu తెలుగు Telugu,
th tha thai ไทย Thai, tr tur turkish türkçe Latin, uk ukr ukrainian українська Cyrillic, ur urd urdu اردو Arabic,
vi vie vietnamese tiếng_việt Latin, zh zho/chi chinese 中文 Han or Kana
"""

_JAPANESE = dict.fromkeys(("Cjk", "Ideographic", "Hiragana", "Katakana", "Katakana-Hiragana"), "Han or Kana")


class Language(NamedTuple):
    """The codes of three letters, the names and the script of a language."""

    codes: list[str]
    name: str  # in English
    own_name: str  # in the language itself
    script: str


def _parse() -> dict[str, Language]:
    found = {}
    for entry in _KNOWN.split(","):
        code, codes, name, own_name, script = entry.split(maxsplit=4)
        found[code] = Language(codes.split("/"), name, own_name.replace("_", " "), script)
    return found


LANGUAGES = _parse()
"""A language by its code in ISO 639-1."""
CODES = {name: code for code, known in LANGUAGES.items() for name in (*known.codes, known.name, known.own_name)}
"""The code in ISO 639-1 of a language, by its codes of three letters and its names."""


def language_name(code: str) -> str:
    """Return the English name of a language, or its code if it is none of those known."""
    return LANGUAGES[base_code(code)].name.capitalize() if base_code(code) in LANGUAGES else code


def language_code(name: str) -> str:
    """Return the language code in the name of a side of the data: de for de, lc.norm.tok.de, DE, deu and german."""
    code, dash, rest = name.split(".")[-1].replace("_", "-").partition("-")
    return f"{CODES.get(code.lower(), code.lower())}{dash}{rest}"


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


def main_script(characters: Counter[str]) -> str:
    """Return the script of most of these letters; empty if there are none."""
    scripts: Counter[str] = Counter()
    for character, count in characters.items():
        if script := script_of(character):
            scripts[script] += count
    return max(scripts, key=lambda script: scripts[script], default="")


def describe_exchange(scripts: tuple[str, str], names: tuple[str, str]) -> str:
    """Say that the texts of two sides stand in each other's place, if their scripts tell; else return an empty text.

    A side has another script than its language, and the other side has this script, which is not that of its own
    language. Romanized text and phones have another script too, but the other side is then where it belongs.
    """
    codes = [base_code(language_code(name)) for name in names]
    own = [LANGUAGES[code].script if code in LANGUAGES else "" for code in codes]
    if not any(
        own[side] and scripts[side] and scripts[side] != own[side] == scripts[1 - side] != own[1 - side]
        for side in (0, 1)
    ):
        return ""
    return f"{names[0]} is written in {scripts[0]}, {names[1]} in {scripts[1]}: are the two sides exchanged?"


def scripts_of(sources: Iterable[str], targets: Iterable[str]) -> tuple[str, str]:
    """Return the script of most letters of the texts of each side."""
    src, tgt = (main_script(Counter(character for text in side for character in text)) for side in (sources, targets))
    return src, tgt
