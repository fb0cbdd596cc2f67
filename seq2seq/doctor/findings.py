"""What looks wrong in a parallel corpus: which lines, and what to do about them.

A corpus may have any size: of each pair only 27 bytes are kept. The few texts that are shown are read a second time.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations, groupby, islice, zip_longest
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from seq2seq.data.corpus import Pair
from seq2seq.data.formats import Row
from seq2seq.data.store import CHUNK
from seq2seq.doctor.scripts import Scripts
from seq2seq.text.normalize import is_broken, normalize
from seq2seq.text.tokenizer import UNK, Tokenizers

SHOWN = 3  # lines that are printed for a finding
LISTED = 100  # line numbers that are kept for a finding
WIDTH = 40  # characters of a text that are printed

# Names may be copied, or stand in another script. A text with at least SENTENCE bytes of letters in UTF-8 is hardly a
# name. (Bytes, because a Hangul or Han letter has three of them and says more than a Latin letter.)
SENTENCE = 16
CLEAR = 0.9  # share of these bytes in one script, for the line to be in this script: the rest may be names, or code
USUAL = 0.1  # share of a side's lines: a script with so many lines is no accident
# The ratio of lengths varies more in short lines. It varies about equally in all lines after ADDED characters are added
# to the longer language, and to the other as many as say the same.
ADDED = 10
DEVIATIONS = 4.5  # standard deviations: 7 of a million pairs of a normal distribution are further away
FACTOR = 1.5  # at least this far, in a corpus whose lines are all alike
UNKNOWN = 0.02  # share of the tokens: every second sentence of 25 tokens has one

ADVICE = {  # gravest first
    "overlap": "a score on these lines measures memory, not translation: delete them from one of the two files",
    "blank": "training drops these pairs, but a score counts them: delete these lines on both sides",
    "long": "training drops pairs of this length, so no model learns it: raise data.max_length, or split the lines",
    "broken": "these are control characters, or text that was decoded wrongly: convert the original file again",
    "script": "these lines are most likely in another language, or code: delete them on both sides, or translate them",
    "copy": "a model learns from these lines to copy the source: delete them on both sides, or translate them",
    "ratio": "a part is missing, or was added, or this is no translation: mend these lines, or delete them on both "
    "sides; if all of them come after one line, one side is missing a line there",
    "duplicate": "these pairs count twice, in training or in a score: keep one of each, unless they really are that "
    "frequent",
    "unknown": "a model cannot translate unknown words: raise tokenizer.vocab_size, or set tokenizer.type to bpe",
}
_NONE = (
    "none: no line is repeated, blank, too long, broken, in an unexpected script, untranslated, or of an unusual length"
)

_LOST = re.compile("[\ufffd-\uffff\ue000-\uf8ff]")  # replacement characters, and those of private use
_MISREAD = re.compile("[ÂÃ][\x80-\xbf]|â€")  # UTF-8 that was read as Latin-1 or Windows-1252
_WORD = re.compile(r"[^\W\d_]+")
_MARKS = np.dtype(
    [("src", "i8"), ("pair", "i8"), ("length", "u2", 2), ("script", "u2", 2), ("broken", "?", 2), ("copy", "?")]
)

Lines = Bool[np.ndarray, " lines"]
Tokens = Int[np.ndarray, "lines sides 2"]


class Split(NamedTuple):
    """A split of the data, which can be read any number of times.

    Attributes:
        name: `train`, `dev` or `test`.
        files: the name of each language's file, which is printed before a line number; the source's first.
        rows: reads the pairs, not normalized.
    """

    name: str
    files: dict[str, str]
    rows: Callable[[], Iterable[Row]]


@dataclass(frozen=True)
class Finding:
    """Lines of a split that someone should look at.

    Attributes:
        kind: a key of `ADVICE`.
        split: the name of the split.
        side: the language that is wrong; empty if the pair is.
        count: how many lines.
        of: how many lines the split has.
        says: what is wrong with them.
        lines: the numbers, from 1, of at most `LISTED` of them; the worst first if some are worse than others.
        other: for a repeated line, the split that has it too.
        twins: for a repeated line, its number there.
        numbers: further counts, by name.
    """

    kind: str
    split: str
    side: str
    count: int
    of: int
    says: str
    lines: list[int]
    other: str = ""
    twins: list[int] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the finding with its share and its advice, for JSON."""
        return {**asdict(self), "share": self.count / self.of, "advice": ADVICE[self.kind]}


