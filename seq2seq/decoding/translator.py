"""The translator, from raw texts to translations. All commands, the session and the server use it."""

from collections.abc import Sequence
from itertools import chain
from numbers import Integral
from pathlib import Path
from types import NoneType

from seq2seq.config import SearchConfig
from seq2seq.decoding.confidence import Confidence
from seq2seq.decoding.constraints import Ban, begin, sentences_of
from seq2seq.decoding.engine import DEFAULTS, Engine, Outcome
from seq2seq.decoding.ensemble import Ensemble, load_ensemble
from seq2seq.decoding.looking import Look, join_looks
from seq2seq.decoding.steering import grouped, search_texts
from seq2seq.decoding.translation import (
    NextToken,
    Options,
    Sampling,
    Translation,
    join_translations,
    must_be,
    must_be_texts,
    per_text,
)
from seq2seq.devices import choose_device, device_to_open_on
from seq2seq.errors import UserError
from seq2seq.fast.precision import Products
from seq2seq.fast.shortlist import Shortlist
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.runs.checkpoints import Checkpoint
from seq2seq.runs.run import Run
from seq2seq.text.sentences import Part, Sentences
from seq2seq.text.tokenizer import EOS, Tokenizers


class Translator:
    """A model that translates texts.

    Args:
        model, tokenizers, search, shortlist, products: those of its `Engine`; `search` has the defaults of `translate`.
        sentences: the rules by which texts are split into sentences. None: only at line breaks.
        confidence: what marks a translation as unsure. None: none is marked.
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
        self.engine = Engine(model, tokenizers, search, shortlist, products)
        self.model, self.tokenizers, self.device = model, tokenizers, self.engine.device
        self.sentences, self.confidence = sentences or Sentences.of_language("en"), confidence
        self.decoder_heads, self.encoder_heads = self.engine.decoder_heads, self.engine.encoder_heads

    def __repr__(self) -> str:
        size = sum(weight.numel() for weight in self.model.parameters())
        return f"<Translator of {size:,} parameters and {len(self.tokenizers.tgt):,} target tokens, on {self.device}>"

    @property
    def search(self) -> SearchConfig:
        """The settings of the search, as far as a request leaves them open."""
        return self.engine.search

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
        # the model of the first run
        must_be((bool, NoneType), "True, False or None", shortlist=shortlist)
        must_be((str, NoneType), 'a name, such as "cpu" or "cuda:0"', device=device)
        first = Run.open(run)
        config = first.config()
        opened = choose_device(device) if device else device_to_open_on(config.training.device)
        model, tokenizers = first.load_model(checkpoint, opened)

        # its search, and what marks a translation as unsure
        wanted = config.search.shortlist if shortlist is None else shortlist
        search = config.search.model_copy(update={"precision": precision} if precision else {})
        listed, confidence = first.shortlist() if wanted else None, Confidence.of_run(first, tokenizers)

        # with the models of other runs, whose joint scores no run has calibrated
        if others:
            return cls(load_ensemble(model, first, others, opened), tokenizers, search, listed, first.sentences())
        return cls(model, tokenizers, search, listed, first.sentences(), confidence)

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
            sampling: draw the translation at random instead; then `beam`, `nbest` and the penalty have no effect.
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
        must_be((bool,), "True or False", attention=attention)
        options = Options(beam, nbest, length_penalty, sampling, split_sentences, prefix, prefix_tokens, ban, mbr)
        parts = self._parts(texts, split_sentences)
        outcomes = self._search(parts, options)

        # weigh what was found, and put the texts together
        weighed = self.engine.weigh(outcomes) if attention else []
        found = [each.translation for each in weighed] if attention else map(self.engine.decode, outcomes)
        by_text = zip(grouped(found, parts), parts, strict=True)
        return [join_translations(sentences, [end for _, end in text], nbest) for sentences, text in by_text]

    def look(self, texts: Sequence[str], options: Options = DEFAULTS) -> list[Look]:
        """Translate each text, and return where every head looked; options and errors are those of `translate`."""
        parts = self._parts(texts, options.split_sentences)
        found = grouped(self.engine.attend(self._search(parts, options)), parts)
        return [
            join_looks(each, [end for _, end in text], options.nbest) for each, text in zip(found, parts, strict=True)
        ]

    def next_tokens(self, text: str, tokens: Sequence[str] = (), count: int = 5) -> list[NextToken]:
        """Return the likeliest tokens after the first tokens of a translation, the likeliest first.

        Args:
            text: the raw text, which is split as `translate` does by default.
            tokens: the first tokens, as `Translation.tokens` has them; `</s>` ends a sentence.
            count: the number of tokens to return; fewer if the vocabulary is smaller, none after the last sentence.

        Raises UserError: the text is no string, `tokens` are no tokens of the model, or `count` is below 1.
        """
        must_be((Integral,), "a whole number", count=count)
        if count < 1:
            raise UserError(f"count is {count}; write 1 or more")
        if isinstance(tokens, str):
            raise UserError(f"tokens are {tokens!r:.40}; write a list of tokens, as Translation.tokens has them")
        (parts,) = self._parts([text], None)
        sources = [source for source in self.engine.encode([part.text for part in parts]) if source]
        begun = [list(each) for each in sentences_of(self.engine.spelling, tokens, len(sources))]
        ended = sum(each[-1] == EOS for each in begun)
        if ended == len(sources):
            return []
        return self.engine.next_tokens(sources[ended], begun[ended] if len(begun) > ended else [], count)

    def check(self, options: Options) -> None:
        """Raise UserError if no search can use the options: what `translate` would raise for most texts."""
        self.engine.beam(options)
        if options.ban:
            Ban(self.engine.spelling, options.ban)
        for prefix in per_text(options.prefix, 1, str, "prefix"):
            next(begin(self.engine.spelling, [Part("", "")], [[EOS]], prefix or ""), None)

    def _parts(self, texts: Sequence[str], split_sentences: bool | None) -> list[list[Part]]:
        return [self.sentences.parts(text, split_sentences) for text in must_be_texts(texts)]

    def _search(self, texts: list[list[Part]], options: Options) -> list[Outcome]:
        """Search for the translations of all sentences, name their unknown words, and say which are unsure."""
        sentences = [part.text for text in texts for part in text]
        outcomes = list(chain.from_iterable(search_texts(self.engine, texts, options)))
        if self.engine.writes_unknown:
            outcomes = self.engine.name_unknown(sentences, outcomes)

        # mark no translation that the user has shaped or that was drawn at random: these are unlikely by themselves
        is_free = not (options.sampling or options.prefix or options.prefix_tokens or options.ban or options.mbr)
        if self.confidence and is_free:
            outcomes = [self.confidence.mark(*each, self.tokenizers) for each in zip(sentences, outcomes, strict=True)]
        return outcomes
