"""The server over HTTP, in this process: what each request is answered, and what is refused."""

import json
import socket
from threading import Thread

import pytest
import uvicorn
from fastapi.testclient import TestClient
from tiny import write_config

from seq2seq import Sampling, load
from seq2seq.commands.main import main
from seq2seq.plots import make_views
from seq2seq.serving import guard, service
from seq2seq.serving.guard import Settings
from seq2seq.serving.models import Model, Models
from seq2seq.serving.server import make_app


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
JSON = {"content-type": "application/json"}


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
        ("GET", "/nowhere", {}, 404, "/nowhere is not served here; /docs lists what is"),
        ("POST", "/translate", {"json": {**EN_DE}}, 400, "missing q"),
        ("POST", "/translate", {"json": {"q": "a", "target": "de"}}, 400, "missing source"),
        ("POST", "/translate", {"json": {"q": "a", "source": "en", "target": None}}, 400, "missing target"),
        ("POST", "/translate", {"json": {"q": 5, **EN_DE}}, 400, "q is 5"),
        ("POST", "/translate", {"json": {"q": ["a", 5], **EN_DE}}, 400, "q is"),
        ("POST", "/translate", {"json": {"q": "a", "source": "xx", "target": "de"}}, 400, "xx is not supported"),
        ("POST", "/translate", {"json": {"q": "a", "source": "de", "target": "en"}}, 400, "de to en is not served"),
        ("POST", "/translate", {"json": {"q": "a", "alternatives": "many", **EN_DE}}, 400, "alternatives is"),
        ("POST", "/translate", {"json": {"q": "a", "alternatives": [], **EN_DE}}, 400, "alternatives"),
        ("POST", "/translate", {"json": {"q": "a", "format": "pdf", **EN_DE}}, 400, "format is"),
        ("POST", "/translate", {"json": {"q": "a" * 20_001, **EN_DE}}, 400, "(20001) exceeds text limit (20000)"),
        ("POST", "/translate", {"json": {"q": "a " * 2_001, **EN_DE}}, 400, "over 2,000 tokens"),
        ("POST", "/translate", {"json": ["a"]}, 400, "no object"),
        ("POST", "/translate", {"content": b"{", "headers": JSON}, 400, "JSON"),
        ("POST", "/translate", {"content": b"x" * 1_000_001}, 413, "1000000 bytes"),
        ("POST", "/detect", {"data": {}}, 400, "missing q"),
        ("POST", "/suggest", {}, 403, "/suggest"),
        ("POST", "/translate_file", {}, 403, "/translate_file"),
        ("POST", "/v1/translate", {"json": {"text": "a", "beam": 0}}, 400, "beam is 0"),
        ("POST", "/v1/translate", {"json": {"text": "a", "model": "b"}}, 400, "no model b"),
        ("POST", "/v1/translate", {"json": {"text": "a", "bean": 1}}, 400, "bean"),
        ("POST", "/v1/next", {"json": {"text": "a", "count": 0}}, 400, "count is 0"),
        ("POST", "/v1/next", {"data": {"text": "a"}}, 400, "send JSON, with the header Content-Type"),
        ("POST", "/v1/translate", {"json": {"text": "a", "sampling": {"t": 1}}}, 400, "no parameter sampling.t"),
        ("POST", "/translate", {"content": json.dumps({"q": "a", **EN_DE})}, 400, "send JSON, with the header"),
        ("POST", "/translate", {"content": "q=네".encode("euc-kr"), "params": EN_DE}, 400, "not in UTF-8"),
        ("POST", "/translate?q=%b3%d7&source=en&target=de", {}, 400, "not in UTF-8"),
        ("POST", "/translate", {"content": '{"q": "a", "q": "b"}', "headers": JSON}, 400, "q stands twice"),
        ("POST", "/translate", {"json": {"q": "a", "alternatives": "", **EN_DE}}, 400, 'alternatives is ""'),
        ("GET", "/health", {"headers": {"host": ""}}, 400, "no Host header"),
        ("GET", "/health", {"headers": {"host": "evil.example"}}, 400, "evil.example"),
    ],
)
def test_what_is_refused_says_why(client, method, path, request_, status, error):
    answer = client.request(method, path, **request_)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert error in answer.json()["error"]
    assert answer.headers["x-content-type-options"] == "nosniff"


