"""The learning curves of a run, drawn from the records of its `metrics.jsonl`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.errors import UserError
from seq2seq.plots import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Records = Sequence[dict[str, Any]]
Best = Callable[..., dict[str, Any]]  # `min` or `max`
MOST_POINTS = 2000  # of a curve; of more, every second, third, ... is drawn
BLUE, ORANGE, GREEN, PURPLE, PALE = "#1f6fb4", "#d9822b", "#3a8f5c", "#8257a8", "#9aa5b1"


def save_curves(path: Path, metrics: Records) -> None:
    """Draw the learning curves of a run into a `.png` or `.svg` file: loss, scores, learning rate and speed.

    `metrics` are the records of the run's `metrics.jsonl`. Two more panels show how the attention developed if the
    validations measured it. A ring marks the best validation of each loss and score.

    Raises:
        UserError: nothing is logged yet; otherwise as `figures.check` and `figures.save`.
    """
    if not metrics:
        raise UserError(f"{path}: there are no metrics to draw yet; train at least until the first record is logged")
    figures.check(path)
    from matplotlib.figure import Figure

    # two rows of panels, or three
    train = [r for r in metrics if r["split"] == "train"]
    measured = {r["update"]: r for r in metrics if r["split"] == "dev"}  # of a checkpoint measured again, the last
    dev = [measured[update] for update in sorted(measured)]
    has_attention = any(r.get(key) is not None for r in dev for key in r if key.startswith("attention_"))
    heights = (3, 2, 1.5) if has_attention else (2, 1)
    figure = Figure(figsize=(11, 1.5 * sum(heights) + 2), layout="constrained")
    (loss, scores), *attention, (rate, speed) = figure.subplots(len(heights), 2, sharex=True, height_ratios=heights)

    # losses and scores
    unsmoothed = any("cross_entropy" in record for record in train)  # older runs have the smoothed loss alone
    if unsmoothed:
        _curve(loss, train, "cross_entropy", "train: cross entropy, with dropout", PALE)
    else:
        _curve(loss, train, "loss", "train: the objective", PALE)
    _curve(loss, dev, "loss", "dev: cross entropy", BLUE, best=min)
    _finish(loss, "Loss", "nats per target token")
    _curve(scores, dev, "bleu", "BLEU", BLUE, best=max)
    _curve(scores, dev, "chrf", "chrF", ORANGE, best=max)
    _curve(scores, dev, "exact_match", "exact match", GREEN, best=max)
    _finish(scores, "Scores on the dev set", "from 0 to 100")
    scores.set_ylim(-2, 104)

    # the health of the attention, which has no best value
    for spread, reach in attention:
        _curve(spread, dev, "attention_entropy", "entropy", BLUE)
        _curve(spread, dev, "attention_eos", "weight on </s>", ORANGE)
        _finish(spread, "Attention: spread", "0: one token, 1: all alike")
        _curve(reach, dev, "attention_coverage", "coverage: share of the source", GREEN)
        _curve(reach, dev, "attention_diagonality", "diagonality: in the order of the source", PURPLE)
        _finish(reach, "Attention: reach and order", "0: none, 1: all")
        for axes in (spread, reach):
            low, high = axes.get_ylim()
            axes.set_ylim(min(low, -0.02), max(high, 1.04))

    # learning rate and speed
    _curve(rate, train, "learning_rate", "", figures.QUIET)
    _finish(rate, "Learning rate", "size of a step")
    _curve(speed, train, "tokens_per_second", "", figures.QUIET)
    _finish(speed, "Speed", "target tokens per second")
    for axes in (rate, speed):
        axes.set_xlabel("updates")
        axes.set_ylim(bottom=0)
    figures.save(figure, path)


def _curve(axes: "Axes", records: Records, key: str, label: str, color: str, best: Best | None = None) -> None:
    """Draw one number of the records over the updates; a ring and the legend show its `best` value (`min` or `max`)."""
    points = [record for record in records if record.get(key) is not None]
    if not points:
        return
    if best:
        top = best(points, key=lambda record: record[key])
        axes.plot(top["update"], top[key], "o", color=color, markersize=11, markerfacecolor="none")
        label += f", best {top[key]:.4g} at {top['update']:,}"
    marker = "." if points[0]["split"] == "dev" or len(points) == 1 else "none"
    points = points[:: len(points) // MOST_POINTS + 1]
    x, y = [record["update"] for record in points], [record[key] for record in points]
    axes.plot(x, y, color=color, label=label, linewidth=1.8, marker=marker, markersize=6)


def _finish(axes: "Axes", title: str, unit: str) -> None:
    """Give a panel its title, unit, grid and legend."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_ylabel(unit)
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,g}")
    if any(axes.get_legend_handles_labels()[1]):
        axes.legend(frameon=False, fontsize=9)
