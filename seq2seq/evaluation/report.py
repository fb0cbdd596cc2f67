"""A report on an evaluation: one HTML file without a script, which shows where the translations are good and bad."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from itertools import groupby, pairwise
from math import ceil
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment
from markupsafe import Markup, escape
from rapidfuzz.distance import Levenshtein

from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import Evaluation, rewrite_references
from seq2seq.evaluation.measures import SAMPLES
from seq2seq.files import must_write, replace_text
from seq2seq.text.normalize import normalize
from seq2seq.text.tokenizer import Tokenizers

WORST = 50  # lines shown
LISTED = 8  # numbers of lines shown for an oddity
GROUPS = 5  # of about equally many lines, by length
RARITIES = (0, 1, 5, 20, 100)  # the lowest counts of the groups by rarest word
CONFUSIONS = 20  # pairs of signs shown
REPEATS = 3  # times that something stands in a row


class Line(NamedTuple):
    """A line of the test set, normalized."""

    number: int  # from 1
    source: str
    reference: str  # the nearest one
    hypothesis: str
    chrf: float  # of this line alone


class Confusion(NamedTuple):
    """A sign of the references, and what is written for it; one of them is empty where a sign is left out or added."""

    sign: str
    written: str
    times: int
    of: int  # as often the references have the sign


class Group(NamedTuple):
    """Some lines and their scores."""

    name: str
    lines: int
    chrf: float
    bleu: float
    exact_match: float


def save_report(
    path: Path, title: str, evaluation: Evaluation, tokenizers: Tokenizers, training_sources: Iterable[str]
) -> None:
    """Write the report; `training_sources` are the source lines of the training text, normalized.

    Raises:
        UserError: the file cannot be written.
    """
    counts, lines = evaluation.counts, _make_lines(evaluation, tokenizers)

    # groups of lines; where most lines are one word, its letters count
    def group(name: str, rows: Sequence[int]) -> Group:
        scores = {key: each.score(each.numbers[rows].sum(axis=0)) for key, each in counts.items()}
        return Group(name, len(rows), scores["chrf"], scores["bleu"], scores["exact_match"])

    by_letter = sum(" " in line.source for line in lines) < len(lines) / 2

    def fold(text: str) -> str:
        return text.lower() if tokenizers.lowercase else text

    def split(text: str) -> list[str]:
        return list(text.replace(" ", "")) if by_letter else text.split()

    sources = [fold(line.source) for line in lines]
    words = [split(source) for source in sources]
    by_length = [group(*each) for each in _by_length([len(line) for line in words])]

    # one reading of the training text: its words are counted, and the sources that it has too are kept
    known, wanted = set[str](), {*sources}

    def trained() -> Iterator[list[str]]:
        for line in map(fold, training_sources):
            if line in wanted:
                known.add(line)
            yield split(line)

    by_rarity: list[Group] = []
    by_source: list[Group] = []
    unknown = ""
    try:
        by_rarity = [group(*each) for each in _by_rarity(words, trained())]
        by_source = [group(*each) for each in _by_source(sources, known)]
    except UserError as error:
        unknown = str(error)
    # of words, which signs are confused: letters, or the words of a target that is phones with spaces between them
    signs = [[split_signs(text, tokenizers) for text in (line.reference, line.hypothesis)] for line in lines]
    confusions, wrong = confuse(signs) if by_letter else ([], 0)
    signs_wrong = f"{100 * wrong / max(sum(len(reference) for reference, _ in signs), 1):.2f} %"

    # the page
    shown = sorted((line for line in lines if line.hypothesis != line.reference), key=lambda line: line.chrf)[:WORST]
    template = files("seq2seq.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    page = (
        Environment(autoescape=True, trim_blocks=True)
        .from_string(template)
        .render(
            title=title,
            evaluation=evaluation,
            samples=SAMPLES,
            oddities=_oddities(lines),
            unit="letter" if by_letter else "word",
            unknown=unknown,
            by_length=by_length,
            by_rarity=by_rarity,
            by_source=by_source,
            confusions=confusions,
            signs_wrong=signs_wrong,
            by_phone=tokenizers.types[1] == "word",
            worst=[(line, *_marked(line.reference, line.hypothesis)) for line in shown],
        )
    )
    with must_write(path, "give a file in a folder that can be written to"):
        replace_text(path, page)


def _make_lines(evaluation: Evaluation, tokenizers: Tokenizers) -> list[Line]:
    """Return the lines of the test set, each with its nearest reference and its own chrF."""
    references = [rewrite_references(lines, tokenizers) for lines in evaluation.references]
    chrf = evaluation.counts["chrf"]
    lines = []
    for row, (source, hypothesis) in enumerate(zip(evaluation.sources, evaluation.hypotheses, strict=True)):
        options = [each[row] for each in references if each[row]]
        nearest = min(options, key=lambda line: Levenshtein.distance(line, hypothesis), default="")
        lines.append(Line(row + 1, normalize(source), nearest, hypothesis, float(chrf.score(chrf.numbers[row]))))
    return lines


# --------------------------------------------------------------------------------------------------------- groups


def _by_length(lengths: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
    """Yield the name and the lines of groups of about equally many lines; lines of one length stay together."""
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    bounds = sorted({lengths[order[ceil(len(order) * part / GROUPS) - 1]] for part in range(1, GROUPS + 1)})
    for low, high in pairwise([-1, *bounds]):
        rows = [row for row in order if low < lengths[row] <= high]
        least = lengths[rows[0]]
        yield (f"{least:,}" if least == high else f"{least:,} to {high:,}"), rows


def _by_rarity(
    words: Sequence[Sequence[str]], training_words: Iterable[Sequence[str]]
) -> Iterator[tuple[str, list[int]]]:
    """Yield the name and the lines of groups, by how often the training text has the rarest word of a line."""
    # count the words of the set
    counts = dict.fromkeys((word for line in words for word in line), 0)
    for line in training_words:
        for word in line:
            if word in counts:
                counts[word] += 1

    # group the lines
    groups = defaultdict(list)
    for row, line in enumerate(words):
        rarest = min((counts[word] for word in line), default=0)
        groups[max(low for low in RARITIES if low <= rarest)].append(row)
    for low, high in zip(RARITIES, [*RARITIES[1:], None], strict=True):
        name = "never seen" if not low else f"{low} or more" if high is None else f"{low} to {high - 1}"
        if rows := groups[low]:
            yield name, rows


def _by_source(sources: Sequence[str], known: set[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield the name and the lines of two groups, if training has seen some sources: those that it has, and others."""
    for name, is_seen in (("in the training text", True), ("new", False)):
        rows = [row for row, source in enumerate(sources) if (source in known) == is_seen]
        if known and rows:
            yield name, rows


