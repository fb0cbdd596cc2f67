"""The translator: raw lines in, translations out. Every command and the session translate with it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from seq2seq.config import SearchConfig
from seq2seq.data.batches import make_batch
from seq2seq.data.corpus import LONGEST_TOKEN
from seq2seq.decoding.looking import Look, TokenizedLine, map_sentence, name_decoder_heads, name_encoder_heads
from seq2seq.decoding.search import Hypothesis, Limits, beam_search, length_penalty, sample
from seq2seq.decoding.translation import Alternative, Sampling, Translation
from seq2seq.devices import choose_device
from seq2seq.errors import UserError
from seq2seq.fast.shortlist import Shortlist
from seq2seq.fast.side_by_side import Item, Result, in_batches
from seq2seq.model.seq2seq import Decoding, Seq2Seq, Step
from seq2seq.runs.checkpoints import Checkpoint
from seq2seq.runs.run import Run
from seq2seq.text.normalize import normalize
from seq2seq.text.tokenizer import BOS, EOS, PAD, UNK, Tokenizer, Tokenizers

log = logging.getLogger("seq2seq")

Pair = tuple[list[int], list[int]]  # token ids of a source and a target, each with `</s>`
Search = Callable[[Step, Decoding, Limits], list[list[Hypothesis]]]

MAX_BEAM = 1000  # a wider beam takes minutes a line and finds nothing better
LONGEST = 2000
"""The most tokens of a line that are read, 20 times as many as training reads by default. No sentence has more, no
model has learnt to translate more at once, and the search would take up to three times as many steps.
"""


class _Outcome(NamedTuple):
    """The outcome of a search for one line; both lists are empty for an empty line."""

    source: list[int]  # token ids, `</s>` at the end
    hypotheses: list[Hypothesis]  # best first


class Translator:
    """A model, its tokenizers, and the settings of its search.

    Args:
        model: in eval mode, on the device to translate on.
        tokenizers: the model's.
        search: the defaults of `translate`.
        shortlist: the run's, to search only among the tokens that it lists for a batch; a line's translation may then
            depend on the other lines of its batch. None: search among all tokens.

    Attributes:
        decoder_heads: the names of the heads that look at the source; none if the model has no attention.
        encoder_heads: the names of the encoder's heads of self-attention; none if it has none.
    """

    def __init__(
        self, model: Seq2Seq, tokenizers: Tokenizers, search: SearchConfig, shortlist: Shortlist | None = None
    ):
        self.model, self.tokenizers, self.search, self.shortlist = model, tokenizers, search, shortlist
        self.device = model.decoder.W_y.weight.device
        self.decoder_heads, self.encoder_heads = name_decoder_heads(model), name_encoder_heads(model)

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        device: str | None = None,
        checkpoint: Checkpoint | None = None,
        shortlist: bool | None = None,
    ) -> "Translator":
        """Load the best checkpoint of a run folder, or a given one.

        Args:
            run: the folder.
            device: by default the one that the run's config names.
            checkpoint: the one to load instead of the best.
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
        """Return a translation of each line, in order; an empty line has an empty translation.

        A line of more than `LONGEST` tokens is cut there, with a warning in the log.

        Args:
            texts: raw lines.
            beam: hypotheses kept at each step, by default `search.beam` of the run's config; 1 is greedy.
            nbest: hypotheses wanted of each line, at most `beam`.
            sampling: draw the translation at random instead; then `beam` and `nbest` have no effect.
            attention: fill in `Translation.attention`, which takes one more pass of the model. It stays None if the
                model has no attention.

        Raises:
            UserError: beam or nbest below 1, nbest over beam, or beam over 1,000.
        """
        outcomes = self._search(texts, beam, nbest, sampling)
        if not (attention and self.decoder_heads):
            return [self._decode(outcome) for outcome in outcomes]
        return [
            replace(look.translation, attention=look.decoder.mean().weights[0].tolist() if look.decoder else [])
            for look in self._attend(outcomes)
        ]

    def look(self, texts: Sequence[str], *, beam: int | None = None) -> list[Look]:
        """Translate each line, and return where every head looked.

        Raises:
            UserError: as `translate`.
        """
        return self._attend(self._search(texts, beam, 1, None))

    def look_at(self, text: str, ids: Sequence[int]) -> Look:
        """Return where every head looks when the model is forced to translate a raw line with the given tokens.

        `ids` are those of a `Look`, which another checkpoint of the run may have found.

        Raises:
            UserError: the line is empty.
        """
        (source,) = self._encode([text])
        if not source:
            raise UserError("the text is empty: there is nothing to look at")

        # look at the tokens as if a search had found them
        (score,) = self._score_pairs([(source, [*ids, EOS])])
        penalty = length_penalty(len(ids) + 1, self.search.length_penalty)
        (look,) = self._attend([_Outcome(source, [Hypothesis([*ids], score, score / penalty)])])
        return look

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[float]:
        """Return log p(target | source) of each pair of raw lines: a sum of natural logarithms, `</s>` included.

        Raises:
            UserError: not as many targets as sources, or a line of more than `LONGEST` tokens, which translation cuts.
        """
        if len(sources) != len(targets):
            raise UserError(f"{len(sources)} sources and {len(targets)} targets; score takes pairs")
        pairs = []
        for number, (source, target) in enumerate(zip(sources, targets, strict=True), start=1):
            src, tgt = _encode_line(self.tokenizers.src, source), _encode_line(self.tokenizers.tgt, target)
            if src.is_cut or tgt.is_cut:
                side = "source" if src.is_cut else "target"
                raise UserError(
                    f"line {number} of the {side} has more than {LONGEST:,} tokens; split it into sentences"
                )
            pairs.append(([*src.ids, EOS], [*tgt.ids, EOS]))
        return self._score_pairs(pairs)

    def checked_beam(self, beam: int | None, nbest: int = 1) -> int:
        """Return the beam, by default `search.beam` of the run's config, if a search can use it.

        Raises:
            UserError: beam or nbest below 1, nbest over beam, or beam over 1,000.
        """
        beam = self.search.beam if beam is None else beam
        if not 1 <= nbest <= beam <= MAX_BEAM:
            raise UserError(f"nbest is {nbest} and beam {beam}; write 1 <= nbest <= beam <= {MAX_BEAM}")
        return beam

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of raw lines, with `</s>`; of an empty line none. Cut lines that are too long."""
        lines = [_encode_line(self.tokenizers.src, text) for text in texts]
        if cut := sum(line.is_cut for line in lines):
            log.warning(
                f"cut {cut:,} {'line' if cut == 1 else 'lines'} after {LONGEST:,} tokens; write a sentence a line"
            )
        return [[*line.ids, EOS] if line.ids else [] for line in lines]

    def _search(self, texts: Sequence[str], beam: int | None, nbest: int, sampling: Sampling | None) -> list[_Outcome]:
        """Search for the translations of raw lines."""
        if isinstance(texts, str):
            raise UserError(f"texts are a list of lines, not one string; write [{texts[:20]!r}]")

        # choose the search
        beam = self.checked_beam(beam, nbest)
        search: Search = partial(beam_search, beam=beam, alpha=self.search.length_penalty, nbest=nbest)
        if sampling:
            temperature, top_k, top_p = sampling.temperature, sampling.top_k, sampling.top_p
            generator = torch.Generator(self.device).manual_seed(sampling.seed)
            search = partial(sample, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)

        # search in batches; those that draw from one generator take turns
        sources = self._encode(texts)
        search_batch = partial(self._search_batch, search)
        hypotheses: list[list[Hypothesis]] = self._in_batches(
            search_batch, sources, len, of_empty=[], in_turn=sampling is not None
        )
        if any(source and not found for source, found in zip(sources, hypotheses, strict=True)):
            raise UserError(
                "the model's log-probabilities are not finite: its weights have blown up; train again "
                "with a lower training.learning_rate or training.clip_norm"
            )
        return list(map(_Outcome, sources, hypotheses))

    def _search_batch(self, search: Search, sources: list[list[int]]) -> list[list[Hypothesis]]:
        """Encode a batch of sources, and search for the hypotheses of each."""
        # encode the sources
        batch = make_batch([(source, [EOS]) for source in sources]).to(self.device)
        decoding = self.model.encode(batch.src, batch.src_lengths)

        # search among all tokens
        longest = [self.search.max_length or 3 * len(source) + 20 for source in sources]
        limits = Limits(BOS, EOS, (PAD, UNK, BOS), torch.tensor(longest, device=self.device))
        if self.shortlist is None:
            return search(self.model.step, decoding, limits)

        # or within the shortlist: there, a token is an index into `ids`
        ids = self.shortlist.ids(sources)
        found = search(self.model.step_within(ids.to(self.device)), decoding, limits)
        return [[h._replace(tokens=ids[h.tokens].tolist()) for h in hypotheses] for hypotheses in found]

    def _attend(self, outcomes: list[_Outcome]) -> list[Look]:
        """Run the best hypothesis of each line through the model once more, for its attention weights.

        A search need not carry the weights along: the finished hypothesis gives the same ones.
        """
        nothing = Look(Translation.empty(), [], None, None)
        return self._in_batches(self._attend_batch, outcomes, lambda outcome: len(outcome.source), of_empty=nothing)

    def _attend_batch(self, outcomes: list[_Outcome]) -> list[Look]:
        """Return the weights of a batch of hypotheses, and their translations."""
        # run the hypotheses through the model
        pairs = [(outcome.source, [*outcome.hypotheses[0].tokens, EOS]) for outcome in outcomes]
        batch = make_batch(pairs).to(self.device)
        _, decoder_weights, encoder_weights = self.model(batch.src, batch.src_lengths, batch.tgt_in)

        # cut the weights to the length of each sentence
        looks = []
        for i, (source, target) in enumerate(pairs):
            src, tgt = TokenizedLine(self.tokenizers.src, source), TokenizedLine(self.tokenizers.tgt, target)
            decoder = map_sentence(tgt, src, self.decoder_heads, decoder_weights[i])
            encoder = map_sentence(src, src, self.encoder_heads, encoder_weights[i])
            looks.append(Look(self._decode(outcomes[i]), target[:-1], decoder, encoder))
        return looks

    def _score_pairs(self, pairs: Sequence[Pair]) -> list[float]:
        """Return the log-probability of each target given its source."""
        return self._in_batches(self._score_batch, pairs, lambda pair: len(pair[1]), of_empty=0.0)

    def _score_batch(self, pairs: list[Pair]) -> list[float]:
        batch = make_batch(pairs).to(self.device)
        attentional, _, _ = self.model(batch.src, batch.src_lengths, batch.tgt_in)
        log_probs = self.model.logits(attentional).log_softmax(-1).gather(2, batch.tgt_out[:, :, None]).squeeze(2)
        total: list[float] = log_probs.masked_fill(batch.tgt_out == PAD, 0).cpu().double().sum(1).tolist()
        return total

    def _in_batches(
        self,
        function: Callable[[list[Item]], list[Result]],
        items: Sequence[Item],
        size: Callable[[Item], int],
        *,
        of_empty: Result,
        in_turn: bool = False,
    ) -> list[Result]:
        """Return the function's result for each item; for items of size 0, which it does not see, `of_empty`."""
        in_turn = in_turn or self.device.type != "cpu"
        batch_size = self.search.batch_size
        results = iter(in_batches(function, [i for i in items if size(i)], size, batch_size, in_turn=in_turn))
        return [next(results) if size(item) else of_empty for item in items]

    def _decode(self, outcome: _Outcome) -> Translation:
        """Return the text of the hypotheses, with their scores and tokens."""
        if not outcome.source:
            return Translation.empty()
        best, *others = outcome.hypotheses
        src, tgt = self.tokenizers.src, self.tokenizers.tgt
        return Translation(
            tgt.decode(best.tokens),
            best.score,
            best.normalized_score,
            tgt.pieces([*best.tokens, EOS]),
            src.pieces(outcome.source),
            [Alternative(tgt.decode(h.tokens), h.score, h.normalized_score) for h in others],
        )


class _EncodedLine(NamedTuple):
    """The token ids of a line, without `</s>`."""

    ids: list[int]  # at most `LONGEST`
    is_cut: bool  # whether the line has more


def _encode_line(tokenizer: Tokenizer, text: str) -> _EncodedLine:
    """Return the token ids of a raw line, cut after `LONGEST`."""
    line, most = normalize(text), LONGEST * LONGEST_TOKEN
    ids = tokenizer.encode(line[:most])  # characters beyond `most` would be cut anyway: do not tokenize them
    return _EncodedLine(ids[:LONGEST], len(line) > most or len(ids) > LONGEST)
