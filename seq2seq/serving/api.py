"""What a server is asked and what it answers: the bodies of its requests, read from JSON or from a form."""

import json
from collections import defaultdict
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, ValidationError
from starlette.exceptions import HTTPException

from seq2seq.decoding.translation import Options, Sampling
from seq2seq.errors import printable

MOST_ALTERNATIVES = 4  # of a translation; with the best one as many as the usual beam of 5 holds
MOST_BEAM = 20
MOST_BANNED = 100  # phrases
MOST_TOKENS = 2_000  # of a prefix
MOST_PREFIX = 1_000  # characters: they are spelled one by one, which takes milliseconds each

JSON, FORM, MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data"

# a lone surrogate, which no answer could hold, is U+FFFD
Text = Annotated[str, BeforeValidator(lambda text: _clean(text))]
Name = Annotated[Text, StringConstraints(min_length=1, max_length=200)]


def _clean(text: Any) -> Any:
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text) if isinstance(text, str) else text


class Keyed(BaseModel, strict=True):
    """A request that may bring a key. `media` are the types of body that it can be read from."""

    media: ClassVar[tuple[str, ...]] = (JSON,)
    api_key: Annotated[Text | None, Field(description="the key, where the server wants one")] = None


class DetectRequest(Keyed):
    """A request for the language of a text."""

    media = (JSON, FORM, MULTIPART)
    q: Annotated[Text | list[Text], Field(description="the text", min_length=1)]


class TranslateRequest(Keyed):
    """A request for a translation, as clients of LibreTranslate send it."""

    media = (JSON, FORM, MULTIPART)
    q: Annotated[Text | list[Text], Field(description="a text, or a list of texts", min_length=1)]
    source: Annotated[Name, Field(description="the language code of the text, or auto")]
    target: Annotated[Name, Field(description="the language code of the translation")]
    format: Annotated[Literal["text", "html", ""] | None, Field(description="what the text is")] = None
    alternatives: Annotated[
        int | None, Field(strict=False, description=f"more translations to return, {MOST_ALTERNATIVES} at most")
    ] = 0


