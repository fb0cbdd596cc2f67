"""Forced decoding: the log-probability of given translations, and where a model looks while it writes them."""

from collections.abc import Sequence

from seq2seq.data.batches import make_batch
from seq2seq.data.corpus import EncodedPair
from seq2seq.decoding.looking import Look
from seq2seq.decoding.search import Hypothesis, length_penalty
from seq2seq.decoding.translation import NOT_FINITE
from seq2seq.decoding.translator import LONGEST, Outcome, Translator, encode_line
from seq2seq.errors import UserError
from seq2seq.text.tokenizer import EOS, PAD


def score(translator: Translator, sources: Sequence[str], targets: Sequence[str]) -> list[float]:
    """Return log p(target | source) of each pair of raw lines: a sum of natural logarithms, `</s>` included.

    Raises UserError: the numbers of sources and targets differ, a line has more than `LONGEST` tokens, or the model's
    numbers are not finite.
    """
    if len(sources) != len(targets):
        raise UserError(f"{len(sources)} sources and {len(targets)} targets; score takes pairs")
    pairs, tokenizers = [], translator.tokenizers
    for number, (source, target) in enumerate(zip(sources, targets, strict=True), start=1):
        src, tgt = encode_line(tokenizers.src, source), encode_line(tokenizers.tgt, target)
        if src.is_cut or tgt.is_cut:
            side = "source" if src.is_cut else "target"
            raise UserError(f"line {number} of the {side} has more than {LONGEST:,} tokens; split it into sentences")
        pairs.append(([*src.ids, EOS], [*tgt.ids, EOS]))
    return _score_pairs(translator, pairs)


def look_at(translator: Translator, text: str, ids: Sequence[int]) -> Look:
    """Return where every head looks when the model must write the given tokens. The raw line must not be empty."""
    (source,) = translator.encode([text])
    if not source:
        raise UserError("the text is empty: there is nothing to look at")

    # look at the tokens as if a search had found them
    (score,) = _score_pairs(translator, [(source, [*ids, EOS])])
    penalty = length_penalty(len(ids) + 1, translator.search.length_penalty)
    (look,) = translator.attend([Outcome(source, [Hypothesis([*ids], score, score / penalty)])])
    return look


def _score_pairs(translator: Translator, pairs: Sequence[EncodedPair]) -> list[float]:
    def score_batch(pairs: list[EncodedPair]) -> list[float]:
        model, batch = translator.model, make_batch(pairs).to(translator.device)
        attentional = model(batch.src, batch.src_lengths, batch.tgt_in).attentional
        log_probs = model.logits(attentional).log_softmax(-1).gather(2, batch.tgt_out[:, :, None]).squeeze(2)
        if not log_probs.isfinite().all():
            raise UserError(NOT_FINITE)
        total: list[float] = log_probs.masked_fill(batch.tgt_out == PAD, 0).cpu().double().sum(1).tolist()
        return total

    return translator.in_batches(score_batch, pairs, lambda pair: len(pair[1]), of_empty=0.0)
