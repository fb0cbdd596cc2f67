"""The service behind the routes: it answers requests with the models and the queue.

`languages`, `settings`, `detect` and `translate` answer as a LibreTranslate-compatible server does; `list_models`,
`search` and `next_tokens` tell what this package knows more: tokens, scores and attention.
"""

import asyncio
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

from starlette.exceptions import HTTPException

from seq2seq.decoding.attention_map import MOST_CELLS
from seq2seq.decoding.engine import LONGEST, encode_line
from seq2seq.decoding.looking import Look, join_looks
from seq2seq.decoding.translation import NextToken, Options
from seq2seq.decoding.translator import Translator
from seq2seq.plots import make_views
from seq2seq.serving.api import MOST_ALTERNATIVES, DetectRequest, NextRequest, SearchRequest, TranslateRequest
from seq2seq.serving.guard import Settings
from seq2seq.serving.html import Page
from seq2seq.serving.models import Detected, Models
from seq2seq.serving.queue import Queue
from seq2seq.text.languages import language_name
from seq2seq.text.sentences import Part, Sentences

SHOWN = ("text", "score", "normalized_score", "tokens", "source_tokens", "token_scores", "unsure")  # of a translation


# The work of the queue's thread. Requests with equal work that wait together are one call, which gets the items of all


@dataclass(frozen=True)
class Search:
    """A search for the translations of sentences."""

    translator: Translator
    options: Options
    look: bool  # return the scores of tokens, and where every head looks

    def __call__(self, texts: Sequence[str]) -> list[Look]:
        """Translate texts."""
        if self.look:
            return self.translator.look(texts, self.options)
        found = self.translator.translate(texts, attention=False, **vars(self.options))
        return [Look(each, [], None, None) for each in found]


class WholeSearch(Search):
    """A search for requests whose texts go by themselves and whole: with a prefix, or drawn at random."""

    def __call__(self, requests: Sequence[Any]) -> list[Any]:
        """Translate the texts of each request."""
        return list(map(super().__call__, requests))


@dataclass(frozen=True)
class NextTokens:
    """A search for the likeliest tokens at steps: text, tokens before the step, number of tokens wanted."""

    translator: Translator

    def __call__(self, steps: Sequence[tuple[str, list[str], int]]) -> list[list[NextToken]]:
        """Return the tokens of each step."""
        return [self.translator.next_tokens(*step) for step in steps]


class PlainText:
    """A text that keeps its line breaks, and its lines without a letter or digit."""

    has_tags = False

    def __init__(self, text: str, sentences: Sentences):
        self.head, self.parts = "", list[Part]()  # what comes before the first sentence; the rest is in their ends
        for piece in re.split("(\r\n|\r|\n)", text):
            if any(character.isalnum() for character in piece):
                self.parts += sentences.parts(piece)
            elif self.parts:
                self.parts[-1] = self.parts[-1]._replace(end=self.parts[-1].end + piece)
            else:
                self.head += piece

    def render(self, looks: Sequence[Look], nbest: int) -> list[str]:
        """Return the best translations of the text, given those of its parts."""
        if not looks:
            return [self.head]
        best = join_looks(looks, [part.end for part in self.parts], nbest).translation
        return [self.head + text for text in (best.text, *(other.text for other in best.alternatives))]


