"""One corpus divided into train, dev and test, so that what a model is measured on was never seen in training.

Pairs that share a source or a target form a group, which is never divided. Hashes of the sources, with the seed as key,
decide where a group goes. So the order of the lines does not matter, and equal texts are divided equally.
"""

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seq2seq.config.sizes import fitting_config
from seq2seq.data.corpus import Pair
from seq2seq.data.formats import SPELLED_SIGN
from seq2seq.data.tables import QUOTED, Form, Row
from seq2seq.errors import UserError
from seq2seq.files import must_write, replacing_folder
from seq2seq.shapes import Int, UInt64
from seq2seq.text.languages import main_script

PARTS = ("train", "dev", "test")
DROPPED = -1
MOST = 1000  # pairs of dev and of test, by default
SPELLED_WORD = 15  # characters of a line that is one word, at most
FEATURED_WORDS, FEATURED_LETTERS = 4, 40  # of a word with its features, such as `walk V;PST`, at most
SAME_LETTERS = 0.5
COMMON, FEW_SOURCES = 0.05, 10  # share and number of the sources above which their target is common
MANY_SIGNS = 1000  # different ones; with more, they are words of a language

_PAIR = np.dtype([("src", "u8"), ("tgt", "u8"), ("blank", "?")])


class Common(NamedTuple):
    """A target that many different sources have."""

    sources: int  # how many
    pair: int  # the number of the first pair with it, from 1 on


@dataclass(frozen=True)
class Division:
    """The part that each pair of a corpus goes to, and what was seen while the corpus was read."""

    part: Int[np.ndarray, " pairs"]  # an index of `PARTS`, or `DROPPED`
    blank: int  # pairs that were dropped because a side is blank
    repeated: int  # pairs that an earlier line has too
    quoted: int  # pairs with a cell that has the quotation marks of CSV
    common: Common | None
    by_source: bool  # whether only sources keep pairs together, because targets keep too many together
    tokens: int  # different characters or signs for which a vocabulary must have room
    joint: bool  # whether the sides are written in the same letters, so that one vocabulary serves both
    scripts: tuple[str, str]  # of most letters of each side, as `script_of` names it; empty without letters
    types: tuple[str, str] | None  # of tokenizers for lines that are words, letter by letter; None: they are sentences

    def sizes(self) -> dict[str, int]:
        """Return the number of pairs of each part."""
        return {name: int((self.part == number).sum()) for number, name in enumerate(PARTS)}


