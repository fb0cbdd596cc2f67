"""The guard before all routes: it checks where a request comes from and how large it is, and closes the answers."""

import asyncio
import ipaddress
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
HEAD_SECONDS = 20.0  # for the head of a request to come in
BODY_SECONDS = 20.0  # and for its body
MOST_ADDRESSES = 10_000  # whose rates are remembered
DRAINED = 8  # times the limit: so much of a body that is too large is read, so that its sender hears the answer


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


class Impatient(H11Protocol):
    """A connection that is closed where the head of a request takes too long; the guard sees only whole heads."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._patience = self.loop.call_later(HEAD_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        """Read on, and stop waiting while a request is answered."""
        super().data_received(data)
        is_waiting = self.cycle is None or self.cycle.response_complete
        if self._patience and not is_waiting:
            self._patience.cancel()
            self._patience = None
        elif not self._patience and is_waiting:
            self._patience = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        if self._patience:
            self._patience.cancel()
        super().connection_lost(exc)


class Guard:
    """A middleware of ASGI that turns bad requests away before a route sees them.

    The Host header must be an address, localhost or a name of the server. A page of another site that has its own name
    point to this machine (DNS rebinding) cannot send such a header.
    """

    def __init__(self, app: Any, settings: Settings):
        self.app, self.settings = app, settings
        self.rates: dict[str, tuple[float, float]] = {}  # address: requests left, and when that was

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve a request, or answer with an error."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_closed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        # the head of the request
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._check_host(headers.get(b"host", ""))
            if scope["method"] == "POST":
                self._check_rate((scope.get("client") or ("", 0))[0])
            await self._check_length(headers, receive)
        except HTTPException as error:
            return await JSONResponse({"error": error.detail}, error.status_code, error.headers)(
                scope, receive, send_closed
            )

        # its body; a HEAD is a GET whose body the server leaves out
        scope = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        await self.app(scope, self._limited(receive), send_closed)

    def _check_host(self, host: str) -> None:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and not host.endswith("]") else host
        name = name.strip("[]").lower().rstrip(".")
        if name == "localhost" or name in {known.lower() for known in self.settings.names}:
            return
        if not name:
            raise HTTPException(400, "the request has no Host header")
        try:
            ipaddress.ip_address(name)
        except ValueError:
            raise HTTPException(400, f"Host {host:.80} is not served here: --allow-host {name:.80} allows it") from None

    def _check_rate(self, address: str) -> None:
        """Take a request from the address's store of them, which fills up again at the rate that is allowed."""
        if not (rate := self.settings.rate):
            return
        now = time.monotonic()
        left, then = self.rates.pop(address, (float(rate), now))
        left = min(rate, left + (now - then) * rate / 60)
        self.rates[address] = (left - 1 if left >= 1 else left, now)
        if len(self.rates) > MOST_ADDRESSES:
            del self.rates[next(iter(self.rates))]  # not seen for longest
        if left < 1:
            wait = str(math.ceil((1 - left) * 60 / rate))
            raise HTTPException(429, f"over {rate} requests a minute", {"Retry-After": wait})

    async def _check_length(self, headers: MutableMapping[bytes, str], receive: Receive) -> None:
        length = headers.get(b"content-length", "0")
        if not length.isdecimal() or (len(length) < 16 and int(length) <= self.settings.most_bytes):
            return
        # a client that sends all before it reads would miss the answer
        if len(length) < 16 and int(length) <= DRAINED * self.settings.most_bytes and b"expect" not in headers:
            with suppress(TimeoutError):
                async with asyncio.timeout(BODY_SECONDS):
                    while (await receive()).get("more_body"):
                        pass
        raise self._too_large()

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the body is over {self.settings.most_bytes} bytes")

    def _limited(self, receive: Receive) -> Receive:
        """Return a `receive` that ends a body that is too large, or that takes too long to come."""
        size, deadline, is_done = 0, time.monotonic() + BODY_SECONDS, False

        async def receive_limited() -> Message:
            nonlocal size, is_done
            if is_done:  # what comes now is the end of the connection, at any time
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise HTTPException(408, f"the body took over {BODY_SECONDS:g} s", {"Connection": "close"}) from None
            size += len(message.get("body", b""))
            is_done = not message.get("more_body", False)
            if size > self.settings.most_bytes:
                raise self._too_large()
            return message

        return receive_limited
