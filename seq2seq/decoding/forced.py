"""Forced decoding: the log-probability of given translations, and where a model looks while it writes them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from seq2seq.data.batch import make_batch
from seq2seq.data.corpus import EncodedPair
from seq2seq.decoding.engine import LONGEST, Outcome, encode_line
from seq2seq.decoding.looking import Look
from seq2seq.decoding.search import Hypothesis, length_penalty
from seq2seq.decoding.translation import must_be_texts
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.text.tokenizer import EOS


class TokenScores(NamedTuple):
    """The tokens of a given translation, and the log-probability of each; `</s>` is the last."""

    tokens: list[str]
    scores: list[float]  # natural logarithms


def score(translator: Translator, sources: Sequence[str], targets: Sequence[str]) -> list[float]:
    """Return log p(target | source) of each pair of raw lines: the sum of its `score_tokens`; same errors."""
    return [sum(scored.scores) for scored in score_tokens(translator, sources, targets)]


def score_tokens(translator: Translator, sources: Sequence[str], targets: Sequence[str]) -> list[TokenScores]:
    """Return the log-probability of each token of the targets of some pairs of raw lines.

    Raises UserError: the numbers of sources and targets differ, a line is no string or has more than `LONGEST` tokens.
    """
    pairs = _encode_pairs(translator, sources, targets)

    def score_batch(pairs: list[EncodedPair]) -> list[list[float]]:
        batch = make_batch(pairs).to(translator.engine.device)
        attentional = translator.engine.model(batch.src, batch.src_lengths, batch.tgt_in).attentional
        return translator.engine.token_scores(attentional, [target for _, target in pairs])

    nothing: list[float] = []
    found = translator.engine.in_batches(score_batch, pairs, lambda pair: len(pair[1]), of_empty=nothing)
    pieces = translator.tokenizers.tgt.pieces
    return [TokenScores(pieces(target), scores) for (_, target), scores in zip(pairs, found, strict=True)]


def look_at_pairs(translator: Translator, sources: Sequence[str], targets: Sequence[str]) -> list[Look]:
    """Return where every head looks when the model must write given translations of raw lines.

    A pair with an empty line has no maps. Errors are those of `score_tokens`.
    """
    pairs = _encode_pairs(translator, sources, targets)
    full = [(source, target) for source, target in pairs if len(source) > 1 and len(target) > 1]
    found = iter(_look_at(translator, full))
    (nothing,) = translator.engine.attend([Outcome([], [])])
    return [next(found) if len(source) > 1 and len(target) > 1 else nothing for source, target in pairs]


def look_at(translator: Translator, text: str, ids: Sequence[int]) -> Look:
    """Return where every head looks when the model must write the given tokens. The raw line must not be empty."""
    (source,) = translator.engine.encode([text])
    if not source:
        raise UserError("the text is empty: there is nothing to look at")
    (look,) = _look_at(translator, [(source, [*ids, EOS])])
    return look


def _encode_pairs(translator: Translator, sources: Sequence[str], targets: Sequence[str]) -> list[EncodedPair]:
    if len(sources) != len(targets):
        raise UserError(f"{len(sources)} sources and {len(targets)} targets; score takes pairs")
    pairs, tokenizers = [], translator.tokenizers
    lines = zip(must_be_texts(sources), must_be_texts(targets), strict=True)
    for number, (source, target) in enumerate(lines, start=1):
        src, tgt = encode_line(tokenizers.src, source), encode_line(tokenizers.tgt, target)
        if src.is_cut or tgt.is_cut:
            side = "source" if src.is_cut else "target"
            raise UserError(f"line {number} of the {side} has more than {LONGEST:,} tokens; split it into sentences")
        pairs.append(([*src.ids, EOS], [*tgt.ids, EOS]))
    return pairs


def _look_at(translator: Translator, pairs: Sequence[EncodedPair]) -> list[Look]:
    """Look at the tokens of each pair as if a search had found them."""
    looks = translator.engine.attend([Outcome(source, [Hypothesis(target[:-1], 0.0, 0.0)]) for source, target in pairs])
    scored = []
    for look in looks:
        total = sum(look.translation.token_scores or [])
        normalized = total / length_penalty(len(look.ids) + 1, translator.search.length_penalty)
        scored.append(replace(look, translation=replace(look.translation, score=total, normalized_score=normalized)))
    return scored
