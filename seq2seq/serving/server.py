"""The server: routes that speak HTTP, over the queue and the models.

`/translate` and its kin answer as a LibreTranslate-compatible server does, `/v1` tells what this package knows more:
tokens, scores and attention. `guard.py` stands before all routes.
"""

import asyncio
import hmac
import itertools
import json
import logging
import math
import re
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from html import escape
from importlib.resources import files
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from seq2seq.decoding.attention_map import MOST_CELLS
from seq2seq.decoding.looking import Look, join_looks
from seq2seq.decoding.translation import NextToken, Options, Translation
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.plots import make_views
from seq2seq.serving.api import (
    MOST_ALTERNATIVES,
    DetectRequest,
    Keyed,
    NextRequest,
    SearchRequest,
    TranslateRequest,
    explain,
    read_values,
)
from seq2seq.serving.guard import Guard
from seq2seq.serving.html import Gaze, Page
from seq2seq.serving.models import Detected, Model, Models
from seq2seq.serving.queue import Full, Queue, Superseded
from seq2seq.text.languages import language_name
from seq2seq.text.sentences import Part, Sentences

log = logging.getLogger("seq2seq")

Value = TypeVar("Value")
Wanted = TypeVar("Wanted", bound=Keyed)
NUMBERS = itertools.count()  # of requests
BODIES = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
MEDIA = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
READ_FOR_LANGUAGE = 2_000  # characters of a text that tell its language


@dataclass(frozen=True)
class Settings:
    """What a server allows."""

    keys: Sequence[str] = ()  # of which a request must bring one; none: all requests are served
    names: Sequence[str] = ()  # that the server goes by, beside localhost and addresses
    origins: Sequence[str] = ()  # whose pages may read answers (CORS)
    most_characters: int = 20_000  # of a request
    most_texts: int = 1_000  # of a request
    most_bytes: int = 1_000_000  # of a body
    rate: int = 0  # requests a minute from one address; 0: any number
    seconds: float = 60.0  # for a request


class Wishes(NamedTuple):
    """What a request wants of a search; sentences with the same wishes are translated together."""

    options: Options = Options()
    look: bool = False  # return the scores of tokens, and where every head looks
    number: int | None = None  # of a request whose texts are translated by themselves


class Step(NamedTuple):
    """A step of a translation."""

    text: str
    tokens: tuple[str, ...]  # before it
    most: int  # tokens wanted


class Asker(NamedTuple):
    """The models and the queue, asked on behalf of one client."""

    queue: Queue
    owner: str | None

    async def look(self, model: Model, texts: Sequence[Sequence[Part]], wishes: Wishes) -> list[list[Look]]:
        """Return the translation of each sentence of each text, and where the model looked."""
        looks = iter(await self._ask(model, [part.text for text in texts for part in text], wishes))
        return [list(islice(looks, len(text))) for text in texts]

    async def look_at_whole(self, model: Model, texts: Sequence[str], wishes: Wishes) -> list[Look]:
        """Return the translations of texts that go by themselves and whole: with a prefix, or drawn at random."""
        (looks,) = await self._ask(model, [texts], wishes._replace(number=next(NUMBERS)))
        return list(looks)

    async def next_tokens(self, model: Model, step: Step) -> list[NextToken]:
        """Return the likeliest tokens at a step."""
        (found,) = await self._ask(model, [step], None)
        return list(found)

    async def _ask(self, model: Model, items: Sequence[Any], wishes: Wishes | None) -> list[Any]:
        return await self.queue.ask((model, wishes), items, self.owner and (self.owner, model.name))


def search(key: tuple[Model, Wishes | None], items: Sequence[Any]) -> Sequence[Any]:
    """Translate sentences with one model, in the queue's thread; each item of a numbered request is a list of texts.

    Without wishes the items are steps, and their results the likeliest tokens there.
    """
    model, wishes = key
    if wishes is None:
        return [model.translator.next_tokens(*step) for step in items]
    if wishes.number is not None:
        return [_search(model.translator, texts, wishes) for texts in items]
    return _search(model.translator, items, wishes._replace(options=replace(wishes.options, split_sentences=False)))


