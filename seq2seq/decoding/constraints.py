"""Constraints of a search: what a translation begins with, the words that it must not hold, its repetitions.

A user speaks of surface text. A search chooses tokens, and many sequences of tokens spell the same text. So a
constraint follows the bytes that a hypothesis spells, and says at each step which tokens are forbidden next. It changes
no score: that of a translation is still the sum of the model's log-probabilities.
"""

import unicodedata
from bisect import bisect_left, bisect_right
from codecs import getincrementaldecoder
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from seq2seq.errors import UserError
from seq2seq.shapes import Bool
from seq2seq.text.normalize import normalize
from seq2seq.text.sentences import Part
from seq2seq.text.tokenizer import BOS, EOS, PAD, UNK, SubwordTokenizer, Tokenizer

Mask = Bool[Tensor, " vocab"]  # True for a forbidden token
NEVER = 10**9  # as a number of tokens: no tokens can do it
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")  # scripts without spaces between words


class Spelling:
    """The bytes that each token of a vocabulary adds to a text, and the tokens in the order of these bytes."""

    def __init__(self, tokenizer: Tokenizer, device: torch.device):
        self.tokenizer, self.device, self.bytes = tokenizer, device, tokenizer.spellings()
        self._ids = sorted((i for i, spelled in enumerate(self.bytes) if spelled), key=self.bytes.__getitem__)
        self._sorted = [self.bytes[i] for i in self._ids]
        self.longest = max(map(len, self._sorted), default=0)
        self.breaks = [i for i in self._ids if begins_with_break(self.bytes[i])]
        self.leads = [i for i in self._ids if not decode(self.bytes[i]).text]  # first bytes of characters
        self.joining = [i for i in self._ids if may_join(self.bytes[i])]

    def spell(self, tokens: Iterable[int]) -> bytes:
        """Return the bytes that tokens spell."""
        return b"".join([self.bytes[token] for token in tokens])

    def write(self, text: str) -> bytes:
        """Return the bytes in which tokens spell normalized text."""
        return self.tokenizer.folding(text).encode()

    def exactly(self, spelled: bytes) -> list[int]:
        """Return the tokens that spell exactly these bytes: none, one, or a character and its byte."""
        return self._ids[bisect_left(self._sorted, spelled) : bisect_right(self._sorted, spelled)]

    def beginning_with(self, start: bytes) -> list[int]:
        """Return the tokens whose bytes begin with these."""
        first, last = (
            find(self._sorted, start, key=lambda spelled: spelled[: len(start)]) for find in (bisect_left, bisect_right)
        )
        return self._ids[first:last]

    def forbid(self, tokens: Iterable[int]) -> Mask:
        """Return the mask that forbids these tokens."""
        mask = torch.zeros(len(self.bytes), dtype=torch.bool)
        mask[list(tokens)] = True
        return mask.to(self.device)

    def allow(self, tokens: Iterable[int]) -> Mask:
        """Return the mask that forbids all tokens but these."""
        return ~self.forbid(tokens)


