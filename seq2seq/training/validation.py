"""Validation: the loss and the attention on the dev set, and the scores of its translations by real decoding."""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from seq2seq.data.batches import Batches
from seq2seq.data.corpus import Pair, encode_pairs
from seq2seq.decoding.engine import LONGEST
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.evaluation.choice import make_bleu
from seq2seq.evaluation.evaluate import cut_references, rewrite_references
from seq2seq.evaluation.health import Health, health_sums
from seq2seq.evaluation.measures import measure
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.text.tokenizer import PAD
from seq2seq.training.update import losses

BATCH_TOKENS = 4096  # batch size for the loss; it affects memory and speed, not the result


class ValidationResult(NamedTuple):
    """The scores of a model on the dev set, and its translation of the first line."""

    scores: dict[str, Any]  # for the metrics: losses in nats a token, measures in percent, seconds
    example: str  # source, reference and translation, one line each


class Validation:
    """The dev set, prepared to be measured again and again.

    Every line is translated greedily. This ranks checkpoints much as beam search does, and is many times faster. The
    loss is the cross entropy without label smoothing. The `translator` has the model in training.

    Raises:
        UserError: no pair has text on both sides; the tokenizer for BLEU needs a package that is not installed.
    """

    def __init__(self, dev: Sequence[Pair], translator: Translator, bleu_tokenize: str = "13a"):
        self._dev, self._translator = dev, translator
        tokenizers = translator.tokenizers
        # the references as a perfect model would write them; very long ones are cut
        self._references = rewrite_references(cut_references([pair.tgt for pair in dev]), tokenizers)
        self._bleu = make_bleu(bleu_tokenize, tokenizers.lowercase)
        if not any(pair.src and pair.tgt for pair in dev):
            raise UserError("data.dev: every pair has a blank side; give pairs to validate on")
        pairs, report = encode_pairs(dev, tokenizers.src, tokenizers.tgt, max_length=LONGEST)
        report.must_keep_a_pair()
        self._batches = Batches(pairs, BATCH_TOKENS, "tokens", seed=0)

    def run(self) -> ValidationResult:
        """Measure the model as it is now."""
        start = time.perf_counter()
        model = self._translator.model.eval()  # the loop sets it back to training before each update
        assert isinstance(model, Seq2Seq)  # not an ensemble

        # loss and attention, under the references
        nats, tokens, sums = 0.0, 0, torch.zeros(4, 2, dtype=torch.float64)  # the last: `health.Sums`
        with torch.inference_mode(), self._translator.engine.exact.settings():
            for batch in self._batches.iterate(epoch=0):
                batch = batch.to(self._translator.device)
                found = losses(model, batch)
                nats += found.cross_entropy.item()
                tokens += batch.tokens
                sums += health_sums(found.weights, batch.src_lengths, (batch.tgt_out != PAD).sum(1))
        loss, health = nats / tokens, Health.of(sums)

        # translations
        sources = [pair.src for pair in self._dev]
        translations = self._translator.translate(sources, beam=1, attention=False, split_sentences=False)
        hypotheses = [translation.text for translation in translations]
        measures = measure(hypotheses, [self._references], self._translator.tokenizers.lowercase, self._bleu)

        # the scores, and the first line as an example; exp of more than 709 overflows
        scores = {"loss": loss, "perplexity": math.exp(min(loss, 700))}
        scores |= {name: found.score for name, found in measures.items()}
        scores |= health.scores() if health else {}
        scores["seconds"] = time.perf_counter() - start
        (src, tgt), hypothesis = self._dev[0], hypotheses[0]
        shown = {"source": src, "reference": tgt, "translation": hypothesis}
        return ValidationResult(scores, "\n".join(f"    {name:<12}{text:.1000}" for name, text in shown.items()))
