"""What looks wrong in a parallel corpus: which lines, and what to do about them.

A corpus of any size passes by: 27 bytes of each pair stay, its texts do not. The few that are shown are read once more.
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

SHOWN = 3  # lines of a finding that are printed
LISTED = 100  # whose numbers it has
WIDTH = 40  # characters of a text that are printed

# A name may be copied, or be in another script; what has so many bytes of letters in UTF-8 is hardly a name. (Bytes,
# since a Hangul or Han letter, which has three, says more than a Latin one.)
SENTENCE = 16
CLEAR = 0.9  # of these bytes are in a line's script: with less, the rest may be names, or code
USUAL = 0.1  # of a side's lines: so many in a script are no accident
# The ratio of lengths varies more in short lines. With so many characters added to the longer language, and as many as
# say the same to the other, it varies about as much in all.
ADDED = 10
DEVIATIONS = 4.5  # beyond these a normal distribution has 7 of a million pairs
FACTOR = 1.5  # at least, for a corpus whose lines are all alike
UNKNOWN = 0.02  # of the tokens: every second sentence of 25 has one

ADVICE = {  # in the order in which it is given
    "overlap": "a score measures memory there: take these lines out of one of the two",
    "blank": "training drops such pairs, but a score counts them: delete these lines on both sides",
    "long": "training drops such pairs, so no model learns that length: raise data.max_length, or split the lines",
    "broken": "control characters, or text that was decoded wrongly: convert it anew from where it came from",
    "script": "most likely another language, or code: delete these lines on both sides, or translate them",
    "copy": "the model learns to copy where it should translate: delete these lines on both sides, or translate them",
    "ratio": "something is missing, or added, or no translation: mend these lines, or delete them on both sides; where "
    "they all stand after one line, a side lacks a line there",
    "duplicate": "they count twice, in training or in a score: keep one of each, unless they are so frequent in life",
    "unknown": "what is unknown cannot be translated: raise tokenizer.vocab_size, or set tokenizer.type to bpe",
}
_NONE = "none: no line is repeated, blank, too long, broken, in a strange script, untranslated, or of a strange length"

_LOST = re.compile("[\ufffd-\uffff\ue000-\uf8ff]")  # replacement characters, and those of private use
_MISREAD = re.compile("[ÂÃ][\x80-\xbf]|â€")  # UTF-8 that was read as Latin-1 or Windows-1252
_WORD = re.compile(r"[^\W\d_]+")
_MARKS = np.dtype(
    [("src", "i8"), ("pair", "i8"), ("length", "u2", 2), ("script", "u2", 2), ("broken", "?", 2), ("copy", "?")]
)

Lines = Bool[np.ndarray, " lines"]
Tokens = Int[np.ndarray, "lines sides 2"]


class Split(NamedTuple):
    """A part of the data, which can be read again and again.

    Attributes:
        name: `train`, `dev` or `test`.
        files: by language, the source's first, what stands before a line number.
        rows: reads the pairs as they stand.
    """

    name: str
    files: dict[str, str]
    rows: Callable[[], Iterable[Row]]


@dataclass(frozen=True)
class Finding:
    """Lines of a split that someone should look at.

    Attributes:
        kind: a key of `ADVICE`.
        split: where they are.
        side: the language they are in; empty where both are meant.
        count: how many.
        of: how many the split has.
        says: what is the matter.
        lines: the numbers of at most `LISTED`, from 1 on; the worst first where some are worse.
        other: the split where they stand too.
        twins: their numbers there.
        numbers: more about them, by name.
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
        """For JSON."""
        return {**asdict(self), "share": self.count / self.of, "advice": ADVICE[self.kind]}


class Diagnosis(NamedTuple):
    """What a look at each pair has shown.

    Attributes:
        counts: by split: `pairs`, `blank` ones, `different` ones, different `sources`.
        ratio: target characters, spaces apart, for one of the source: the median of the training pairs.
        scripts: by language the share of each script in the training lines that are in one.
        findings: of everything but tokens.
    """

    counts: dict[str, dict[str, int]]
    ratio: float
    scripts: dict[str, dict[str, float]]
    findings: list[Finding]


def diagnose(splits: Sequence[Split]) -> Diagnosis:
    """Read all splits once, the training text first."""
    known = Scripts()
    seen = {split.name: np.concatenate([_look(rows, known) for rows in _chunks(split.rows())]) for split in splits}
    train, languages = seen[splits[0].name], list(splits[0].files)
    ratio = _ratio(train)
    findings = [*_overlaps(seen), *_duplicates(seen), *_strange_lengths(seen, ratio, languages)]
    shares = {name: _shares(train["script"][:, side], known.names) for side, name in enumerate(languages)}
    for split, marks in seen.items():
        findings += _found("blank", split, "", ~_whole(marks), "a side is blank")
        findings += _found("copy", split, "", marks["copy"], "the target is the source, untranslated")
        for side, language in enumerate(languages):
            usual = [name for name, share in shares[language].items() if share >= USUAL]
            allowed = [0, *(known.names.index(name) for name in usual)]
            strange = ~np.isin(marks["script"][:, side], allowed) & bool(usual)  # none is where lines are single words
            findings += _found("script", split, language, strange, f"not in {' or '.join(usual)}")
            findings += _found("broken", split, language, marks["broken"][:, side], "broken characters")
    return Diagnosis({split: _counts(marks) for split, marks in seen.items()}, ratio, shares, findings)


