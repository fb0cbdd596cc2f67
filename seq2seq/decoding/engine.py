"""The engine of a translator: it searches for the translations of encoded sentences, and looks at them, in batches."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seq2seq.config import SearchConfig
from seq2seq.data.batch import make_batch
from seq2seq.data.corpus import LONGEST_TOKEN
from seq2seq.decoding.constraints import Constraint, Spelling
from seq2seq.decoding.ensemble import Decodings, Ensemble
from seq2seq.decoding.looking import Look, map_sentence, name_decoder_heads, name_encoder_heads
from seq2seq.decoding.mbr import most_alike
from seq2seq.decoding.sampling import sample
from seq2seq.decoding.search import Hypothesis, Limits, Rule, beam_search
from seq2seq.decoding.translation import NOT_FINITE, NOT_OBEYED, Alternative, NextToken, Options, Translation
from seq2seq.errors import UserError
from seq2seq.fast.precision import Precision, Products, choose_precision
from seq2seq.fast.shortlist import Shortlist
from seq2seq.fast.side_by_side import Item, Result, in_batches
from seq2seq.model.seq2seq import Decoding, Seq2Seq
from seq2seq.shapes import Float, Int64
from seq2seq.text.normalize import normalize
from seq2seq.text.tokenizer import BOS, EOS, PAD, UNK, Tokenizer, Tokenizers, WordTokenizer

log = logging.getLogger("seq2seq")

Search = Callable[[Any, Decoding | Decodings, Limits], list[list[Hypothesis]]]

DEFAULTS = Options()
# a line is cut after so many tokens, 20 times as many as training reads by default: no sentence is longer, no model has
# learned to translate more at once, and the search would take up to three times as many steps
LONGEST = 2000


class Outcome(NamedTuple):
    """The outcome of a search for one line; both lists are empty for an empty line."""

    source: list[int]  # token ids, `</s>` at the end
    hypotheses: list[Hypothesis]  # best first
    texts: Sequence[str] = ()  # of the hypotheses, if unknown words in them are named
    unsure: str | None = None  # why the best may be wrong


class Weighed(NamedTuple):
    """A translation, and the attention weights of its sentence, without padding; those of an empty line are empty."""

    translation: Translation
    decoder: Float[Tensor, "head tgt src"]
    encoder: Float[Tensor, "head src src"]


class _Try(NamedTuple):
    """A search for the translation of one sentence."""

    sentence: int
    source: list[int]
    constraint: Constraint | None


class Engine:
    """A model that searches and looks in batches, on token ids.

    Args:
        model: in eval mode, on the device to translate on; or several models as one.
        tokenizers: the model's.
        search: the settings of the search, as far as a request leaves them open.
        shortlist: the run's, to search only among the tokens that it lists for a batch; a line's translation may then
            depend on the other lines of its batch. None: search among all tokens.
        products: the library of float32 products, as in `choose_precision`; None: the fastest.
    """

    def __init__(
        self,
        model: Seq2Seq | Ensemble,
        tokenizers: Tokenizers,
        search: SearchConfig,
        shortlist: Shortlist | None = None,
        products: Products | None = None,
    ):
        self.model, self.tokenizers, self.search, self.shortlist = model, tokenizers, search, shortlist
        self.device = next(model.parameters()).device
        # the precision of the search, and that of losses, scores and attention
        self.precision = choose_precision(self.device, search.precision, "search.precision", products)
        self.exact = choose_precision(self.device, "fp32", products=products)
        # the names of the heads that look at the source, and of the heads of self-attention; empty if there are none
        self.decoder_heads, self.encoder_heads = name_decoder_heads(model), name_encoder_heads(model)

    @cached_property
    def spelling(self) -> Spelling:
        """The bytes of the target tokens, for constraints."""
        return Spelling(self.tokenizers.tgt, self.device)

    @property
    def writes_unknown(self) -> bool:
        """Whether a translation may hold unknown words, which are then named after source words."""
        return self.search.replace_unknown and {*self.tokenizers.types} == {"word"} and bool(self.decoder_heads)

    @property
    def never(self) -> tuple[int, ...]:
        """The tokens that no translation holds."""
        return (PAD, BOS) if self.writes_unknown else (PAD, UNK, BOS)

    def beam(self, options: Options) -> int:
        """Return the beam, by default `search.beam` of the run's config; raise UserError if it cannot be used."""
        beam = self.search.beam if options.beam is None else options.beam
        if options.nbest > beam:
            raise UserError(f"nbest is {options.nbest} and beam {beam}; write 1 <= nbest <= beam")
        return beam

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of raw lines, with `</s>`; none for an empty line. Lines that are too long are cut."""
        lines = [encode_line(self.tokenizers.src, text) for text in texts]
        if cut := sum(line.is_cut for line in lines):
            shown = f"{cut:,} {'line' if cut == 1 else 'lines'}"
            log.warning(f"cut {shown} after {LONGEST:,} tokens; write a sentence a line")
        return [[*line.ids, EOS] if line.ids else [] for line in lines]

    def hypothesize(
        self, sources: Sequence[list[int]], options: Options = DEFAULTS, constraints: Sequence[Constraint] = ()
    ) -> list[Outcome]:
        """Search for the best hypotheses of encoded sentences, under their constraints if there are any.

        Some of them may have the same text: for an n-best list the search finds as many as the beam holds.
        """
        # choose the search
        beam = self.beam(options)
        count, sampling = beam if options.nbest > 1 or options.mbr else 1, options.sampling
        alpha = self.search.length_penalty if options.length_penalty is None else options.length_penalty
        search: Search = partial(beam_search, beam=beam, alpha=alpha, nbest=count)
        if sampling:
            generator = torch.Generator(self.device).manual_seed(sampling.seed)
            search = partial(sample, sampling=sampling, generator=generator)

        # search in batches; random draws share one generator, so their batches take turns
        tries = [
            _Try(i, source, rule)
            for i, source in enumerate(sources)
            for rule in (constraints[i].variants(sampling is not None) if constraints else [None])
        ]
        found: list[list[list[Hypothesis]]] = [
            self.in_batches(
                partial(self._search_batch, search, model),
                tries,
                lambda each: len(each.source),
                of_empty=[],
                in_turn=sampling is not None,
                precision=self.precision,
            )
            for model in (self.model.models if isinstance(self.model, Ensemble) and options.mbr else [self.model])
        ]

        # the best of all searches for a sentence
        pools: list[list[Hypothesis]] = [[] for _ in sources]
        for attempt, *several in zip(tries, *found, strict=True):
            pools[attempt.sentence] += chain.from_iterable(several)
        if options.mbr:
            pools = [most_alike(pool, self.tokenizers.tgt.decode) for pool in pools]
        unique = [{tuple(h.tokens): h for h in pool}.values() for pool in pools]
        best = [sorted(each, key=lambda h: (-h.normalized_score, h.tokens))[:count] for each in unique]
        for source, several in zip(sources, best, strict=True):
            if source and not several:
                is_finite = all(bool(weight.isfinite().all()) for weight in self.model.parameters())
                text = self.tokenizers.src.decode(source)
                raise UserError(NOT_OBEYED.format(text) if constraints and is_finite else NOT_FINITE)
        return list(map(Outcome, sources, best))

    def _search_batch(self, search: Search, model: Seq2Seq | Ensemble, tries: list[_Try]) -> list[list[Hypothesis]]:
        """Encode a batch of sources, and search for the hypotheses of each."""
        # encode the sources
        sources, rules = [each.source for each in tries], [each.constraint for each in tries if each.constraint]
        batch = make_batch([(source, [EOS]) for source in sources]).to(self.device)
        decoding = model.encode(batch.src, batch.src_lengths)

        # search among all tokens
        longest = torch.tensor([self.search.max_length or 3 * len(source) + 20 for source in sources])
        if rules:
            room, least = (
                torch.tensor(each) for each in zip(*((rule.room(), rule.min_length + 1) for rule in rules), strict=True)
            )
            longest = torch.maximum(longest + room, least)
        limits = Limits(BOS, EOS, self.never, longest.to(self.device), [rule.masks for rule in rules])
        if self.shortlist is None:
            return search(model.step, decoding, limits)

        # or search within the shortlist, where a token is an index into `ids`
        needed = {token for rule in rules for token in rule.needed_tokens()}
        ids = self.shortlist.ids(sources, needed)
        limits = replace(limits, rules=[_within(ids, rule.masks) for rule in rules])
        found = search(model.step_within(ids.to(self.device)), decoding, limits)
        return [[h._replace(tokens=ids[h.tokens].tolist()) for h in hypotheses] for hypotheses in found]

    def attend(self, outcomes: list[Outcome]) -> list[Look]:
        """Run the best hypothesis of each line through the model once more, and return where every head looked."""
        return list(map(self._look, outcomes, self.weigh(outcomes)))

    def _look(self, outcome: Outcome, weighed: Weighed) -> Look:
        if not outcome.source:
            return Look(weighed.translation, [], None, None)
        src = (self.tokenizers.src, outcome.source)
        tgt = (self.tokenizers.tgt, [*outcome.hypotheses[0].tokens, EOS])
        decoder = map_sentence(tgt, src, self.decoder_heads, weighed.decoder)
        encoder = map_sentence(src, src, self.encoder_heads, weighed.encoder)
        return Look(weighed.translation, tgt[1][:-1], decoder, encoder)

    def weigh(self, outcomes: list[Outcome]) -> list[Weighed]:
        """Run the best hypothesis of each line through the model once more, to get the attention weights."""
        empty = replace(self.decode(Outcome([], [])), attention=[] if self.decoder_heads else None, token_scores=[])
        nothing = Weighed(empty, torch.empty(0, 0, 0), torch.empty(0, 0, 0))
        return self.in_batches(self._weigh_batch, outcomes, lambda outcome: len(outcome.source), of_empty=nothing)

    def _weigh_batch(self, outcomes: list[Outcome]) -> list[Weighed]:
        # run the hypotheses through the model
        pairs = [(outcome.source, [*outcome.hypotheses[0].tokens, EOS]) for outcome in outcomes]
        batch = make_batch(pairs).to(self.device)
        attentional, decoder_weights, encoder_weights = self.model(batch.src, batch.src_lengths, batch.tgt_in)
        token_scores = self.token_scores(attentional, [target for _, target in pairs])

        # cut the weights to the length of each sentence
        weighed = []
        for i, (source, target) in enumerate(pairs):
            decoder = decoder_weights[i, :, : len(target), : len(source)].cpu().double()
            encoder = encoder_weights[i, :, : len(source), : len(source)].cpu().double()
            mean = decoder.mean(0).tolist() if self.decoder_heads else None
            translation = replace(self.decode(outcomes[i]), attention=mean, token_scores=token_scores[i])
            weighed.append(Weighed(translation, decoder, encoder))
        return weighed

    def token_scores(
        self, attentional: Float[Tensor, "batch tgt attentional"], targets: Sequence[list[int]]
    ) -> list[list[float]]:
        """Return log p of each token of the targets, given the states that predict them.

        Raises UserError: the model's numbers are not finite.
        """
        scores = []
        for states, target in zip(attentional, targets, strict=True):  # one by one: the vocabulary may be large
            log_probs = self.model.logits(states[: len(target)]).log_softmax(-1)[range(len(target)), target]
            if not log_probs.isfinite().all():
                raise UserError(NOT_FINITE)
            scores.append(log_probs.tolist())
        return scores

    def in_batches(
        self,
        function: Callable[[list[Item]], list[Result]],
        items: Sequence[Item],
        size: Callable[[Item], int],
        *,
        of_empty: Result,
        in_turn: bool = False,
        precision: Precision | None = None,
    ) -> list[Result]:
        """Return the function's result for each item; for items of size 0 return `of_empty` without a call.

        The function computes in the given precision, by default in `exact`.
        """
        precision = precision or self.exact
        full = [item for item in items if size(item)]
        in_turn = in_turn or self.device.type != "cpu"

        def forward(batch: list[Item]) -> list[Result]:
            with precision.forward():  # here, since autocast belongs to the thread that runs the batch
                return function(batch)

        with precision.settings():
            results = iter(in_batches(forward, full, size, self.search.batch_size, in_turn=in_turn))
        return [next(results) if size(item) else of_empty for item in items]

    def decode(self, outcome: Outcome) -> Translation:
        """Return the translation that a search has found, without attention weights and token scores."""
        if not outcome.source:
            return Translation("", 0.0, 0.0, [], [])
        src, tgt = self.tokenizers.src, self.tokenizers.tgt
        texts = outcome.texts or [tgt.decode(h.tokens) for h in outcome.hypotheses]
        ranked = zip(texts, outcome.hypotheses, strict=True)
        best, *others = (Alternative(text, h.score, h.normalized_score) for text, h in ranked)
        pieces, source = tgt.pieces([*outcome.hypotheses[0].tokens, EOS]), src.pieces(outcome.source)
        return Translation(best.text, best.score, best.normalized_score, pieces, source, others, unsure=outcome.unsure)

    def name_unknown(self, sentences: Sequence[str], outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Write, in place of each unknown word, the source word that it looks at most."""
        # where the hypotheses with unknown words look
        src, tgt = self.tokenizers.src, self.tokenizers.tgt
        marked = [(i, h) for i, outcome in enumerate(outcomes) for h in outcome.hypotheses if UNK in h.tokens]
        weighed = self.weigh([Outcome(outcomes[i].source, [h]) for i, h in marked])

        # their texts
        named = dict[tuple[int, ...], str]()
        for (i, h), (_, decoder, _) in zip(marked, weighed, strict=True):
            assert isinstance(src, WordTokenizer)
            words = list(src.words(normalize(sentences[i])))[: len(outcomes[i].source) - 1]
            seen = decoder.mean(0)[:-1, : len(words)].argmax(1).tolist()
            each = zip(h.tokens, tgt.pieces(h.tokens), seen, strict=True)
            named[i, *h.tokens] = normalize(" ".join(words[at] if id == UNK else word for id, word, at in each))
        return [
            outcome._replace(texts=[named.get((i, *h.tokens), tgt.decode(h.tokens)) for h in outcome.hypotheses])
            for i, outcome in enumerate(outcomes)
        ]

    def next_tokens(self, source: list[int], tokens: list[int], count: int) -> list[NextToken]:
        """Return the likeliest tokens after the first tokens of a translation, the likeliest first."""

        # their probabilities
        batch = make_batch([(source, [*tokens, EOS])]).to(self.device)
        with torch.inference_mode(), self.exact.settings(), self.exact.forward():
            attentional = self.model(batch.src, batch.src_lengths, batch.tgt_in).attentional
            found = self.model.logits(attentional[0, len(tokens)]).softmax(-1)
        if not found.isfinite().all():
            raise UserError(NOT_FINITE)

        # the best of those that a search may choose
        ranked = found.sort(descending=True, stable=True).indices.tolist()
        best = [id for id in ranked if id not in self.never][:count]
        tgt = self.tokenizers.tgt
        likely = zip(best, tgt.pieces(best), found[best].tolist(), strict=True)
        return [NextToken(piece, tgt.decode([id]), probability) for id, piece, probability in likely]


def _within(ids: Int64[Tensor, " listed"], rule: Rule) -> Rule:
    """Return a rule about tokens that are indices into `ids`."""
    full = ids.tolist()
    return lambda tokens, left: (mask[ids.to(mask.device)] for mask in rule([full[token] for token in tokens], left))


class EncodedLine(NamedTuple):
    """The token ids of a line, without `</s>`."""

    ids: list[int]  # at most `LONGEST`
    is_cut: bool  # whether the line has more


def encode_line(tokenizer: Tokenizer, text: str) -> EncodedLine:
    """Return the token ids of a raw line, cut after `LONGEST`."""
    line, most = normalize(text), LONGEST * LONGEST_TOKEN
    ids = tokenizer.encode(line[:most])  # characters beyond `most` would be cut anyway: do not tokenize them
    return EncodedLine(ids[:LONGEST], len(line) > most or len(ids) > LONGEST)
