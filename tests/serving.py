"""A server in a process of its own, as a user starts it."""

import subprocess
import sys
from contextlib import contextmanager

import httpx2


@contextmanager
def serving(run, *options):
    """Yield the process and the address that `seq2seq serve` prints; end the process if it has not ended."""
    command = [sys.executable, "-m", "seq2seq", "serve", str(run), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("http://"), process.stderr.read()
            while process.stdout.readline() != "Ctrl-C stops\n":
                pass
            yield process, address
        finally:
            process.kill()


def translate(address, text, **values):
    body = {"q": text, "source": "en", "target": "de", **values}
    return httpx2.post(f"{address}/translate", json=body, timeout=60)
