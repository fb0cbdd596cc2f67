"""Measure `seq2seq serve` under load: many clients beside one, batching, somebody who types beside a bulk, and memory.

    python scripts/bench/serve.py runs/toy                        all of it, in a few minutes
    python scripts/bench/serve.py RUN --seconds 60 --requests 10000 --only clients,memory

A server is started for the run, in a process of its own; its clients are in this process, on the same machine. Each
request is one sentence of the run's test set, sent when the answer to the one before has come.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from seq2seq.evaluation.evaluate import split_texts
from seq2seq.runs.run import Run

# the server with calls of one sentence each, in the place of `python -m seq2seq`
ONE_AT_A_TIME = (
    "from seq2seq.serving import queue; queue.MOST = queue.SHORT = 1; from seq2seq.__main__ import program; program()"
)
Ask = Callable[..., Awaitable[dict[str, Any]]]


@contextmanager
def served(run: Path, *python: str) -> Iterator[tuple[int, int]]:
    """Start a server; yield its process number and its port."""
    command = [sys.executable, *(python or ("-m", "seq2seq")), "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            port = int(process.stdout.readline().rpartition(":")[2])
            while process.stdout.readline() not in ("Ctrl-C stops\n", ""):
                pass
            yield process.pid, port
        finally:
            process.terminate()
            process.stdout.read()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Ask]:
    """Yield a function that sends a request on one connection, and returns the answer; it raises RuntimeError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def ask(path: str, **values: Any) -> dict[str, Any]:
        body = json.dumps(values).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.partition(b"content-length:")[2].partition(b"\r")[0])
        body = await reader.readexactly(length)
        if not answer.startswith(b"http/1.1 200"):
            raise RuntimeError(body.decode())
        return dict(json.loads(body))

    yield ask
    writer.close()


async def load(port: int, clients: int, sentences: Sequence[str], seconds: float, requests: int = 0) -> list[float]:
    """Let clients ask for so many seconds, or so many times in all; return the milliseconds of each answer."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        texts = itertools.cycle(random.Random(number).sample(sentences, len(sentences)))
        async with connected(port) as ask:
            while len(times) < requests if requests else time.perf_counter() < end:
                start = time.perf_counter()
                await ask("/translate", q=next(texts), source=PAIR[0], target=PAIR[1])
                times.append(1000 * (time.perf_counter() - start))

    await asyncio.gather(*map(client, range(clients)))
    return times


async def type_beside_bulk(port: int, sentences: Sequence[str], seconds: float, bulk: int) -> list[float]:
    """Type sentences, a key each 150 ms, while another client has 100 sentences translated again and again.

    Return the milliseconds from each key to its translation.
    """
    times: list[float] = []
    is_over = asyncio.Event()

    async def translate_much() -> None:
        async with connected(port) as ask:
            for start in itertools.count(0, bulk):
                if is_over.is_set():
                    return
                texts = [sentences[i % len(sentences)] for i in range(start, start + bulk)]
                await ask("/translate", q=texts, source=PAIR[0], target=PAIR[1])

    async def type_text() -> None:
        end = time.perf_counter() + seconds
        async with connected(port) as ask:
            for sentence in itertools.cycle(sentences):
                for key in range(8, len(sentence), 6):
                    start = time.perf_counter()
                    await ask("/v1/translate", text=sentence[:key], beam=1, client="typist")
                    times.append(1000 * (time.perf_counter() - start))
                    await asyncio.sleep(max(0.0, 0.15 - (time.perf_counter() - start)))
                    if time.perf_counter() > end:
                        is_over.set()
                        return

    await asyncio.gather(*([translate_much()] if bulk else []), type_text())
    return times


def spread(times: list[float]) -> str:
    """Return the median and the 95th percentile."""
    return f"median {median(times):6.1f} ms   95th percentile {quantiles(times, n=20)[-1]:6.1f} ms"


def resident(process: int) -> float:
    """Return the megabytes of memory that a process holds (Linux)."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


PAIR = ("", "")


def main() -> None:
    global PAIR
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("--clients", type=int, default=50, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=10_000, help="while memory is watched (default: %(default)s)")
    parser.add_argument("--only", default="clients,batching,typing,memory", help="(default: %(default)s)")
    args = parser.parse_args()
    sentences = split_texts(Run.open(args.run), "test")[0]
    config = Run.open(args.run).config().data
    PAIR = (config.src, config.tgt)
    parts = args.only.split(",")

    with served(args.run) as (process, port):
        asyncio.run(load(port, 1, sentences, 2))  # warm

        # many clients beside one
        if {"clients", "batching"} & {*parts}:
            for clients in (1, args.clients):
                times = asyncio.run(load(port, clients, sentences, args.seconds))
                print(
                    f"{clients:3} clients      {len(times) / args.seconds:6.1f} answers/s   {spread(times)}", flush=True
                )

        # keys beside a bulk
        if "typing" in parts:
            for bulk in (0, 100):
                times = asyncio.run(type_beside_bulk(port, sentences, args.seconds, bulk))
                beside = f"beside {bulk}" if bulk else "alone"
                print(f"key to text, {beside:<10} {spread(times)}", flush=True)

        # memory
        if "memory" in parts:
            for count in (args.requests // 10, args.requests // 2, args.requests - args.requests // 10 * 6):
                asyncio.run(load(port, args.clients, sentences, 0, count))
                print(f"{count:6,} more answers: {resident(process):.0f} MB", flush=True)

    # without batches
    if "batching" in parts:
        with served(args.run, "-c", ONE_AT_A_TIME) as (process, port):
            times = asyncio.run(load(port, args.clients, sentences, args.seconds))
            print(f"{args.clients:3} one at a time {len(times) / args.seconds:6.1f} answers/s   {spread(times)}")


if __name__ == "__main__":
    main()