CAT, DOG = "die Katze", "die Hund"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"json": {"q": "the cat", **EN_DE}}, {"translatedText": CAT}),
        ({"json": {"q": ["the cat", "", "the dog"], **EN_DE}}, {"translatedText": [CAT, "", DOG]}),
        ({"json": {"q": [""], **EN_DE}}, {"translatedText": [""]}),
        (
            {"json": {"q": "the cat", "source": "EN", "target": "de-AT", "format": None, "other": 1}},
            {"translatedText": CAT},
        ),
        ({"json": {"q": "🙂👍🏽", **EN_DE}}, {"translatedText": "🙂👍🏽"}),
        (
            {"json": {"q": "\n the cat\r\n\r\nthe dog\n🙂\n", **EN_DE}},
            {"translatedText": f"\n{CAT}\r\n\r\n{DOG}\n🙂\n"},
        ),
        (
            {"json": {"q": "<p>the <b>cat</b></p>", "format": "html", **EN_DE}},
            {"translatedText": "<p>die <b>Katze</b></p>"},
        ),
        ({"data": {"q": "the cat\r\nthe dog", **EN_DE}}, {"translatedText": f"{CAT}\n{DOG}"}),
        ({"data": {"q": ["the cat", "the dog"], **EN_DE}}, {"translatedText": [CAT, DOG]}),
        ({"data": {"q": "the cat"}, "params": EN_DE}, {"translatedText": CAT}),
        ({"content": "q=€+%F0%9F%99%82".encode(), "params": EN_DE}, {"translatedText": "€ 🙂"}),
        ({"params": {"q": "the cat", **EN_DE}}, {"translatedText": CAT}),
        (
            {"files": {name: (None, value) for name, value in {"q": "the cat", **EN_DE}.items()}},
            {"translatedText": CAT},
        ),
        (
            {"json": {"q": "the cat sees the dog", "source": "auto", "target": "de"}},
            {
                "translatedText": "die Katze sieht die Hund",
                "detectedLanguage": {"confidence": pytest.approx(100, abs=2), "language": "en"},
            },
        ),
        (
            {"json": {"q": ["🙂", "das ist der alte Hund"], "source": "auto", "target": "de"}},
            {
                "translatedText": ["🙂", "das ist der alte Hund"],
                "detectedLanguage": [
                    {"confidence": 0.0, "language": "en"},
                    {"confidence": pytest.approx(100, abs=2), "language": "de"},
                ],
            },
        ),
    ],
)
def test_a_translation_is_asked_for_and_answered_in_every_form(client, translator, request_, expected):
    answer = client.post("/translate", **request_)
    assert answer.status_code == 200
    assert answer.json() == expected


def test_alternatives_come_only_if_asked_for_and_are_capped(client, translator):
    for asked, count in ((0, 0), ("2", 2), (3.0, 3), (1000, 4), (-1, 0)):
        (best,) = translator.translate(["the old cat"], beam=max(3, 1 + count), nbest=1 + count)
        answer = client.post("/translate", json={"q": "the old cat", "alternatives": asked, **EN_DE}).json()
        others = {"alternatives": [other.text for other in best.alternatives]} if count else {}
        assert answer == {"translatedText": best.text} | others
    answer = client.post("/translate", data={"q": ["the old cat", "🙂"], "alternatives": "1", **EN_DE}).json()
    assert list(map(len, answer["alternatives"])) == [1, 0]


def test_a_language_is_found_among_those_served_and_two_letters_are_a_guess(client):
    detect = lambda **request: client.post("/detect", **request).json()  # noqa: E731
    assert [each["language"] for each in detect(json={"q": "Where is the old cat?"})] == ["en"]
    assert detect(data={"q": "Wo ist die alte Katze?"})[0]["language"] == "de"
    assert [each["confidence"] for each in detect(params={"q": "ok"})] == [0.0]


def test_several_models_and_the_codes_by_which_their_languages_are_known(translator):
    with served(translator, ("en", "pt"), ("en", "zh"), ("de", "zh-Hant"), ("en", "pt-BR")) as client:
        targets = {each["code"]: each["targets"] for each in client.get("/languages").json()}
        assert targets == {
            "en": ["pt", "pt-BR", "zh"],
            "de": ["zh-Hant"],
            "pt": [],
            "zh": [],
            "zh-Hant": [],
            "pt-BR": [],
        }
        for source, target, status in (
            ("en", "PT_br", 200),
            ("en", "pb", 200),
            ("en-GB", "pt-PT", 200),
            ("en", "zh-Hans", 200),
            ("de", "zt", 200),
            ("en", "zh-TW", 200),
            ("de", "zh", 400),
            ("pt", "en", 400),
        ):
            answer = client.post("/translate", json={"q": "the cat", "source": source, "target": target})
            assert answer.status_code == status, (source, target)
        choose = lambda **values: client.post("/v1/translate", json={"text": "a", **values}).json()  # noqa: E731
        assert choose()["model"] == "en-pt"
        assert choose(target="zh")["model"] == "en-zh"
        assert choose(source="de")["target"] == "zh-Hant"
        assert choose(source="auto", target="zh-Hant")["detected"]["language"] == "de"
        assert choose(model="en-pt", target="zh")["error"] == "no model translates any language to zh"