class Diagnosis(NamedTuple):
    """What one reading of all splits has shown.

    Attributes:
        counts: for each split, the number of `pairs`, of `blank` ones, of `different` ones, of different `sources`.
        ratio: target characters for one of the source, spaces not counted: the median of the training pairs.
        scripts: for each language, the share of each script among the training lines that are clearly in one.
        findings: all findings that need no tokens.
    """

    counts: dict[str, dict[str, int]]
    ratio: float
    scripts: dict[str, dict[str, float]]
    findings: list[Finding]


def diagnose(splits: Sequence[Split]) -> Diagnosis:
    """Read all splits once, the training text first, and return what looks wrong."""
    # read
    known = Scripts()
    seen = {split.name: np.concatenate([_mark(rows, known) for rows in _chunks(split.rows())]) for split in splits}
    train, languages = seen[splits[0].name], list(splits[0].files)

    # compare pairs with each other
    ratio = _ratio(train)
    findings = [*_overlaps(seen), *_duplicates(seen), *_strange_lengths(seen, ratio, languages)]

    # look at each pair alone
    shares = {name: _shares(train["script"][:, side], known.names) for side, name in enumerate(languages)}
    for split, marks in seen.items():
        findings += _finding("blank", split, "", ~_whole(marks), "a side is blank")
        findings += _finding("copy", split, "", marks["copy"], "the target is the untranslated source")
        for side, language in enumerate(languages):
            usual = [name for name, share in shares[language].items() if share >= USUAL]
            allowed = [0, *(known.names.index(name) for name in usual)]
            strange = ~np.isin(marks["script"][:, side], allowed) & bool(usual)  # single words show no usual script
            findings += _finding("script", split, language, strange, f"not in {' or '.join(usual)}")
            findings += _finding("broken", split, language, marks["broken"][:, side], "broken characters")
    return Diagnosis({split: _counts(marks) for split, marks in seen.items()}, ratio, shares, findings)


def count_tokens(split: Split, tokenizers: Tokenizers) -> Tokens:
    """Count the tokens of each line, without EOS, and how many of them are unknown."""

    def count(pair: Pair) -> list[tuple[int, int]]:
        both = tokenizers.src.encode(pair.src), tokenizers.tgt.encode(pair.tgt)
        return [(len(ids), ids.count(UNK)) for ids in both]

    return np.concatenate(
        [np.array([count(Pair.normalized(*row)) for row in rows], np.int32) for rows in _chunks(split.rows())]
    )


def long_lines(split: Split, tokens: Tokens, max_length: int) -> list[Finding]:
    """Return the finding of pairs with more tokens on a side than training accepts, or none."""
    longest = tokens[:, :, 0].max(axis=1)
    return _finding("long", split.name, "", longest > max_length, f"more than {max_length:,} tokens", longest)


def unknown_rates(split: Split, tokens: Tokens) -> dict[str, float]:
    """Return the share of unknown tokens in each language."""
    total, unknown = tokens.sum(axis=0).T
    return dict(zip(split.files, (unknown / np.maximum(total, 1)).tolist(), strict=True))


def unknown_lines(split: Split, tokens: Tokens) -> Iterator[Finding]:
    """Yield a finding for each language with many unknown tokens; the lines with most of them come first."""
    for side, (language, rate) in enumerate(unknown_rates(split, tokens).items()):
        unknown = tokens[:, side, 1]
        if rate >= UNKNOWN:
            says = f"unknown tokens: {rate:.1%} of all tokens"
            yield from _finding("unknown", split.name, language, unknown > 0, says, unknown)


