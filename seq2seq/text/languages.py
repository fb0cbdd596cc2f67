"""Some languages: their code, English name, and script, as the names of its letters in Unicode begin."""

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
