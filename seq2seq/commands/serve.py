"""Serve models over HTTP: a page to translate on at /, an API that clients of LibreTranslate speak, and /v1 with
tokens, scores and attention. Only this machine is served unless --host says otherwise. Ctrl-C finishes what was begun.
"""

import argparse
import errno
import os
import re
import socket
from contextlib import suppress
from pathlib import Path

from seq2seq.commands import options
from seq2seq.errors import UserError
from seq2seq.streams import say

HELP = "serve models over HTTP: a page, and an API for other programs"
KEYS_VARIABLE = "SEQ2SEQ_API_KEYS"
RATE = 600  # requests a minute from one address, where others than this machine are served


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what is served, where, and the limits."""
    add = parser.add_argument
    add("runs", metavar="RUN", nargs="+", help="run folders; of several of one direction the first serves /translate")
    add("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 serves other machines (default: 127.0.0.1)")
    add("--port", type=int, default=5000, help="port to listen at; 0: any that is free (default: 5000)")
    options.add_shared(parser, "--device")

    # who may ask, and how much
    keys = f"a file of keys, one a line, of which a request must bring one; so does ${KEYS_VARIABLE} (by commas)"
    add = parser.add_argument_group("who may ask, and how much").add_argument
    add("--api-key", metavar="FILE", help=keys)
    add("--allow-host", metavar="NAME", action="append", default=[], help="a name by which the server is called")
    add("--cors", metavar="ORIGIN", action="append", default=[], help="a site whose pages may ask: https://example.org")
    add("--max-characters", type=int, metavar="N", default=20_000, help="characters of a request (default: 20000)")
    add("--max-texts", type=int, metavar="N", default=1_000, help="texts of a request (default: 1000)")
    add("--max-bytes", type=int, metavar="N", default=1_000_000, help="bytes of a request (default: 1000000)")
    add("--max-seconds", type=int, metavar="N", default=60, help="seconds for a request (default: 60)")
    rate = f"requests a minute from one address, 0: any number (default: 0 on 127.0.0.1, {RATE} on others)"
    add("--max-rate", type=int, metavar="N", help=rate)


def run(args: argparse.Namespace) -> None:
    """Load the models and serve them until a signal."""
    try:
        import py3langid  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn

        from seq2seq.serving.guard import Impatient, Settings
        from seq2seq.serving.models import Models
        from seq2seq.serving.server import make_app
        from seq2seq.text.languages import language_name
    except ImportError as error:
        raise UserError(
            f'serving needs {error.name}, which is not installed; pip install "seq2seq-attention[serve]"'
        ) from None
    limits = {"--max-characters": args.max_characters, "--max-texts": args.max_texts, "--max-bytes": args.max_bytes}
    for name, value in (limits | {"--max-seconds": args.max_seconds}).items():
        if value < 1:
            raise UserError(f"{name} is {value}; write 1 or more")
    is_local = args.host in ("localhost", "::1") or args.host.startswith("127.")
    if args.max_rate is not None and args.max_rate < 0:
        raise UserError(f"--max-rate is {args.max_rate}; write 0 for no limit, or the requests a minute")
    if strange := [name for name in args.allow_host if not re.fullmatch(r"[\w.-]+", name)]:
        raise UserError(f"--allow-host {strange[0]}: write a name alone, such as translate.example.org")
    if strange := [site for site in args.cors if site != "*" and not re.fullmatch(r"https?://[^/\s]+", site)]:
        raise UserError(f"--cors {strange[0]}: write scheme and name alone, such as https://example.org")
    rate = (0 if is_local else RATE) if args.max_rate is None else args.max_rate
    settings = Settings(
        keys=_read_keys(args.api_key),
        names=args.allow_host,
        origins=args.cors,
        most_characters=args.max_characters,
        most_texts=args.max_texts,
        most_bytes=args.max_bytes,
        seconds=args.max_seconds,
        rate=rate,
    )

    # the port before the models, which take longer
    with _listen(args.host, args.port) as listener:
        models = Models.load(args.runs, args.device)
        app = make_app(models, settings)
        config = uvicorn.Config(
            app, http=Impatient, timeout_keep_alive=30, log_config=None, log_level="error", server_header=False
        )
        shown = f"[{args.host}]" if ":" in args.host else args.host
        say(f"http://{shown}:{listener.getsockname()[1]}")
        for model in models.all:
            ending = "; try" if model.examples else ""
            say(f"{model.name}: {language_name(model.source)} to {language_name(model.target)}{ending}")
            say(*(f"  {example}" for example in model.examples))
        say("Ctrl-C stops")
        with suppress(KeyboardInterrupt, SystemExit):  # uvicorn repeats a signal when all that was begun is answered
            uvicorn.Server(config).run(sockets=[listener])
    say("stopped; what was begun is answered")


def _read_keys(file: str | None) -> list[str]:
    """Return the keys of the file and of the environment; raise UserError if one of them is there and has none."""
    from seq2seq.files import read_small

    value = os.environ.get(KEYS_VARIABLE, "")
    keys = [key.strip() for key in value.split(",") if key.strip()]
    if value and not keys:
        raise UserError(f"{KEYS_VARIABLE} is {value!r}: no key in it; write keys with commas between, or unset it")
    if file:
        try:
            lines = map(str.strip, read_small(Path(file)).decode("utf-8-sig").splitlines())
            found = [line for line in lines if line and not line.startswith("#")]
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--api-key {file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
        if not all(key.isprintable() for key in found):
            raise UserError(f"--api-key {file}: a key holds control characters; write UTF-8 text, a key a line")
        if not found:
            raise UserError(f"--api-key {file}: no key in it; write one a line")
        keys += found
    return keys


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raise UserError if the address or the port cannot be had."""
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: write 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise UserError(f"--host {host}: no address of this machine; write 127.0.0.1 or 0.0.0.0") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        foreign = error.errno == errno.EADDRNOTAVAIL
        fix = "give an address of this machine, or 0.0.0.0 for all of them" if foreign else "give another with --port"
        raise UserError(f"--host {host} --port {port}: {error.strerror}; {fix}") from None
    return listener