def count_tokens(split: Split, tokenizers: Tokenizers) -> Tokens:
    """How many tokens each line has, EOS not counted, and how many of these are unknown."""

    def count(pair: Pair) -> list[tuple[int, int]]:
        both = tokenizers.src.encode(pair.src), tokenizers.tgt.encode(pair.tgt)
        return [(len(ids), ids.count(UNK)) for ids in both]

    return np.concatenate(
        [np.array([count(Pair.normalized(*row)) for row in rows], np.int32) for rows in _chunks(split.rows())]
    )


def long_lines(split: Split, tokens: Tokens, max_length: int) -> list[Finding]:
    """Pairs with more tokens on a side than a training takes."""
    longest = tokens[:, :, 0].max(axis=1)
    return _found("long", split.name, "", longest > max_length, f"more than {max_length:,} tokens", longest)


def unknown_rates(split: Split, tokens: Tokens) -> dict[str, float]:
    """By language the share of unknown tokens."""
    total, unknown = tokens.sum(axis=0).T
    return dict(zip(split.files, (unknown / np.maximum(total, 1)).tolist(), strict=True))


def unknown_lines(split: Split, tokens: Tokens) -> Iterator[Finding]:
    """Sides with many unknown tokens, and the lines that have most."""
    for side, (language, rate) in enumerate(unknown_rates(split, tokens).items()):
        unknown = tokens[:, side, 1]
        if rate >= UNKNOWN:
            says = f"unknown tokens: {rate:.1%} of all tokens"
            yield from _found("unknown", split.name, language, unknown > 0, says, unknown)


def by_gravity(findings: Iterable[Finding]) -> list[Finding]:
    """In the order of `ADVICE`."""
    return sorted(findings, key=lambda finding: list(ADVICE).index(finding.kind))


def report(findings: Sequence[Finding], splits: Sequence[Split]) -> Iterator[tuple[str, str]]:
    """Findings in words, each line with its label; the texts that are shown are read again."""
    named = {split.name: split for split in splits}
    texts = {split.name: _texts(split, findings) for split in splits}
    yield "findings", "none of them stops a training" if findings else _NONE
    for kind, group in groupby(findings, key=lambda finding: finding.kind):
        for finding in group:
            files, where = named[finding.split].files, f"{finding.split} {finding.side}".rstrip()
            share = finding.count / finding.of
            yield kind, f"{where}: {finding.count:,} of {finding.of:,} lines ({share:.2%}), {finding.says}"
            for number, twin in zip_longest(finding.lines[:SHOWN], finding.twins[:SHOWN]):
                place = f"{files[finding.side or next(iter(files))]}:{number}"
                if twin:
                    place += f" = {next(iter(named[finding.other].files.values()))}:{twin}"
                sides = dict(zip(files, texts[finding.split][number], strict=True))
                text = [_shown(sides[side], kind) for side in ([finding.side] if finding.side else files)]
                yield "", f"  {place}  {' | '.join(text)}"
        yield "", f"> {ADVICE[kind]}"


# ------------------------------------------------------------------------------------------------ what stays of a pair


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rows = iter(rows)
    return iter(lambda: list(islice(rows, CHUNK)), [])


def _look(rows: list[Row], known: Scripts) -> np.ndarray:
    """The `_MARKS` of some pairs."""
    pairs = [Pair.normalized(*row) for row in rows]
    marks = np.zeros(len(rows), _MARKS)
    marks["src"] = [hash(pair.src) for pair in pairs]  # 64 bits: no two of ten million texts share one
    marks["pair"] = [hash(pair) for pair in pairs]
    marks["copy"] = [pair.src == pair.tgt and _is_sentence(pair.src) for pair in pairs]
    for side in (0, 1):
        counts = known.count([pair[side] for pair in pairs])
        letters = counts[:, 2:] * known.widths[2:]
        clear = letters.max(axis=1) >= np.maximum(CLEAR * letters.sum(axis=1), SENTENCE)
        marks["script"][:, side] = np.where(clear, letters.argmax(axis=1) + 2, 0)
        marks["length"][:, side] = np.minimum(counts[:, 1:].sum(axis=1), 0xFFFF)
        marks["broken"][:, side] = [_is_broken(row[side]) for row in rows]
    return marks


def _is_sentence(text: str) -> bool:
    words = _WORD.findall(text)
    return len(words) > 1 and len("".join(words).encode()) >= SENTENCE


def _is_broken(text: str) -> bool:
    """Whether there is something for `normalize` to mend, or what it cannot mend."""
    return is_broken(text) or bool(not text.isascii() and (_LOST.search(text) or _MISREAD.search(text)))


def _whole(marks: np.ndarray) -> Lines:
    return marks["length"].min(axis=1) > 0