def test_keys_come_in_many_places_and_nothing_but_a_right_one_opens(translator):
    body = {"q": "the cat", **EN_DE}
    with served(translator, ("en", "de"), keys=["erste", "zweite"]) as client:
        for request, status in (
            ({"json": body}, 400),
            ({"json": {**body, "api_key": None}}, 400),
            ({"json": {**body, "api_key": ""}}, 400),
            ({"json": {**body, "api_key": "erst"}}, 403),
            ({"content": b'{"api_key": "\\ud800"}', "headers": {"content-type": "application/json"}}, 403),
            ({"json": {**body, "api_key": ["erste"]}}, 403),
            ({"json": {**body, "api_key": "zweite"}}, 200),
            ({"json": {**body, "apiKey": "zweite"}}, 200),
            ({"data": {**body, "api_key": "erste"}}, 200),
            ({"json": body, "params": {"api_key": "erste"}}, 200),
            ({"json": body, "headers": {"authorization": "Bearer erste"}}, 200),
        ):
            answer = client.post("/translate", **request)
            assert answer.status_code == status, request
            assert status != 403 or answer.json() == {"error": "Invalid API key"}
        assert client.post("/v1/translate", json={"text": "a"}).status_code == 400
        assert client.post("/detect", json={"q": "a"}).status_code == 400
        assert client.get("/languages").status_code == 200


def test_too_many_requests_of_one_address_are_told_when_to_come_again(translator):
    with served(translator, ("en", "de"), rate=2) as client:
        answers = [client.post("/translate", json={"q": "a", **EN_DE}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert 1 <= int(answers[2].headers["retry-after"]) <= 30
        assert client.get("/health").status_code == 200


def test_senders_that_are_slow_are_not_waited_for(translator, monkeypatch):
    monkeypatch.setattr(guard, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.3)
    app = make_app(Models([Model("one", translator, "en", "de", [])]))
    running = uvicorn.Server(uvicorn.Config(app, http=guard.Impatient, log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        head = b"POST /translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        for sent, answered in (
            (b"", b""),
            (head, b""),
            (head + b"Content-Length: 9\r\n\r\nq=", b"HTTP/1.1 408"),
            (head + b"Content-Length: 1000001\r\n\r\nq=", b"HTTP/1.1 413"),
            (head + b"Transfer-Encoding: chunked\r\n\r\n2\r\nq=\r\n", b"HTTP/1.1 408"),
        ):
            with socket.create_connection(listener.getsockname(), timeout=60) as connection:
                connection.sendall(sent)
                assert b"".join(iter(lambda: connection.recv(4096), b"")).startswith(answered)
        running.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *[(host, 200) for host in ("localhost", "127.0.0.1:5000", "[::1]:5000", "10.0.0.7", "mine.example:80")],
        *[(host, 400) for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "")],
    ],
)
def test_only_addresses_and_the_names_of_the_server_are_hosts(translator, host, status):
    with served(translator, ("en", "de"), names=["Mine.Example"]) as client:
        assert client.get("/health", headers={"host": host}).status_code == status


def test_pages_of_other_sites_may_read_answers_only_if_they_are_named(translator):
    headers = {"origin": "https://page.example", "access-control-request-method": "POST"}
    for origins, allowed in (((), None), (("https://page.example",), "https://page.example")):
        with served(translator, ("en", "de"), origins=origins) as client:
            assert client.get("/health", headers=headers).headers.get("access-control-allow-origin") == allowed
            assert (client.options("/translate", headers=headers).status_code == 200) == bool(allowed)


