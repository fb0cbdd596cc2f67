"""Translation of text by a trained model: lines in, translations out. Every command and the session go through here."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from seq2seq.config import SearchConfig
from seq2seq.data.batches import make_batch
from seq2seq.data.corpus import LONGEST_TOKEN
from seq2seq.decoding.attention_map import AttentionMap
from seq2seq.decoding.search import Hypothesis, Limits, beam_search, length_penalty, sample
from seq2seq.devices import choose_device
from seq2seq.errors import UserError
from seq2seq.fast.shortlist import Shortlist
from seq2seq.fast.side_by_side import Item, Result, in_batches
from seq2seq.model.attention import Attention, NoAttention
from seq2seq.model.decoder import Decoder
from seq2seq.model.encoder import SelfAttentionEncoder
from seq2seq.model.seq2seq import Decoding, Seq2Seq
from seq2seq.model.transformer import EncoderLayer
from seq2seq.runs.checkpoints import Checkpoint
from seq2seq.runs.run import Run
from seq2seq.text.normalize import normalize
from seq2seq.text.tokenizer import BOS, EOS, PAD, UNK, Tokenizer, Tokenizers

log = logging.getLogger("seq2seq")


MOST = 1000  # hypotheses of a beam: more take minutes a line and find nothing better
LONGEST = 2000
"""Tokens of a line that are read, 20 times as many as training reads by default: no sentence has more, no model has
learnt to translate more at once, and search, with up to three times as many steps, would take minutes.
"""


@dataclass(frozen=True)
class Alternative:
    """A hypothesis that came after the best."""

    text: str
    score: float  # sum of natural log-probabilities, `</s>` included
    normalized_score: float  # score over the length penalty


@dataclass(frozen=True)
class Translation:
    """What became of one line.

    Probabilities are those of the model; where search was within a shortlist, of its softmax over that list, which
    makes scores higher than `Translator.score` says.
    """

    text: str
    score: float  # sum of natural log-probabilities, `</s>` included; 0 for an empty line
    normalized_score: float  # score over the length penalty
    tokens: list[str]  # of the translation, `</s>` at the end
    source_tokens: list[str]  # of the line, `</s>` at the end
    alternatives: list[Alternative] = field(default_factory=list)  # the rest of the n-best list, best first
    attention: list[list[float]] | None = None  # a row a token, a column a source token; heads averaged; see translate


@dataclass(frozen=True)
class Look:
    """A translation and what the model looked at; no maps of an empty line."""

    translation: Translation
    ids: list[int]  # of the tokens of the translation, without `</s>`
    decoder: AttentionMap | None  # from each token of the translation to the source; None without attention
    encoder: AttentionMap | None  # from each source token to the source; None where the encoder has no self-attention


def empty() -> Translation:
    """What becomes of an empty line."""
    return Translation("", 0.0, 0.0, [], [])


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
        shortlist: of the run: search among the tokens that it lists for a batch, so that the lines of one may change
            each other's translations; None: among all.

    Attributes:
        decoder_heads: the names of the heads that look at the source; none if the model has no attention.
        encoder_heads: those of self-attention in the encoder; none if it has none.
    """

    def __init__(
        self, model: Seq2Seq, tokenizers: Tokenizers, search: SearchConfig, shortlist: Shortlist | None = None
    ):
        self.model, self.tokenizers, self.search, self.shortlist = model, tokenizers, search, shortlist
        self.device = model.decoder.W_y.weight.device
        self.decoder_heads, self.encoder_heads = _decoder_heads(model), _encoder_heads(model)

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        device: str | None = None,
        checkpoint: Checkpoint | None = None,
        shortlist: bool | None = None,
    ) -> "Translator":
        """The best checkpoint of a run folder, or a given one.

        Args:
            run: the folder.
            device: by default the one that the run's config names.
            checkpoint: another than the best.
            shortlist: whether to search within the run's shortlist, by default what `search.shortlist` says.

        Raises:
            UserError: no run there, no checkpoint in it, a damaged one, or no shortlist and no store to learn it from.
        """
        folder = Run.open(run)
        config = folder.config()
        model, tokenizers = folder.load_model(checkpoint, choose_device(device or config.training.device))
        wanted = config.search.shortlist if shortlist is None else shortlist
        listed = folder.shortlist() if wanted else None
        return cls(model, tokenizers, config.search, listed)

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

        A line of more than `LONGEST` tokens is cut there; the log warns of it.

        Args:
            texts: raw lines.
            beam: hypotheses kept at each step, by default `search.beam` of the run's config; 1 is greedy.
            nbest: hypotheses wanted of each line, at most `beam`.
            sampling: draw instead of search; then beam and nbest say nothing.
            attention: fill in `Translation.attention`, which takes one more pass over the result. It stays None where
                the model has no attention.

        Raises:
            UserError: beam or nbest below 1, nbest over beam, or beam over 1,000.
        """
        found = self._found(texts, beam, nbest, sampling)
        if not (attention and self.decoder_heads):
            return [self._translation(each) for each in found]
        return [
            replace(look.translation, attention=look.decoder.mean().weights[0].tolist() if look.decoder else [])
            for look in self._looks(found)
        ]

    def look(self, texts: Sequence[str], *, beam: int | None = None) -> list[Look]:
        """Translate each line, and see where every head looks on the way.

        Search needs not carry weights along: a step is a function, so the finished hypothesis gives the same ones.

        Raises:
            UserError: as `translate`.
        """
        return self._looks(self._found(texts, beam, 1, None))

    def look_at(self, text: str, ids: Sequence[int]) -> Look:
        """Where every head looks while the model is made to give these tokens as the translation of this line.

        Args:
            text: a raw line.
            ids: `Look.ids`, which another checkpoint of the run may have found.

        Raises:
            UserError: the line is empty.
        """
        (src,) = self._sources([text])
        if not src:
            raise UserError("the text is empty: there is nothing to look at")
        (score,) = self._scores([([*src, EOS], [*ids, EOS])])
        given = Hypothesis([*ids], score, score / length_penalty(len(ids) + 1, self.search.length_penalty))
        return self._looks([_Found([*src, EOS], [given])])[0]

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[float]:
        """log p(target | source), `</s>` included, of each pair of raw lines: a sum of natural log-probabilities.

        Raises:
            UserError: not as many targets as sources, or a line of more than `LONGEST` tokens: a part of it would have
                another probability.
        """
        if len(sources) != len(targets):
            raise UserError(f"{len(sources)} sources and {len(targets)} targets; score takes pairs")
        pairs = []
        for number, pair in enumerate(zip(sources, targets, strict=True), start=1):
            (src, src_cut), (tgt, tgt_cut) = map(_encoded, (self.tokenizers.src, self.tokenizers.tgt), pair)
            if src_cut or tgt_cut:
                side = "source" if src_cut else "target"
                raise UserError(
                    f"line {number} of the {side} has more than {LONGEST:,} tokens; split it into sentences"
                )
            pairs.append(([*src, EOS], [*tgt, EOS]))
        return self._scores(pairs)

    def checked_beam(self, beam: int | None, nbest: int = 1) -> int:
        """The beam, by default `search.beam` of the run's config, if it can be searched with.

        Raises:
            UserError: beam or nbest below 1, nbest over beam, or beam over 1,000.
        """
        beam = self.search.beam if beam is None else beam
        if not 1 <= nbest <= beam:
            raise UserError(f"nbest is {nbest} and beam {beam}; write 1 <= nbest <= beam")
        if beam > MOST:
            raise UserError(f"beam is {beam}: that takes minutes a line and finds nothing better; write {MOST} or less")
        return beam

    def _sources(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of raw lines, without `</s>`, cut where they are too long."""
        encoded = [_encoded(self.tokenizers.src, text) for text in texts]
        if cut := sum(is_cut for _, is_cut in encoded):
            log.warning(
                f"cut {cut:,} {'line' if cut == 1 else 'lines'} after {LONGEST:,} tokens; write a sentence a line"
            )
        return [ids for ids, _ in encoded]

    def _scores(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """The log-probability of each target given its source, token ids that end with `</s>`."""

        def scores(pairs: list[tuple[list[int], list[int]]]) -> list[float]:
            batch = make_batch(pairs).to(self.device)
            attentional, _ = self.model(batch.src, batch.src_lengths, batch.tgt_in)
            log_probs = self.model.logits(attentional).log_softmax(-1).gather(2, batch.tgt_out[:, :, None]).squeeze(2)
            total: list[float] = log_probs.masked_fill(batch.tgt_out == PAD, 0).cpu().double().sum(1).tolist()
            return total

        return self._in_batches(scores, pairs, lambda pair: len(pair[1]))

    def _found(self, texts: Sequence[str], beam: int | None, nbest: int, sampling: Sampling | None) -> "list[_Found]":
        """What search finds for each line, in order."""
        if isinstance(texts, str):
            raise UserError(f"texts are a list of lines, not one string; write [{texts[:20]!r}]")
        beam = self.checked_beam(beam, nbest)
        encoded = self._sources(texts)
        sources = [[*ids, EOS] for ids in encoded if ids]
        generator = torch.Generator(self.device).manual_seed(sampling.seed) if sampling else None

        def search(sources: list[list[int]]) -> list[list[Hypothesis]]:
            return self._search(sources, beam, nbest, sampling, generator)

        hypotheses = self._in_batches(search, sources, len, in_turn=generator is not None)
        if not all(hypotheses):
            raise UserError(
                "the model's log-probabilities are not finite: its weights have blown up; train again "
                "with a lower training.learning_rate or training.clip_norm"
            )
        found = map(_Found, sources, hypotheses)
        return [next(found) if ids else _Found([], []) for ids in encoded]

    def _in_batches(
        self,
        function: Callable[[list[Item]], list[Result]],
        items: Sequence[Item],
        size: Callable[[Item], int],
        in_turn: bool = False,
    ) -> list[Result]:
        in_turn = in_turn or self.device.type != "cpu"
        return in_batches(function, items, size, self.search.batch_size, in_turn=in_turn)

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
        ids = self.shortlist.ids(sources) if self.shortlist else None
        step = self.model.step if ids is None else self.model.step_within(ids.to(self.device))
        if sampling:
            found = sample(
                step,
                decoding,
                limits,
                temperature=sampling.temperature,
                top_k=sampling.top_k,
                top_p=sampling.top_p,
                generator=generator,
            )
        else:
            alpha = self.search.length_penalty
            found = beam_search(step, decoding, limits, beam=beam, alpha=alpha, nbest=nbest)
        return found if ids is None else [[h._replace(tokens=ids[h.tokens].tolist()) for h in best] for best in found]

    def _looks(self, found: "list[_Found]") -> list[Look]:
        """The best hypothesis of each line run through the model once more, for its weights."""

        def looks(found: list[_Found]) -> list[Look]:
            pairs = [(each.source, [*each.hypotheses[0].tokens, EOS]) for each in found]
            batch = make_batch(pairs).to(self.device)
            onto_source, within_source = self.model.look(batch.src, batch.src_lengths, batch.tgt_in)
            return list(map(self._look, found, pairs, onto_source, within_source))

        looked = iter(self._in_batches(looks, [each for each in found if each.source], lambda each: len(each.source)))
        return [next(looked) if each.source else Look(empty(), [], None, None) for each in found]

    def _look(
        self,
        found: "_Found",
        pair: tuple[list[int], list[int]],
        onto_source: Float[Tensor, "head tgt src"],
        within_source: Float[Tensor, "head2 src src"],
    ) -> Look:
        src, tgt = pair
        read, written = _Tokens(self.tokenizers.src, src), _Tokens(self.tokenizers.tgt, tgt)
        return Look(
            self._translation(found),
            tgt[:-1],
            _map(written, read, self.decoder_heads, onto_source),
            _map(read, read, self.encoder_heads, within_source),
        )

    def _translation(self, found: "_Found") -> Translation:
        if not found.source:
            return empty()
        best, *others = found.hypotheses
        src, tgt = self.tokenizers.src, self.tokenizers.tgt
        return Translation(
            tgt.decode(best.tokens),
            best.score,
            best.normalized_score,
            tgt.pieces([*best.tokens, EOS]),
            src.pieces(found.source),
            [Alternative(tgt.decode(h.tokens), h.score, h.normalized_score) for h in others],
        )


def _encoded(tokenizer: Tokenizer, text: str) -> tuple[list[int], bool]:
    """The token ids of a raw line, at most `LONGEST`, and whether there are more."""
    line, most = normalize(text), LONGEST * LONGEST_TOKEN
    ids = tokenizer.encode(line[:most])
    return ids[:LONGEST], len(line) > most or len(ids) > LONGEST


class _Found(NamedTuple):
    """A line's token ids with `</s>`, none of an empty line, and what search found for it."""

    source: list[int]
    hypotheses: list[Hypothesis]


class _Tokens(NamedTuple):
    """Token ids, and whose they are."""

    tokenizer: Tokenizer
    ids: list[int]


def _decoder_heads(model: Seq2Seq) -> list[str]:
    if not isinstance(model.decoder, Decoder):
        return _names([layer.attention for layer in model.decoder.layers])
    return [] if isinstance(model.decoder.attention, NoAttention) else _names([model.decoder.attention])


def _encoder_heads(model: Seq2Seq) -> list[str]:
    if not isinstance(model.encoder, SelfAttentionEncoder):
        return []
    return _names([layer.self_attention for layer in model.encoder.layers if isinstance(layer, EncoderLayer)])


def _names(layers: Sequence[Attention]) -> list[str]:
    """The names of the heads of all layers, in the order of the model's weights."""
    heads = [(i, head) for i, layer in enumerate(layers, 1) for head in range(1, layer.num_heads + 1)]
    if len(heads) == 1:
        return ["attention"]
    return [f"layer {layer} head {head}" if len(layers) > 1 else f"head {head}" for layer, head in heads]


def _map(
    rows: _Tokens, columns: _Tokens, heads: list[str], weights: Float[Tensor, "head row column"]
) -> AttentionMap | None:
    """The weights of one sentence, cut to it, with its tokens; None where there are no heads."""
    if not heads:
        return None
    return AttentionMap(
        rows.tokenizer.pieces(rows.ids),
        columns.tokenizer.pieces(columns.ids),
        heads,
        weights[:, : len(rows.ids), : len(columns.ids)].cpu().double().numpy(),
        rows.tokenizer.word_numbers(rows.ids),
        columns.tokenizer.word_numbers(columns.ids),
    )
