"""Translation of text by a trained model: lines in, translations out. Every command and the session go through here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from seq2seq.config import SearchConfig
from seq2seq.decoding.search import Hypothesis, Limits, beam_search, sample
from seq2seq.errors import UserError
from seq2seq.model.seq2seq import Decoding, Seq2Seq
from seq2seq.run import Run, choose_device
from seq2seq.text.batches import make_batch
from seq2seq.text.normalize import normalize
from seq2seq.text.tokenizer import BOS, EOS, PAD, UNK, Tokenizers


@dataclass(frozen=True)
class Alternative:
    """A hypothesis that came after the best."""

    text: str
    score: float  # sum of natural log-probabilities, `</s>` included
    normalized_score: float  # score over the length penalty


@dataclass(frozen=True)
class Translation:
    """What became of one line."""

    text: str
    score: float  # sum of natural log-probabilities, `</s>` included; 0 for an empty line
    normalized_score: float  # score over the length penalty
    tokens: list[str]  # of the translation, `</s>` at the end
    source_tokens: list[str]  # of the line, `</s>` at the end
    alternatives: list[Alternative] = field(default_factory=list)  # the rest of the n-best list, best first
    attention: list[list[float]] | None = None  # a row a token, a column a source token; heads averaged


def empty() -> Translation:
    """What becomes of an empty line."""
    return Translation("", 0.0, 0.0, [], [], [], [])


@dataclass(frozen=True)
class Sampling:
    """How to draw a translation at random instead of searching for the best; see `search.sample`."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and self.top_k >= 0 and 0 < self.top_p <= 1):
            raise UserError(f"{self}: temperature must be over 0, top_k at least 0, top_p over 0 and at most 1")


