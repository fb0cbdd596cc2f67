"""The faults of a parallel corpus: which lines look wrong, and what to do about them.

A corpus may have any size: of each pair only 73 bytes are kept. The few texts that are shown are read a second time.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, combinations, groupby, islice, zip_longest
from typing import Any, NamedTuple

import numpy as np

from seq2seq.data.corpus import Pair
from seq2seq.data.splitting import find_common
from seq2seq.data.tables import COLUMN_NAMES, Row, fold_name
from seq2seq.doctor.signs import (
    APOSTROPHES,
    SIGNS,
    TRAITS,
    apostrophe,
    is_broken,
    is_comment,
    is_sentence,
    scripts_of_text,
    shown,
)
from seq2seq.shapes import Bool, Float, Int, Shaped
from seq2seq.text.languages import LANGUAGES, base_code, language_code
from seq2seq.text.normalize import normalize
from seq2seq.text.tokenizer import UNK, Tokenizers

SHOWN = 3  # lines that are printed for a finding
LISTED = 100  # line numbers that are kept for a finding

USUAL = 0.1  # share of a side's lines: a script with so many lines is no accident
# The ratio of lengths varies more in short lines. It varies about equally in all lines after ADDED characters are added
# to the longer language, and proportionally fewer to the other language.
ADDED = 10
DEVIATIONS = 4.5  # standard deviations: 7 of a million pairs of a normal distribution are further away
FACTOR = 1.5  # at least this far, in a corpus whose lines are all alike
UNKNOWN = 0.02  # share of the tokens: every second sentence of 25 tokens has one
TASK = 0.3  # share of the training pairs: where so many targets equal their source, copying is part of the task
SEVERAL = 0.1  # share of a split's lines: where so many have a source with several targets, it is no accident
OTHERWISE = 0.4  # difference of two shares of lines
FEW = 0.01  # share of the lines with an apostrophe: a sign in fewer is no habit
NOVEL = 20  # characters that are listed

ADVICE = {  # the most serious finding first
    "columns": "the wrong columns, files or codes may be named: look at data.columns, data.src and data.tgt",
    "header": "if these are the names of the columns, they are no pair: set data.header: true for a table, or delete "
    "the line on both sides",
    "overlap": "a score on these lines measures memory, not translation: delete them from one of the two files",
    "blank": "training drops these pairs, but a score counts them: delete these lines on both sides",
    "long": "training drops pairs of this length, so no model learns it: raise data.max_length, or split the lines",
    "broken": "these are control characters, or text that was decoded wrongly: convert the original file again",
    "invisible": "nobody types these signs, and to a model a word with one is not the same word: "
    "delete them in all files, unless the script needs them",
    "mixed": "letters that only look alike, such as Cyrillic а in a Latin word, make a word that no other line has: "
    "write it in one script",
    "apostrophe": "to a model it's and it’s are different words: write one sign in all files, and in what you will "
    "translate",
    "escape": "\\u00e4 stands for ä, \\n for a line break, and so on: decode them in all files",
    "cut": "the text is cut into subwords already, and a model would cut these once more: join them, for example with "
    "sed 's/@@ //g'",
    "spaced": "a space before a full stop makes another text of it: tokenize all files alike, or none",
    "numbered": "if these numbers count the lines, or are their ids, a model must learn to copy them: delete them in "
    "all files",
    "placeholder": "such a target is no translation: delete these lines on both sides, unless it is a label",
    "choices": "a model learns to write several translations and the sign between them: give each a line of its own, "
    "or keep one",
    "markup": "a model learns the mark-up too: keep the text alone. TMX: tmx2corpus, or the Moses format of OPUS; SGM "
    "of WMT: sacrebleu --echo, or the text inside <seg>; HTML: a parser, such as Python's html.parser",
    "entity": "&amp; stands for &, and so on: convert them in all files, and in what you will translate, for example "
    "with Python's html.unescape",
    "comment": "if these lines are comments, they are no pairs: delete them on both sides",
    "enclosed": "a model must learn to write these signs too: delete them in all files, unless they belong to the text",
    "quotes": "CSV encloses a cell in quotation marks and doubles those inside, and here they are still there: let the "
    "name of the table end in .csv, where tabs are read too",
    "script": "these lines are most likely in another language, or code: delete them on both sides, or translate them",
    "task": "so it is in error correction, normalization or inflection, where copying is part of the task: keep these "
    "lines, and measure beside the score how well copying alone does. Only in translation they are faults",
    "copy": "a model learns from these lines to copy the source: delete them on both sides, or translate them",
    "ratio": "a part is missing, or was added, or this is no translation: mend these lines, or delete them on both "
    "sides; if all of them come after one line, one side is missing a line there",
    "duplicate": "these pairs count twice, in training or in a score: keep one of each, unless they really are that "
    "frequent",
    "several": "a score counts one target as right, and the others as wrong: keep the one that you want; if all are "
    "right, keep them in the training text",
    "novel": "no model learns a character that its training text never has: add training pairs with it, or expect that "
    "these words come out wrong",
    "unknown": "a model cannot translate unknown words: raise tokenizer.vocab_size, or set tokenizer.type to bpe; if "
    "tokenizer.model is set, it was learned from other text, so leave it out",
}
_LOOK = "this is most of the split: look for the reason, such as a wrong file or column, before you delete anything"
OF_MOST = {  # advice where most lines of a split are found
    "overlap": "most of the split is seen in training. If the lines are the words of a text, that is usual: measure "
    "the unseen ones apart (`seq2seq split` makes such sets). Otherwise a wrong file is named",
    "duplicate": "most of the split is repeated. If the lines are the words of a text, that is usual: how often a "
    "word occurs tells a model something. `seq2seq split` keeps one of each",
    "copy": "most targets equal their source: if copying is part of the task, keep them; otherwise a wrong file or "
    "column is named",
    **dict.fromkeys(("blank", "script", "ratio", "broken", "placeholder"), _LOOK),
}
_NONE = "none: no line is repeated, blank, too long, broken, in another script, untranslated, or of an unusual length"

_MARKS = np.dtype(
    [("src", "i8"), ("tgt", "i8"), ("pair", "i8"), ("length", "u2", 2), ("script", "u2", 2), ("main", "u2", 2)]
    + [(name, "?") for name in ("copy", "same", "comment")]
    + [("broken", "?", 2), ("apostrophe", "u1", 2)]
    + [(name, "?", 2) for name in TRAITS]
    + [("novel", "u2", 2)]
)
Lines = Bool[np.ndarray, " lines"]
Rows = Shaped[np.ndarray, " lines"] | None
Letters = Callable[[str], set[str]]  # the different letters of a text, as a model sees them


class Part(NamedTuple):
    """A corpus: the whole of a split, or one of several training corpora."""

    files: dict[str, str]  # the name of each language's file, which is printed before a line number; the source's first
    first: int = 1  # the line of the first pair: 2 after a header
    pairs: int = 0  # how many there are; needed if another part follows


class Split(NamedTuple):
    """A split of the data, which can be read any number of times."""

    name: str  # `train`, `dev` or `test`
    parts: list[Part]
    rows: Callable[[], Iterable[Row]]  # reads the pairs of all parts, each once, not normalized

    @property
    def languages(self) -> list[str]:
        """The two languages, the source first."""
        return list(self.parts[0].files)

    def place(self, number: int, language: str) -> str:
        """Return file and line, in one language, of a pair by its number, from 1 on through all parts."""
        part, *later = self.parts
        for following in later:
            if number <= part.pairs:
                break
            number, part = number - part.pairs, following
        return f"{part.files[language]}:{number + part.first - 1}"


@dataclass(frozen=True)
class Finding:
    """Lines of a split that someone should look at."""

    kind: str  # a key of `ADVICE`
    split: str
    side: str  # the language that is wrong; empty if the pair is
    count: int  # how many lines
    of: int  # how many lines the split has
    says: str  # what is wrong with the lines
    lines: list[int]  # the numbers of at most `LISTED` pairs, from 1 on; the worst first if some are worse than others
    other: str  # for a repeated line, the split that has it too
    twins: list[int]  # for a repeated line, its number there

    @property
    def advice(self) -> str:
        """What to do about the lines. It never is to delete most of a split."""
        return OF_MOST.get(self.kind, ADVICE[self.kind]) if self.count > self.of / 2 else ADVICE[self.kind]

    def as_dict(self, split: Split) -> dict[str, Any]:
        """Return the finding with its share, its advice and the places of its lines in the files, for JSON."""
        places = [split.place(number, self.side or split.languages[0]) for number in self.lines]
        return {**asdict(self), "places": places, "share": self.count / self.of, "advice": self.advice}


class Diagnosis(NamedTuple):
    """What one reading of all splits has shown."""

    counts: dict[str, dict[str, int]]  # by split: the `pairs`, `blank` ones, `different` ones, different `sources`
    ratio: float  # target characters for one of the source, spaces not counted: the median of the training pairs
    scripts: dict[str, dict[str, float]]  # by language: the share of each script among the training lines in one
    findings: list[Finding]  # all that need no tokens


def diagnose(splits: Sequence[Split], lowercase: bool = False, decompose: bool = False) -> Diagnosis:
    """Read all splits once, the training text first, and return what looks wrong.

    `lowercase` and `decompose` are the tokenizer's: they say which letters a model sees.
    """

    def letters_of(text: str) -> set[str]:
        text = text.lower() if lowercase else text
        return set(unicodedata.normalize("NFD", text) if decompose else text)

    # read
    scripts = {"": 0}  # their numbers in the marks
    alphabets: tuple[set[str], set[str]] = (set(), set())  # the characters of the training text
    findings, seen = [], {}
    for each in splits:
        seen[each.name], found = _read(each, scripts, alphabets, each is not splits[0], letters_of)
        findings += found
    train, languages = seen[splits[0].name], splits[0].languages

    # compare pairs with each other
    src, tgt = train["length"][_whole(train)].T
    ratio = float(np.median(tgt / src)) if len(src) else 1.0
    findings += [*_overlaps(seen), *_duplicates(seen), *_several_targets(seen), *_placeholders(seen)]
    findings += _tokenized_otherwise(seen, languages)
    findings += _strange_lengths(seen, ratio, languages)

    # count the scripts
    shares, known = {}, list(scripts)
    for side, language in enumerate(languages):
        lines = np.bincount(train["script"][:, side], minlength=len(known))
        lines[0] = 0  # those that are clearly in no script
        order = np.argsort(-lines, kind="stable")
        shares[language] = {known[i]: float(lines[i] / lines.sum()) for i in order if lines[i]}

    # does the task copy most lines?
    same = train["same"] & _whole(train)
    is_task = same.sum() > TASK * _whole(train).sum()
    findings += _finding("task", splits[0].name, "", same & is_task, "the target equals the source")

    # look at each pair alone
    counts = {}
    for split, marks in seen.items():
        different, sources = (1 + int(np.count_nonzero(np.diff(np.sort(marks[name])))) for name in ("pair", "src"))
        blank = int((~_whole(marks)).sum())
        counts[split] = {"pairs": len(marks), "blank": blank, "different": different, "sources": sources}
        findings += _finding("blank", split, "", ~_whole(marks), "a side is blank")
        findings += _finding("comment", split, "", marks["comment"], "the source begins like a comment")
        findings += _finding("copy", split, "", marks["copy"] & ~is_task, "the target is the untranslated source")
        for side, language in enumerate(languages):
            usual = [name for name, share in shares[language].items() if share >= USUAL]
            allowed = [0, *(scripts[name] for name in usual)]
            strange = ~np.isin(marks["script"][:, side], allowed) & bool(usual)  # single words show no usual script
            letters = marks["letters"][:, side] | ~_whole(marks)
            written = marks["script"][:, side], marks["main"][:, side]
            wrong = _wrong_column(split, language, written, letters, usual, scripts)
            findings += wrong or _finding("script", split, language, strange, f"not in {' or '.join(usual)}")
            findings += _strange_signs(split, language, marks, side)
    return Diagnosis(counts, ratio, shares, findings)


def diagnose_tokens(split: Split, tokenizers: Tokenizers, max_length: int) -> tuple[dict[str, float], list[Finding]]:
    """Return the share of unknown tokens in each language, and what looks wrong with the tokens of a split."""

    def count(row: Row) -> list[tuple[int, int]]:
        pair = Pair.normalized(*row)
        both = tokenizers.src.encode(pair.src), tokenizers.tgt.encode(pair.tgt)
        return [(len(ids), ids.count(UNK)) for ids in both]

    # count the tokens of each side, without EOS, and the unknown ones
    tokens: Int[np.ndarray, "lines 2 2"] = np.fromiter(map(count, split.rows()), np.dtype((np.int32, (2, 2))))
    total, unknown = tokens.sum(axis=0).T
    rates = dict(zip(split.languages, (unknown / np.maximum(total, 1)).tolist(), strict=True))

    # long pairs; those of the training text were counted when they were dropped
    findings, longest = [], tokens[:, :, 0].max(axis=1)
    if split.name != "train":
        findings += _finding("long", split.name, "", longest > max_length, f"more than {max_length:,} tokens", longest)

    # unknown words
    for side, (language, rate) in enumerate(rates.items()):
        if rate >= UNKNOWN:
            says, counts = f"unknown tokens: {rate:.1%} of all tokens", tokens[:, side, 1]
            findings += _finding("unknown", split.name, language, counts > 0, says, counts)
    return rates, findings


def report(findings: Sequence[Finding], splits: Sequence[Split]) -> Iterator[tuple[str, str]]:
    """Yield the findings in words, each line with its label; the texts that are shown are read again."""
    # read the texts of the lines that are shown
    named, texts = {split.name: split for split in splits}, {}
    for split in splits:
        numbers = {number for finding in findings if finding.split == split.name for number in finding.lines[:SHOWN]}
        rows = enumerate(islice(split.rows(), max(numbers, default=0)), start=1) if numbers else ()
        texts[split.name] = {number: row for number, row in rows if number in numbers}

    yield "findings", "none of them stops a training" if findings else _NONE
    for kind, each in groupby(findings, key=lambda finding: finding.kind):
        group = list(each)
        for finding in group:
            # what is wrong, and how often
            split, where = named[finding.split], f"{finding.split} {finding.side}".rstrip()
            languages = split.languages
            count, of = finding.count, finding.of
            yield kind, f"{where}: {count:,} of {of:,} lines ({count / of:.2%}): {finding.says}"

            # some of the lines
            for number, twin in zip_longest(finding.lines[:SHOWN], finding.twins[:SHOWN]):
                place = split.place(number, finding.side or languages[0])
                if twin:
                    place += f" = {named[finding.other].place(twin, languages[0])}"
                sides = dict(zip(languages, texts[finding.split][number], strict=True))
                text = [shown(sides[side], kind) for side in ([finding.side] if finding.side else languages)]
                yield "", f"  {place}  {' | '.join(text)}"
        for advice in dict.fromkeys(finding.advice for finding in group):
            yield "", f"> {advice}"


def _read(
    split: Split, scripts: dict[str, int], alphabets: tuple[set[str], set[str]], look_up: bool, letters_of: Letters
) -> tuple[np.ndarray, list[Finding]]:
    """Return the `_MARKS` of a split and what its characters and its first pair show.

    With `look_up`, characters that are not in the `alphabets` of the two sides are found; otherwise they are added.
    """
    novel: tuple[Counter[str], Counter[str]] = (Counter(), Counter())  # in how many lines a new character is

    def mark(row: Row) -> tuple[object, ...]:
        pair, counts = Pair.normalized(*row), []
        for text, alphabet, lines in zip(pair, alphabets, novel, strict=True):
            new = letters_of(text) - alphabet
            (lines if look_up else alphabet).update(new)
            counts.append(len(new))
        return (*_mark(row, pair, scripts), tuple(counts))

    # read
    rows = iter(split.rows())
    first = list(islice(rows, 1))
    marks = np.fromiter(map(mark, chain(first, rows)), _MARKS)

    # what was found
    findings = []
    if len(marks) > 1 and _is_header(first[0], split.languages):
        findings += _finding("header", split.name, "", np.arange(len(marks)) == 0, "names of languages or columns")
    for side, (language, lines) in enumerate(zip(split.languages, novel, strict=True)):
        most = sorted(lines, key=lambda character: (-lines[character], character))
        listed = " ".join(c if c.isprintable() else f"U+{ord(c):04X}" for c in most[:NOVEL])
        listed += " ..." * (len(most) > NOVEL)
        counts = marks["novel"][:, side] * look_up
        findings += _finding("novel", split.name, language, counts > 0, f"train never has {listed}", counts)
    return marks, findings


def _mark(row: Row, pair: Pair, scripts: dict[str, int]) -> tuple[object, ...]:
    """Return the `_MARKS` of a pair up to `novel`, from the row and its normalized texts; number new scripts."""
    mains, clear = zip(*map(scripts_of_text, pair), strict=True)
    return (
        *map(hash, pair),  # 64 bits: no two of ten million texts have the same
        hash(pair),
        tuple(min(len(text) - text.count(" "), 0xFFFF) for text in pair),
        tuple(scripts.setdefault(script, len(scripts)) for script in clear),
        tuple(scripts.setdefault(script, len(scripts)) for script in mains),
        pair.src == pair.tgt and is_sentence(pair.src),
        pair.src == pair.tgt,
        is_comment(pair.src) and not is_comment(pair.tgt),
        tuple(map(is_broken, row)),
        tuple(map(apostrophe, pair)),
        *(tuple(map(has, pair)) for has in TRAITS.values()),
    )


def _is_header(row: Row, languages: Sequence[str]) -> bool:
    """Return whether a first pair looks like names of columns: short on both sides, and one of them usual."""
    names = [fold_name(normalize(text)) for text in row]
    usual = COLUMN_NAMES | {fold_name(language) for language in languages}
    return max(len(name.split()) for name in names) <= 3 and any(name in usual for name in names)


def _strange_signs(split: str, language: str, marks: np.ndarray, side: int) -> Iterator[Finding]:
    """Find signs that do not belong to the text of a side: broken ones, mark-up, and brackets or quotes around it."""
    yield from _finding("broken", split, language, marks["broken"][:, side], "broken characters")
    for kind, sign in SIGNS.items():
        lines = marks[kind][:, side]
        if lines.sum() > sign.least * len(marks):
            yield from _finding(kind, split, language, lines, sign.says)

    # quotation marks around most lines, or doubled ones in any; a sign between translations that the other side lacks
    quoted = marks["quoted"][:, side]
    quotes = marks["doubled"][:, side] | (quoted & (quoted.sum() > len(marks) / 2))
    yield from _finding("quotes", split, language, quotes, "quotation marks of CSV")
    choices = marks["choices"][:, side] & ~marks["choices"][:, 1 - side]
    if choices.sum() > SEVERAL * len(marks):
        yield from _finding("choices", split, language, choices, "a sign as between two translations: ; or | or /")

    # several signs for one: the lines with the rarer ones
    first = marks["apostrophe"][:, side]
    counts = np.bincount(first, minlength=len(APOSTROPHES) + 1)[1:]
    usual = np.flatnonzero(counts > FEW * counts.sum())
    if len(usual) > 1:
        signs = ", ".join(f"{APOSTROPHES[i]} in {counts[i]:,}" for i in sorted(usual, key=lambda i: -counts[i]))
        rare = (first > 0) & (first != 1 + counts.argmax())
        yield from _finding("apostrophe", split, language, rare, f"several signs for the apostrophe: {signs} lines")


def _wrong_column(
    split: str,
    language: str,
    written: tuple[np.ndarray, np.ndarray],
    letters: Lines,
    usual: list[str],
    scripts: dict[str, int],
) -> list[Finding]:
    """Find that most lines of a side have no letters, or another script than their language or the training text.

    `written` are the `script` and the `main` script of each line, as in `_MARKS`.
    """
    # no letters
    if (~letters).sum() > len(letters) / 2:
        return _finding("columns", split, language, ~letters, "no letters: other data?")

    # another script: than the language has, where single words count too, or if it has several or is unknown, than the
    # training text
    known = LANGUAGES.get(base_code(language_code(fold_name(language).split()[0])))
    own = known.script if known else ""
    expected, seen = ([own], written[1]) if own else (usual, written[0])
    clear = seen > 0
    strange = clear & ~np.isin(seen, [scripts.get(name, -1) for name in expected])
    if not expected or strange.sum() <= clear.sum() / 2:
        return []
    return _finding("columns", split, language, strange, f"not in {' or '.join(expected)}")


def _whole(marks: np.ndarray) -> Lines:
    """Return which pairs have text on both sides."""
    return marks["length"].min(axis=1) > 0


def _finding(
    kind: str, split: str, side: str, lines: Lines, says: str, badness: Rows = None, other: str = "", twins: Rows = None
) -> list[Finding]:
    """Return the finding of these lines in a list, empty if there are none; lines of large badness come first."""
    rows = np.flatnonzero(lines)
    if badness is not None:
        rows = rows[np.argsort(-badness[rows].astype(float), kind="stable")]
    listed = rows[:LISTED]
    there = [] if twins is None else (twins[listed] + 1).tolist()
    found = Finding(kind, split, side, len(rows), len(lines), says, (listed + 1).tolist(), other, there)
    return [found] if found.count else []


def _overlaps(seen: dict[str, np.ndarray]) -> Iterator[Finding]:
    """Find sources of dev and test that train has, and of test that dev has; lines with the same translation first."""
    for other, split in combinations(seen, 2):
        here, there = seen[split], seen[other]
        pairs, sources = _first(here["pair"], there["pair"]), _first(here["src"], there["src"])
        same = _whole(here) & (pairs >= 0)
        says = f"the source is also in {other}, {same.sum():,} with the same translation"
        twins = np.where(same, pairs, sources)
        yield from _finding("overlap", split, "", _whole(here) & (sources >= 0), says, same, other, twins)


def _duplicates(seen: dict[str, np.ndarray]) -> Iterator[Finding]:
    """Find pairs that an earlier line of the same split has; the first of them is not counted."""
    for split, marks in seen.items():
        first = _first(marks["pair"], marks["pair"])
        again = _whole(marks) & (first < np.arange(len(marks)))
        yield from _finding("duplicate", split, "", again, "an earlier line has the same pair", None, split, first)


def _several_targets(seen: dict[str, np.ndarray]) -> Iterator[Finding]:
    """Find lines whose source has another target in an earlier line, where there are many."""
    for split, marks in seen.items():
        first = _first(marks["src"], marks["src"])
        other = _whole(marks) & (marks["pair"] != marks["pair"][first])
        if other.sum() > SEVERAL * len(marks):
            yield from _finding("several", split, "", other, "an earlier line gives another target", None, split, first)


def _tokenized_otherwise(seen: dict[str, np.ndarray], languages: list[str]) -> Iterator[Finding]:
    """Find a split in which spaces stand before full stops while train has none, or the other way round."""
    (_, train), *others = seen.items()
    for split, marks in others:
        for side, language in enumerate(languages):
            shares = [float(each["spaced"][:, side].mean()) if len(each) else 0.0 for each in (train, marks)]
            if abs(shares[0] - shares[1]) > OTHERWISE:
                spaced = marks["spaced"][:, side]
                says = (
                    f"a space before full stops or commas in {shares[1]:.0%} of the lines, in {shares[0]:.0%} of train"
                )
                yield from _finding("spaced", split, language, spaced if shares[1] > shares[0] else ~spaced, says)


def _placeholders(seen: dict[str, np.ndarray]) -> Iterator[Finding]:
    """Find the lines with the one target that many different sources have."""
    for split, marks in seen.items():
        whole = np.flatnonzero(_whole(marks))
        src, tgt = (marks[name][whole].view(np.uint64) for name in ("src", "tgt"))
        if len(whole) and (common := find_common(src, tgt, whole)):
            lines = _whole(marks) & (marks["tgt"] == marks["tgt"][common.pair - 1])
            yield from _finding(
                "placeholder", split, "", lines, f"{common.sources:,} different sources have this target"
            )


def _first(here: Int[np.ndarray, " here"], there: Int[np.ndarray, " there"]) -> Int[np.ndarray, " here"]:
    """Return for each hash `here` the first row `there` that has it, or -1."""
    hashes, rows = np.unique(there, return_index=True)
    found = np.minimum(np.searchsorted(hashes, here), len(hashes) - 1)
    return np.where(hashes[found] == here, rows[found], -1)


def _strange_lengths(seen: dict[str, np.ndarray], ratio: float, languages: list[str]) -> Iterator[Finding]:
    """Find lines whose ratio of lengths is far from the usual ratio, measured by its spread in the training text."""

    def distance(marks: np.ndarray) -> Float[np.ndarray, " lines"]:  # 0 for the usual ratio
        src, tgt = marks["length"].astype(np.float32).T
        added = ADDED / max(ratio, 1)
        return np.abs(np.log((tgt / ratio + added) / (src + added))) * _whole(marks)

    # the deviation of a normal distribution is 1.4826 times its median distance
    train = next(iter(seen.values()))
    usual = distance(train)[_whole(train)]
    spread = 1.4826 * float(np.median(usual)) if len(usual) else 0.0

    # lines that are further away
    src, tgt = languages
    says = f"the length is far from the median, {ratio:.2f} characters of {tgt} for one of {src}"
    for split, marks in seen.items():
        far = distance(marks)
        yield from _finding("ratio", split, "", far > max(DEVIATIONS * spread, np.log(FACTOR)), says, far)