def _search(translator: Translator, texts: Sequence[str], wishes: Wishes) -> list[Look]:
    options = vars(wishes.options)
    if wishes.look:
        return translator.look(texts, **options)
    return [Look(each, [], None, None) for each in translator.translate(texts, attention=False, **options)]


def join(looks: Sequence[Look], parts: Sequence[Part], nbest: int) -> Look:
    """Put the sentences of a text together; a map that is too large for a page is left out."""
    sizes = [(len(look.translation.tokens), len(look.translation.source_tokens)) for look in looks]
    if math.prod(map(sum, zip(*sizes, strict=True))) > MOST_CELLS:
        looks = [replace(look, decoder=None, encoder=None) for look in looks]
    return join_looks(looks, [part.end for part in parts], nbest)


class Lines(NamedTuple):
    """A text in sentences: `head` comes before the first, and the rest of the text in their ends."""

    head: str
    parts: list[Part]

    @classmethod
    def of(cls, text: str, sentences: Sentences) -> "Lines":
        """Cut a text at its line breaks and into sentences; what has no letter and no digit stays as it is."""
        head, parts = "", list[Part]()
        for piece in re.split("(\r\n|\r|\n)", text):
            if any(character.isalnum() for character in piece):
                parts += sentences.parts(piece)
            elif parts:
                parts[-1] = parts[-1]._replace(end=parts[-1].end + piece)
            else:
                head += piece
        return cls(head, parts)


