"""The server: the routes, how their requests are read, and how errors are answered. `guard.py` stands before all."""

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from html import escape
from importlib.resources import files
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles

from seq2seq.errors import UserError
from seq2seq.serving.api import DetectRequest, NextRequest, SearchRequest, TranslateRequest, explain, read_values
from seq2seq.serving.guard import Guard, Settings
from seq2seq.serving.models import Models
from seq2seq.serving.queue import Full, Queue, Superseded
from seq2seq.serving.service import Service

log = logging.getLogger("seq2seq")

Value = TypeVar("Value")


def make_app(models: Models, settings: Settings | None = None) -> FastAPI:
    """Return the application that serves the models; its lifespan begins and ends the thread of the queue."""
    settings = settings or Settings()
    service = Service(models, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.queue = Queue(lambda work, items: work(items))
        yield
        await service.queue.close()

    # the guard, and the answers to errors
    app = FastAPI(title="seq2seq", lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_middleware(Guard, settings=settings)
    if settings.origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.origins, allow_methods=["*"], allow_headers=["*"])
    for error in (HTTPException, ValidationError, UserError, Superseded, Full, ClientDisconnect, Exception):
        app.add_exception_handler(error, answer_error)

    # the routes
    app.get("/health")(service.health)
    app.get("/languages")(service.languages)
    app.get("/frontend/settings")(service.settings)
    app.get("/v1/models")(service.list_models)
    _add_post(app, "/detect", DetectRequest, service.detect, settings)
    _add_post(app, "/translate", TranslateRequest, service.translate, settings)
    _add_post(app, "/v1/translate", SearchRequest, service.search, settings)
    _add_post(app, "/v1/next", NextRequest, service.next_tokens, settings)
    app.post("/suggest")(refuse)
    app.post("/translate_file")(refuse)

    # the pages
    app.mount("/page", StaticFiles(packages=[("seq2seq.plots", "page")]))
    page = files("seq2seq.plots").joinpath("page", "served.html").read_text("utf-8")
    app.get("/", include_in_schema=False)(lambda: HTMLResponse(page))
    app.get("/docs", include_in_schema=False)(lambda: HTMLResponse(document(app.openapi())))
    return app


async def refuse(request: Request) -> Any:
    """Refuse what this server does not do: files and suggestions."""
    raise HTTPException(403, f"{request.url.path} is not served here")


async def answer_error(request: Request, error: Any) -> Response:
    """Answer with a JSON object that has one member, `error`."""
    headers = None
    match error:
        case HTTPException(status_code=404):
            status, text = 404, f"{request.url.path:.80} is not served here; /docs lists what is"
        case HTTPException():
            status, text, headers = error.status_code, str(error.detail), error.headers
        case ValidationError():
            status, text = 400, explain(error)
        case UserError():
            status, text = 400, f"Invalid request: {error}"
        case Superseded():
            status, text = 409, "a newer request of the same client has come"
        case ClientDisconnect():
            status, text = 499, "the client has gone"
        case Full():
            status, text, headers = 503, "too many requests wait; try again later", {"Retry-After": "5"}
        case _:
            status, text = 500, "internal error; the server's log has it"
    return JSONResponse({"error": text}, status, headers)


def _add_post(app: FastAPI, path: str, kind: Any, answer: Callable[[Any], Awaitable[Any]], settings: Settings) -> None:
    """Add a route whose requests hold the values of a model, as JSON or as a form."""

    async def route(request: Request) -> Any:
        values = await read_values(request, kind.media, settings.most_bytes)
        check_key(values["api_key"], settings)
        return await unless_gone(request, answer(kind.model_validate(values)), settings.seconds)

    # OpenAPI cannot refer to what stands within the schema of a route
    schema = kind.model_json_schema()
    text = json.dumps(schema)
    for name, inner in schema.get("$defs", {}).items():
        text = text.replace(json.dumps({"$ref": f"#/$defs/{name}"}), json.dumps(inner))
    body = {"required": True, "content": {media: {"schema": json.loads(text)} for media in kind.media}}
    app.post(path, description=answer.__doc__, openapi_extra={"requestBody": body})(route)


def check_key(key: Any, settings: Settings) -> None:
    """Raise HTTPException if the server wants a key, and this is none of them."""
    if not settings.keys:
        return
    if not key:
        raise HTTPException(400, "Invalid request: missing api_key parameter: this server wants a key")
    given = str(key).encode(errors="surrogatepass")
    are_right = [hmac.compare_digest(given, known.encode()) for known in settings.keys]  # all, however they differ
    if not any(are_right):
        raise HTTPException(403, "Invalid API key")


async def unless_gone(request: Request, answer: Awaitable[Value], seconds: float) -> Value:
    """Return an answer; stop working on it when the client has gone, or after some seconds with HTTPException."""

    async def until_gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, gone = asyncio.ensure_future(answer), asyncio.ensure_future(until_gone())
    try:
        done, _ = await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        raise HTTPException(499 if gone in done else 503, f"no answer within {seconds:g} s: the server is busy")
    finally:
        task.cancel()
        gone.cancel()


def document(schema: dict[str, Any]) -> str:
    """Return a page of the routes in an OpenAPI schema, without a script or a file from another host."""
    lines = ["<!doctype html><html lang=en><meta charset=utf-8><title>seq2seq: the API</title><h1>The API</h1>"]
    lines.append('<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>')
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            lines.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(route['description'])}</p>")
            content = route.get("requestBody", {"content": {}})["content"]
            lines.append(f"<p>Body: {' or '.join(content)}</p>" if content else "")
            fields = content["application/json"]["schema"] if content else {"properties": {}}
            rows = [
                f"<dt><code>{name}</code>{' (needed)' if name in fields.get('required', ()) else ''}"
                f"<dd>{escape(each.get('description', ''))}"
                for name, each in fields["properties"].items()
            ]
            lines.append(f"<dl>{''.join(rows)}</dl>" if rows else "")
    return "\n".join(lines)
