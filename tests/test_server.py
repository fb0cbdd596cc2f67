"""The server over HTTP, in this process: what each request is answered, and what is refused."""

import pytest
from fastapi.testclient import TestClient
from tiny import write_config

from seq2seq import load
from seq2seq.commands.main import main
from seq2seq.serving.models import Model, Models
from seq2seq.serving.server import Settings, make_app


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    config = write_config(folder, training={"max_updates": 150, "validate_every": 50})
    assert main(["train", str(config), "--run", str(folder / "run")]) == 0
    return str(folder / "run")


@pytest.fixture(scope="module")
def translator(run):
    return load(run)


@pytest.fixture(scope="module")
def client(run):
    with TestClient(make_app(Models.load([run])), base_url="http://localhost") as client:
        yield client


def served(translator, *directions, **settings):
    models = [Model(f"{source}-{target}", translator, source, target, []) for source, target in directions]
    return TestClient(make_app(Models(models), Settings(**settings)), base_url="http://localhost")


EN_DE = {"source": "en", "target": "de"}


def test_the_server_gives_the_text_that_the_pipe_gives(client, translator):
    texts = ["the old cat sees the dog", "dog likes 네 the cat", "", "the cat\nthe old dog", "Zebra! the dog. The cat?"]
    pipe = [translation.text for translation in translator.translate(texts)]
    answer = client.post("/translate", json={"q": texts, **EN_DE}).json()
    assert answer == {"translatedText": pipe}
    own = client.post("/v1/translate", json={"text": texts}).json()
    assert [each["text"] for each in own["translations"]] == pipe


def test_the_routes_that_clients_look_at_first(client):
    assert client.get("/health").json() == {"status": "ok"}
    assert client.request("GET", "/languages", content=b"{}").json() == [
        {"code": "en", "name": "English", "targets": ["de"]},
        {"code": "de", "name": "German", "targets": []},
    ]
    assert client.get("/frontend/settings").json()["keyRequired"] is False
    (model,) = client.get("/v1/models").json()["models"]
    assert (model["name"], model["source"], model["target"], len(model["examples"])) == ("run", "en", "de", 3)


@pytest.mark.parametrize(
    ("method", "path", "request_", "status", "error"),
    [
        ("POST", "/languages", {}, 405, "Method Not Allowed"),
        ("GET", "/nowhere", {}, 404, "Not Found"),
        ("POST", "/translate", {"json": {**EN_DE}}, 400, "missing q"),
        ("POST", "/translate", {"json": {"q": "a", "target": "de"}}, 400, "missing source"),
        ("POST", "/translate", {"json": {"q": "a", "source": "en", "target": None}}, 400, "missing target"),
        ("POST", "/translate", {"json": {"q": 5, **EN_DE}}, 400, "q is 5"),
        ("POST", "/translate", {"json": {"q": ["a", 5], **EN_DE}}, 400, "q is"),
        ("POST", "/translate", {"json": {"q": "a", "source": "xx", "target": "de"}}, 400, "xx is not supported"),
        ("POST", "/translate", {"json": {"q": "a", "source": "de", "target": "en"}}, 400, "de to en is not served"),
        ("POST", "/translate", {"json": {"q": "a", "alternatives": "many", **EN_DE}}, 400, "alternatives is"),
        ("POST", "/translate", {"json": {"q": "a" * 20_001, **EN_DE}}, 400, "(20001) exceeds text limit (20000)"),
        ("POST", "/translate", {"json": ["a"]}, 400, "no object"),
        ("POST", "/translate", {"content": b"{", "headers": {"content-type": "application/json"}}, 400, "JSON"),
        ("POST", "/translate", {"content": b"x" * 1_000_001}, 413, "1000000 bytes"),
        ("POST", "/detect", {"data": {}}, 400, "missing q"),
        ("POST", "/suggest", {}, 403, "/suggest"),
        ("POST", "/translate_file", {}, 403, "/translate_file"),
        ("POST", "/v1/translate", {"json": {"text": "a", "beam": 0}}, 400, "beam is 0"),
        ("POST", "/v1/translate", {"json": {"text": "a", "model": "b"}}, 400, "no model b"),
        ("POST", "/v1/translate", {"json": {"text": "a", "bean": 1}}, 400, "bean"),
        ("GET", "/health", {"headers": {"host": "evil.example"}}, 400, "evil.example"),
    ],
)
def test_what_is_refused_says_why(client, method, path, request_, status, error):
    answer = client.request(method, path, **request_)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert error in answer.json()["error"]
    assert answer.headers["x-content-type-options"] == "nosniff"
