"""What a translator is asked for and what it answers, as plain values."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from html import escape
from numbers import Integral, Real
from types import NoneType
from typing import Any, NamedTuple

from seq2seq.decoding.attention_map import AttentionMap
from seq2seq.errors import UserError

NOT_FINITE = (
    "the model's log-probabilities are not finite: its weights have blown up; train again with a lower "
    "training.learning_rate or training.clip_norm"
)
NOT_OBEYED = (
    "no translation of {!r:.60} obeys the prefix, the banned words, search.min_length and search.no_repeat_ngram "
    "together; ask for less"
)
MAX_BEAM = 1000  # a wider beam takes minutes a line and finds nothing better


@dataclass(frozen=True)
class Alternative:
    """A hypothesis of the n-best list, other than the best one."""

    text: str
    score: float  # sum of natural log-probabilities, `</s>` included
    normalized_score: float  # score over the length penalty


class NextToken(NamedTuple):
    """A token that may come next in a translation."""

    token: str  # as in `Translation.tokens`
    text: str  # what it adds to the text, without spaces
    probability: float


@dataclass(frozen=True, repr=False)
class Translation:
    """The translation of one text.

    Scores are the model's log-probabilities. A search with a shortlist computes the softmax over the listed
    tokens only, so its scores are higher than those of `forced.score` and `token_scores`.

    If the text was split into sentences, each score is the sum over them, the tokens and `token_scores` follow one
    another, each sentence with its `</s>`, and a token looks only at the tokens of its own sentence. The n-best list
    ranks the combinations of the sentences' own lists.
    """

    text: str
    score: float  # sum of natural log-probabilities, `</s>` included; 0 for an empty line
    normalized_score: float  # score over the length penalty
    tokens: list[str]  # of the translation, `</s>` at the end
    source_tokens: list[str]  # of the line, `</s>` at the end
    alternatives: list[Alternative] = field(default_factory=list)  # the rest of the n-best list, best first
    attention: list[list[float]] | None = None  # a row per token, a column per source token; the mean of all heads
    token_scores: list[float] | None = None  # log-probability of each token, given those before it
    unsure: str | None = None  # why the translation may be wrong, in words; None if nothing is strange

    def __repr__(self) -> str:
        doubt = f", unsure ({self.unsure})" if self.unsure else ""
        return f"<Translation {self.text!r}, score {self.score:.2f}{doubt}>"

    def _repr_html_(self) -> str:
        """Return the translation for a notebook: its text, why it may be wrong, and where the model looked."""
        shown = f'<div dir="auto" style="font-size:1.1em;white-space:pre-line">{escape(self.text)}</div>'
        if self.unsure:
            shown += f"<div>unsure: {escape(self.unsure)}</div>"
        if self.attention:
            shown += AttentionMap.of_tokens(self.tokens, self.source_tokens, self.attention)._repr_html_()
        return shown


def join_translations(parts: Sequence[Translation], ends: Sequence[str], nbest: int) -> Translation:
    """Put the translations of the sentences of a text together; `ends` follow them. Keep each text of the n-best once.

    Combinations are ranked by the sum of the normalized scores, so the `nbest` best of them are found exactly.
    """
    # the n best texts, from the first sentence on
    ranked = [Alternative("", 0.0, 0.0)]
    for part, end in zip(parts, ends, strict=True):
        options = [Alternative(part.text, part.score, part.normalized_score), *part.alternatives]
        longer = (
            Alternative(a.text + b.text + end, a.score + b.score, a.normalized_score + b.normalized_score)
            for a in ranked
            for b in options
        )
        unique: dict[str, Alternative] = {}
        for each in sorted(longer, key=lambda each: -each.normalized_score):
            unique.setdefault(each.text, each)
        ranked = list(unique.values())[:nbest]
    best, *alternatives = ranked
    if len(parts) == 1:
        return replace(parts[0], alternatives=alternatives)

    # the tokens, and the weights beside zeros for the other sentences
    sources = [token for part in parts for token in part.source_tokens]
    attention: list[list[float]] = []
    before = 0
    for part in parts:
        after = len(sources) - before - len(part.source_tokens)
        attention += [[0.0] * before + row + [0.0] * after for row in part.attention or []]
        before += len(part.source_tokens)
    return Translation(
        text=best.text,
        score=best.score,
        normalized_score=best.normalized_score,
        tokens=[token for part in parts for token in part.tokens],
        source_tokens=sources,
        alternatives=alternatives,
        attention=None if parts[0].attention is None else attention,
        token_scores=None if parts[0].token_scores is None else [s for part in parts for s in part.token_scores or []],
        unsure="; ".join(dict.fromkeys(part.unsure for part in parts if part.unsure)) or None,
    )


@dataclass(frozen=True)
class Sampling:
    """Settings for drawing a translation at random instead of searching for the best one."""

    temperature: float = 1.0  # below 1 favors probable tokens
    top_k: int = 0  # if over 0, draw from the k most probable tokens
    top_p: float = 1.0  # draw from the smallest set of tokens with this total probability (Holtzman et al. 2019)
    seed: int = 1

    def __post_init__(self) -> None:
        must_be((Real,), "a number", temperature=self.temperature, top_p=self.top_p)
        must_be((Integral,), "a whole number", top_k=self.top_k, seed=self.seed)
        for name, low, high in (
            ("temperature", 1e-6, 1e6),
            ("top_k", 0, 10**9),
            ("top_p", 1e-6, 1),
            ("seed", 0, 2**63 - 1),
        ):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"{name} is {getattr(self, name)}; write {low} to {high}")


@dataclass(frozen=True)
class Options:
    """What a translator is asked for: keyword arguments of `Translator.translate`, where each is explained.

    `translator.translate(texts, **vars(options))` uses them.
    """

    beam: int | None = None
    nbest: int = 1
    length_penalty: float | None = None
    sampling: Sampling | None = None
    split_sentences: bool | None = None
    prefix: str | Sequence[str | None] | None = None
    prefix_tokens: Sequence[str] | Sequence[Sequence[str] | None] | None = None
    ban: Sequence[str] = ()
    mbr: bool = False

    def __post_init__(self) -> None:
        # their kinds
        must_be((Integral,), "a whole number", nbest=self.nbest)
        must_be((Integral, NoneType), "a whole number", beam=self.beam)
        must_be((Real, NoneType), "a number", length_penalty=self.length_penalty)
        must_be((bool,), "True or False", mbr=self.mbr)
        must_be((bool, NoneType), "True, False or None", split_sentences=self.split_sentences)
        must_be((Sampling, NoneType), "a seq2seq.Sampling", sampling=self.sampling)
        if isinstance(self.ban, str) or not isinstance(self.ban, Iterable):
            raise UserError(f"ban is {self.ban!r:.40}; write a list of words, such as ['{self.ban!s:.20}']")
        must_be((str,), "a string", **{f"ban[{index}]": word for index, word in enumerate(self.ban)})

        # their values
        if self.beam is not None and not 1 <= self.beam <= MAX_BEAM:
            raise UserError(f"beam is {self.beam}; write 1 to {MAX_BEAM}")
        if self.nbest < 1 or (self.beam is not None and self.nbest > self.beam):
            beam = "of the run" if self.beam is None else self.beam
            raise UserError(f"nbest is {self.nbest} and beam {beam}; write 1 <= nbest <= beam")
        if self.length_penalty is not None and not 0 <= self.length_penalty <= 10:
            raise UserError(f"length_penalty is {self.length_penalty}; write 0 to 10")
        if self.mbr and self.sampling:
            raise UserError("mbr and sampling are both given; mbr chooses among the hypotheses of a beam: give one")
        if self.prefix is not None and self.prefix_tokens is not None:
            raise UserError("prefix and prefix_tokens are both given; give one of them")


def must_be(types: tuple[type, ...], words: str, **values: Any) -> None:
    """Raise UserError for the first value of none of the types; `words` say what to write. True is no number."""
    for name, value in values.items():
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise UserError(f"{name} is {value!r:.40}; write {words}")


def per_text(value: Any, count: int, kind: type[str] | type[list], name: str) -> list[Any]:
    """Return a wish for each text: the same for all, or the one of each in a list.

    Raises UserError: the list has another length than the texts, or holds something else.
    """
    is_one = value is None or (isinstance(value, kind) and all(isinstance(each, str) for each in value))
    values = [value] * count if is_one or not isinstance(value, Iterable) else list(value)
    if len(values) != count:
        raise UserError(f"{name} holds {len(values)} and the texts are {count}; give one for each, or one for all")
    if not all(each is None or isinstance(each, kind) for each in values):
        raise UserError(f"{name} is {value!r:.40}; give one {kind.__name__} for all texts, or one or None for each")
    return values


def must_be_texts(texts: Any) -> list[str]:
    """Return the texts; raise UserError if they are no list of them, or if one of them is none, with its index."""
    if isinstance(texts, (str, bytes)):
        text = texts if isinstance(texts, str) else texts.decode(errors="replace")
        raise UserError(f"texts are a list of lines, not one string; write [{text[:20]!r}]")
    if isinstance(texts, (Mapping, Set)) or hasattr(texts, "columns"):  # a data frame yields the names of its columns
        raise UserError(f"texts are a {type(texts).__name__}, which has no lines in order; write a list of lines")
    try:
        texts = list(texts)
    except TypeError:
        raise UserError(f"texts are {texts!r:.40}; write a list of lines") from None
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"texts[{index}] is {text!r:.40}, not a string; leave it out, or write it as one")
    return texts
