"""The translator, from raw lines to translations. All commands and the session use it."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seq2seq.config import SearchConfig
from seq2seq.data.batch import make_batch
from seq2seq.data.corpus import LONGEST_TOKEN
from seq2seq.decoding.confidence import Confidence
from seq2seq.decoding.constraints import Ban, Beginning, Constraint, Spelling
from seq2seq.decoding.looking import Look, join_looks, map_sentence, name_decoder_heads, name_encoder_heads
from seq2seq.decoding.mbr import most_alike
from seq2seq.decoding.search import Hypothesis, Limits, Rule, beam_search, sample
from seq2seq.decoding.translation import (
    NOT_FINITE,
    NOT_OBEYED,
    Alternative,
    Options,
    Sampling,
    Translation,
    join_translations,
)
from seq2seq.devices import choose_device, device_to_open_on
from seq2seq.errors import UserError
from seq2seq.fast.precision import Precision, Products, choose_precision
from seq2seq.fast.shortlist import Shortlist
from seq2seq.fast.side_by_side import Item, Result, in_batches
from seq2seq.model.ensemble import Decodings, Ensemble
from seq2seq.model.seq2seq import Decoding, Seq2Seq
from seq2seq.runs.checkpoints import Checkpoint
from seq2seq.runs.run import Run
from seq2seq.shapes import Float, Int64
from seq2seq.text.normalize import normalize
from seq2seq.text.sentences import Part, Sentences
from seq2seq.text.tokenizer import BOS, EOS, PAD, UNK, Tokenizer, Tokenizers
from seq2seq.text.vocabularies import vocabulary_digests

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


class Translator:
    """A model, its tokenizers, and the settings of its search.

    Args:
        model: in eval mode, on the device to translate on; or several models as one.
        tokenizers: the model's.
        search: the defaults of `translate`.
        shortlist: the run's, to search only among the tokens that it lists for a batch; a line's translation may then
            depend on the other lines of its batch. None: search among all tokens.
        sentences: the rules by which texts are split into sentences. None: only at line breaks.
        confidence: what marks a translation as unsure. None: none is marked.
        products: the library of float32 products, as in `choose_precision`; None: the fastest.
    """

    def __init__(
        self,
        model: Seq2Seq | Ensemble,
        tokenizers: Tokenizers,
        search: SearchConfig,
        shortlist: Shortlist | None = None,
        sentences: Sentences | None = None,
        confidence: Confidence | None = None,
        products: Products | None = None,
    ):
        self.model, self.tokenizers, self.search, self.shortlist = model, tokenizers, search, shortlist
        self.sentences, self.confidence = sentences or Sentences.of_language("en"), confidence
        self.device = next(model.parameters()).device
        # the precision of the search, and that of losses, scores and attention
        self.precision = choose_precision(self.device, search.precision, "search.precision", products)
        self.exact = choose_precision(self.device, "fp32", products=products)
        # the names of the heads that look at the source, and of the heads of self-attention; empty if there are none
        self.decoder_heads, self.encoder_heads = name_decoder_heads(model), name_encoder_heads(model)

    @classmethod
    def load(
        cls,
        run: str | Path,
        *others: str | Path,
        device: str | None = None,
        checkpoint: Checkpoint | None = None,
        shortlist: bool | None = None,
        precision: str | None = None,
    ) -> "Translator":
        """Load the best checkpoint of a run folder, or a given one. The device is by default that of the run's config,
        or the CPU if this machine lacks it. With other runs of the same vocabularies, their models translate together:
        the probability of a token is the mean of theirs. The settings are those of the first run.

        `shortlist` says whether to search within the run's shortlist, `precision` is the search's number format; by
        default `search` of the run's config decides.

        Raises UserError: no run there, no good checkpoint in it, other vocabularies, or no shortlist and no store to
            learn it from.
        """
        folder = Run.open(run)
        config = folder.config()
        opened = choose_device(device) if device else device_to_open_on(config.training.device)
        model, tokenizers = folder.load_model(checkpoint, opened)
        wanted = config.search.shortlist if shortlist is None else shortlist
        search = config.search.model_copy(update={"precision": precision} if precision else {})
        listed, confidence = folder.shortlist() if wanted else None, Confidence.of_run(folder)
        if confidence and len(confidence.counts) != len(tokenizers.src):
            log.warning("%s: of another vocabulary; no translation is marked", folder.path / "confidence.json")
            confidence = None
        if not others:
            return cls(model, tokenizers, search, listed, folder.sentences(), confidence)

        # several runs: what marks a translation of one as unsure does not hold for the scores of all
        models, vocabularies = [model], vocabulary_digests(folder.path / "tokenizer")
        for other in map(Run.open, others):
            if vocabulary_digests(other.path / "tokenizer") != vocabularies:
                fix = "train them from one config with different seeds, or one from the other with --from"
                raise UserError(f"{other.path}: its vocabularies are not those of {run}, as in an ensemble; {fix}")
            models.append(other.load_model(device=opened)[0])
        return cls(Ensemble(models), tokenizers, search, listed, folder.sentences())

    def translate(
        self,
        texts: Sequence[str],
        *,
        beam: int | None = None,
        nbest: int = 1,
        length_penalty: float | None = None,
        sampling: Sampling | None = None,
        attention: bool = True,
        split_sentences: bool | None = None,
        prefix: str | Sequence[str | None] | None = None,
        prefix_tokens: Sequence[str] | Sequence[Sequence[str] | None] | None = None,
        ban: Sequence[str] = (),
        mbr: bool = False,
    ) -> list[Translation]:
        """Return a translation of each text, in order; an empty text has an empty translation.

        A text is split at its line breaks and into sentences, which are translated one by one and put together again,
        with the line breaks. `Translation` says what its scores then are. A sentence of more than `LONGEST` tokens is
        cut there, with a warning in the log.

        Args:
            texts: raw texts, as a rule one line each.
            beam: hypotheses kept at each step, by default `search.beam` of the run's config; 1 is greedy.
            nbest: hypotheses to return for each line, at most `beam`.
            length_penalty: its exponent, from 0 to 10, by default `search.length_penalty` of the run's config.
            sampling: draw the translation at random instead; then `beam` and `nbest` have no effect.
            attention: fill in `Translation.token_scores`, and `Translation.attention` if the model has attention; takes
                one more pass of the model.
            split_sentences: split each line into sentences; by default if most source lines of the training text are
                one sentence. False also keeps line breaks from splitting.
            prefix: the text that each translation begins with, or a list with a text or None for each. It may end
                within a word; with a space at its end it does not. Of a text of several sentences, each may end
                wherever the prefix has a space, and the next goes on with the rest of the prefix.
            prefix_tokens: the same as exact tokens, as `Translation.tokens` has them; `</s>` ends a sentence.
            ban: words and phrases that no translation holds, as whole words, with an upper or lower first letter.
            mbr: of all hypotheses in the beam (of several models: of the beams of all) take the one that is most like
                the others; `normalized_score` is then its expected chrF.

        Raises UserError: a text is no string, beam or nbest is below 1, nbest is over beam, beam is over 1,000, the
            vocabulary cannot write a prefix, or no translation obeys prefix and ban.
        """
        # split the texts, and search for the translations of their sentences
        options = Options(beam, nbest, length_penalty, sampling, split_sentences, prefix, prefix_tokens, ban, mbr)
        parts = self._parts(texts, split_sentences)
        sentences = [part.text for text in parts for part in text]
        outcomes = list(chain.from_iterable(self._search_texts(parts, options)))
        found = [each.translation for each in self._weigh(outcomes)] if attention else map(self._decode, outcomes)

        # say which are unsure, and put the texts together; what a user shaped or was drawn at random is never likely
        is_free = not (sampling or prefix or prefix_tokens or ban or mbr)
        doubts = map(self._doubt, sentences, outcomes) if self.confidence and is_free else [None] * len(sentences)
        each = (replace(translation, unsure=doubt) for translation, doubt in zip(found, doubts, strict=True))
        sentences_of = zip(_grouped(each, parts), parts, strict=True)
        return [join_translations(several, [end for _, end in text], nbest) for several, text in sentences_of]

    def look(
        self,
        texts: Sequence[str],
        *,
        beam: int | None = None,
        length_penalty: float | None = None,
        split_sentences: bool | None = None,
        prefix: str | Sequence[str | None] | None = None,
        prefix_tokens: Sequence[str] | Sequence[Sequence[str] | None] | None = None,
        ban: Sequence[str] = (),
    ) -> list[Look]:
        """Translate each text, and return where every head looked; arguments and errors are those of `translate`."""
        options = Options(beam, 1, length_penalty, None, split_sentences, prefix, prefix_tokens, ban)
        parts = self._parts(texts, split_sentences)
        looks = _grouped(self.attend([*chain.from_iterable(self._search_texts(parts, options))]), parts)
        return [join_looks(each, [end for _, end in text]) for each, text in zip(looks, parts, strict=True)]

    def _parts(self, texts: Sequence[str], split_sentences: bool | None) -> list[list[Part]]:
        return [self.sentences.parts(text, split_sentences) for text in must_be_texts(texts)]

    def _doubt(self, text: str, outcome: Outcome) -> str | None:
        if not (outcome.source and self.confidence):
            return None
        if text.strip() and not self.tokenizers.tgt.decode(outcome.hypotheses[0].tokens).strip():
            return "the translation is empty"
        return self.confidence.doubt(text, outcome.source, outcome.hypotheses[0], self.tokenizers.src)

    def check(self, options: Options) -> None:
        """Raise UserError if no search can use the options: what `translate` would raise for most texts."""
        self.checked_beam(options.beam, options.nbest)
        if options.ban:
            Ban(self._spelling, options.ban)
        for prefix in per_text(options.prefix, 1, str, "prefix"):
            Beginning(self._spelling, [Part("", "")], [[EOS]], prefix, None)

    def checked_beam(self, beam: int | None, nbest: int = 1) -> int:
        """Return the beam, by default `search.beam` of the run's config; raise UserError if no search can use it."""
        Options(beam, nbest)
        beam = self.search.beam if beam is None else beam
        if nbest > beam:
            raise UserError(f"nbest is {nbest} and beam {beam}; write 1 <= nbest <= beam")
        return beam

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of raw lines, with `</s>`; none for an empty line. Lines that are too long are cut."""
        lines = [encode_line(self.tokenizers.src, text) for text in texts]
        if cut := sum(line.is_cut for line in lines):
            shown = f"{cut:,} {'line' if cut == 1 else 'lines'}"
            log.warning(f"cut {shown} after {LONGEST:,} tokens; write a sentence a line")
        return [[*line.ids, EOS] if line.ids else [] for line in lines]

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling(self.tokenizers.tgt, self.device)

    def _search_texts(self, texts: list[list[Part]], options: Options) -> list[list[Outcome]]:
        """Search for the translations of the sentences of each text, under the constraints that the options ask for."""
        sources = self.encode([part.text for text in texts for part in text])
        prefixes = per_text(options.prefix, len(texts), str, "prefix")
        pieces = per_text(options.prefix_tokens, len(texts), list, "prefix_tokens")
        config = self.search
        if not any((options.ban, config.no_repeat_ngram, config.min_length, *prefixes, *pieces)):
            return _grouped(self.hypothesize(sources, options), texts)

        # what each sentence obeys, as far as that is known before the search
        spelling, grouped = self._spelling, _grouped(sources, texts)
        ban = Ban(spelling, options.ban) if options.ban else None
        shared = Constraint(spelling, None, ban, config.no_repeat_ngram, config.min_length)
        begins = [Beginning(spelling, *each) for each in zip(texts, grouped, prefixes, pieces, strict=True)]
        rules = [replace(shared, prefix=prefix) for begin in begins for prefix in begin.prefixes]
        outcomes = _grouped(self.hypothesize(sources, options, rules), texts)

        # where a sentence ends within the prefix, the next one begins with the rest
        decode = self.tokenizers.tgt.decode
        for begin, source, each in zip(begins, grouped, outcomes, strict=True):
            i, rest = begin.first, begin.text
            while rest:
                written = decode(each[i].hypotheses[0].tokens)
                rest = begin.rest(i, rest, written)
                if rest:
                    each[i] = each[i]._replace(
                        hypotheses=[h for h in each[i].hypotheses if decode(h.tokens) == written]
                    )
                    i = begin.following[i]
                    (each[i],) = self.hypothesize([source[i]], options, [replace(shared, prefix=begin.prefix(i, rest))])
        return outcomes

    def hypothesize(
        self, sources: Sequence[list[int]], options: Options = DEFAULTS, constraints: Sequence[Constraint] = ()
    ) -> list[Outcome]:
        """Search for the best hypotheses of encoded sentences, under their constraints if there are any.

        Some of them may have the same text: for an n-best list the search finds as many as the beam holds.
        """
        # choose the search
        beam = self.checked_beam(options.beam, options.nbest)
        count, sampling = beam if options.nbest > 1 or options.mbr else 1, options.sampling
        alpha = self.search.length_penalty if options.length_penalty is None else options.length_penalty
        search: Search = partial(beam_search, beam=beam, alpha=alpha, nbest=count)
        if sampling:
            generator = torch.Generator(self.device).manual_seed(sampling.seed)
            search = partial(sample, sampling=sampling, generator=generator)

        # search in batches; random draws share one generator, so their batches take turns
        tries = [_Try(i, source, None) for i, source in enumerate(sources)]
        if constraints:
            tries = [
                _Try(i, source, each)
                for i, source in enumerate(sources)
                for each in constraints[i].variants(sampling is not None)
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
                raise UserError(
                    NOT_OBEYED.format(self.tokenizers.src.decode(source)) if constraints and is_finite else NOT_FINITE
                )
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
        limits = Limits(BOS, EOS, (PAD, UNK, BOS), longest.to(self.device), [rule.masks for rule in rules])
        if self.shortlist is None:
            return search(model.step, decoding, limits)

        # or search within the shortlist, where a token is an index into `ids`
        needed = {token for rule in rules for token in rule.tokens()}
        ids = self.shortlist.ids(sources, needed)
        limits = replace(limits, rules=[_within(ids, rule.masks) for rule in rules])
        found = search(model.step_within(ids.to(self.device)), decoding, limits)
        return [[h._replace(tokens=ids[h.tokens].tolist()) for h in hypotheses] for hypotheses in found]

    def attend(self, outcomes: list[Outcome]) -> list[Look]:
        """Run the best hypothesis of each line through the model once more, and return where every head looked."""
        return list(map(self._look, outcomes, self._weigh(outcomes)))

    def _look(self, outcome: Outcome, weighed: Weighed) -> Look:
        if not outcome.source:
            return Look(weighed.translation, [], None, None)
        src = (self.tokenizers.src, outcome.source)
        tgt = (self.tokenizers.tgt, [*outcome.hypotheses[0].tokens, EOS])
        decoder = map_sentence(tgt, src, self.decoder_heads, weighed.decoder)
        encoder = map_sentence(src, src, self.encoder_heads, weighed.encoder)
        return Look(weighed.translation, tgt[1][:-1], decoder, encoder)

    def _weigh(self, outcomes: list[Outcome]) -> list[Weighed]:
        """Run the best hypothesis of each line through the model once more, to get the attention weights."""
        empty = replace(self._decode(Outcome([], [])), attention=[] if self.decoder_heads else None, token_scores=[])
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
            translation = replace(self._decode(outcomes[i]), attention=mean, token_scores=token_scores[i])
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

    def _decode(self, outcome: Outcome) -> Translation:
        if not outcome.source:
            return Translation("", 0.0, 0.0, [], [])
        best, *others = outcome.hypotheses
        src, tgt = self.tokenizers.src, self.tokenizers.tgt
        text, tokens = tgt.decode(best.tokens), tgt.pieces([*best.tokens, EOS])
        alternatives = [Alternative(tgt.decode(h.tokens), h.score, h.normalized_score) for h in others]
        return Translation(text, best.score, best.normalized_score, tokens, src.pieces(outcome.source), alternatives)


def must_be_texts(texts: Any) -> list[str]:
    """Return the texts; raise UserError if they are no list of them, or if one of them is none, with its index."""
    if isinstance(texts, (str, bytes)):
        raise UserError(f"texts are a list of lines, not one string; write [{texts[:20]!r}]")
    if not isinstance(texts, Iterable):
        raise UserError(f"texts are {texts!r:.40}; write a list of lines")
    texts = list(texts)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"texts[{index}] is {text!r:.40}, not a string; leave it out, or write it as one")
    return texts


def per_text(value: Any, count: int, kind: type[str] | type[list], name: str) -> list[Any]:
    """Return a wish for each text: the same for all, or the one of each in a list.

    Raises UserError: the list has another length than the texts, or holds something else.
    """
    is_one = value is None or (isinstance(value, kind) and all(isinstance(each, str) for each in value))
    values = [value] * count if is_one else list(value)
    if len(values) != count:
        raise UserError(f"{name} holds {len(values)} and the texts are {count}; give one for each, or one for all")
    if not all(each is None or isinstance(each, kind) for each in values):
        raise UserError(f"{name} is {value!r:.40}; give one {kind.__name__} for all texts, or one or None for each")
    return values


def _grouped(items: Iterable[Item], texts: Sequence[Sequence[Part]]) -> list[list[Item]]:
    """Return the items of each text, of which there is one for each part."""
    each = iter(items)
    return [list(islice(each, len(text))) for text in texts]


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