def by_gravity(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings as `ADVICE` is sorted."""
    return sorted(findings, key=lambda finding: list(ADVICE).index(finding.kind))


def report(findings: Sequence[Finding], splits: Sequence[Split]) -> Iterator[tuple[str, str]]:
    """Yield the findings in words, each line with its label; the texts that are shown are read again."""
    named = {split.name: split for split in splits}
    texts = {split.name: _texts(split, findings) for split in splits}
    yield "findings", "none of them stops a training" if findings else _NONE
    for kind, group in groupby(findings, key=lambda finding: finding.kind):
        for finding in group:
            # what is wrong, and how often
            files, where = named[finding.split].files, f"{finding.split} {finding.side}".rstrip()
            share = finding.count / finding.of
            yield kind, f"{where}: {finding.count:,} of {finding.of:,} lines ({share:.2%}): {finding.says}"

            # some of the lines
            for number, twin in zip_longest(finding.lines[:SHOWN], finding.twins[:SHOWN]):
                place = f"{files[finding.side or next(iter(files))]}:{number}"
                if twin:
                    place += f" = {next(iter(named[finding.other].files.values()))}:{twin}"
                sides = dict(zip(files, texts[finding.split][number], strict=True))
                text = [_shown(sides[side], kind) for side in ([finding.side] if finding.side else files)]
                yield "", f"  {place}  {' | '.join(text)}"
        yield "", f"> {ADVICE[kind]}"


# ------------------------------------------------------------------------------------------- what is kept of a pair


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield lists of `CHUNK` pairs."""
    rows = iter(rows)
    return iter(lambda: list(islice(rows, CHUNK)), [])


def _mark(rows: list[Row], known: Scripts) -> np.ndarray:
    """Return the `_MARKS` of some pairs; add their scripts to those that are known."""
    # both sides together
    pairs = [Pair.normalized(*row) for row in rows]
    marks = np.zeros(len(rows), _MARKS)
    marks["src"] = [hash(pair.src) for pair in pairs]  # 64 bits: no two of ten million texts have the same
    marks["pair"] = [hash(pair) for pair in pairs]
    marks["copy"] = [pair.src == pair.tgt and _is_sentence(pair.src) for pair in pairs]

    # each side: its script (0 if no script is clear), its characters without spaces, whether it is broken
    for side in (0, 1):
        counts = known.count([pair[side] for pair in pairs])
        letters = counts[:, 2:] * known.widths[2:]
        clear = letters.max(axis=1) >= np.maximum(CLEAR * letters.sum(axis=1), SENTENCE)
        marks["script"][:, side] = np.where(clear, letters.argmax(axis=1) + 2, 0)
        marks["length"][:, side] = np.minimum(counts[:, 1:].sum(axis=1), 0xFFFF)
        marks["broken"][:, side] = [_is_broken(row[side]) for row in rows]
    return marks


def _is_sentence(text: str) -> bool:
    """Return whether a text is more than a name or a number."""
    words = _WORD.findall(text)
    return len(words) > 1 and len("".join(words).encode()) >= SENTENCE


def _is_broken(text: str) -> bool:
    """Return whether a text has characters that `normalize` mends, or was decoded wrongly."""
    return is_broken(text) or bool(not text.isascii() and (_LOST.search(text) or _MISREAD.search(text)))


def _whole(marks: np.ndarray) -> Lines:
    """Return which pairs have text on both sides."""
    return marks["length"].min(axis=1) > 0


def _counts(marks: np.ndarray) -> dict[str, int]:
    different, sources = (1 + int(np.count_nonzero(np.diff(np.sort(marks[name])))) for name in ("pair", "src"))
    return {"pairs": len(marks), "blank": int((~_whole(marks)).sum()), "different": different, "sources": sources}


def _shares(scripts: Integer[np.ndarray, " lines"], names: list[str]) -> dict[str, float]:
    """Return the share of each script among the lines that are clearly in one, the most frequent first."""
    counts = np.bincount(scripts[scripts > 0], minlength=len(names))
    return {names[i]: float(counts[i] / counts.sum()) for i in np.argsort(-counts, kind="stable") if counts[i]}


# ------------------------------------------------------------------------------------------------------------ findings


def _finding(
    kind: str, split: str, side: str, lines: Lines, says: str, badness: np.ndarray | None = None
) -> list[Finding]:
    """Return the finding of these lines in a list, empty if there are none; lines of large badness come first."""
    rows = np.flatnonzero(lines)
    if badness is not None:
        rows = rows[np.argsort(-badness[rows].astype(float), kind="stable")]
    numbers = (rows[:LISTED] + 1).tolist()
    return [Finding(kind, split, side, len(rows), len(lines), says, numbers)] if numbers else []


def _overlaps(seen: dict[str, np.ndarray]) -> Iterator[Finding]:
    """Find sources of dev and test that train has, and of test that dev has; lines with the same translation first."""
    for other, split in combinations(seen, 2):
        here, there = seen[split], seen[other]
        pairs, sources = _first(here["pair"], there["pair"]), _first(here["src"], there["src"])
        same = _whole(here) & (pairs >= 0)
        says = f"the source is also in {other}, {same.sum():,} with the same translation"
        for finding in _finding("overlap", split, "", _whole(here) & (sources >= 0), says, same):
            twins = np.where(same, pairs, sources)[np.array(finding.lines) - 1] + 1
            yield replace(finding, other=other, twins=twins.tolist(), numbers={"same_translation": int(same.sum())})


def _duplicates(seen: dict[str, np.ndarray]) -> Iterator[Finding]:
    """Find pairs that an earlier line of the same split has; the first of them is not counted."""
    for split, marks in seen.items():
        order = np.argsort(marks["pair"], kind="stable")
        again = np.zeros(len(marks), bool)
        again[order[1:]] = np.diff(marks["pair"][order]) == 0
        for finding in _finding("duplicate", split, "", _whole(marks) & again, "an earlier line has the same pair"):
            twins = _first(marks["pair"][np.array(finding.lines) - 1], marks["pair"]) + 1
            yield replace(finding, other=split, twins=twins.tolist())


def _first(here: Int[np.ndarray, " here"], there: Int[np.ndarray, " there"]) -> Int[np.ndarray, " here"]:
    """Return for each hash `here` the first row `there` that has it, or -1."""
    known = np.unique(here)
    found = known[np.minimum(np.searchsorted(known, there), len(known) - 1)] == there
    rows = np.flatnonzero(found)[::-1]
    first = dict(zip(there[rows].tolist(), rows.tolist(), strict=True))
    return np.array([first.get(value, -1) for value in here.tolist()])


def _ratio(marks: np.ndarray) -> float:
    """Return the median of target characters for one of the source."""
    src, tgt = marks["length"][_whole(marks)].T
    return float(np.median(tgt / src)) if len(src) else 1.0


def _strange_lengths(seen: dict[str, np.ndarray], ratio: float, languages: list[str]) -> Iterator[Finding]:
    """Find lines whose ratio of lengths is far from the usual ratio, measured by its spread in the training text."""

    def distance(marks: np.ndarray) -> Float[np.ndarray, " lines"]:  # 0 for the usual ratio
        src, tgt = marks["length"].astype(np.float32).T
        added = ADDED / max(ratio, 1)
        return np.abs(np.log((tgt / ratio + added) / (src + added))) * _whole(marks)

    # the usual distance
    train = next(iter(seen.values()))
    usual = distance(train)[_whole(train)]
    spread = 1.4826 * float(np.median(usual)) if len(usual) else 0.0  # the deviation of a normal distribution

    # lines that are further away
    src, tgt = languages
    says = f"the length is far from the median, {ratio:.2f} characters of {tgt} for one of {src}"
    for split, marks in seen.items():
        far = distance(marks)
        yield from _finding("ratio", split, "", far > max(DEVIATIONS * spread, np.log(FACTOR)), says, far)


# --------------------------------------------------------------------------------------------------------------- texts


def _texts(split: Split, findings: Iterable[Finding]) -> dict[int, Row]:
    """Read the lines of a split that are shown, by number."""
    shown = {number for finding in findings if finding.split == split.name for number in finding.lines[:SHOWN]}
    rows = enumerate(islice(split.rows(), max(shown, default=0)), start=1) if shown else ()
    return {number: row for number, row in rows if number in shown}


def _shown(text: str, kind: str) -> str:
    """Return a text cut to one line; of a broken text, the part that is broken."""
    if kind == "broken":
        begin = max(0, next(i for i in range(len(text)) if _is_broken(text[i : i + 2])) - WIDTH // 2)
        text = "…" * (begin > 0) + "".join(
            c if c.isprintable() else ascii(c)[1:-1] for c in text[begin : begin + WIDTH]
        )
    text = normalize(text)
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