def make_app(models: Models, settings: Settings | None = None) -> FastAPI:
    """Return the application that serves the models; its lifespan begins and ends the thread of the queue."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.queue = Queue(search)
        yield
        await asyncio.to_thread(app.state.queue.close)

    app = FastAPI(title="seq2seq", lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_middleware(Guard, settings=settings)
    if settings.origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.origins, allow_methods=["*"], allow_headers=["*"])
    _handle_errors(app)
    _add_pages(app)
    _add_compatible(app, models, settings)
    _add_own(app, models, settings)
    return app


async def read(request: Request, kind: type[Wanted], settings: Settings) -> Wanted:
    """Return the values of a request, checked, if its key is right; raise HTTPException or ValidationError."""
    values = await read_values(request, settings.most_bytes)
    if settings.keys:
        key = values["api_key"]
        if not key:
            raise HTTPException(400, "Invalid request: missing api_key parameter: this server wants a key")
        given = str(key).encode(errors="surrogatepass")
        are_right = [hmac.compare_digest(given, known.encode()) for known in settings.keys]  # all, however they differ
        if not any(are_right):
            raise HTTPException(403, "Invalid API key")
    return kind.model_validate(values)


async def unless_gone(request: Request, answer: Awaitable[Value], seconds: float) -> Value:
    """Return an answer; stop working on it when the client has gone, or after some seconds with HTTPException."""
    task = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_until_gone(request))
    try:
        done, _ = await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        raise HTTPException(499 if gone in done else 503, f"no answer within {seconds:g} s: the server is busy")
    finally:
        task.cancel()
        gone.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def check_size(texts: Sequence[str], settings: Settings) -> None:
    """Raise HTTPException if there are too many texts or characters; clients know the words `exceeds text limit`."""
    characters = sum(map(len, texts))
    for count, most in ((len(texts), settings.most_texts), (characters, settings.most_characters)):
        if count > most:
            raise HTTPException(400, f"Invalid request: request ({count}) exceeds text limit ({most})")


# --------------------------------------------------------------------------------------------------- as others speak


def _add_compatible(app: FastAPI, models: Models, settings: Settings) -> None:
    """Add the routes that clients of LibreTranslate know."""

    @app.get("/languages")
    async def languages() -> Any:
        """List the languages, each with the languages that it can be translated to."""
        return [{"code": c, "name": language_name(c), "targets": models.targets.get(c, [])} for c in models.codes]

    @app.get("/health")
    async def health() -> Any:
        """Say that the server is there, however busy the model is."""
        return {"status": "ok"}

    @app.get("/frontend/settings")
    async def frontend_settings() -> Any:
        """Say what a page of translations should offer."""
        target = models.all[0].target
        return {
            "apiKeys": bool(settings.keys),
            "charLimit": settings.most_characters,
            "filesTranslation": False,
            "frontendTimeout": 500,
            "keyRequired": bool(settings.keys),
            "language": {
                "source": {"code": "auto", "name": "Auto Detect"},
                "target": {"code": target, "name": language_name(target)},
            },
            "suggestions": False,
            "supportedFilesFormat": [],
        }

    @app.post("/suggest")
    @app.post("/translate_file")
    async def refuse(request: Request) -> Any:
        """Refuse what this server does not do: files and suggestions."""
        raise HTTPException(403, f"{request.url.path} is not served here")

    @app.post("/detect", openapi_extra=_body(DetectRequest))
    async def detect(request: Request) -> Any:
        """Return the languages that a text may be written in, the likeliest first."""
        wanted = await read(request, DetectRequest, settings)
        texts = [wanted.q] if isinstance(wanted.q, str) else wanted.q
        check_size(texts, settings)
        found = models.detect("\n".join(texts)[:READ_FOR_LANGUAGE])
        return [each._asdict() for each in found if each.confidence or each is found[0]]

    @app.post("/translate", openapi_extra=_body(TranslateRequest))
    async def translate(request: Request) -> Any:
        """Translate a text or a list of texts."""
        # what is asked
        wanted = await read(request, TranslateRequest, settings)
        texts = [wanted.q] if isinstance(wanted.q, str) else wanted.q
        check_size(texts, settings)
        target = _code(models, wanted.target)
        sources: list[Detected] = [Detected(_code(models, wanted.source), 0)] if wanted.source.lower() != "auto" else []
        if sources and models.find(sources[0].language, target) is None:
            served = ", ".join(f"{model.source} to {model.target}" for model in models.all)
            raise HTTPException(400, f"{sources[0].language} to {target} is not served; served are {served}")

        # the language of each text: one that can be translated, or that of the translation
        if sources:
            found = sources * len(texts)
        else:
            among = [code for code in models.codes if code == target or target in models.targets.get(code, [])]
            found = [models.detect(text[:READ_FOR_LANGUAGE], among)[0] for text in texts]

        # the translations
        count = max(0, min(wanted.alternatives, MOST_ALTERNATIVES))
        asker = Asker(request.app.state.queue, None)
        chosen = [models.find(each.language, target) for each in found]
        work = _translate_texts(asker, chosen, texts, wanted.format == "html", count)
        results = await unless_gone(request, work, settings.seconds)

        # one for one, a list for a list
        answer: dict[str, Any] = {"translatedText": [result.text for result in results]}
        if not sources:
            answer["detectedLanguage"] = [{"confidence": each.confidence, "language": each.language} for each in found]
        if count:
            answer["alternatives"] = [result.alternatives for result in results]
        return answer if isinstance(wanted.q, list) else {name: values[0] for name, values in answer.items()}


class Answer(NamedTuple):
    """The translation of a text, and other hypotheses."""

    text: str
    alternatives: list[str]


async def _translate_texts(
    asker: Asker, models: Sequence[Model | None], texts: Sequence[str], is_html: bool, alternatives: int
) -> list[Answer]:
    """Return the translation of each text by its model; a text without a model stays as it is."""
    answers: dict[int, Answer] = {}
    translate = _translate_pages if is_html else _translate_lines
    for model in dict.fromkeys(models):
        numbers = [i for i, each in enumerate(models) if each is model]
        chosen = [texts[i] for i in numbers]
        done = await translate(asker, model, chosen, alternatives) if model else [Answer(text, []) for text in chosen]
        answers |= zip(numbers, done, strict=True)
    return [answers[i] for i in range(len(texts))]


async def _translate_lines(asker: Asker, model: Model, texts: Sequence[str], alternatives: int) -> list[Answer]:
    """Return the translations of plain texts."""
    options = Options(max(model.translator.search.beam, 1 + alternatives), 1 + alternatives)
    lines = [Lines.of(text, model.translator.sentences) for text in texts]
    found = await asker.look(model, [line.parts for line in lines], Wishes(options))
    answers = []
    for (head, parts), looks in zip(lines, found, strict=True):
        best = join(looks, parts, options.nbest).translation if parts else Translation("", 0.0, 0.0, [], [])
        answers.append(Answer(head + best.text, [head + other.text for other in best.alternatives]))
    return answers


async def _translate_pages(asker: Asker, model: Model, texts: Sequence[str], alternatives: int) -> list[Answer]:
    """Return the translations of HTML, without alternatives: attention says where the tags of the best one go."""
    pages = [Page(text) for text in texts]
    segments = [segment for page in pages for segment in page.segments]
    parts = [model.translator.sentences.parts(segment.text) for segment in segments]
    found = await asker.look(model, parts, Wishes(look=any(segment.spans for segment in segments)))

    def render() -> list[Answer]:
        gazes = (
            Gaze(segment.text, [part.text for part in text], looks, [part.end for part in text])
            for segment, text, looks in zip(segments, parts, found, strict=True)
        )
        return [Answer(page.render(list(islice(gazes, len(page.segments)))), []) for page in pages]

    return await asyncio.to_thread(render)  # a long page takes its time, and others wait in this thread


def _code(models: Models, given: str) -> str:
    """Return the code of a language that is served, or raise HTTPException."""
    code = models.code(given)
    if code is None:
        raise HTTPException(400, f"{given:.40} is not supported")
    return code


# ------------------------------------------------------------------------------------------------- as this page speaks


def _add_own(app: FastAPI, models: Models, settings: Settings) -> None:
    """Add the routes that tell all that the models know."""

    @app.get("/v1/models")
    async def list_models() -> Any:
        """List the models."""
        return {"models": [_describe(model) for model in models.all]}

    @app.post("/v1/translate", openapi_extra=_body(SearchRequest))
    async def translate(request: Request) -> Any:
        """Translate with tokens, scores, other hypotheses and attention."""
        # the model and the options
        wanted = await read(request, SearchRequest, settings)
        texts = [wanted.text] if isinstance(wanted.text, str) else wanted.text
        check_size(texts, settings)
        model, detected = _choose(models, wanted, texts)
        options = wanted.options()
        model.translator.check(options)
        wishes = Wishes(options, look=True)

        # the translations
        asker = Asker(request.app.state.queue, wanted.client)
        if options.sampling or options.prefix or options.prefix_tokens:
            looks = await unless_gone(request, asker.look_at_whole(model, texts, wishes), settings.seconds)
        else:
            parts = [model.translator.sentences.parts(text, wanted.split_sentences) for text in texts]
            found = await unless_gone(request, asker.look(model, parts, wishes), settings.seconds)
            looks = [join(each, text, options.nbest) for each, text in zip(found, parts, strict=True)]
        return {
            "model": model.name,
            "source": model.source,
            "target": model.target,
            "detected": detected and detected._asdict(),
            "translations": [_show(look, wanted.attention) for look in looks],
        }

    @app.post("/v1/next", openapi_extra=_body(NextRequest))
    async def list_next(request: Request) -> Any:
        """Return the likeliest tokens after the first tokens of a translation, with their probabilities."""
        wanted = await read(request, NextRequest, settings)
        check_size([wanted.text], settings)
        model = _named(models, wanted.model)[0]
        asker = Asker(request.app.state.queue, wanted.client)
        step = Step(wanted.text, tuple(wanted.tokens), wanted.count)
        found = await unless_gone(request, asker.next_tokens(model, step), settings.seconds)
        return {"next": [each._asdict() for each in found]}


def _named(models: Models, name: str | None) -> list[Model]:
    """Return the models of a name, or all of them for None; raise HTTPException if there are none."""
    named = [model for model in models.all if name in (None, model.name)]
    if not named:
        raise HTTPException(
            400, f"there is no model {name:.80}; the models are {', '.join(m.name for m in models.all)}"
        )
    return named


def _describe(model: Model) -> dict[str, Any]:
    return {
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


def _choose(models: Models, wanted: SearchRequest, texts: Sequence[str]) -> tuple[Model, Detected | None]:
    """Return the first model that fits a request, and the language where that was to be found out."""
    fitting = _named(models, wanted.model)
    if wanted.target:
        target = _code(models, wanted.target)
        fitting = [model for model in fitting if model.target == target]
    detected = None
    if wanted.source:
        if wanted.source.lower() == "auto" and fitting:
            among = list(dict.fromkeys(model.source for model in fitting))
            detected = models.detect("\n".join(texts)[:READ_FOR_LANGUAGE], among)[0]
        source = detected.language if detected else _code(models, wanted.source)
        fitting = [model for model in fitting if model.source == source]
    if not fitting:
        raise HTTPException(400, f"no model translates {wanted.source or 'any language'} to {wanted.target}")
    return fitting[0], detected


def _show(look: Look, with_attention: bool) -> dict[str, Any]:
    """Return a translation as plain values."""
    translation = look.translation
    names = ("text", "score", "normalized_score", "tokens", "source_tokens", "token_scores", "unsure")
    shown = with_attention and (look.decoder or look.encoder)
    return {name: getattr(translation, name) for name in names} | {
        "alternatives": [vars(other) for other in translation.alternatives],
        "attention": make_views(look.decoder, look.encoder) if shown else None,
    }


# ------------------------------------------------------------------------------------------------- pages and errors


def _add_pages(app: FastAPI) -> None:
    """Add the page at `/` and its files, which are data of the package."""
    folder = files("seq2seq.plots").joinpath("page")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> Any:
        """Show the page."""
        return folder.joinpath("served.html").read_text("utf-8")

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> Any:
        """Show the routes and their fields, without a script or a file from another host."""
        return _document(app.openapi())

    @app.get("/page/{name}", include_in_schema=False)
    async def part_of_page(name: str) -> Any:
        """Return a file of the page."""
        found = next((file for file in folder.iterdir() if file.name == name), None)
        media = MEDIA.get(name[name.rfind(".") :])
        if found is None or media is None:
            raise HTTPException(404, f"there is no {name:.80}")
        return Response(found.read_bytes(), media_type=f"{media}; charset=utf-8")


def _document(schema: dict[str, Any]) -> str:
    """Return a page of the routes in an OpenAPI schema."""
    lines = ["<!doctype html><html lang=en><meta charset=utf-8><title>seq2seq: the API</title><h1>The API</h1>"]
    lines.append('<p>The same for programs: <a href="openapi.json">openapi.json</a>. Bodies are JSON or forms.</p>')
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            lines.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(route['description'])}</p>")
            content = route.get("requestBody", {"content": {}})["content"]
            fields = content["application/json"]["schema"] if content else {"properties": {}}
            rows = [
                f"<dt><code>{name}</code>{' (needed)' if name in fields.get('required', ()) else ''}"
                f"<dd>{escape(each.get('description', ''))}"
                for name, each in fields["properties"].items()
            ]
            lines.append(f"<dl>{''.join(rows)}</dl>" if rows else "")
    return "\n".join(lines)


def _handle_errors(app: FastAPI) -> None:
    """Make every error a JSON object with one member, `error`."""

    def answer(status: int, text: str, headers: Any = None) -> Response:
        return JSONResponse({"error": text}, status, headers)

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: Any) -> Response:
        return answer(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(ValidationError)
    async def of_values(request: Request, error: Any) -> Response:
        return answer(400, explain(error))

    @app.exception_handler(UserError)
    async def of_user(request: Request, error: Exception) -> Response:
        return answer(400, f"Invalid request: {error}")

    @app.exception_handler(Superseded)
    async def of_superseded(request: Request, error: Exception) -> Response:
        return answer(409, "a newer request of the same client has come")

    @app.exception_handler(Full)
    async def of_full(request: Request, error: Exception) -> Response:
        return answer(503, "too many requests wait; try again later", {"Retry-After": "5"})

    @app.exception_handler(Exception)
    async def of_server(request: Request, error: Exception) -> Response:
        return answer(500, "internal error; the server's log has it")


def _body(kind: type[BaseModel]) -> dict[str, Any]:
    """Return what OpenAPI says of a body that is JSON or a form."""
    schema = kind.model_json_schema()
    text = json.dumps(schema)
    for name, inner in schema.get("$defs", {}).items():  # a route cannot refer to them
        text = text.replace(json.dumps({"$ref": f"#/$defs/{name}"}), json.dumps(inner))
    content = {"schema": json.loads(text)}
    return {"requestBody": {"required": True, "content": dict.fromkeys(BODIES, content)}}
