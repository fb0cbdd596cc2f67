"""The needs of every picture file: a known file ending, matplotlib, and fonts with all its characters.

matplotlib is an optional package. Only its `Figure` is used, which opens no window and shares no state with a caller's
own plots.
"""

import logging
import unicodedata
import warnings
from collections.abc import Set
from contextlib import suppress
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.errors import UserError
from seq2seq.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger("seq2seq")
ENDINGS = (".png", ".svg")
QUIET = "#5c6773"  # the color of labels


def check(path: Path) -> None:
    """Raise a UserError, before anything is drawn, if the ending is unknown or matplotlib is missing."""
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path}: pictures are {' or '.join(ENDINGS)} files; give the file one of these endings")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError(
            'pictures need matplotlib, which is not installed; pip install "seq2seq-attention[plot]"'
        ) from None


def save(figure: "Figure", path: Path) -> None:
    """Write a figure to a file. In SVG text stays text, which can be searched and is drawn with the viewer's fonts."""
    from matplotlib import rc_context

    # long sentences make large figures: limit the pixels of a side, and of all
    width, height = figure.get_size_inches()
    dpi = min(160, 20_000 / max(width, height), sqrt(1e8 / (width * height)))
    with warnings.catch_warnings(), rc_context({"svg.fonttype": "none"}):
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # `fonts` has warned already, and says what to do
        try:
            with replacing(path) as new:
                figure.savefig(new, format=path.suffix[1:].lower(), dpi=dpi, bbox_inches="tight", pad_inches=0.2)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; give a file in a folder that can be written to") from None


def fonts(path: Path, characters: set[str]) -> list[str]:
    """Find font families that together have all characters; warn of those that no font has.

    The font folders are searched anew, because matplotlib's own list is as old as its first use on this machine.
    """
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    # what the default font lacks, and the installed fonts
    default = font_manager.findfont("DejaVu Sans")
    families, missing = ["DejaVu Sans"], {ord(c) for c in characters} - FT2Font(default).get_charmap().keys()
    installed: dict[str, tuple[Set[int], bool]] = {}  # of each file: its code points, and whether it is regular
    for file in sorted(font_manager.findSystemFonts()) if missing else []:
        with suppress(RuntimeError, OSError):  # matplotlib cannot read this font
            font = FT2Font(file)
            if font.scalable:
                installed[file] = (font.get_charmap().keys(), font.style_name == "Regular")

    # add the font that has most of the missing characters, again and again; of two alike the regular style
    while missing and installed:
        best = max(installed, key=lambda file: (len(missing & installed[file][0]), installed[file][1]))
        if not missing & installed[best][0]:
            break
        font_manager.fontManager.addfont(best)
        families.append(FT2Font(best).family_name)
        missing -= installed[best][0]

    # a .png shows boxes for the rest; the viewer of an .svg may have a font
    if missing and path.suffix.lower() == ".png":
        shown = ", ".join(map(chr, sorted(missing)[:5])) + (", ..." if len(missing) > 5 else "")
        scripts = {unicodedata.name(chr(c), "?").split()[0] for c in missing}
        advice = "Noto Sans CJK" if scripts & {"HANGUL", "CJK", "HIRAGANA", "KATAKANA"} else "one of the Noto family"
        log.warning("%s: no installed font has %s; install one, such as %s, or write .svg", path, shown, advice)
    return [*families, "sans-serif"]
