"""The page of the server in a real browser, answered by two translators of fixed words.

They know a dozen words, one word of the translation for each of the source; the second one has another word for "cat".
"""

import json
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest

import seq2seq
from seq2seq.plots import AttentionMap, make_views, save_page

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra dev")
expect = sync_api.expect
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs a browser: chromium")

FOLDER = Path(seq2seq.__file__).parent / "plots" / "page"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HOME = "http://page.test/"
TEXT, TRANSLATION = "The cat saw the fish because it was hungry.", "Die Katze sah den Fisch weil sie hungrig war."
WORDS = {
    "The": ["▁Die"], "cat": ["▁Kat", "ze"], "saw": ["▁sah"], "the": ["▁den"], "fish": ["▁Fisch"], "because": ["▁weil"],
    "it": ["▁sie"], "was": ["▁hungrig"], "hungry.": ["▁war", "."], "고양이": ["▁Katze"], "猫": ["▁Katze"],
    "قطة": ["▁قطة"], "<b>": ["▁<img", "▁src=x", "▁onerror=alert(1)>"],
}  # fmt: skip
UNSURE = {"▁sie": 0.3}  # the others have 0.9


def tokens_of(text, kept, model):
    """Translate word by word; kept tokens replace as many of the translation."""
    found = [token for word in text.split() for token in WORDS.get(word, [f"▁{word.lower()}"])]
    if model == "other":
        found = [{"▁Kat": "▁Ka", "ze": "ter"}.get(token, token) for token in found]
    return [*kept, *found[len(kept) :], "</s>"]


def spell(tokens):
    return "".join(tokens).replace("</s>", "").replace("▁", " ").strip()


def word_numbers(tokens):
    return [int(number) for number in np.cumsum([token[0] in "▁<" for token in tokens]) - 1]


def attend(rows, columns, heads):
    """Look from each token at the column beside it, and a little at all others."""
    weights = np.full((len(heads), len(rows), len(columns)), 0.2 / (len(columns) - 1))
    for head in range(len(heads)):
        for row in range(len(rows)):
            weights[head, row, min(row + head, len(columns) - 1)] = 0.8
    return AttentionMap(rows, columns, heads, weights, word_numbers(rows), word_numbers(columns))


def translate(wanted):
    model, kept = wanted["model"], wanted.get("prefix_tokens", [])
    source = [*(f"▁{word}" for word in wanted["text"].split()), "</s>"]
    tokens = tokens_of(wanted["text"], kept, model)
    if prefix := wanted.get("prefix"):
        tokens = [*(f"▁{word}" for word in prefix.split()), *tokens[len(prefix.split()) :]]
    encoder = attend(source, source, ["head 1", "head 2"]) if model == "other" else None
    return {
        "text": spell(tokens),
        "tokens": tokens,
        "source_tokens": source,
        "token_scores": [float(np.log(UNSURE.get(token, 0.9))) for token in tokens],
        "unsure": "mostly unknown words" if "zebra" in wanted["text"] else None,
        "alternatives": [{"text": f"Variante {i}"} for i in range(2, wanted.get("nbest", 1) + 1)],
        "attention": make_views(attend(tokens, source, ["attention"]), encoder) if wanted.get("attention") else None,
    }


def describe(name):
    names = {"source": "en", "target": "de", "source_name": "English", "target_name": "German", "beam": 5}
    examples = [TEXT, "The fish was hungry.", "The cat saw it."]
    return {**names, "name": name, "examples": examples, "heads": ["attention"], "has_attention": True}