class Reader:
    """A reader of pairs that hashes their texts and counts what is seen."""

    def __init__(self, seed: int):
        self._key = str(seed).encode()
        self.characters: tuple[Counter[str], Counter[str]] = Counter(), Counter()  # of each side, and how often
        self.quoted = self.doubled = 0  # pairs with a cell in quotation marks, and with doubled ones in it
        self._lines, self._words, self._letters = 0, [0, 0], [0, 0]  # of pairs that are not blank, and of their sides
        self._signs: tuple[set[str], set[str]] = set(), set()  # the different words of each side, until there are many

    def mark(self, row: Row) -> tuple[int, int, bool]:
        """Return the hashes of a pair, and whether a side is blank."""
        pair = Pair.normalized(*row)
        cells = [text for text in pair if text[:1] == '"' and QUOTED.fullmatch(text)]
        self.quoted += bool(cells)
        self.doubled += any('""' in text[1:-1] for text in cells)
        if all(pair):
            self._lines += 1
            for side, text in enumerate(pair):
                self.characters[side].update(text)
                self._words[side] += text.count(" ") + 1
                self._letters[side] += len(text) - text.count(" ")
                if len(self._signs[side]) <= MANY_SIGNS:
                    self._signs[side].update(text.split())
        src, tgt = (int.from_bytes(blake2b(text.encode(), digest_size=8, key=self._key).digest()) for text in pair)
        return src, tgt, not all(pair)

    @property
    def types(self) -> tuple[str, str] | None:
        """The types of tokenizers for lines that are words, letter by letter: `char`, or `word` for signs with spaces
        between them. The source may be a word and its features. None: lines are sentences."""
        src, tgt = self._type(0), self._type(1)
        if tgt and not src and max(self._words[0] / FEATURED_WORDS, self._letters[0] / FEATURED_LETTERS) <= self._lines:
            src = "char"
        return (src, tgt) if src and tgt else None

    def _type(self, side: int) -> str | None:
        words, letters = self._words[side], self._letters[side]
        if words < 1.1 * self._lines and letters <= SPELLED_WORD * self._lines:
            return "char"
        if letters < SPELLED_SIGN * words:
            return "word" if len(self._signs[side]) <= MANY_SIGNS else "char"
        return None

    @property
    def tokens(self) -> int:
        """The number of different characters of both sides, or if they are apart of the side that has more; or of the
        signs of a side if they are more."""
        signs = [len(self._signs[side]) for side in (0, 1) if self.types and self.types[side] == "word"]
        src, tgt = self.characters
        return max(len(src | tgt) if self.joint else max(len(src), len(tgt)), *signs, 0)

    @property
    def scripts(self) -> tuple[str, str]:
        """The script of most letters of each side; empty where a side has none."""
        src, tgt = map(main_script, self.characters)
        return src, tgt

    @property
    def joint(self) -> bool:
        """Whether the sides are written in the same letters: the sum over all letters of the smaller of their two
        frequencies is at least `SAME_LETTERS`. (Of two languages in one script it is about 0.9.)"""
        if self.types:
            return True
        shares = []
        for side in self.characters:
            letters = {c: count for c, count in side.items() if c.isalpha()}
            shares.append({c: count / sum(letters.values()) for c, count in letters.items()})
        src, tgt = shares
        return not (src and tgt) or sum(min(src[c], tgt[c]) for c in src.keys() & tgt.keys()) >= SAME_LETTERS


