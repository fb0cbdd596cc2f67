"""`seq2seq serve` as a process: how it starts, whom it outlives, and how it ends."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from serving import serving, translate
from tiny import write_config

from seq2seq import load
from seq2seq.commands.main import main

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    config = write_config(folder, training={"max_updates": 150, "validate_every": 50})
    assert main(["train", str(config), "--run", str(folder / "run")]) == 0
    return str(folder / "run")


@pytest.fixture(scope="module")
def address(run):
    with serving(run) as (_, address):
        yield address


def connected(address):
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def head(length, path="/translate"):
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )


FORM = {"content-type": "application/x-www-form-urlencoded"}
MULTIPART = {"content-type": "multipart/form-data; boundary=y"}
HOSTILE = [
    ({"content": b"{"}, 400),
    ({"content": b"[" * 100_000}, 400),
    ({"content": b'{"q": 9' + b"9" * 10_000 + b"}"}, 400),
    ({"json": {"q": {"a": 1}, "source": "en", "target": "de"}}, 400),
    ({"json": {"q": "a", "source": ["en"], "target": "de"}}, 400),
    ({"json": {"q": "the cat " * 12_500, "source": "en", "target": "de"}}, 400),
    ({"json": {"q": ["a"] * 1001, "source": "en", "target": "de"}}, 400),
    ({"content": b'{"q": "\\ud800 the cat", "source": "en", "target": "de"}'}, 200),
    ({"content": b'{"q": "the cat", "source": "\\udfff", "target": "de"}'}, 400),
    ({"content": b'{"q": "\xff", "source": "en", "target": "de"}'}, 400),
    ({"json": {"q": "<script>alert(1)</script>", "source": "en", "target": "de"}}, 200),
    ({"json": {"q": "\x00\x1b[31m", "source": "en", "target": "de"}}, 200),
    ({"json": {"q": "<p>" * 5000, "source": "en", "target": "de", "format": "html"}}, 400),
    ({"content": b" " * 1_000_001}, 413),
    ({"content": iter([b" " * 600_000] * 2)}, 413),
    ({"content": b"--x\r\n\r\n", "headers": MULTIPART}, 400),
    ({"files": {"q": b"the cat"}, "headers": {}}, 400),
    ({"content": b"q=%ff&source=en&target=de", "headers": FORM}, 400),  # not UTF-8
    ({"content": "q=고양이&source=en&target=de".encode("euc-kr"), "headers": FORM}, 400),
    ({"content": b'--y\r\nContent-Disposition: form-data; name="q"\r\n\r\n\xff\r\n--y--', "headers": MULTIPART}, 400),
    ({"content": b'{"q": "a", "q": "b", "source": "en", "target": "de"}'}, 400),
]


def test_hostile_requests_get_the_right_status_and_the_server_goes_on(address):
    for request, status in HOSTILE:
        headers = {"content-type": "application/json"} if "content" in request else {}
        answer = httpx2.post(f"{address}/translate", **{"headers": headers, "timeout": 60, **request})
        assert answer.status_code == status, (request, answer.text)
        assert ("error" in answer.json()) == (status != 200)
    assert translate(address, "the cat").status_code == 200


def test_clients_that_send_nonsense_or_go_away_harm_nobody(address):
    for start in (b"\x16\x03\x01 nonsense\r\n\r\n", head(100).encode(), head(10).encode() + b"{"):
        with connected(address) as connection:
            connection.sendall(start)
    body = json.dumps({"q": ["the old cat sees the dog"] * 800, "source": "en", "target": "de"})
    for _ in range(5):
        with connected(address) as connection:  # gone before the answer
            connection.sendall((head(len(body)) + body).encode())
    assert translate(address, "the cat").status_code == 200
    assert httpx2.get(f"{address}/health").json() == {"status": "ok"}


def test_many_clients_at_once_get_what_one_gets(run, address):
    texts = [f"the {word} sees the old {other}" for word in ("cat", "dog") for other in ("cat", "dog", "네")]
    pipe = {text: each.text for text, each in zip(texts, load(run).translate(texts), strict=True)}
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda text: translate(address, text).json(), texts * 10))
    assert [answer["translatedText"] for answer in answers] == [pipe[text] for text in texts * 10]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_what_was_begun(run, number):
    texts = ["the old cat sees the dog and the dog likes the old cat"] * 300
    with serving(run) as (process, address):
        answers = []
        client = threading.Thread(target=lambda: answers.append(translate(address, texts)))
        client.start()
        probe = {"text": "the cat", "client": "probe"}
        while httpx2.post(f"{address}/v1/translate", json=probe).status_code != 200:  # the long one is in the queue
            pass
        process.send_signal(number)
        client.join()
        assert process.wait(60) == 0
        assert len(answers[0].json()["translatedText"]) == len(texts)
        assert process.stderr.read() == ""


def test_a_port_in_use_is_an_error_of_one_line(run, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", run, "--port", port]) == 2
    assert capsys.readouterr().err == (
        f"seq2seq: error: --host 127.0.0.1 --port {port}: Address already in use; give another with --port\n"
    )


def test_an_address_of_another_machine_is_an_error_of_one_line(run, capsys):
    assert main(["serve", run, "--host", "192.0.2.1"]) == 2  # RFC 5737 keeps it for examples
    assert "Cannot assign requested address; give an address of this machine" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------ real clients


def test_libretranslatepy(address):
    client = pytest.importorskip("libretranslatepy").LibreTranslateAPI(address, api_key="any")
    assert client.languages()[0]["code"] == "en"
    assert client.detect("the cat sees the dog")[0]["language"] == "en"
    assert client.translate("the cat", "en", "de") == "die Katze"


def test_deep_translator(address):
    deep = pytest.importorskip("deep_translator")
    client = deep.LibreTranslator(source="English", target="German", api_key="any", custom_url=f"{address}/")
    assert client.translate("the cat") == "die Katze"
    assert client.translate_batch(["the cat", "the dog"]) == ["die Katze", "die Hund"]


def test_libretranslate_aio(address):
    aio = pytest.importorskip("libretranslate_aio")
    with aio.LibreTranslate(address) as client:
        assert client.health()
        assert client.frontend_settings().char_limit == 20_000
        assert client.languages()[0].targets == ["de"]
        assert client.detect("the cat sees the dog")[0].language == "en"
        answer = client.translate(["the cat", "the dog"], "auto", "de", alternatives=2)
        assert answer.translated_text == ["die Katze", "die Hund"]
        with pytest.raises(aio.BadRequestError, match="xx is not supported"):
            client.translate("a", "xx", "de")
        with pytest.raises(aio.ForbiddenError):
            client.suggest("a", "b", "en", "de")

    async def ask():
        async with aio.AsyncLibreTranslate(address) as client:
            return await client.translate("<b>the cat</b>", "en", "de", format="html")

    assert asyncio.run(ask()).translated_text == "<b>die Katze</b>"


def test_clients_from_npm(address):
    if not (node := shutil.which("node")) or not (ROOT / "build/npm/node_modules/libretranslate-ts").exists():
        pytest.skip("docs/serving.md says how to install the clients")
    done = subprocess.run([node, "scripts/clients/npm.mjs", address], cwd=ROOT, capture_output=True, text=True)
    answers = json.loads(done.stdout)
    assert answers["libretranslate"] == answers["translate"] == "die Katze"
    assert answers["libretranslate-ts"]["translated"]["translatedText"] == "die Katze"
    assert answers["libretranslate-ts"]["refused"]["error"] == "xx is not supported"
    assert json.loads(answers["mcp"]["content"][0]["text"])["translatedText"] == "die Katze"


def test_schemathesis_finds_no_error_of_the_server(address, tmp_path):
    pytest.importorskip("schemathesis", reason="pip install schemathesis")
    program = Path(sys.executable).parent / "schemathesis"
    options = ["--checks", "not_a_server_error", "--max-examples", "20", "--seed", "1", "--phases", "coverage,fuzzing"]
    command = [program, "run", f"{address}/openapi.json", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_wrong_key_is_forbidden_and_a_right_one_opens(run, tmp_path, monkeypatch):
    (tmp_path / "keys").write_text("\ufeff# ours\nsecond\nfirst\n", "utf-8")  # Windows writes such a mark
    with serving(run, "--api-key", str(tmp_path / "keys")) as (_, address):
        deep = pytest.importorskip("deep_translator")
        names = {"source": "en", "target": "de", "custom_url": f"{address}/"}
        assert deep.LibreTranslator(api_key="second", **names).translate("the cat") == "die Katze"
        with pytest.raises(deep.exceptions.AuthorizationException):
            deep.LibreTranslator(api_key="third", **names).translate("the cat")
        assert translate(address, "the cat").status_code == 400
        assert httpx2.get(f"{address}/frontend/settings").json()["keyRequired"] is True
    assert os.environ.get("SEQ2SEQ_API_KEYS") is None
