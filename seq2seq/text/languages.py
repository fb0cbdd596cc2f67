"""Some languages: their code, English name, and script, as the names of its letters in Unicode begin."""

import re

_KNOWN = """
af afrikaans Latin, ar arabic Arabic, bg bulgarian Cyrillic, bn bengali Bengali, ca catalan Latin, cs czech Latin,
cy welsh Latin, da danish Latin, de german Latin, el greek Greek, en english Latin, eo esperanto Latin,
es spanish Latin, et estonian Latin, eu basque Latin, fa persian Arabic, fi finnish Latin, fr french Latin,
ga irish Latin, he hebrew Hebrew, hi hindi Devanagari, hr croatian Latin, hu hungarian Latin, id indonesian Latin,
is icelandic Latin, it italian Latin, ja japanese Han or Kana, ka georgian Georgian, ko korean Hangul, la latin Latin,
lt lithuanian Latin, lv latvian Latin, mr marathi Devanagari, nl dutch Latin, no norwegian Latin, oc occitan Latin,
pl polish Latin, pt portuguese Latin, ro romanian Latin, ru russian Cyrillic, sk slovak Latin, sl slovenian Latin,
sv swedish Latin, sw swahili Latin, ta tamil Tamil, te telugu Telugu, th thai Thai, tr turkish Latin,
uk ukrainian Cyrillic, ur urdu Arabic, vi vietnamese Latin, zh chinese Han or Kana
"""


def _parse() -> dict[str, tuple[str, str]]:
    entries = (entry.split(maxsplit=2) for entry in _KNOWN.split(","))
    return {code: (name, script) for code, name, script in entries}


LANGUAGES = _parse()
"""The name and the script of a language by its code in ISO 639-1."""


def language_name(code: str) -> str:
    """Return the English name of a language, or its code if it is none of those known."""
    return LANGUAGES[base_code(code)][0].capitalize() if base_code(code) in LANGUAGES else code


def language_code(name: str) -> str:
    """Return the language code in the name of a side of the data: de for de, lc.norm.tok.de, DE and german."""
    code = re.sub("_", "-", name.split(".")[-1])
    named = next((known for known, (full, _) in LANGUAGES.items() if full == code.lower()), code)
    language, dash, rest = named.partition("-")
    return f"{language.lower()}{dash}{rest}"


def base_code(code: str) -> str:
    """Return the code without region and script: zh for zh-Hant."""
    return code.lower().partition("-")[0]
