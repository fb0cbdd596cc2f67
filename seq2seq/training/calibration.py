"""What a trained model is unsure of: measured on the dev set, and on odd lines that are made of it."""

import logging
import random

import torch

from seq2seq.config import Config
from seq2seq.data.dataset import count_neighbors, count_sources, read_dev
from seq2seq.data.store import Store
from seq2seq.decoding.confidence import Confidence
from seq2seq.decoding.translator import Translator
from seq2seq.files import must_write, replace_text
from seq2seq.runs.run import Run

log = logging.getLogger("seq2seq")

DEV_LINES = 1000  # most lines that the floors are set by
MOST_NEIGHBORS = 200_000  # pairs of neighboring source tokens that are kept: 2 MB
ODD_LINES = 100  # most lines of each odd kind


def calibrate(run: Run, config: Config, device: torch.device, *, again: bool = True) -> None:
    """Set the floors of the best model's signals on dev, count what they mark, and write `confidence.json`.

    The odd lines are dev lines with their words in another order (their characters, if a line is one word), and lines
    in another language: the translations of dev. With `again` False an existing file stays.
    """
    file = run.path / "confidence.json"
    if not again and file.exists():
        return

    # the lines
    order = random.Random(config.seed)
    pairs = [pair for pair in read_dev(config) if pair.src and pair.tgt]
    pairs = order.sample(pairs, min(len(pairs), DEV_LINES))
    some = pairs[:ODD_LINES]
    kinds = {
        "dev": [pair.src for pair in pairs],
        "shuffled": [shuffle(pair.src, order) for pair in some],
        "foreign": [pair.tgt for pair in some],
    }

    # translate them, set the floors, count
    translator = Translator.load(run.path, device=str(device), shortlist=False)
    found = {
        kind: [
            (outcome.source, outcome.hypotheses[0])
            for outcome in translator.engine.hypothesize(translator.engine.encode(lines))
            if outcome.source
        ]
        for kind, lines in kinds.items()
    }
    if not found["dev"]:
        return
    store = Store(run.path / "store")
    counts = count_sources(store, translator.tokenizers)
    neighbors = count_neighbors(store, translator.tokenizers, MOST_NEIGHBORS)
    confidence = Confidence.calibrate(counts, neighbors, found["dev"])
    marked = {
        kind: sum(bool(confidence.low(*each)) for each in lines) / max(len(lines), 1) for kind, lines in found.items()
    }
    confidence = confidence.model_copy(update={"marked": marked})
    with must_write(file, run.how_to_go_on()):
        replace_text(file, confidence.model_dump_json() + "\n")
    log.info(
        "a translation is marked as unsure where it is unlike those of data.dev. Marked are %.1f%% "
        "of the lines of data.dev; for comparison, %.0f%% of them with their %s shuffled, and %.0f%% of their "
        "translations given as sources",
        100 * marked["dev"],
        100 * marked["shuffled"],
        "letters" if all(" " not in line for line in kinds["dev"]) else "words",
        100 * marked["foreign"],
    )


def shuffle(line: str, order: random.Random) -> str:
    """Return a line with its words in random order, or its characters if it has one word."""
    words = line.split()
    if len(words) == 1:
        return "".join(order.sample(line, len(line)))
    return " ".join(order.sample(words, len(words)))