class Translator:
    """A model, its tokenizers and how to search.

    Args:
        model: in eval mode, on the device to translate on.
        tokenizers: of the model.
        search: the defaults of `translate`.
    """

    def __init__(self, model: Seq2Seq, tokenizers: Tokenizers, search: SearchConfig):
        self.model, self.tokenizers, self.search = model, tokenizers, search
        self.device = model.decoder.W_y.weight.device

    @classmethod
    def load(cls, run: str | Path, *, device: str | None = None) -> "Translator":
        """The best checkpoint of a run folder, by default on the device that the run's config names.

        Raises:
            UserError: no run there, no checkpoint in it, or a damaged one.
        """
        folder = Run.open(run)
        config = folder.config()
        model, tokenizers = folder.load_model("best", choose_device(device or config.training.device))
        return cls(model, tokenizers, config.search)

    @torch.inference_mode()
    def translate(
        self,
        texts: Sequence[str],
        *,
        beam: int | None = None,
        nbest: int = 1,
        sampling: Sampling | None = None,
        attention: bool = True,
    ) -> list[Translation]:
        """A translation of each line, in order; of an empty line the empty one.

        Args:
            texts: raw lines.
            beam: hypotheses kept at each step, by default `search.beam` of the run's config; 1 is greedy.
            nbest: hypotheses wanted of each line, at most `beam`.
            sampling: draw instead of search; then beam and nbest say nothing.
            attention: fill in `Translation.attention`, which takes one more pass over the result.

        Raises:
            UserError: beam or nbest below 1, or nbest over beam.
        """
        if isinstance(texts, str):
            raise UserError(f"translate takes a list of lines, not one string; write translate([{texts[:20]!r}])")
        beam = self.search.beam if beam is None else beam
        if not 1 <= nbest <= beam:
            raise UserError(f"nbest is {nbest} and beam {beam}; write 1 <= nbest <= beam")
        encoded = [self.tokenizers.src.encode(normalize(text)) for text in texts]
        order = sorted((i for i, ids in enumerate(encoded) if ids), key=lambda i: len(encoded[i]))
        translations = [empty() for _ in texts]
        generator = torch.Generator(self.device).manual_seed(sampling.seed) if sampling else None
        for start in range(0, len(order), self.search.batch_size):
            rows = order[start : start + self.search.batch_size]
            sources = [[*encoded[i], EOS] for i in rows]
            found = self._search(sources, beam, nbest, sampling, generator)
            weights = self.attention(sources, [best.tokens for best, *_ in found]) if attention else [None] * len(rows)
            for i, source, hypotheses, a in zip(rows, sources, found, weights, strict=True):
                translations[i] = self._translation(source, hypotheses, a)
        return translations

    @torch.inference_mode()
    def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[float]:
        """log p(target | source), `</s>` included, of each pair of raw lines: a sum of natural log-probabilities.

        Raises:
            UserError: not as many targets as sources.
        """
        if len(sources) != len(targets):
            raise UserError(f"{len(sources)} sources and {len(targets)} targets; score takes pairs")
        src = [[*self.tokenizers.src.encode(normalize(text)), EOS] for text in sources]
        tgt = [self.tokenizers.tgt.encode(normalize(text)) for text in targets]
        scores = [0.0] * len(src)
        order = sorted(range(len(src)), key=lambda i: len(tgt[i]))
        for start in range(0, len(order), self.search.batch_size):
            rows = order[start : start + self.search.batch_size]
            batch = make_batch([(src[i], [*tgt[i], EOS]) for i in rows]).to(self.device)
            attentional, _ = self.model(batch.src, batch.src_lengths, batch.tgt_in)
            log_probs = self.model.logits(attentional).log_softmax(-1).gather(2, batch.tgt_out[:, :, None]).squeeze(2)
            total = log_probs.masked_fill(batch.tgt_out == PAD, 0).cpu().double().sum(1)
            for i, value in zip(rows, total.tolist(), strict=True):
                scores[i] = value
        return scores

    @torch.inference_mode()
    def attention(self, sources: list[list[int]], targets: list[list[int]]) -> list[Float[Tensor, "tgt src"]]:
        """The weights under given targets, without `</s>`, of sources with it; the mean over heads.

        Search needs not carry weights along: a step is a function, so the finished hypothesis gives the same ones.
        """
        batch = make_batch([(src, [*tgt, EOS]) for src, tgt in zip(sources, targets, strict=True)]).to(self.device)
        _, weights = self.model(batch.src, batch.src_lengths, batch.tgt_in)
        mean = weights.mean(1).cpu()
        return [a[: len(tgt) + 1, : len(src)] for a, src, tgt in zip(mean, sources, targets, strict=True)]

    def _search(
        self,
        sources: list[list[int]],
        beam: int,
        nbest: int,
        sampling: Sampling | None,
        generator: torch.Generator | None,
    ) -> list[list[Hypothesis]]:
        batch = make_batch([(source, [EOS]) for source in sources]).to(self.device)
        longest = [self.search.max_length or 3 * len(source) + 20 for source in sources]
        limits = Limits(BOS, EOS, (PAD, UNK, BOS), torch.tensor(longest, device=self.device))
        decoding: Decoding = self.model.encode(batch.src, batch.src_lengths)
        if sampling:
            return sample(
                self.model.step,
                decoding,
                limits,
                temperature=sampling.temperature,
                top_k=sampling.top_k,
                top_p=sampling.top_p,
                generator=generator,
            )
        alpha = self.search.length_penalty
        return beam_search(self.model.step, decoding, limits, beam=beam, alpha=alpha, nbest=nbest)

    def _translation(
        self, source: list[int], hypotheses: list[Hypothesis], weights: Float[Tensor, "tgt src"] | None
    ) -> Translation:
        best, *others = hypotheses
        src, tgt = self.tokenizers.src, self.tokenizers.tgt
        return Translation(
            tgt.decode(best.tokens),
            best.score,
            best.normalized_score,
            tgt.pieces([*best.tokens, EOS]),
            src.pieces(source),
            [Alternative(tgt.decode(h.tokens), h.score, h.normalized_score) for h in others],
            None if weights is None else weights.tolist(),
        )