def divide(rows: Iterable[Row], dev: int | None, test: int | None, seed: int, keep_repeats: bool = False) -> Division:
    """Divide a corpus. Of each pair only 17 bytes are held in memory.

    Args:
        rows: the pairs.
        dev: how many pairs dev should have; None: a tenth of all, at most `MOST`.
        test: the same for test; it may be 0.
        seed: decides which pairs they are.
        keep_repeats: keep pairs that are repeated, so that their frequency stays; all of them go to one part.

    Raises:
        UserError: there are too few different pairs, or they hang together too much.
    """
    # read; drop blank pairs, and unless repeats are kept, all but the first of those that are equal
    reader = Reader(seed)
    marks = np.fromiter(map(reader.mark, rows), _PAIR)
    _, first = np.unique(marks["src"] * np.uint64(3) + marks["tgt"], return_index=True)
    is_first = np.zeros(len(marks), bool)
    is_first[first] = True
    repeated = int((~is_first & ~marks["blank"]).sum())
    keep = ~marks["blank"] & (is_first | keep_repeats)
    kept = marks[keep]

    # how many to take
    fitting = min(MOST, max(1, len(kept) // 10))
    wanted = [fitting if number is None else number for number in (dev, test)]
    if len(kept) < 3 or sum(wanted) > len(kept) / 2 + 1:
        asked = f"dev {wanted[0]:,} and test {wanted[1]:,} leave too few of them for training"
        raise UserError(
            f"{len(kept):,} different pairs: {asked if len(kept) >= 3 else 'too few to divide'}; bring more"
        )

    # choose groups for them: kept together by source and target, or if too few are small enough, by source alone
    for by_source in (False, True):
        group = np.unique(kept["src"], return_inverse=True)[1] if by_source else _connected(kept["src"], kept["tgt"])
        part, sizes = _choose(kept["src"], group, wanted)
        found = [int((part == number).sum()) for number in (1, 2)]
        if all(2 * n >= most for n, most in zip(found, wanted, strict=True)):
            break
    if not found[0] or (wanted[1] and not found[1]):
        raise UserError(f"{len(kept):,} different pairs, {sizes.max():,} of one source: none are left for dev and test")

    # one part for each line
    parts = np.full(len(marks), DROPPED)
    parts[keep] = part
    blank, quoted = int(marks["blank"].sum()), reader.quoted if reader.quoted > len(marks) / 2 else reader.doubled
    common = find_common(kept["src"], kept["tgt"], np.flatnonzero(keep))
    seen = reader.tokens, reader.joint, reader.scripts, reader.types
    return Division(parts, blank, repeated, quoted, common, by_source, *seen)


def write_division(out: Path, rows: Iterable[Row], form: Form, division: Division) -> Path:
    """Write the parts of a corpus, two files each, and a config that fits them, into a folder; return the config.

    `rows` are read a second time. The folder must be empty or missing; it appears when it is complete.

    Raises:
        UserError: the folder cannot be written, or the corpus has changed.
    """
    # the config
    name = out.resolve().name
    parts = {part: str(out / part) for part, size in division.sizes().items() if size}
    data = {**parts, "src": form.src, "tgt": form.tgt}
    config = fitting_config(data, division.sizes()["train"], division.tokens, division.joint, division.types)

    # the texts, in the order of the corpus
    with must_write(out, "give another folder with --out"), replacing_folder(out) as new, ExitStack() as stack:
        files = [
            [
                stack.enter_context(open(new / f"{part}.{code}", "w", encoding="utf-8", newline="\n"))
                for code in form[:2]
            ]
            for part in parts
        ]
        for row, part in zip_longest(rows, division.part):
            if row is None or part is None:
                raise UserError("the corpus has changed while it was read; repeat when nothing writes into it")
            for file, text in zip(files[part], Pair.normalized(*row), strict=True) if part != DROPPED else ():
                file.write(text + "\n")
        (new / f"{name}.yaml").write_text(config, encoding="utf-8")
    return out / f"{name}.yaml"


def _connected(src: UInt64[np.ndarray, " pairs"], tgt: UInt64[np.ndarray, " pairs"]) -> Int[np.ndarray, " pairs"]:
    """Return a number for each pair, equal for pairs that a chain of common sources and targets connects."""
    sources, a = np.unique(src, return_inverse=True)
    targets, b = np.unique(tgt, return_inverse=True)
    b = b + len(sources)
    label = np.arange(len(sources) + len(targets))
    while True:
        # each text takes the smallest label of its neighbours, and of whom that label belongs to
        smallest, before = np.minimum(label[a], label[b]), label.copy()
        np.minimum.at(label, a, smallest)
        np.minimum.at(label, b, smallest)
        label = label[label]
        if np.array_equal(label, before):
            return np.unique(label[a], return_inverse=True)[1]


def find_common(
    src: UInt64[np.ndarray, " pairs"], tgt: UInt64[np.ndarray, " pairs"], index: Int[np.ndarray, " pairs"]
) -> Common | None:
    """Return the most common target; None if it has few sources, or if others have many too, as labels have.

    `src` and `tgt` are hashes of the pairs, and `index` is the place of each in the corpus, from 0 on.
    """
    first = np.unique(src, return_index=True)[1]  # a pair of each source
    targets, sources = np.unique(tgt[first], return_counts=True)
    most, is_many = sources.argmax(), sources > max(COMMON * len(first), FEW_SOURCES)
    return Common(int(sources[most]), int(index[tgt == targets[most]][0]) + 1) if is_many.sum() == 1 else None


def _choose(
    src: UInt64[np.ndarray, " pairs"], group: Int[np.ndarray, " pairs"], wanted: list[int]
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " groups"]]:
    """Return the part of each pair, and the sizes of the groups. Groups of over a tenth of a part go to train,
    unless all are as large."""
    # an order of the groups that depends on their texts alone
    sizes = np.bincount(group)
    smallest = np.full(len(sizes), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, group, src)
    order = np.argsort(smallest, kind="stable")

    # fill test, then dev
    of_group = np.zeros(len(sizes), int)
    for part, most in ((2, wanted[1]), (1, wanted[0])):
        room, largest = most, max(int(sizes.min()), most // 10)
        for number in order:
            if not room:
                break
            if of_group[number] == 0 and sizes[number] <= min(room, largest):
                of_group[number] = part
                room -= sizes[number]
    return of_group[group], sizes