def test_the_page_comes_from_this_server_alone_and_names_in_its_folder_are_all_there_is(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert client.get("/page/served.js").headers["content-type"] == "text/javascript; charset=utf-8"
    for name in ("..%2Fpage.py", "%2e%2e/page.py", "nothing.js", "", "__init__.py"):
        assert client.get(f"/page/{name}").status_code == 404
    assert "<code>POST /translate</code>" in client.get("/docs").text
    assert client.head("/health").status_code == 200
    assert "/v1/translate" in client.get("/openapi.json").json()["paths"]


def test_bodies_as_well_known_programs_send_them(client):
    # Weblate, Mastodon, wagtail-localize, Discourse
    weblate = {"q": ["the cat", "the dog"], "source": "en", "target": "de", "api_key": ""}
    assert client.post("/translate", json=weblate).json() == {"translatedText": [CAT, DOG]}
    mastodon = {"q": ["<p>the cat</p>", "the dog"], "source": "auto", "target": "de", "format": "html", "api_key": None}
    answer = client.post("/translate", json=mastodon).json()
    assert answer["translatedText"] == [f"<p>{CAT}</p>", DOG]
    assert [each["language"] for each in answer["detectedLanguage"]] == ["en", "en"]
    wagtail = {"q": ['<a id="a1">the cat</a> sees', "the dog"], "source": "en", "target": "de", "format": "html"}
    assert client.post("/translate", json=wagtail).json() == {"translatedText": ['<a id="a1">die Katze</a> sieht', DOG]}
    discourse = {"q": "<p>the <em>old</em> dog</p>", "source": "auto", "target": "de", "format": "html"}
    assert client.post("/translate", data=discourse).json()["translatedText"] == "<p>die <em>alte</em> Hund</p>"


def test_an_error_in_the_model_is_told_without_its_trace_and_the_next_request_is_served(run, monkeypatch):
    models = Models.load([run])
    monkeypatch.setattr(models.all[0].translator, "translate", lambda *_, **__: 1 / 0)
    with TestClient(make_app(models), base_url="http://localhost", raise_server_exceptions=False) as client:
        answer = client.post("/translate", json={"q": "a", **EN_DE})
        assert (answer.status_code, answer.json()) == (500, {"error": "internal error; the server's log has it"})
        monkeypatch.undo()
        assert client.post("/translate", json={"q": "the cat", **EN_DE}).json() == {"translatedText": CAT}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beam": 1},
        {"beam": 4, "nbest": 3},
        {"length_penalty": 0.0},
        {"prefix": "die alte"},
        {"prefix_tokens": ["die", "Hund"]},
        {"ban": ["Katze"]},
        {"split_sentences": False},
        {"sampling": {"temperature": 2.0, "top_k": 3, "seed": 7}},
    ],
)
def test_options_mean_what_they_mean_for_the_translator(client, translator, options):
    texts = ["the old cat sees the dog", "the dog\nthe cat"]
    sampling = Sampling(**options["sampling"]) if "sampling" in options else None
    expected = translator.translate(texts, **{**options, "sampling": sampling})
    answer = client.post("/v1/translate", json={"text": texts, **options})
    assert answer.status_code == 200, answer.text
    for found, wanted in zip(answer.json()["translations"], expected, strict=True):
        for name in ("text", "tokens", "source_tokens", "unsure"):
            assert found[name] == getattr(wanted, name)
        assert found["token_scores"] == pytest.approx(wanted.token_scores, abs=1e-4)
        assert [each["text"] for each in found["alternatives"]] == [each.text for each in wanted.alternatives]
        assert found["attention"] is None


def test_attention_is_that_of_the_page(client, translator, monkeypatch):
    text = "the old cat. sees the dog."
    (look,) = translator.look([text])
    answer = client.post("/v1/translate", json={"text": text, "attention": True}).json()
    assert answer["translations"][0]["attention"] == make_views(look.decoder, look.encoder)
    monkeypatch.setattr(service, "MOST_CELLS", 10)  # then it is too large for a page
    answer = client.post("/v1/translate", json={"text": text, "attention": True}).json()
    assert answer["translations"][0]["attention"] is None


def test_the_next_tokens_are_those_of_the_translator(client, translator):
    assert client.post("/v1/next", json={"text": "a", "tokens": ["nothing"]}).status_code == 400
    for tokens in ([], ["die"], ["die", "Katze"]):
        answer = client.post("/v1/next", json={"text": "the cat", "tokens": tokens, "count": 3}).json()
        expected = translator.next_tokens("the cat", tokens, 3)
        assert [(each["token"], each["text"]) for each in answer["next"]] == [(t.token, t.text) for t in expected]
        assert [each["probability"] for each in answer["next"]] == pytest.approx([t.probability for t in expected])