@dataclass
class Service:
    """The models of a server, and what it allows. The server gives it a queue as long as it runs."""

    models: Models
    allowed: Settings
    queue: Queue = field(init=False)

    def _checked(self, given: str | list[str]) -> list[str]:
        """Return the texts of a request; raise HTTPException where clients expect the words `exceeds text limit`."""
        texts = [given] if isinstance(given, str) else given
        for count, most in (
            (len(texts), self.allowed.most_texts),
            (sum(map(len, texts)), self.allowed.most_characters),
        ):
            if count > most:
                raise HTTPException(400, f"Invalid request: request ({count}) exceeds text limit ({most})")
        return texts

    # ----------------------------------------------------------------------------------------------- as others speak

    async def health(self) -> Any:
        """Say that the server is there, however busy the model is."""
        return {"status": "ok"}

    async def languages(self) -> Any:
        """List the languages, each with the languages that it can be translated to."""
        targets = self.models.targets
        return [{"code": c, "name": language_name(c), "targets": targets.get(c, [])} for c in self.models.codes]

    async def settings(self) -> Any:
        """Say what a page of translations should offer."""
        target = self.models.all[0].target
        return {
            "apiKeys": bool(self.allowed.keys),
            "charLimit": self.allowed.most_characters,
            "filesTranslation": False,
            "frontendTimeout": 500,
            "keyRequired": bool(self.allowed.keys),
            "language": {
                "source": {"code": "auto", "name": "Auto Detect"},
                "target": {"code": target, "name": language_name(target)},
            },
            "suggestions": False,
            "supportedFilesFormat": [],
        }

    async def detect(self, wanted: DetectRequest) -> Any:
        """Return the languages that a text may be written in, the likeliest first."""
        found = self.models.detect("\n".join(self._checked(wanted.q)))
        return [each._asdict() for each in found if each.confidence or each is found[0]]

    async def translate(self, wanted: TranslateRequest) -> Any:
        """Translate a text or a list of texts."""
        # the language of each text: the given one; or one that can be translated, or that of the translation
        texts, models, target = self._checked(wanted.q), self.models, self.models.code(wanted.target)
        is_auto = wanted.source.lower() == "auto"
        if is_auto:
            among = [code for code in models.codes if code == target or target in models.targets.get(code, [])]
            found = [models.detect(text, among)[0] for text in texts]
        else:
            found = [Detected(models.code(wanted.source), 0.0)] * len(texts)
            if found and models.find(found[0].language, target) is None:
                served = ", ".join(f"{model.source} to {model.target}" for model in models.all)
                raise HTTPException(400, f"{found[0].language} to {target} is not served; served are {served}")

        # the best translations of each, model by model; without a model a text stays as it is
        is_html, wishes = wanted.format == "html", max(0, min(wanted.alternatives or 0, MOST_ALTERNATIVES))
        count = 1 if is_html else 1 + wishes
        chosen, best = [models.find(each.language, target) for each in found], [[text] for text in texts]
        for model in filter(None, dict.fromkeys(chosen)):
            numbers = [i for i, each in enumerate(chosen) if each is model]
            rules, beam = model.translator.sentences, max(model.translator.search.beam, count)
            documents = [Page(texts[i], rules) if is_html else PlainText(texts[i], rules) for i in numbers]
            has_tags = any(document.has_tags for document in documents)
            search = Search(model.translator, Options(beam, count, split_sentences=False), look=has_tags)
            looks = await self._ask(search, [document.parts for document in documents])
            for i, document, each in zip(numbers, documents, looks, strict=True):
                best[i] = await asyncio.to_thread(document.render, each, count)  # a long page takes its time

        # one for one, a list for a list
        answer: dict[str, list[Any]] = {"translatedText": [each[0] for each in best]}
        if is_auto:
            answer["detectedLanguage"] = [{"confidence": each.confidence, "language": each.language} for each in found]
        if wishes:
            answer["alternatives"] = [each[1:] for each in best]
        return answer if isinstance(wanted.q, list) else {name: values[0] for name, values in answer.items()}

    async def _ask(self, search: Search, texts: Sequence[Sequence[Part]], owner: Any = None) -> list[list[Look]]:
        """Search for the translations of the sentences of each text.

        Raises HTTPException: a sentence is so long that the search would cut it.
        """
        sentences = [part.text for part in chain.from_iterable(texts)]
        tokenizer = search.translator.tokenizers.src
        for sentence in sentences:
            if len(sentence) >= LONGEST and encode_line(tokenizer, sentence).is_cut:
                fix = "write a sentence a line"
                raise HTTPException(400, f"Invalid request: a sentence of over {LONGEST:,} tokens is too long; {fix}")
        looks = iter(await self.queue.ask(search, sentences, owner))
        return [list(islice(looks, len(text))) for text in texts]

    # --------------------------------------------------------------------------------------------- as our page speaks

    async def list_models(self) -> Any:
        """List the models."""
        return {
            "models": [
                {
                    "name": model.name,
                    "source": model.source,
                    "target": model.target,
                    "source_name": language_name(model.source),
                    "target_name": language_name(model.target),
                    "examples": model.examples,
                    "heads": model.translator.decoder_heads,
                    "beam": model.translator.search.beam,
                    "has_attention": bool(model.translator.decoder_heads),
                }
                for model in self.models.all
            ]
        }

    async def search(self, wanted: SearchRequest) -> Any:
        """Translate with tokens, scores, other hypotheses and attention."""
        # the model and the options
        texts, options = self._checked(wanted.text), wanted.options()
        model, detected = self.models.choose(wanted.model, wanted.source, wanted.target, "\n".join(texts))
        translator, owner = model.translator, wanted.client and (wanted.client, model.name)
        translator.check(options)

        # the translations
        if options.sampling or options.prefix or options.prefix_tokens:
            (looks,) = await self.queue.ask(WholeSearch(translator, options, look=True), [texts], owner)
        else:
            parts = [translator.sentences.parts(text, wanted.split_sentences) for text in texts]
            search = Search(translator, replace(options, split_sentences=False), look=True)
            found = await self._ask(search, parts, owner)
            looks = [_join(each, text, options.nbest) for each, text in zip(found, parts, strict=True)]
        return {
            "model": model.name,
            "source": model.source,
            "target": model.target,
            "detected": detected and detected._asdict(),
            "translations": [_show(look, wanted.attention) for look in looks],
        }

    async def next_tokens(self, wanted: NextRequest) -> Any:
        """Return the likeliest tokens after the first tokens of a translation, with their probabilities."""
        (text,) = self._checked(wanted.text)
        model, _ = self.models.choose(wanted.model)
        owner = wanted.client and (wanted.client, model.name)
        step = (text, wanted.tokens, wanted.count)
        (found,) = await self.queue.ask(NextTokens(model.translator), [step], owner)
        return {"next": [each._asdict() for each in found]}


def _join(looks: Sequence[Look], parts: Sequence[Part], nbest: int) -> Look:
    """Put the sentences of a text together; a map that is too large for a page is left out."""
    sizes = [(len(look.translation.tokens), len(look.translation.source_tokens)) for look in looks]
    if math.prod(map(sum, zip(*sizes, strict=True))) > MOST_CELLS:
        looks = [replace(look, decoder=None, encoder=None) for look in looks]
    return join_looks(looks, [part.end for part in parts], nbest)


def _show(look: Look, with_attention: bool) -> dict[str, Any]:
    """Return a translation as plain values."""
    has_maps = with_attention and (look.decoder or look.encoder)
    return {name: getattr(look.translation, name) for name in SHOWN} | {
        "alternatives": [vars(other) for other in look.translation.alternatives],
        "attention": make_views(look.decoder, look.encoder) if has_maps else None,
    }