class Prefix:
    """The text that the translation of a sentence begins with, in any segmentation.

    Tokens lead from position to position of `target`, the text after a space. A translation whose first token begins
    without a space begins at position 1.

    Args:
        spelling: the bytes of the tokens.
        text: normalized and not empty; a space at its end means that the last word is complete.
        joiner: what the next sentence of the text is joined with: this one may end wherever the prefix has a joiner.
            None: no sentence follows.
        closed: whether nothing may follow the prefix.
    """

    def __init__(self, spelling: Spelling, text: str, joiner: str | None, closed: bool = False):
        self.spelling, self.text, self.joiner, self.closed = spelling, text, joiner, closed
        self.target = target = spelling.write(f" {text}")
        self.size = len(target)
        self._mask = lru_cache(maxsize=4096)(self._make_mask)

        # the positions at which the sentence may end: before and after a joiner, and before a space at the end
        ends = {self.size} if closed and joiner and joiner[0] == "\n" else set[int]()
        self.stops = {self.size - 1} if text.endswith(" ") and not closed else ends
        if joiner in ("", " "):
            characters = [i for i in range(2, self.size) if target[i] & 0xC0 != 0x80 and not may_join(target[i:])]
            self.stops.update(i for i in characters if (b" " in target[i - 1 : i + 1]) == (joiner == " "))

        # how many tokens it takes from each position to spell the text, at least
        self.needed = [NEVER] * self.size + [0 if not closed or self.size in self.stops else NEVER]
        for i in reversed(range(self.size)):
            beyond = self._beyond(i)
            ahead = (1 + self.needed[end] for end, _ in self._steps(i))
            self.needed[i] = min([NEVER, *([1] if beyond else []), *ahead, *([0] if i in self.stops else [])])

    def check(self) -> None:
        """Raise UserError if the vocabulary cannot spell the text."""
        if min(self.needed[:2]) < NEVER:
            return
        reached = {0, 1}
        for position in range(self.size):
            if position in reached:
                reached.update(end for end, _ in self._steps(position))
        rest = normalize(self.target[max(reached) :].decode("utf-8", "ignore"))
        if not isinstance(self.spelling.tokenizer, SubwordTokenizer):
            word = rest.split(" ")[0]
            raise UserError(f"prefix {self.text!r}: the vocabulary has no word {word!r}; write another")
        raise UserError(
            f"prefix {self.text!r}: no token of the vocabulary writes {rest[:1]!r}; write another character"
        )

    def segmentations(self) -> list[tuple[int, ...]]:
        """Return first tokens for several searches, of which the best hypothesis wins.

        The first has none: it is open to any segmentation. A rare text has many likely beginnings of segmentations,
        which push the likeliest whole out of the beam. So the others are the tokenizer's own segmentation: of all but
        the last word, of all but the last token, of all.
        """
        if not isinstance(self.spelling.tokenizer, SubwordTokenizer):
            return [()]
        encode, spell = self.spelling.tokenizer.encode, self.spelling.spell
        whole, head = encode(self.text.strip()), encode(self.text[: self.text.rstrip().rfind(" ") + 1].strip())
        found = dict.fromkeys(map(tuple, ([], head, whole[:-1], whole)))
        return [tokens for tokens in found if self.target.strip().startswith(spell(tokens).strip())]

    def tokens(self) -> set[int]:
        """Return the tokens that may spell the text, and may go beyond it within a word."""
        within = (token for i in range(self.size) for _, token in self._steps(i))
        ends = (i for i in range(self.size) if self.target[i:].strip())
        return {*within, *(token for i in ends for token in self._beyond(i))}

    def is_passed(self, tokens: Sequence[int]) -> bool:
        """Return whether a hypothesis has spelled the text, and may go on as it likes."""
        return not self.closed and self._position(self.spelling.spell(tokens)) >= self.size

    def mask(self, tokens: Sequence[int], left: int) -> Mask | None:
        """Return what a hypothesis must not go on with; after the next token, `left` more may follow."""
        # after the text: only a mark that changes its last character
        spelled = self.spelling.spell(tokens)
        position = self._position(spelled)
        if not self.closed and position >= self.size:
            tail = spelled[len(spelled) - (position - self.size) :]
            return None if decode(tail).text else self._mask((), 0, tail)

        # within the text
        return self._mask((position,) if tokens else (0, 1), min(left, self.size), b"")

    def _position(self, spelled: bytes) -> int:
        return len(spelled) + (not spelled.startswith(b" "))

    def _steps(self, position: int) -> Iterator[tuple[int, int]]:
        """Yield the position that each token leads to which spells what follows, and the token."""
        for end in range(position + 1, min(position + self.spelling.longest, self.size) + 1):
            for token in self.spelling.exactly(self.target[position:end]):
                yield end, token

    def _beyond(self, position: int) -> list[int]:
        """Return the tokens that spell all that follows a position, and perhaps more."""
        rest = self.target[position:]
        tokens = [] if self.closed else self.spelling.beginning_with(rest)
        return [token for token in tokens if not self._joins(self.spelling.bytes[token][len(rest) :])]

    def _joins(self, after: bytes) -> bool:
        """Return whether bytes after the text change its last character."""
        last, added = self.text[-8:], after.decode("utf-8", "replace")
        return may_join(after) and not unicodedata.normalize("NFC", last + added).startswith(last)

    def _make_mask(self, positions: tuple[int, ...], left: int, tail: bytes) -> Mask | None:
        # after the text
        if not positions:
            spelled = ((token, tail + self.spelling.bytes[token]) for token in self.spelling.joining)
            joined = [token for token, after in spelled if self._joins(after)]
            return self.spelling.forbid(joined) if joined else None

        # within it: the tokens that spell it, from where enough tokens are left to spell the rest, or reach beyond it
        allowed = [EOS] if self.stops & set(positions) else []
        for position in positions:
            allowed += [token for end, token in self._steps(position) if self.needed[end] < left]
            allowed += self._beyond(position)
        return self.spelling.allow(allowed)