class Server:
    """A server inside the browser's network: it keeps what it was asked, and fails where it is told to."""

    def __init__(self, models, **changes):
        self.models = [describe(model) | changes for model in models]
        self.asked, self.faults = [], {}

    def answer(self, route):
        request = route.request
        path = urlsplit(request.url).path
        wanted = json.loads(request.post_data) if request.post_data else {}
        if path.startswith("/v1/"):
            self.asked.append((path, wanted))
        if fault := self.faults.get(path):
            fault(route)
        elif path == "/v1/models":
            route.fulfill(json={"models": self.models})
        elif path == "/v1/translate":
            route.fulfill(json={"translations": [translate(wanted)]})
        elif path == "/v1/next":
            listed = [("▁er", 0.4), ("▁sie", 0.3), ("▁es", 0.2), ("▁man", 0.05), ("</s>", 0.001)]
            route.fulfill(json={"next": [{"token": t, "text": spell([t]), "probability": p} for t, p in listed]})
        else:
            file = FOLDER / (path.removeprefix("/page/") if path != "/" else "served.html")
            headers = {"Content-Type": f"{TYPES[file.suffix]}; charset=utf-8", "Content-Security-Policy": POLICY}
            route.fulfill(body=file.read_bytes(), headers=headers)

    def last(self, path="/v1/translate"):
        return [wanted for where, wanted in self.asked if where == path and "-preview" not in wanted.get("client", "")][
            -1
        ]


