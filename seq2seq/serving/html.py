"""HTML in, HTML out: its text is translated, its mark-up stays, and inline tags go where the model looked.

A paragraph is translated as one text, without its tags. An inline tag then goes round the target words that look mostly
at the source words that it stood round; what holds no text to translate, such as `<code>` or `<img>`, goes where the
least attention crosses it.
"""

import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
from bs4 import BeautifulSoup
from bs4.builder import ParserRejectedMarkup
from bs4.dammit import EntitySubstitution
from bs4.element import NavigableString, PageElement, Tag
from bs4.formatter import HTMLFormatter

from seq2seq.decoding.looking import Look
from seq2seq.errors import UserError
from seq2seq.shapes import Float
from seq2seq.text.sentences import Part, Sentences
from seq2seq.text.tokenizer import SPECIALS

INLINE = {"a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "del", "dfn", "em", "font", "i", "ins", "label"}
INLINE |= {"mark", "q", "s", "small", "span", "strike", "strong", "sub", "sup", "time", "tt", "u"}
LEFT_ALONE = {"code", "kbd", "samp", "var", "script", "style", "template", "textarea", "svg", "math", "canvas", "audio"}
LEFT_ALONE |= {"video", "object", "iframe", "embed", "noscript", "img", "wbr", "input", "ruby"}
DEEPEST = 100  # tags within tags
TAKEN = -1e6  # the gain of a word that stands in a tag already
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


class Formatter(HTMLFormatter):
    """A writer of HTML that escapes what must be escaped, and keeps attributes in their order."""

    def attributes(self, tag: Tag) -> list[tuple[str, Any]]:
        """Return the attributes of a tag."""
        return list(tag.attrs.items())


FORMATTER = Formatter(EntitySubstitution.substitute_xml, void_element_close_prefix="")
Node = PageElement | str  # of the pages that come out


class LineBreak(NavigableString):
    """A line break in preformatted text: no line of text goes over it."""


@dataclass
class Span:
    """A node in a line of text: a tag round some of it, or a thing that is left alone, between two characters."""

    node: PageElement
    start: int
    end: int
    inner: list["Span"] = field(default_factory=list)
    is_thing: bool = False
    space_before: bool = False  # of a thing
    space_after: bool = False


@dataclass
class Segment:
    """A stretch of a page that is translated as one text, such as the text of a paragraph."""

    nodes: list[PageElement]  # siblings
    text: str  # spaces are single
    spans: list[Span]
    edges: tuple[str, str]  # the white space before and after


class Page:
    """A page or a part of one.

    Args:
        source: HTML.
        sentences: the rules by which its text is split.

    Attributes:
        parts: the sentences to translate, in order.
        has_tags: whether the translation needs attention, to place tags.

    Raises:
        UserError: it cannot be parsed, or its tags are nested too deeply.
    """

    def __init__(self, source: str, sentences: Sentences):
        with warnings.catch_warnings():  # of text that looks like an address or like XML
            warnings.simplefilter("ignore")
            try:
                self._soup = BeautifulSoup(source, "html.parser", preserve_whitespace_tags={"[document]"})
            except (ParserRejectedMarkup, AssertionError):
                raise UserError("q is no HTML that can be parsed; send it as format text") from None
        if any(len([*islice(tag.parents, DEEPEST + 2)]) > DEEPEST + 1 for tag in self._soup.find_all()):
            raise UserError(f"q has tags over {DEEPEST} deep in one another; send it as format text")

        # line breaks of preformatted text stand for themselves
        broken = [line for pre in self._soup.find_all("pre") for line in pre.find_all(string=re.compile("\n"))]
        for string in (line for line in broken if type(line) is NavigableString):
            pieces = re.split("(\n)", string)
            string.replace_with(*(LineBreak(each) if each == "\n" else NavigableString(each) for each in pieces))

        # what is translated
        segments = [_read(run) for run in _runs(self._soup) if run]
        self._segments = [segment for segment in segments if any(map(str.isalnum, segment.text))]
        self._split = [sentences.parts(segment.text) for segment in self._segments]
        self.parts = [part for parts in self._split for part in parts]
        self.has_tags = any(segment.spans for segment in self._segments)

    def render(self, looks: Sequence[Look], nbest: int = 1) -> list[str]:
        """Return the page with the translations of its parts, and no other; call it once."""
        each = iter(looks)
        for segment, parts in zip(self._segments, self._split, strict=True):
            gaze = Gaze(segment.text, parts, [*islice(each, len(parts))])
            before, after = segment.edges
            nodes = [before, *_place(gaze, segment.spans, 0, len(gaze.words), 0, len(gaze.text)), after]
            mark = NavigableString("")
            segment.nodes[0].insert_before(mark)
            for node in segment.nodes:
                node.extract()
            mark.insert_before(*(node for node in nodes if node))
            mark.extract()
        return [self._soup.decode(formatter=FORMATTER)]


# ----------------------------------------------------------------------------------------------------------- reading


def _is_left_alone(node: PageElement) -> bool:
    """Return whether a node holds nothing to translate: a comment, code, an image, what says translate="no"."""
    if not isinstance(node, Tag):
        return type(node) is not NavigableString
    is_kept = str(node.get("translate", "")).lower() == "no" or "notranslate" in (node.get("class") or [])
    return is_kept or node.name in LEFT_ALONE or (node.name in INLINE and not node.get_text(strip=True))


def _is_inline(node: PageElement) -> bool:
    """Return whether a node stands in a line of text, with all that is in it."""
    if not isinstance(node, Tag) or _is_left_alone(node):
        return type(node) is not LineBreak
    return node.name in INLINE and all(_is_inline(child) for child in node.children)


def _runs(tag: Tag) -> Iterator[list[PageElement]]:
    """Yield the longest stretches of siblings that stand in a line of text, in order."""
    run: list[PageElement] = []
    for child in list(tag.children):
        if _is_inline(child):
            run.append(child)
            continue
        yield run
        run = []
        if isinstance(child, Tag):
            yield from _runs(child)
    yield run


def _read(nodes: list[PageElement]) -> Segment:
    """Return a stretch of siblings as text, and the places of tags and things in it."""
    text = ""
    waiting: list[Span] = []  # things that nothing has followed yet

    # white space counts as in a browser: several spaces are one
    def add(string: str) -> None:
        nonlocal text
        for thing in waiting:
            thing.space_after = string[0].isspace()
        waiting.clear()
        words = " ".join(string.split())
        starts = string[0].isspace() and text and not text.endswith(" ")
        text += " " * bool(starts) + words + " " * bool(words and string[-1].isspace())

    # a tag round words is a span of the text; an empty tag, and what is left alone, is a thing at a place in it
    def read(siblings: Sequence[PageElement]) -> list[Span]:
        spans = []
        for node in siblings:
            if not _is_left_alone(node) and isinstance(node, Tag):
                start = len(text)
                inner = read(list(node.children))
                if text[start:].strip():
                    spans.append(Span(node, start, len(text), inner))
                    continue
            elif not _is_left_alone(node):
                if node:
                    add(str(node))
                continue
            thing = Span(node, len(text), len(text), is_thing=True, space_before=text.endswith(" "))
            waiting.append(thing)
            spans.append(thing)
        return spans

    # the white space at both ends, which the translation keeps
    spans = read(nodes)
    first, last = (str(node) if type(node) is NavigableString else "" for node in (nodes[0], nodes[-1]))
    edges = (first[: len(first) - len(first.lstrip())], last[len(last.rstrip()) :])
    return Segment(nodes, text.rstrip(), spans, edges)


# ----------------------------------------------------------------------------------------------------------- placing


class Block(NamedTuple):
    """Where the words of one sentence look."""

    first: int  # number of its first word in the text
    centers: Float[np.ndarray, " token"]  # of its source tokens, in characters of the source text, ascending
    sums: Float[np.ndarray, "word token+1"]  # share of a word's weight on the tokens before each, and on all: 1


class Gaze:
    """Where the words of a translated text look in its source.

    Attributes:
        source: the text in the source language.
        text: the translation.
        words: the characters of each word of it; punctuation at the edges of a word is a word of its own.
    """

    def __init__(self, source: str, parts: Sequence[Part], looks: Sequence[Look]):
        self.source, self.text, self.words = source, "", list[tuple[int, int]]()
        self._blocks = list[Block]()
        at = 0
        for (sentence, end), look in zip(parts, looks, strict=True):
            # the tokens of both sides in the text
            at = max(at, source.find(sentence, at))
            found = look.translation
            sources, targets = _find(sentence, found.source_tokens), _find(found.text, found.tokens)
            words = _words(found.text, targets)

            # the weights of words on tokens; without attention, on those at the same part of the sentence
            rows, columns = len(targets), len(sources)
            table = np.abs(np.linspace(0, 1, rows)[:, None] - np.linspace(0, 1, columns)) < 1 / max(rows, columns, 1)
            table = look.decoder.mean().weights[0] if look.decoder else table.astype(float)
            weights = np.full((len(words), columns), 1e-9)
            starts = np.array([start for start, _ in words])
            for row, (start, stop) in zip(table, targets, strict=True):
                if stop > start and words:
                    weights[max(0, int(np.searchsorted(starts, (start + stop) / 2, "right")) - 1)] += row
            weights[:, [token == "</s>" for token in found.source_tokens]] = 0
            weights /= np.maximum(weights.sum(1, keepdims=True), 1e-12)

            # put them behind those of the sentences before
            centers = at + np.array([(start + stop) / 2 for start, stop in sources])
            sums = np.pad(weights.cumsum(1), ((0, 0), (1, 0)))
            self._blocks.append(Block(len(self.words), np.maximum.accumulate(centers), sums))
            self.words += [(len(self.text) + start, len(self.text) + stop) for start, stop in words]
            self.text += found.text + end
            at += len(sentence)

    def share(self, start: float, end: float) -> Float[np.ndarray, " word"]:
        """Return the share of each word's weight that lies on the source characters from `start` to before `end`."""
        shares = np.zeros(len(self.words))
        for block in self._blocks:
            if len(block.centers) and block.centers[0] < end and start <= block.centers[-1]:
                left, right = np.searchsorted(block.centers, [start, end])
                shares[block.first : block.first + len(block.sums)] = block.sums[:, right] - block.sums[:, left]
        return shares


def _place(gaze: Gaze, spans: Sequence[Span], low: int, high: int, begin: int, end: int) -> list[Node]:
    """Return the characters of the text from `begin` to `end`, its words from `low` to `high`, with spans in them."""
    # a tag takes the words that gain most: those with over half of their weight on what it stood round
    places, taken = [], np.zeros(high - low, dtype=bool)
    marks = np.array([not any(map(str.isalnum, gaze.text[slice(*word)])) for word in gaze.words[low:high]], dtype=bool)
    for span in (span for span in spans if not span.is_thing):
        gains = np.where(taken, TAKEN, gaze.share(span.start, span.end)[low:high] - 0.5)
        first, last = (low, low) if taken.all() else (low + place for place in _best_stretch(gains))
        if marks[first - low : last - low].all() and not (taken | marks).all():  # not punctuation alone
            first, last = (low + place for place in _best_stretch(np.where(marks, TAKEN, gains)))

        # no punctuation at an edge where it stood round none
        stood_round = gaze.source[span.start : span.end].strip()
        while last - 1 > first and marks[last - 1 - low] and stood_round[-1].isalnum():
            last -= 1
        while last - 1 > first and marks[first - low] and stood_round[0].isalnum():
            first += 1
        taken[first - low : last - low] = True
        places.append((first, last, span))

    # a thing goes between two words, such that those before it look before it, and those behind it behind
    for span in (span for span in spans if span.is_thing):
        crossed = np.concatenate([[0.0], np.cumsum(2 * gaze.share(-1, span.start)[low:high] - 1)])
        for first, last, _ in places:
            crossed[first - low + 1 : last - low] = TAKEN  # not into a tag that it did not stand in
        gap = low + int(crossed.argmax())
        places.append((gap, gap, span))

    # the text between them, and in the tags
    nodes: list[Node] = []
    at = begin
    for first, last, span in sorted(places, key=lambda place: place[:2]):
        before = gaze.words[first - 1][1] if first > low else begin
        after = gaze.words[first][0] if first < high else end
        if not span.is_thing:
            assert isinstance(span.node, Tag)
            stop = gaze.words[last - 1][1] if last > first else after
            children = _place(gaze, span.inner, first, last, after, stop)
            nodes += [gaze.text[at:after], span.node]
            span.node.clear()
            span.node.extend(filter(None, children))
            at = max(at, stop)
            continue

        # a thing keeps the spaces that were beside it
        nodes.append(gaze.text[at:before])
        is_glued = not (span.space_before or span.space_after)
        spaced = span.space_before or (is_glued and gaze.text[before:after].isspace())
        nodes.append(" " if spaced and first > low and nodes[-2:] != [" ", ""] else "")
        nodes += [span.node, " " if span.space_after and first < high else ""]
        at = max(at, after)
    return [*nodes, gaze.text[at:end]]


def _best_stretch(gains: Float[np.ndarray, " word"]) -> tuple[int, int]:
    """Return the stretch of at least one word with the largest sum of gains."""
    sums = np.concatenate([[0.0], np.cumsum(gains)])
    last = 1 + int((sums[1:] - np.minimum.accumulate(sums)[:-1]).argmax())
    return int(sums[:last].argmin()), last


def _find(text: str, tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Return the characters of each token in its text; a token that is not spelled there has those between others."""

    def between(start: int, stop: int) -> tuple[int, int]:
        return stop - len(text[start:stop].lstrip()), stop

    folded = text.lower() if len(text.lower()) == len(text) else text
    spans, end, waiting = list[tuple[int, int]](), 0, 0  # the end of the last token found, the tokens since then
    for token in tokens:
        spelled = token.replace("▁", " ").strip().lower()
        start = folded.find(spelled, end) if spelled and token not in SPECIALS else -1
        if start < 0:
            waiting += 1
            continue
        spans += [between(end, start)] * waiting + [(start, start + len(spelled))]
        end, waiting = start + len(spelled), 0
    return spans + [between(end, len(text))] * waiting


def _words(text: str, tokens: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the words of a text; in a script without spaces, its tokens."""
    words = []
    for chunk in re.finditer(r"\S+", text):
        # punctuation at both ends
        inner = [i for i in range(*chunk.span()) if unicodedata.category(text[i])[0] not in "PS"]
        first, last = (inner[0], inner[-1] + 1) if inner else (chunk.end(), chunk.end())
        cuts = {*range(chunk.start(), first), first, last, *range(last, chunk.end() + 1), chunk.end()}
        if UNSPACED.search(chunk[0]):
            cuts |= {start for start, stop in tokens if first < start < last and stop > start}
        words += list(pairwise(sorted(cuts)))
    return words
