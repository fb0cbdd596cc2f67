"""The picture of a comparison: one row for each combination, one dot for each seed."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from seq2seq.plots import figures

MOST_ROWS, LONGEST = 100, 60  # rows, and characters of a label, that a picture has room for
BLUE, PALE = "#1f6fb4", "#9aa5b1"


def save_comparison(
    path: Path, title: str, unit: str, labels: Sequence[str], scores: Sequence[Sequence[float]]
) -> None:
    """Draw the scores of a comparison into a `.png` or `.svg` file.

    Each row has a label and one score per seed; higher is better. Each seed is a dot, their mean a bar, and a line
    reaches one standard deviation to either side. The best mean is blue. The scale shows only the range of the scores,
    because their differences matter; `unit` is its label.

    Raises:
        UserError: the ending is another one, the folder does not exist, or matplotlib is not installed.
    """
    figures.check(path)
    from matplotlib.figure import Figure

    # keep the best rows, and what fits of their labels
    if len(labels) > MOST_ROWS:
        title += f": the best {MOST_ROWS} of {len(labels):,}"
        best = sorted(sorted(range(len(labels)), key=lambda i: -mean(scores[i]))[:MOST_ROWS])
        labels, scores = [labels[i] for i in best], [scores[i] for i in best]
    labels = [label if len(label) <= LONGEST else label[: LONGEST - 1] + "…" for label in labels]

    # a row for each combination
    means = [mean(row) for row in scores]
    figure = Figure(figsize=(8, 0.42 * len(labels) + 1.1), layout="constrained")
    axes = figure.add_subplot()
    for y, (row, middle) in enumerate(zip(scores, means, strict=True)):
        color = BLUE if middle == max(means) else PALE
        spread = stdev(row) if len(row) > 1 else 0.0
        axes.plot([middle - spread, middle + spread], [y, y], color=color, linewidth=2.5)
        axes.plot([middle], [y], "|", color=color, markersize=16, markeredgewidth=2.5)
        axes.plot(row, [y] * len(row), "o", color=color, markersize=7, markeredgecolor="white", markeredgewidth=0.8)
        shown, place = f"{middle:.2f}" + (f" ± {spread:.2f}" if len(row) > 1 else ""), ("axes fraction", "data")
        axes.annotate(shown, (1.02, y), xycoords=place, va="center", fontsize=10, color=figures.QUIET)

    # labels and scale
    families = figures.fonts(path, {*"".join(labels)})
    axes.set_yticks(range(len(labels)), labels, fontfamily=families, fontsize=10, parse_math=False)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlabel(unit)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.08)
    low, high = axes.get_xlim()
    widen = max(0.0, 1.0 - (high - low)) / 2  # the scale is at least 1 wide, so that close scores look close
    axes.set_xlim(low - widen, high + widen)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figures.save(figure, path)