@pytest.fixture(scope="module")
def browser():
    expect.set_options(timeout=30_000)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Open the page as `visit(models, address, **options of the browser)`; a script's error fails the test."""
    contexts, errors = [], []

    def open_page(models=("toy",), *, address=None, server=None, width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        server = server or Server(models)
        context.route("**/*", server.answer)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
        page.goto(HOME + ("#" + urlencode(address, doseq=True) if address else ""))
        if address:
            expect(page.locator("#attention:not(.stale)")).to_be_visible()
        return page, server

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


@contextmanager
def download(page, button):
    with page.expect_download() as wanted:
        page.locator(button).click()
    yield Path(wanted.value.path())


def word(page, text):
    return page.locator(".text .word", has_text=re.compile(f"^{re.escape(text)}$"))


def chip(page, side, text):
    return page.locator(f".{side} .chip", has_text=re.compile(f"^{re.escape(text)}$"))


def texts(locator):
    return locator.all_text_contents()


def test_the_translation_follows_the_keys_and_what_takes_longer_follows_at_rest(visit):
    page, server = visit()
    page.locator("#source").press_sequentially(TEXT)
    expect(page.locator("#attention:not(.stale)")).to_be_visible()
    expect(page.locator(".text")).to_have_text(TRANSLATION)
    (*_, quick, full) = [wanted for path, wanted in server.asked if path == "/v1/translate"]
    assert (quick["text"], quick["beam"], quick.get("attention")) == (TEXT, 1, None)
    assert (full["text"], full["beam"], full["nbest"], full["attention"]) == (TEXT, 5, 1, True)
    assert quick["client"] == full["client"]
    assert texts(page.locator(".text .word")) == TRANSLATION.split()
    assert page.locator("#source").input_value() == TEXT
    expect(page.locator("#live p[lang=de]")).to_have_text(TRANSLATION)  # what a screen reader hears


def test_an_answer_that_comes_late_does_not_replace_a_newer_one(visit):
    page, server = visit()
    held = []
    server.faults["/v1/translate"] = held.append
    page.locator("#source").fill("The cat")
    expect(page.locator(".output.stale")).to_be_visible()
    del server.faults["/v1/translate"]
    page.locator("#source").fill("The fish")
    expect(page.locator(".text")).to_have_text("Die Fisch")
    for route in held:  # the page has gone from these
        route.fulfill(json={"translations": [translate({"text": "The cat", "model": "toy"})]})
    expect(page.locator("#attention:not(.stale)")).to_be_visible()
    expect(page.locator(".text")).to_have_text("Die Fisch")


def test_a_sentence_to_try_is_translated_and_an_empty_field_offers_three(visit):
    page, _ = visit()
    expect(page.locator("#examples button")).to_have_count(3)
    page.locator("#examples button").first.click()
    expect(page.locator(".text")).to_have_text(TRANSLATION)
    expect(page.locator("#start")).to_be_hidden()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#start")).to_be_visible()
    expect(page.locator("#attention")).to_be_hidden()
    expect(page.locator(".text .word")).to_have_count(0)
    expect(page.locator("#source")).to_be_focused()


def test_a_word_that_is_pointed_at_lights_up_its_links_and_its_row(visit):
    page, _ = visit(address={"text": TEXT})
    word(page, "Katze").hover()
    expect(page.locator(".readout")).to_have_text(re.compile("Katze.*81 %.* looks at .*cat.* 4[0-9] %"))
    expect(page.locator("tbody th.lit")).to_have_text("Katze")
    expect(page.locator("td.lit")).to_have_count(10)
    expect(chip(page, "columns", "cat")).to_have_attribute("data-share", re.compile("4[0-9]"))
    assert page.locator(".board path").count() == 10
    page.locator("tbody td").nth(0).hover()
    expect(page.locator(".readout")).to_have_text(re.compile("Die.* looks at .*The.* 80 %"))
    chip(page, "columns", "fish").hover()
    expect(page.locator(".readout")).to_have_text(re.compile("fish.* is looked at by"))
    expect(page.locator("td.lit")).to_have_count(10)
    page.keyboard.press("Escape")  # what a hover shows can be dismissed
    expect(page.locator("td.lit")).to_have_count(0)


def test_pinned_words_are_summed(visit):
    page, _ = visit(address={"text": TEXT})
    chip(page, "rows", "Die").click()
    chip(page, "rows", "sah").click()
    page.mouse.move(0, 0)
    expect(page.locator(".readout")).to_have_text(re.compile("Die.* . .*sah.* look at .*The.* 82 %"))
    expect(page.locator("td.lit")).to_have_count(20)
    assert texts(page.locator(".chip[aria-pressed=true]")) == ["Die", "sah"]
    page.keyboard.press("Escape")
    expect(page.locator("td.lit")).to_have_count(0)


def test_another_word_is_chosen_and_the_rest_follows_behind_what_is_kept(visit):
    page, server = visit(address={"text": TEXT})
    word(page, "sie").click()
    options = page.get_by_role("option")
    expect(options).to_have_count(5)
    assert texts(options) == ["er40 %", "sie30 %", "es20 %", "man5 %", "end of the sentence<1 %"]
    expect(page.locator("[role=option][aria-selected=true]")).to_have_text("sie30 %")
    before = ["▁Die", "▁Kat", "ze", "▁sah", "▁den", "▁Fisch", "▁weil"]
    assert server.last("/v1/next") == {"text": TEXT, "model": "toy", "tokens": before, "count": 5}
    options.first.hover()
    expect(page.locator("#rest")).to_have_text(TRANSLATION.replace("sie", "er"))  # before it is chosen
    options.first.click()
    expect(page.locator(".text")).to_have_text(TRANSLATION.replace("sie", "er"))
    assert server.last()["prefix_tokens"] == [*before, "▁er"]
    assert texts(page.locator(".word.keep")) == ["Die", "Katze", "sah", "den", "Fisch", "weil", "er"]
    expect(word(page, "er")).to_be_focused()

    # a button or Esc lets it go, and so does another text
    page.get_by_role("button", name="Let it go").click()
    expect(page.locator(".text")).to_have_text(TRANSLATION)
    expect(page.locator(".word.keep")).to_have_count(0)
    assert "prefix_tokens" not in server.last()
    word(page, "sie").click()
    options.nth(2).click()
    expect(word(page, "es")).to_be_focused()
    page.keyboard.press("Escape")  # the links of the word
    page.keyboard.press("Escape")
    expect(page.locator(".text")).to_have_text(TRANSLATION)


def test_a_word_of_ones_own_or_another_translation_can_be_kept(visit):
    page, server = visit(address={"text": TEXT, "nbest": 3})
    assert server.last()["nbest"] == 3
    word(page, "den").click()
    page.get_by_label("or write").fill("einen")
    page.keyboard.press("Enter")
    expect(word(page, "einen")).to_be_focused()
    assert server.last()["prefix"] == "Die Katze sah einen"
    assert texts(page.locator(".word.keep")) == ["Die", "Katze", "sah", "einen"]
    page.get_by_role("button", name="Variante 3").click()
    expect(page.locator(".text")).to_contain_text("Variante 3")
    assert server.last()["prefix"] == "Variante 3"
    assert "prefix_tokens" not in server.last()


def test_words_below_a_probability_are_underlined_and_a_doubt_is_told(visit):
    page, _ = visit(address={"text": f"{TEXT} zebra"})
    expect(page.locator(".word.doubt")).to_have_text("sie")
    expect(page.locator(".unsure")).to_have_text("Unsure: mostly unknown words")
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Underline words below").fill("85")  # of two tokens with 0.9 each a word has 0.81
    assert texts(page.locator(".word.doubt")) == ["Katze", "sie", "war."]


def test_tokens_instead_of_words_on_both_sides_of_the_page(visit):
    page, server = visit(address={"text": TEXT})
    page.get_by_role("button", name="Options").click()
    page.get_by_text("tokens", exact=True).click()
    assert texts(page.locator(".text .word"))[:3] == ["Die", "Kat", "ze"]
    assert texts(page.locator(".rows .chip"))[:3] == ["_Die", "_Kat", "ze"]
    expect(page.locator(".text")).to_have_text(TRANSLATION)
    word(page, "ze").click()  # a step inside a word
    expect(page.get_by_role("option")).to_have_count(5)
    assert server.last("/v1/next")["tokens"] == ["▁Die", "▁Kat"]


def test_two_models_stand_beside_each_other_with_their_differences_marked(visit):
    page, server = visit(("toy", "other"), address={"text": TEXT})
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Second model").select_option("other")
    expect(page.locator(".text")).to_have_text([TRANSLATION, TRANSLATION.replace("Katze", "Kater")])
    expect(page.locator(".differs")).to_have_text(["Katze", "Kater"])
    styles = page.locator(".differs").evaluate_all("all => all.map((one) => getComputedStyle(one).outlineStyle)")
    assert styles == ["solid", "dashed"]
    assert len({wanted["client"] for path, wanted in server.asked if path == "/v1/translate"}) == 2

    # the links of the second model are dashed, and it has heads and a view of its own
    word(page, "Kater").hover()
    expect(page.locator("tbody th.lit")).to_have_text("Kater")
    assert page.locator(".board svg").evaluate("svg => getComputedStyle(svg).strokeDasharray") != "none"
    page.get_by_text("other: source → source").click()
    page.get_by_label("Head").select_option("head 2")
    expect(page.locator("tbody tr").first.locator("td")).to_have_text(["2", "80", *["2"] * 8])
    assert texts(page.locator("tbody th")) == [*TEXT.split(), "</s>"]


def test_the_address_brings_back_the_same_page(visit):
    page, server = visit(("toy", "other"), address={"text": TEXT})
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Second model").select_option("other")
    page.get_by_label("Beam").fill("7")
    page.get_by_label("Translations").fill("2")
    page.get_by_text("tokens", exact=True).click()
    page.get_by_text("other: source → source").click()
    page.get_by_label("Head").select_option("head 1")
    page.locator(".output").first.locator(".word", has_text="den").click()
    page.locator("#choices").get_by_role("option").first.click()
    expect(page.locator(".text").first).to_contain_text("sah er Fisch")
    page.wait_for_function("() => location.hash.includes('keep1') && !document.querySelector('.stale')")
    address = parse_qs(urlsplit(page.url).fragment)
    assert address["text"] == [TEXT]
    assert address["keep1"] == ["▁Die", "▁Kat", "ze", "▁sah", "▁er"]

    again, server = visit(("toy", "other"), address=address)
    expect(again.locator(".text").first).to_contain_text("sah er Fisch")
    assert (server.last()["beam"], server.last()["nbest"]) == (7, 2)
    expect(again.locator("tbody tr").first.locator("td").first).to_have_text("80")
    assert texts(again.locator(".columns .chip"))[0] == "_The"


@pytest.mark.parametrize(
    ("text", "follows"),
    [("고양이", True), ("猫", False), ("ねこ", False)],
    ids=["Korean", "Chinese", "Japanese"],
)
def test_an_input_method_composes_in_peace(visit, text, follows):
    page, server = visit()
    page.locator("#source").focus()
    keyboard = page.context.new_cdp_session(page)
    for end in range(1, len(text) + 1):
        composing = {"text": text[:end], "selectionStart": end, "selectionEnd": end}
        keyboard.send("Input.imeSetComposition", composing)
        assert page.locator("#source").input_value() == text[:end]
    if follows:  # Korean is translated while its last syllable is still open
        expect(page.locator(".text")).to_have_text("Katze")
    else:
        assert "/v1/translate" not in [path for path, _ in server.asked]
        expect(page.locator("#start")).to_be_visible()
    keyboard.send("Input.insertText", {"text": text})
    expect(page.locator("#attention:not(.stale)")).to_be_visible()
    assert page.locator("#source").input_value() == server.last()["text"] == text


def test_the_keyboard_alone_does_all(visit):
    page, server = visit(address={"text": TEXT})
    press = page.keyboard.press
    page.locator("#source").focus()
    press("Tab")
    press("Tab")
    expect(word(page, "Die")).to_be_focused()
    press("ArrowRight")
    expect(word(page, "Katze")).to_be_focused()
    expect(page.locator("tbody th.lit")).to_have_text("Katze")
    press("Enter")
    expect(page.get_by_role("option", name="er 40 %")).to_be_focused()
    press("Escape")
    expect(word(page, "Katze")).to_be_focused()
    press("End")
    press("ArrowLeft")
    press(" ")
    expect(page.get_by_role("option", name="er 40 %")).to_be_focused()
    press("ArrowDown")
    press("End")
    press("ArrowUp")
    press("Enter")
    expect(word(page, "man")).to_be_focused()
    assert server.last()["prefix_tokens"][-1] == "▁man"

    # the words with links: along a side, across to the strongest link, and kept
    chip(page, "columns", "The").focus()
    for key, side, text in [
        ("ArrowRight", "columns", "cat"), ("ArrowDown", "rows", "Katze"), ("Home", "rows", "Die"),
        ("ArrowUp", "columns", "The"), ("End", "columns", "</s>"), ("ArrowLeft", "columns", "hungry."),
    ]:  # fmt: skip
        press(key)
        expect(chip(page, side, text)).to_be_focused()
    press("Enter")
    expect(chip(page, "columns", "hungry.")).to_have_attribute("aria-pressed", "true")
    press("Escape")
    expect(page.locator("[aria-pressed=true]")).to_have_count(0)


def test_errors_are_told_in_words_and_pass(visit):
    page, server = visit(address={"text": "The cat"})
    problem = page.locator(".output .problem")

    # a refusal: what the server says, until the text is another
    server.faults["/v1/translate"] = lambda route: route.fulfill(status=400, json={"error": "exceeds text limit (5)"})
    page.locator("#source").press_sequentially(" saw")
    expect(problem).to_contain_text("exceeds text limit (5)")
    del server.faults["/v1/translate"]
    page.locator("#source").press_sequentially(" it")
    expect(page.locator(".text")).to_have_text("Die Katze sah sie")
    expect(problem).to_be_hidden()

    # no server, a busy one, one that fails: asked again, sooner if the reader wants
    for fault, words in [
        (lambda route: route.abort(), "The server does not answer. Trying again in 1 s."),
        (lambda route: route.fulfill(status=429, json={"error": "too many"}, headers={"Retry-After": "30"}),
         "too many Trying again in 30 s."),
        (lambda route: route.fulfill(status=500, body="oh"), "The server fails (500). Trying again in"),
    ]:  # fmt: skip
        server.faults["/v1/translate"] = fault
        page.locator("#source").press_sequentially(" was")
        expect(problem).to_contain_text(words)
        del server.faults["/v1/translate"]
        page.get_by_role("button", name="Try now").click()
        expect(problem).to_be_hidden()
        expect(page.locator("#attention:not(.stale)")).to_be_visible()
    expect(page.locator(".text")).to_have_text("Die Katze sah sie hungrig hungrig hungrig")


def test_a_server_that_wants_a_key_gets_it(visit):
    server = Server(["toy"])
    refuse = {"status": 400, "json": {"error": "Invalid request: missing api_key parameter: this server wants a key"}}
    server.faults["/v1/translate"] = lambda route: route.fulfill(**refuse)
    page, _ = visit(server=server)
    page.locator("#source").fill("The cat")
    keys = []

    def check(route):
        keys.append(route.request.headers.get("authorization"))
        route.fulfill(json={"translations": [translate({"text": "The cat", "model": "toy"})]})

    page.get_by_label("Key").wait_for()
    server.faults["/v1/translate"] = check
    page.get_by_label("Key").fill("secret")
    page.keyboard.press("Enter")
    expect(page.locator(".text")).to_have_text("Die Katze")
    assert {*keys} == {"Bearer secret"}


def test_what_a_text_says_is_never_run(visit):
    page, _ = visit(address={"text": "<b> </script>", "nbest": 2})
    expect(page.locator(".text")).to_have_text("<img src=x onerror=alert(1)> </script>")
    assert page.locator("main img, main script, main b").count() == 0
    assert page.locator(".rows .chip").first.text_content() == "<img"


def test_right_to_left_text_runs_right_to_left(visit):
    page, _ = visit(address={"text": "قطة قطة"})
    for selector in ("#source", ".text"):
        assert page.locator(selector).evaluate("one => getComputedStyle(one).direction") == "rtl"
    first, second = page.locator(".text .word").all()
    assert first.bounding_box()["x"] > second.bounding_box()["x"]
    first.focus()
    page.keyboard.press("ArrowLeft")
    expect(second).to_be_focused()


@pytest.mark.parametrize(("width", "is_tall"), [(1280, False), (320, True)])
def test_words_that_do_not_fit_into_a_line_stand_below_each_other(visit, width, is_tall):
    page, _ = visit(address={"text": TEXT}, width=width)
    assert ("tall" in page.locator(".board").get_attribute("class")) == is_tall
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    boxes = [chip.bounding_box() for chip in page.locator(".columns .chip").all()]
    along = "y" if is_tall else "x"
    assert [box[along] for box in boxes] == sorted({box[along] for box in boxes})  # no two in one place
    assert all(box["height"] >= 24 for box in boxes)

    # a link begins and ends at its words
    chip(page, "rows", "Die").focus()
    page.keyboard.press("Home")
    board = page.locator(".board").bounding_box()
    numbers = [float(n) for n in re.findall(r"[\d.]+", page.locator(".board path").last.get_attribute("d"))]
    begin = chip(page, "columns", "The").bounding_box()
    assert begin["y"] <= board["y"] + numbers[1] <= begin["y"] + begin["height"]
    assert begin["x"] <= board["x"] + numbers[0] <= begin["x"] + begin["width"] + 1


def test_the_picture_is_saved_as_vectors_and_as_a_page_that_needs_no_server(visit, browser, tmp_path):
    page, _ = visit(address={"text": f"{TEXT} </script><b>"})
    word(page, "Fisch").hover()
    with download(page, "#save-svg") as file:
        svg = ElementTree.parse(file).getroot()
        shown = [node.text for node in svg.iter("{http://www.w3.org/2000/svg}text") if node.text]
        assert {"cat", "Katze", "Fisch", "80"} <= {*shown}
        assert svg.findall(".//{http://www.w3.org/2000/svg}path")
        assert not re.search("oklab|oklch|light-dark", file.read_text(encoding="utf-8"))
    with download(page, "#save-page") as file:
        shutil.copy(file, tmp_path / "saved.html")
    check_written(browser, tmp_path / "saved.html")


def test_the_written_page_is_drawn_from_a_file(browser, tmp_path):
    rows, columns = [*tokens_of(TEXT, [], "toy")], [*(f"▁{word}" for word in TEXT.split()), "</s>"]
    decoder, encoder = attend(rows, columns, ["attention"]), attend(columns, columns, ["head 1", "head 2"])
    save_page(tmp_path / "a.html", TEXT, TRANSLATION, decoder, encoder, ("en", "de"))
    check_written(browser, tmp_path / "a.html")


def check_written(browser, file):
    """Open a page from its file, without a network, and point at a word."""
    context = browser.new_context()
    requests, errors = [], []
    page = context.new_page()
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(file.as_uri())
    chip(page, "rows", "Katze").hover()
    expect(page.locator("tbody th.lit")).to_have_text("Katze")
    assert page.locator(".words.rows").get_attribute("lang") == "de"
    with download(page, "#save") as svg:
        assert "Katze" in [node.text for node in ElementTree.parse(svg).getroot().iter()]
    assert (requests, errors) == ([file.as_uri()], [])
    assert violations(page) == []
    context.close()


def violations(page):
    """Return what axe has against a page by the rules of WCAG 2.2, A and AA, and by good practice."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe, of the extra dev").Axe()
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = axe.run(page, options={"runOnly": {"type": "tag", "values": tags}}).response["violations"]
    return [(rule["id"], node["html"][:200], node["failureSummary"]) for rule in found for node in rule["nodes"]]


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 320)])
def test_axe_finds_nothing_to_complain_about(visit, scheme, width):
    page, server = visit(("toy", "other"), color_scheme=scheme, width=width, bypass_csp=True, reduced_motion="reduce")
    expect(page.locator("#examples button")).to_have_count(3)
    assert violations(page) == []
    page.goto(HOME + "#" + urlencode({"text": f"{TEXT} zebra", "second": "other", "nbest": 3}))
    page.reload()
    expect(page.locator("#attention:not(.stale)")).to_be_visible()
    page.get_by_role("button", name="Options").click()
    word(page, "Kater").hover()
    expect(page.locator("tbody th.lit")).to_have_text("Kater")
    assert violations(page) == []
    word(page, "den").first.click()
    expect(page.locator("#choices").get_by_role("option")).to_have_count(5)
    assert violations(page) == []
    page.locator("#choices").get_by_role("option").first.click()
    expect(word(page, "er")).to_be_focused()
    server.faults["/v1/translate"] = lambda route: route.fulfill(status=400, json={"error": "no"})
    page.locator("#source").press_sequentially(" x")
    expect(page.locator(".problem:visible").first).to_contain_text("no")
    assert violations(page) == []


def test_nothing_moves_for_who_wants_no_motion(visit):
    page, _ = visit(address={"text": TEXT}, reduced_motion="reduce")
    durations = page.locator("body *").evaluate_all("all => all.map((one) => getComputedStyle(one).transitionDuration)")
    assert {*durations} == {"0s"}


def test_the_page_is_small_and_its_policy_is_strict():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 60_000
    served = (FOLDER / "served.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|https?:|<script(?![^>]*src=)", served)
    for name in ("served.js", "attention.js"):
        script = (FOLDER / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(
            r"https?:|innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script
        )
