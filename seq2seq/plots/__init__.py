"""Pictures of what a model looks at, and of how it learned.

They are drawn from plain values: strings, nested lists of numbers, the records of `metrics.jsonl`. Files need
matplotlib (an extra), used through its figures alone: no window, no state shared with a caller's own plots.
"""

import logging
import shutil
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wcwidth import wcswidth, wcwidth

from seq2seq.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger("seq2seq")

SHADES = ((0.75, "██"), (0.5, "▓▓"), (0.25, "▒▒"), (0.05, "░░"), (0.0, " ·"))  # least weight; cell, about a square
NARROWEST = 40  # columns of a terminal that a picture still fits
ENDINGS = (".png", ".svg")


def readable(token: str) -> str:
    """A token as pictures show it: sentencepiece's word mark `▁` as `_`, what cannot be seen by its code."""
    shown = "".join(c if c.isprintable() else f"<{ord(c):04X}>" for c in token.replace("▁", "_"))
    return f"◌{shown}" if not shown or wcwidth(shown[0]) == 0 else shown  # a mark alone needs something to sit on


# ------------------------------------------------------------------------------------------------ in the terminal


def terminal_attention(
    source_tokens: Sequence[str],
    tokens: Sequence[str],
    weights: Sequence[Sequence[float]],
    width: int | None = None,
) -> str:
    """The attention weights as text: a row a token of the translation, a column a source token, darker for more.

    Plain text, for a terminal, a log or a pipe. A long source takes several panels, below each other.

    Args:
        source_tokens: of the source, `</s>` included.
        tokens: of the translation, `</s>` included.
        weights: a row a token of the translation, a column a source token; from 0 to 1.
        width: columns of the terminal, by default those of the one there is.
    """
    width = max(width or shutil.get_terminal_size().columns, NARROWEST)
    sources = [_clipped(readable(token), width // 3) for token in source_tokens]
    labels = [_clipped(readable(token), width // 3) for token in tokens]
    margin = max(map(wcswidth, labels), default=0)
    panels = []
    for start, stop in _panels([wcswidth(source) for source in sources], width - margin - 1):
        header = [" " * (margin + 1) + " │" * i + f" ┌ {source}" for i, source in enumerate(sources[start:stop])]
        rows = [
            f"{' ' * (margin - wcswidth(label))}{label} {''.join(map(shade, row[start:stop]))}"
            for label, row in zip(labels, weights, strict=True)
        ]
        panels.append("\n".join([*header, *rows]))
    legend = " ".join(f"{cell[0]} {least:g}" for least, cell in reversed(SHADES[:-1]))
    return "\n\n".join([*panels, f"weight from: {legend}"])


def shade(weight: float) -> str:
    """The cell of a weight."""
    return next((cell for least, cell in SHADES if weight >= least), SHADES[-1][1])


def _panels(token_widths: Sequence[int], width: int) -> Iterator[tuple[int, int]]:
    """Cut the source so that each panel with its header, a staircase, is at most `width` wide: (start, stop)."""
    start = 0
    for i, token_width in enumerate(token_widths):
        if i > start and 2 * (i - start) + len(" ┌ ") + token_width > width:
            yield start, i
            start = i
    yield start, len(token_widths)


def _clipped(text: str, width: int) -> str:
    """The text, or as much of its beginning as fits, and `…`."""
    if wcswidth(text) <= width:
        return text
    end = next(end for end in range(len(text), -1, -1) if wcswidth(text[:end]) < width)
    return text[:end] + "…"


# ------------------------------------------------------------------------------------------------------- in files


def save_attention(
    path: Path,
    source_tokens: Sequence[str],
    tokens: Sequence[str],
    weights: Sequence[Sequence[float]],
) -> None:
    """The attention weights as a heat map, a `.png` or `.svg` file; it grows with the sentence.

    Args:
        path: the file to write.
        source_tokens: of the source, `</s>` included: the columns.
        tokens: of the translation, `</s>` included: the rows.
        weights: a row a token of the translation, a column a source token; from 0 to 1.

    Raises:
        UserError: another ending, a folder that is not there, or matplotlib is not installed.
    """
    _check(path)
    from matplotlib.figure import Figure

    columns, rows = [readable(token) for token in source_tokens], [readable(token) for token in tokens]
    families = _fonts(path, {*"".join(columns + rows)})
    cell = 0.3  # inches
    figure = Figure(figsize=(cell * len(columns), cell * len(rows)))
    axes = figure.add_axes((0, 0, 1, 1))
    mesh = axes.pcolormesh(weights, cmap="Blues", vmin=0, vmax=1, edgecolors="#e4e4e4", linewidth=0.5)
    axes.invert_yaxis()
    text: dict[str, Any] = {"fontfamily": families, "fontsize": 10, "parse_math": False}
    axes.set_xticks([i + 0.5 for i in range(len(columns))], columns, rotation=90, **text)
    axes.set_yticks([i + 0.5 for i in range(len(rows))], rows, **text)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("source", color="#5c6773", labelpad=8)
    axes.set_ylabel("translation", color="#5c6773", labelpad=8)
    bar = axes.inset_axes((1 + 1 / len(columns), 0, 0.5 / len(columns), 1))
    figure.colorbar(mesh, cax=bar, label="attention weight").outline.set_visible(False)
    _save(figure, path)


def save_curves(path: Path, metrics: Sequence[dict[str, Any]]) -> None:
    """The learning curves of a run, a `.png` or `.svg` file: loss, scores on the dev set, learning rate, speed.

    A ring marks the best validation of each curve of the dev set.

    Args:
        path: the file to write.
        metrics: the lines of the run's `metrics.jsonl`.

    Raises:
        UserError: nothing is logged yet, another ending, a folder that is not there, or matplotlib is not installed.
    """
    if not metrics:
        raise UserError(f"{path}: there are no metrics to draw yet; train at least until the first record is logged")
    _check(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    (loss, scores), (rate, speed) = figure.subplots(2, 2, sharex=True, height_ratios=(2, 1))
    train, dev = ([r for r in metrics if r["split"] == split] for split in ("train", "dev"))
    _curve(loss, train, "loss", "train: the objective", "#9aa5b1")
    _curve(loss, dev, "loss", "dev: cross entropy", "#1f6fb4", best=min)
    _curve(scores, dev, "bleu", "BLEU", "#1f6fb4", best=max)
    _curve(scores, dev, "chrf", "chrF", "#d9822b", best=max)
    _curve(scores, dev, "exact_match", "exact match", "#3a8f5c", best=max)
    _curve(rate, train, "learning_rate", "", "#5c6773")
    _curve(speed, train, "tokens_per_second", "", "#5c6773")
    for axes, title, unit in (
        (loss, "Loss", "nats a target token"),
        (scores, "Scores on the dev set", "from 0 to 100"),
        (rate, "Learning rate", "size of a step"),
        (speed, "Speed", "target tokens a second"),
    ):
        _finish(axes, title, unit)
    scores.set_ylim(-2, 104)
    for axes in (rate, speed):
        axes.set_xlabel("updates")
        axes.set_ylim(bottom=0)
    _save(figure, path)


def _curve(
    axes: "Axes",
    records: Sequence[dict[str, Any]],
    key: str,
    label: str,
    color: str,
    best: Callable[..., dict[str, Any]] | None = None,
) -> None:
    """Draw a number of the records over updates; a ring and the legend say where it is `best` (`min` or `max`)."""
    points = [record for record in records if record.get(key) is not None]
    if not points:
        return
    if best:
        top = best(points, key=lambda record: record[key])
        axes.plot(top["update"], top[key], "o", color=color, markersize=11, markerfacecolor="none")
        label += f", best {top[key]:.4g} at {top['update']:,}"
    x, y = [record["update"] for record in points], [record[key] for record in points]
    marker = "." if best or len(points) == 1 else "none"
    axes.plot(x, y, color=color, label=label, linewidth=1.8, marker=marker, markersize=6)


def _finish(axes: "Axes", title: str, unit: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_ylabel(unit)
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,g}")
    if any(axes.get_legend_handles_labels()[1]):
        axes.legend(frameon=False, fontsize=9)


def _check(path: Path) -> None:
    """Before anything is drawn: an ending that we write, and matplotlib."""
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path}: pictures are {' or '.join(ENDINGS)} files; give the file one of these endings")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError('pictures need matplotlib, which is not installed: pip install "seq2seq[plot]"') from None


def _save(figure: "Figure", path: Path) -> None:
    """Write the figure. In SVG letters stay letters: they can be searched, and the viewer's fonts draw them."""
    from matplotlib import rc_context

    dpi = min(160, 20_000 / max(figure.get_size_inches()))
    with warnings.catch_warnings(), rc_context({"svg.fonttype": "none"}):
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # `_fonts` says it once, and what to do
        try:
            figure.savefig(path, dpi=dpi, bbox_inches="tight", pad_inches=0.2)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; give a file in a folder that can be written to") from None


def _fonts(path: Path, characters: set[str]) -> list[str]:
    """Font families that together have the characters; the log names those that no installed font has.

    The folders of the system are looked through afresh: matplotlib's own list is as old as its first use here.
    """
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    families, missing = ["DejaVu Sans"], {ord(c) for c in characters}
    missing -= FT2Font(font_manager.findfont("DejaVu Sans")).get_charmap().keys()
    installed = []
    for file in sorted(font_manager.findSystemFonts()) if missing else []:
        try:
            font = FT2Font(file)
        except (RuntimeError, OSError):  # not a font that matplotlib can read
            continue
        if font.scalable:
            installed.append((font.style_name == "Regular", file, font.family_name, font.get_charmap().keys()))
    while missing and installed:
        _, file, family, has = max(installed, key=lambda font: (len(missing & font[3]), font[0]))
        if not missing & has:
            break
        font_manager.fontManager.addfont(file)
        families.append(family)
        missing -= has
    if missing and path.suffix.lower() == ".png":
        shown = ", ".join(map(chr, sorted(missing)[:5])) + (", ..." if len(missing) > 5 else "")
        scripts = {unicodedata.name(chr(c), "?").split()[0] for c in missing}
        advice = "Noto Sans CJK" if scripts & {"HANGUL", "CJK", "HIRAGANA", "KATAKANA"} else "one of the Noto family"
        log.warning("%s: no installed font has %s; install one, such as %s, or write .svg", path, shown, advice)
    return [*families, "sans-serif"]