class SamplingSettings(BaseModel, strict=True, extra="forbid"):
    """How a translation is drawn at random."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 1


class SearchRequest(Keyed, extra="forbid"):
    """A request for translations with tokens, scores and attention."""

    text: Annotated[Text | list[Text], Field(description="a text, or a list of texts")]
    model: Annotated[Name | None, Field(description="the name of a model (default: the first that fits)")] = None
    source: Annotated[Name | None, Field(description="a language code, or auto")] = None
    target: Annotated[Name | None, Field(description="a language code")] = None
    beam: Annotated[int | None, Field(ge=1, le=MOST_BEAM, description="1 is greedy (default: the run's)")] = None
    nbest: Annotated[int, Field(ge=1, le=MOST_BEAM, description="translations of a text, at most beam")] = 1
    length_penalty: Annotated[float | None, Field(description="0 to 10 (default: the run's)")] = None
    sampling: Annotated[SamplingSettings | None, Field(description="draw at random instead of searching")] = None
    prefix: Annotated[Text | None, Field(description="what the translation begins with", max_length=MOST_PREFIX)] = None
    prefix_tokens: Annotated[
        list[Text] | None, Field(description="the same as tokens, as they stand in an answer", max_length=MOST_TOKENS)
    ] = None
    ban: Annotated[list[Text], Field(description="words and phrases it must not hold", max_length=MOST_BANNED)] = []
    attention: Annotated[bool, Field(description="return where the model looks")] = False
    split_sentences: Annotated[bool | None, Field(description="split lines into sentences (default: the run's)")] = None
    client: Annotated[Name | None, Field(description="a newer request of the same client replaces an older one")] = None

    def options(self) -> Options:
        """Return the options of the search; raise UserError if they contradict one another."""
        sampling = Sampling(**self.sampling.model_dump()) if self.sampling else None
        names = ("beam", "nbest", "length_penalty", "split_sentences", "prefix", "prefix_tokens")
        return Options(**{name: getattr(self, name) for name in names}, sampling=sampling, ban=tuple(self.ban))


class NextRequest(Keyed, extra="forbid"):
    """A request for the likeliest tokens at a step of a translation."""

    text: Annotated[Text, Field(description="the source text")]
    tokens: Annotated[list[Text], Field(description="the tokens before the step", max_length=MOST_TOKENS)] = []
    count: Annotated[int, Field(ge=1, le=MOST_BEAM, description="tokens to return")] = 5
    model: Annotated[Name | None, Field(description="the name of a model (default: the first)")] = None
    client: Annotated[Name | None, Field(description="a newer request of the same client replaces an older one")] = None


async def read_values(request: Request, media: tuple[str, ...], most_bytes: int) -> dict[str, Any]:
    """Return the values of a request: those of a JSON object, or the fields of its form and of its query together.

    A field that is repeated is a list. In a form CRLF is a line feed. A key may also stand in the query, or in the
    header `Authorization: Bearer KEY`.

    Args:
        request: it has a body in UTF-8.
        media: the types of body that may be read.
        most_bytes: the largest part of a form.

    Raises:
        HTTPException: 400, the body cannot be read.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        body = (await request.body()).decode("utf-8-sig")
        if kind == JSON or kind.endswith("+json"):
            values = _parse_json(body)
        elif FORM not in media or body.lstrip().startswith("{"):
            raise HTTPException(400, f"Invalid request: send JSON, with the header Content-Type: {JSON}")

        # a form; of several parts it has lines of its own before each value
        else:
            fields = _parse_query(request.scope["query_string"].decode())
            if kind == MULTIPART:
                fields += (await request.form(max_files=0, max_part_size=most_bytes)).multi_items()
            else:
                fields += _parse_query(body)
            values = _gather(fields)
    except UnicodeDecodeError:
        raise HTTPException(400, "Invalid request: the text is not in UTF-8") from None

    # the key, under any of its names
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    places = (
        values.pop("api_key", None),
        values.pop("apiKey", None),
        request.query_params.get("api_key"),
        bearer if scheme.lower() == "bearer" else None,
    )
    return {**values, "api_key": next((key for key in places if key), None)}


def _parse_query(text: str) -> list[tuple[str, Any]]:
    """Return the fields of a query, or of a form that is written like one."""
    return [*parse_qsl(text, keep_blank_values=True, errors="strict")]


def _gather(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the value of each field, or the list of its values."""
    values = defaultdict(list)
    for name, value in fields:
        values[name].append(value.replace("\r\n", "\n") if isinstance(value, str) else value)
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def _parse_json(text: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise HTTPException(400, f"Invalid request: {printable(twice):.60} stands twice in the JSON")
        return values

    try:
        values = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        raise HTTPException(400, "Invalid request: the body is no valid JSON") from None
    if not isinstance(values, dict):
        raise HTTPException(400, "Invalid request: the body is JSON, but no object")
    return values


def explain(error: ValidationError) -> str:
    """Return the first fault of a request in one line: the key, the value and what is wrong with it."""
    fault = error.errors(include_url=False)[0]
    # of the members of a union only the name of the key counts
    parts = [str(part) for part in fault["loc"]] or ["body"]
    key = ".".join(parts) if fault["type"] == "extra_forbidden" else parts[0]
    value = fault["input"]
    if fault["type"].endswith(("missing", "too_short")) or value is None:
        return f"Invalid request: missing {key} parameter"
    if fault["type"] == "extra_forbidden":
        return f"Invalid request: there is no parameter {printable(key):.60}"
    shown = printable(json.dumps(value, ensure_ascii=True, default=str))
    return f"Invalid request: {key} is {shown:.60}: {fault['msg'].lower()}"
