"""Text as people write it, with several sentences on a line and several lines, cut into what a model has learned."""

import logging
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel

from seq2seq.text.normalize import normalize

log = logging.getLogger("seq2seq")

UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "TAI ", "NEW TAI")


class Part(NamedTuple):
    """A sentence of a text, and what follows its translation: a space or nothing, a line break, nothing at the end."""

    text: str
    end: str


class Sentences(BaseModel, strict=True, extra="forbid", frozen=True):
    """The rules by which a text is split into sentences, and their translations are joined.

    sentencex finds the sentences. In a script with spaces none ends without a space. Where a word mostly continues a
    line of the training text although sentencex ends a sentence after it, such as `M.` in French, no sentence ends. A
    part without a letter, such as `1.`, is no sentence.
    """

    language: str  # of the source, for sentencex
    single: bool = False  # whether most source lines of the training text are one sentence: then lines are split
    joiner: Literal["", " "] = " "  # between two translations; nothing in a script without spaces
    unfinished: list[str] = []  # words after which no sentence ends
    tags: list[str] = []  # symbols that stand only at the beginning of a line, such as <2ko>

    @classmethod
    def of_language(cls, code: str) -> Self:
        """Return the rules for a language code, as `data.src` has it, if nothing is known of the training text."""
        return cls(language=code.split(".")[-1].replace("_", "-").split("-")[0].lower())

    @classmethod
    def learn(cls, code: str, sources: Sequence[str], targets: Sequence[str], symbols: Sequence[str] = ()) -> Self:
        """Learn the rules from lines of the training text, or from a sample of them; `symbols` may be tags."""
        # the words after which sentencex ends a sentence, within a line and at its end
        rules, within, at_end = cls.of_language(code), Counter[str](), Counter[str]()
        for line in filter(None, sources):
            *first, last = (part.split()[-1] for part in rules.split(line))
            within.update(first)
            at_end[last] += 1
        unfinished = sorted(word for word, count in within.items() if count > max(2, 4 * at_end[word]))

        # a line that is one sentence, with a mark at its end, gives exactly two sentences if it is written twice
        single = sum(len(rules.split(f"{line} {line}")) == 2 for line in sources)
        spaced = sum(" " in line for line in targets)
        return cls(
            language=rules.language,
            single=2 * single > len(sources),
            joiner=" " if 2 * spaced >= len(targets) else "",
            unfinished=unfinished,
            tags=[
                s for s in symbols if (lines := [x for x in sources if s in x]) and all(x.rfind(s) == 0 for x in lines)
            ],
        )

    def parts(self, text: str, split: bool | None = None) -> list[Part]:
        """Split a raw text at its line breaks, and each line into sentences.

        Lines are split into sentences if `single` is set, or if `split` is True; if `split` is False, the whole text is
        one part. Line breaks at both ends are dropped.
        """
        if split is False:
            return [Part(text, "")]
        lines = [normalize(line) for line in text.strip("\r\n").split("\n")]
        found = [self.split(line) if split or self.single else [line] for line in lines]
        parts: list[Part] = []
        for line, sentences in zip(lines, found, strict=True):
            tag = self._tag(line)
            *first, last = [sentences[0], *(f"{tag}{sentence}" for sentence in sentences[1:])]
            parts += [*(Part(sentence, self.joiner) for sentence in first), Part(last, "\n")]
        return [*parts[:-1], parts[-1]._replace(end="")]

    def _tag(self, line: str) -> str:
        """Return the tag at the beginning of a line, with the space after it; empty if there is none."""
        tag = next((tag for tag in self.tags if line.startswith(tag)), "")
        return line[: len(tag) + line.startswith(f"{tag} ")] if tag else ""

    def split(self, line: str) -> list[str]:
        """Return the sentences of a normalized line, at least one; without sentencex the line itself."""
        try:
            from sentencex import segment
        except ImportError:
            _warn_once()
            return [line]

        parts = [""]
        for piece in segment(self.language, line):
            is_apart = parts[-1][-1:] == " " or not _is_spaced(piece)
            if is_apart and _has_letter(parts[-1]) and parts[-1].split()[-1] not in self.unfinished:
                parts.append(piece)
            else:
                parts[-1] += piece
        if len(parts) > 1 and not _has_letter(parts[-1]):
            parts[-2:] = ["".join(parts[-2:])]
        return [part.strip() for part in parts]


@cache
def _warn_once() -> None:
    log.warning("sentencex is not installed: each line is translated in one piece; pip install sentencex")


def _is_spaced(text: str) -> bool:
    """Say whether a text begins with a space, or with a letter of a script that has spaces between its words."""
    first = text[:1]
    return first == " " or (first.isalpha() and not unicodedata.name(first, "").startswith(UNSPACED))


def _has_letter(text: str) -> bool:
    return any(character.isalpha() for character in text)