class Ban:
    """The words and phrases that a translation must not hold, in any segmentation.

    A word of a script with spaces is banned where no letter, digit or accent stands beside it: `Hund` not in `Hunde`.
    The first letter may be upper or lower case. A phrase is found within a sentence, where single spaces separate its
    words. Raises UserError: a word is blank.

    A hypothesis may write a banned word that it continues at once, by a token that begins with a whole character.
    """

    def __init__(self, spelling: Spelling, words: Sequence[str]):
        # the words in both cases, and whether something that continues a word may stand before and after them
        self.spelling = spelling
        rewrite, fold = spelling.tokenizer.rewrite, spelling.tokenizer.folding
        cleaned = [fold(rewrite(normalize(word))) for word in words]
        if "" in cleaned:
            raise UserError(f"ban holds {words[cleaned.index('')]!r}; write a word or a phrase, or leave it out")
        cases = ((first, word[1:]) for word in cleaned for first in (word[0], word[0].upper(), word[0].lower()))
        texts = dict.fromkeys(first + rest for first, rest in cases)
        self.words = [(spelling.write(text), not continues(text[0]), not continues(text[-1])) for text in texts]
        self._mask = lru_cache(maxsize=4096)(self._make_mask)

        # the tokens with such a word inside, as an unknown word may have, and those that end with one; a word at their
        # start may go on another
        self._inside, self._ending = {UNK}, set[int]()
        for token, spelled in enumerate(spelling.bytes):
            for word, any_before, any_after in self.words:
                for start in range(1, len(spelled) - len(word) + 1) if word in spelled else ():
                    before, after = spelled[:start], spelled[start + len(word) :]
                    if spelled[start:].startswith(word) and (any_before or ends_with_break(before)):
                        if any_after or begins_with_break(after):
                            self._inside.add(token)
                        elif not after:
                            self._ending.add(token)

    def mask(self, tokens: Sequence[int], to_end: bool) -> Mask | None:
        """Return what a hypothesis must not go on with; `to_end`: nor may it end with a word that has to go on."""
        text, partial = decode(self.spelling.spell(tokens))
        surface = self.spelling.tokenizer.folding(normalize(text))
        so_far = self.spelling.write(surface) + (b" " if surface and not normalize(text[-1]) else b"") + partial

        # what is left of each word that may have begun: nothing of a whole one, all if it may begin now
        rests = set[tuple[bytes, bool]]()
        for word, any_before, any_after in self.words:
            for length in range(min(len(word), len(so_far)) + 1):
                begun = so_far.endswith(word[:length])
                if begun and (any_before or ends_with_break(so_far[: len(so_far) - length])):
                    rests.add((word[length:], any_after))
        return self._mask(frozenset(rests), to_end)

    def _make_mask(self, rests: frozenset[tuple[bytes, bool]], to_end: bool) -> Mask | None:
        spelling, forbidden = self.spelling, {*self._inside, *(self._ending if to_end else ())}
        for rest, any_after in rests:
            # a whole word has to go on: with a character that continues it and is whole itself
            if not rest:
                forbidden.update([EOS, *spelling.breaks, *spelling.leads])
                continue

            # another must not become whole and end
            for token in spelling.beginning_with(rest):
                after = spelling.bytes[token][len(rest) :]
                if any_after or (begins_with_break(after) if after else to_end):
                    forbidden.add(token)
        return spelling.forbid(forbidden) if forbidden else None


@dataclass(frozen=True)
class Constraint:
    """What the translation of a sentence must obey. The other rules begin after tokens and prefix, but for the ban.

    `tokens` are the first ones; the end token among them makes the translation complete. `no_repeat_ngram` is the
    number of tokens, of which no sequence may occur twice; 0: any may. `min_length` does not count the end token. With
    `is_wary` no hypothesis writes a banned word in the hope of going on to a longer one.
    """

    spelling: Spelling
    tokens: tuple[int, ...] = ()
    prefix: Prefix | None = None
    ban: Ban | None = None
    no_repeat_ngram: int = 0
    min_length: int = 0
    is_wary: bool = False

    def masks(self, tokens: list[int], left: int) -> Iterator[Mask]:
        """Yield masks that together forbid what a hypothesis must not go on with.

        After the next token, `left` more may follow, the end token included.
        """
        # the first tokens and the prefix, or else the rules for what follows them
        has_begun = len(tokens) >= len(self.tokens)
        is_free = has_begun and (self.prefix is None or self.prefix.is_passed(tokens))
        if not has_begun:
            yield self.spelling.allow([self.tokens[len(tokens)]])
        elif self.prefix and (mask := self.prefix.mask(tokens, left)) is not None:
            yield mask
        if is_free and len(tokens) < self.min_length:
            yield self.spelling.forbid([EOS])
        if is_free and (repeated := repeating(tokens, self.no_repeat_ngram)):
            yield self.spelling.forbid(repeated)

        # the banned words
        to_end = left <= 1 or (self.is_wary and is_free)
        if self.ban and (mask := self.ban.mask(tokens, to_end)) is not None:
            yield mask

    def variants(self, sampling: bool) -> list["Constraint"]:
        """Return constraints for several searches, of which the best hypothesis wins; for a random draw only one."""
        begins = self.prefix.segmentations() if self.prefix else [self.tokens]
        wary = [replace(self, tokens=tokens, is_wary=True) for tokens in begins]
        if sampling:
            return wary[:2][-1:]
        return [self, *wary] if self.ban else wary

    def room(self) -> int:
        """Return the number of tokens that a translation may hold beyond its usual length."""
        return max(len(self.tokens), min(self.prefix.needed[:2]) if self.prefix else 0)

    def needed_tokens(self) -> set[int]:
        """Return the tokens that a shortlist must hold."""
        return {*self.tokens, *(self.prefix.tokens() if self.prefix else ())}


