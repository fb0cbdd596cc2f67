"""A training corpus that models write: the text of people on one side, translations on the other.

Distillation: a model, or several together, translate their own training text; a new model learns from the translations
(Kim and Rush 2016). Back-translation: a model of the other direction translates text of the target language, and a new
model learns to write what people wrote (Sennrich et al. 2016). Both are the same work, and write the same kind of
corpus: `PREFIX.de` holds German and `PREFIX.en` English, whichever the model has written.
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.evaluation.report import repeats
from seq2seq.files import delete, fingerprint, locked, must_write, publish, read_small, write_json
from seq2seq.runs.checkpoints import WEIGHTS
from seq2seq.runs.environment import git_commit
from seq2seq.runs.run import Run
from seq2seq.text.normalize import normalize

BATCHES = 16  # of the translator: lines that are sorted by length together
TIMES, MORE = 3, 20  # a side may have three times as many characters as the other, and twenty more
REASONS = {  # what `fault` finds, of many
    "empty": "without text on a side",
    "copied": "copies of the source",
    "length": f"with a side over {TIMES} times as long as the other",
    "repeats itself": "that repeat themselves",
}


class Written(NamedTuple):
    """The counts of a corpus that was written."""

    lines: int  # of text that were read
    pairs: int  # that were written
    dropped: dict[str, int]  # translations that were not, by reason


def write_corpus(
    translator: Translator, runs: Sequence[Run], lines: Iterable[str], prefix: Path, **search: Any
) -> Written:
    """Translate lines and write `PREFIX.src` and `PREFIX.tgt`, with the languages of the run as endings.

    Each line is translated in one piece. Of its translations those are left out that `fault` names. `PREFIX.json` says
    where the corpus comes from: the command, the runs, the counts and the digests.

    Until the corpus is complete, the folder `PREFIX.parts` holds the translations so far. The same call after a kill
    takes them from there, and ends with the same bytes.

    Args:
        translator: of these runs.
        runs: the first names the languages.
        lines: raw text.
        prefix: of the files; the folder must exist.
        search: keyword arguments of `Translator.translate`; all of an n-best list are written, in its order.

    Raises:
        UserError: a file cannot be written, or holds other text already; another process writes this corpus; no pair
            is left.
    """
    # the files, and what the translations depend on besides the lines
    data = runs[0].config().data
    src, tgt, record, parts = (
        prefix.parent / f"{prefix.name}.{ending}" for ending in (data.src, data.tgt, "json", "parts")
    )
    weights = {str(run.path): _weights(run) for run in runs}
    settings = {**translator.search.model_dump(), **{key: value for key, value in search.items() if value}}
    engine = translator.engine
    depends_on = [[*weights.values()], settings, engine.precision.name, engine.shortlist is not None]

    # translate
    new_src, new_tgt = parts / "src", parts / "tgt"
    with must_write(src, "choose another with --output"), locked(parts, "distillation", "--output PREFIX"):
        written = _write_pairs(translator, lines, parts, depends_on, search)
        if not written.pairs:
            delete(parts)
            why = ", ".join(f"{count:,} {REASONS[reason]}" for reason, count in written.dropped.items())
            few = f"no pair is left of {written.lines:,} lines: {why}"
            raise UserError(f"{prefix}: {few}; is this the right model?")

        # the corpus, and where it comes from; a stopped call may have left its own files, but nothing else is replaced
        for new, file in ((new_src, src), (new_tgt, tgt)):
            if file.exists() and fingerprint(file)["sha256"] != fingerprint(new)["sha256"]:
                raise UserError(f"{file}: holds other text already; move it, or choose another prefix with --output")
        publish(new_src, src)
        publish(new_tgt, tgt)
        origin = {"command": sys.argv, "commit": git_commit(), "runs": weights, "search": settings}
        origin |= {**written._asdict(), "files": {file.name: fingerprint(file)["sha256"] for file in (src, tgt)}}
        with must_write(record, "choose another with --output"):
            write_json(record, origin)
        delete(parts)
    return written


def _write_pairs(
    translator: Translator, lines: Iterable[str], parts: Path, depends_on: list[Any], search: dict[str, Any]
) -> Written:
    """Translate lines, and write the pairs that are not at fault into `src` and `tgt` in the folder `parts`."""
    read, pairs, dropped = 0, 0, Counter[str]()
    size, rest = BATCHES * translator.search.batch_size, iter(lines)
    with open(parts / "src", "w", encoding="utf-8") as sources, open(parts / "tgt", "w", encoding="utf-8") as targets:
        while texts := [normalize(line) for line in islice(rest, size)]:
            # translate some lines, or take what a stopped call has translated
            digest = hashlib.sha256(json.dumps([*depends_on, texts]).encode()).hexdigest()
            found = _translated(translator, texts, parts / f"{digest}.json", search)
            read += len(texts)

            # leave out faults
            for text, translations in zip(texts, found, strict=True):
                for other in dict.fromkeys(translations):
                    if reason := fault(text, other):
                        dropped[reason] += 1
                        continue
                    pairs += 1
                    sources.write(text + "\n")
                    targets.write(other + "\n")
    return Written(read, pairs, dict(dropped))


def _translated(translator: Translator, texts: list[str], part: Path, search: dict[str, Any]) -> list[list[str]]:
    """Return all translations of some lines, from a part that an earlier call has written, or by translating them."""
    with suppress(OSError, ValueError):
        return list(json.loads(read_small(part)))
    found = translator.translate(texts, attention=False, split_sentences=False, **search)
    translations = [[each.text, *(other.text for other in each.alternatives)] for each in found]
    write_json(part, translations)
    return translations


def fault(source: str, translation: str) -> str | None:
    """Return why a translation is left out; None if it is kept."""
    if not source or not translation:
        return "empty"
    if source == translation:
        return "copied"
    shorter, longer = sorted((len(source), len(translation)))
    if longer > TIMES * shorter + MORE:
        return "length"
    return "repeats itself" if repeats(translation) and not repeats(source) else None


def _weights(run: Run) -> str:
    """Return the digest of the weights of a run's best checkpoint."""
    best = run.checkpoints.find("best", WEIGHTS)
    assert best, run  # the translator has loaded it
    return str(fingerprint(best.path / WEIGHTS[0])["sha256"])
