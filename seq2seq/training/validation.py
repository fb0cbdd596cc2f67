"""Validation: the loss and the attention of the dev set, and the scores of its translations, by real decoding."""

import math
import time
from collections.abc import Sequence
from typing import Any

import torch

from seq2seq.data.batches import Batches
from seq2seq.data.corpus import Pair, encode_corpus
from seq2seq.decoding.translator import LONGEST, Translator
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import cut_references, quick_scores
from seq2seq.evaluation.health import Health, health_sums
from seq2seq.text.tokenizer import PAD
from seq2seq.training.progress import LABELS
from seq2seq.training.update import cross_entropy_sum

BATCH_TOKENS = 4096  # of the loss; it changes nothing but memory and speed


class Validation:
    """The dev set, ready to be measured again and again.

    Every line is translated greedily: close to what beam search would say of which checkpoint is best, and many times
    cheaper. The loss is the cross entropy without label smoothing, of pairs no longer than what the translator reads.

    Args:
        dev: the sentence pairs.
        translator: of the model in training.

    Raises:
        UserError: no pair that has both sides.
    """

    def __init__(self, dev: Sequence[Pair], translator: Translator):
        self._dev, self._translator = dev, translator
        self._references = cut_references([pair.tgt for pair in dev])
        tokenizers = translator.tokenizers
        if not any(pair.src and pair.tgt for pair in dev):
            raise UserError("data.dev: every pair has a blank side; give pairs to validate on")
        pairs, _ = encode_corpus(dev, tokenizers.src, tokenizers.tgt, max_length=LONGEST)
        self._batches = Batches(pairs, BATCH_TOKENS, "tokens", seed=0)

    def run(self) -> tuple[dict[str, Any], str]:
        """The scores of the model as it is now, and its translation of the first line, beside source and reference."""
        start = time.perf_counter()
        model = self._translator.model.eval()
        nats = tokens = 0.0
        sums = torch.zeros(4, 2, dtype=torch.float64)
        with torch.inference_mode():
            for batch in self._batches.iterate(epoch=0):
                batch = batch.to(self._translator.device)
                attentional, weights = model(batch.src, batch.src_lengths, batch.tgt_in)
                nats += cross_entropy_sum(model, attentional, batch.tgt_out).item()
                tokens += batch.tokens
                sums += health_sums(weights, batch.src_lengths, (batch.tgt_out != PAD).sum(1))
        sources = [pair.src for pair in self._dev]
        hypotheses = [t.text for t in self._translator.translate(sources, beam=1, attention=False)]
        scores = quick_scores(hypotheses, self._references, self._translator.tokenizers.lowercase)
        loss = nats / tokens
        health = Health.of(sums)
        scores = {"loss": loss, "perplexity": math.exp(min(loss, 700)), **scores, **(health.scores() if health else {})}
        return scores | {"seconds": time.perf_counter() - start}, triple(self._dev[0], hypotheses[0])


def triple(pair: Pair, hypothesis: str) -> str:
    """Source, reference and translation below each other."""
    return f"    source      {pair.src:.1000}\n    reference   {pair.tgt:.1000}\n    translation {hypothesis:.1000}"


def headline(update: int, record: dict[str, Any], scores: dict[str, Any], metric: str, best: bool) -> str:
    """One line about a validation: `record` of the last updates, `scores` on the dev set, `metric` that chooses."""
    shown = ["bleu", "chrf"] if metric in ("bleu", "chrf", "loss") else ["bleu", "chrf", metric]
    return (
        f"update {update:6,}  train loss {record['loss']:.3f}  dev loss {scores['loss']:.3f}  "
        f"perplexity {scores['perplexity']:.2f}  {'  '.join(f'{LABELS[name]} {scores[name]:.1f}' for name in shown)}  "
        f"{record['tokens_per_second']:,.0f} tokens/s{'  best' if best else ''}"
    )