def begin(
    spelling: Spelling, parts: Sequence[Part], sources: Sequence[list[int]], prefix: str
) -> Generator[tuple[int, Prefix], str, None]:
    """Divide the raw prefix of a text among its sentences: yield the number of each, and what it begins with.

    A sentence may end wherever the prefix has what joins it with the next, which then begins with the rest. So this
    must be sent the translation of each. Sentences without tokens have empty translations, whatever the prefix.

    Raises UserError: the vocabulary cannot write it, or its lines and joiners are not those of the text.
    """
    # the prefix as the tokenizer would write it, with its line breaks if the text has some
    lines = prefix.strip("\r\n").split("\n") if len(parts) > 1 else [prefix]
    text = "\n".join(spelling.tokenizer.rewrite(normalize(line)) for line in lines)
    text = f"{text} " if text and not normalize(prefix[-1]) else text

    # what each sentence begins with, as long as something is left
    full = [i for i, source in enumerate(sources) if source]
    for i, following in zip(full, [*full[1:], None], strict=False):
        if not text:
            return
        line, newline, _ = text.partition("\n")
        if newline and following is None:
            raise UserError(f"prefix {text!r:.60} has more lines than the text; leave some out")
        joiner = "".join(part.end for part in parts[i:following])
        found = Prefix(spelling, line, None if following is None else joiner, bool(newline))
        found.check()
        written = yield i, found
        if not newline and len(written) >= len(line.rstrip()):
            return
        rest = text[len(written) :]
        if not rest.startswith(joiner):
            raise UserError(f"prefix: {written!r:.60} and {rest!r:.60} are joined by {joiner!r} in the text")
        text = rest.removeprefix(joiner)


def sentences_of(spelling: Spelling, pieces: Sequence[str], count: int) -> list[tuple[int, ...]]:
    """Return the ids of tokens, sentence by sentence; the end token ends one."""
    ids = spelling.tokenizer.ids(pieces)
    for piece, id in zip(pieces, ids, strict=True):
        if id in (PAD, UNK, BOS):
            raise UserError(f"prefix_tokens holds {piece!r}, which no translation of this model can hold")
    ends = [i for i, id in enumerate(ids, 1) if id == EOS]
    if len(ends) > count:
        raise UserError(f"prefix_tokens ends {len(ends)} sentences, and the text has {count}")
    found = [tuple(ids[start:end]) for start, end in pairwise([0, *ends, len(ids)])]
    return [tokens for tokens in found if tokens]


def repeating(tokens: list[int], size: int) -> set[int]:
    """Return the tokens that would repeat a sequence of `size` tokens; none for size 0."""
    starts = range(len(tokens) - size + 1) if size else ()
    last = tokens[len(tokens) - size + 1 :]
    return {tokens[start + size - 1] for start in starts if tokens[start : start + size - 1] == last}


# ------------------------------------------------------------------------------------------ bytes and characters


class Decoded(NamedTuple):
    """Text, and the bytes at its end that are not yet a character."""

    text: str
    partial: bytes


def decode(spelled: bytes) -> Decoded:
    """Return the text of bytes in UTF-8; what is no UTF-8 becomes U+FFFD."""
    decoder = getincrementaldecoder("utf-8")("replace")
    return Decoded(decoder.decode(spelled), decoder.getstate()[0])


@lru_cache(maxsize=2**16)
def continues(character: str) -> bool:
    """Return whether a character beside a word makes it another word: a letter, a digit or an accent.

    Not so a letter of a script without spaces.
    """
    return unicodedata.category(character)[0] in "LNM" and not unicodedata.name(character, "").startswith(UNSPACED)


def begins_with_break(spelled: bytes) -> bool:
    """Return whether the first character ends a word; not if it is not whole."""
    text = decode(spelled[:4]).text
    return bool(text) and not continues(text[0])


def ends_with_break(spelled: bytes) -> bool:
    """Return whether a word may begin after these bytes."""
    text = spelled[-8:].decode("utf-8", "replace")
    return not text or not continues(text[-1])


def may_join(spelled: bytes) -> bool:
    """Return whether bytes may change the character before them: an accent, a letter of a syllable, a part of one."""
    text = decode(spelled[:4]).text
    if not text:
        return True
    return text[0] == "\ufffd" or unicodedata.category(text[0])[0] == "M" or "\u1100" <= text[0] <= "\u11ff"