# ----------------------------------------------------------------------------------------------------- confusions


def split_signs(text: str, tokenizers: Tokenizers) -> list[str]:
    """Return the signs of a text that is a word: its phones if spaces are between them, else its letters."""
    return text.split() if tokenizers.types[1] == "word" else list(text.replace(" ", ""))


def confuse(pairs: Iterable[Sequence[Sequence[str]]]) -> tuple[list[Confusion], int]:
    """Align the signs of each reference and translation by the fewest edits (Levenshtein 1966), and count what stands
    for what; return the most frequent confusions, and the number of all edits."""
    counts, of = Counter[tuple[str, str]](), Counter[str]()
    for reference, hypothesis in pairs:
        of.update(reference)
        for step in Levenshtein.editops(reference, hypothesis):
            sign = "" if step.tag == "insert" else reference[step.src_pos]
            written = "" if step.tag == "delete" else hypothesis[step.dest_pos]
            counts[sign, written] += 1
    order = sorted(counts, key=lambda pair: (-counts[pair], pair))[:CONFUSIONS]
    return [Confusion(*pair, counts[pair], of[pair[0]]) for pair in order], counts.total()


# ------------------------------------------------------------------------------------------------------- oddities


def _oddities(lines: Sequence[Line]) -> Iterator[tuple[str, str, str]]:
    """Yield what often goes wrong: its name, its size, and the numbers of the first lines."""
    # too short or too long
    written, wanted = (sum(len(getattr(line, name)) for line in lines) for name in ("hypothesis", "reference"))
    yield "length", f"{100 * written / max(wanted, 1):.1f} % of the reference's characters", ""

    # empty, copied, repeating something, the same for different sources
    sources = defaultdict(set)
    for line in lines:
        sources[line.hypothesis].add(line.source)
    found = {
        "empty": [line for line in lines if line.source and not line.hypothesis],
        "copied source": [line for line in lines if line.source and line.source == line.hypothesis != line.reference],
        "repeats itself": [line for line in lines if repeats(line.hypothesis) and not repeats(line.reference)],
        "same for different sources": [
            line for line in lines if line.hypothesis != line.reference and len(sources[line.hypothesis]) > 1
        ],
    }
    for name, odd in found.items():
        size = f"{len(odd):,} line{'s' * (len(odd) != 1)} ({len(odd) / len(lines):.1%})"
        yield name, size, ", ".join(f"{line.number:,}" for line in odd[:LISTED]) + ", …" * (len(odd) > LISTED)


def repeats(text: str) -> bool:
    """Return whether one to ten words, or two to ten characters, stand `REPEATS` times in a row."""
    units: list[tuple[Sequence[str], int]] = [(text.split(), 1), (text.replace(" ", ""), 2)]
    for items, shortest in units:
        for size in range(shortest, 11):
            run = 0  # how many items before this one equal the item `size` places before them
            for now, before in zip(items[size:], items, strict=False):
                run = run + 1 if now == before else 0
                if run == size * (REPEATS - 1):
                    return True
    return False


def _marked(reference: str, hypothesis: str) -> tuple[Markup, Markup]:
    """Return both as HTML: `<del>` is around what the hypothesis lacks, `<ins>` around what the reference lacks.

    Words are compared; in lines of one word, and without spaces between words, characters.
    """
    joiner = " " if min(reference.count(" "), hypothesis.count(" ")) else ""
    left, right = (text.split() if joiner else list(text) for text in (reference, hypothesis))
    parts: tuple[list[Markup], list[Markup]] = ([], [])
    for is_equal, group in groupby(Levenshtein.opcodes(left, right), key=lambda step: step.tag == "equal"):
        steps = list(group)
        here = left[steps[0].src_start : steps[-1].src_end]
        there = right[steps[0].dest_start : steps[-1].dest_end]
        for side, mark, items in ((0, "del", here), (1, "ins", there)):
            text = escape(joiner.join(items))
            if items:
                parts[side].append(text if is_equal else Markup(f"<{mark}>{text}</{mark}>"))
    return Markup(joiner).join(parts[0]), Markup(joiner).join(parts[1])