def _counts(marks: np.ndarray) -> dict[str, int]:
    different, sources = (1 + int(np.count_nonzero(np.diff(np.sort(marks[name])))) for name in ("pair", "src"))
    return {"pairs": len(marks), "blank": int((~_whole(marks)).sum()), "different": different, "sources": sources}


def _shares(scripts: Integer[np.ndarray, " lines"], names: list[str]) -> dict[str, float]:
    counts = np.bincount(scripts[scripts > 0], minlength=len(names))
    return {names[i]: float(counts[i] / counts.sum()) for i in np.argsort(-counts, kind="stable") if counts[i]}


# ------------------------------------------------------------------------------------------------------------ findings


def _found(
    kind: str, split: str, side: str, lines: Lines, says: str, badness: np.ndarray | None = None
) -> list[Finding]:
    """The finding of these lines, or none."""
    rows = np.flatnonzero(lines)
    if badness is not None:
        rows = rows[np.argsort(-badness[rows].astype(float), kind="stable")]
    numbers = (rows[:LISTED] + 1).tolist()
    return [Finding(kind, split, side, len(rows), len(lines), says, numbers)] if numbers else []


def _overlaps(seen: dict[str, np.ndarray]) -> Iterator[Finding]:
    """Of dev and test the sources that train has, of test those that dev has; whole pairs first."""
    for other, split in combinations(seen, 2):
        here, there = seen[split], seen[other]
        pairs, sources = _first(here["pair"], there["pair"]), _first(here["src"], there["src"])
        same = _whole(here) & (pairs >= 0)
        says = f"the source is in {other} too, {same.sum():,} with this translation"
        for finding in _found("overlap", split, "", _whole(here) & (sources >= 0), says, same):
            twins = np.where(same, pairs, sources)[np.array(finding.lines) - 1] + 1
            yield replace(finding, other=other, twins=twins.tolist(), numbers={"same_translation": int(same.sum())})


def _duplicates(seen: dict[str, np.ndarray]) -> Iterator[Finding]:
    for split, marks in seen.items():
        order = np.argsort(marks["pair"], kind="stable")
        again = np.zeros(len(marks), bool)
        again[order[1:]] = np.diff(marks["pair"][order]) == 0
        for finding in _found("duplicate", split, "", _whole(marks) & again, "the pair stands further up"):
            twins = _first(marks["pair"][np.array(finding.lines) - 1], marks["pair"]) + 1
            yield replace(finding, other=split, twins=twins.tolist())


def _first(here: Int[np.ndarray, " here"], there: Int[np.ndarray, " there"]) -> Int[np.ndarray, " here"]:
    """For each hash here the first row there that has it, or -1."""
    known = np.unique(here)
    found = known[np.minimum(np.searchsorted(known, there), len(known) - 1)] == there
    rows = np.flatnonzero(found)[::-1]
    first = dict(zip(there[rows].tolist(), rows.tolist(), strict=True))
    return np.array([first.get(value, -1) for value in here.tolist()])


def _ratio(marks: np.ndarray) -> float:
    src, tgt = marks["length"][_whole(marks)].T
    return float(np.median(tgt / src)) if len(src) else 1.0


def _strange_lengths(seen: dict[str, np.ndarray], ratio: float, languages: list[str]) -> Iterator[Finding]:
    """Lines whose ratio of lengths is far from the usual one, by the spread that it has in the training text."""

    def distance(marks: np.ndarray) -> Float[np.ndarray, " lines"]:
        src, tgt = marks["length"].astype(np.float32).T
        added = ADDED / max(ratio, 1)
        return np.abs(np.log((tgt / ratio + added) / (src + added))) * _whole(marks)

    train = next(iter(seen.values()))
    usual = distance(train)[_whole(train)]
    spread = 1.4826 * float(np.median(usual)) if len(usual) else 0.0  # the standard deviation, were it normal
    src, tgt = languages
    says = f"its length is far from {ratio:.2f} characters of {tgt} for one of {src}, the median"
    for split, marks in seen.items():
        far = distance(marks)
        yield from _found("ratio", split, "", far > max(DEVIATIONS * spread, np.log(FACTOR)), says, far)


# --------------------------------------------------------------------------------------------------------------- texts


def _texts(split: Split, findings: Iterable[Finding]) -> dict[int, Row]:
    """The lines of a split that are shown, by number."""
    shown = {number for finding in findings if finding.split == split.name for number in finding.lines[:SHOWN]}
    rows = enumerate(islice(split.rows(), max(shown, default=0)), start=1) if shown else ()
    return {number: row for number, row in rows if number in shown}


def _shown(text: str, kind: str) -> str:
    """A text in one line, cut; where it is broken, that is in sight."""
    if kind == "broken":
        begin = max(0, next(i for i in range(len(text)) if _is_broken(text[i : i + 2])) - WIDTH // 2)
        text = "…" * (begin > 0) + "".join(
            c if c.isprintable() else ascii(c)[1:-1] for c in text[begin : begin + WIDTH]
        )
    text = normalize(text)
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
