"""Text is cut where a sentence or a line ends, by rules that the training text gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.text.normalize import normalize
from seq2seq.text.sentences import Part, Sentences

ENGLISH = Sentences(language="en", single=True)


@pytest.mark.parametrize(
    ("language", "line", "sentences"),
    [
        ("en", "The owl sleeps. A boat sinks! Why?", ["The owl sleeps.", "A boat sinks!", "Why?"]),
        ("en", "Dr. Smith paid 3.50 to Mr. Brown. He left.", ["Dr. Smith paid 3.50 to Mr. Brown.", "He left."]),
        ("en", 'She said "No." He left.', ['She said "No."', "He left."]),
        ("en", "1. Wait. 2. Go.", ["1. Wait.", "2. Go."]),
        ("en", "It rains. 😀", ["It rains. 😀"]),
        ("en", "...", ["..."]),
        ("en", "no mark at the end", ["no mark at the end"]),
        ("en", "", [""]),
        (
            "de",
            "Das kostet z.B. 3,50 Euro. Am 3. Oktober kam er.",
            ["Das kostet z.B. 3,50 Euro.", "Am 3. Oktober kam er."],
        ),
        ("ja", "船が沈む。雨だ。", ["船が沈む。", "雨だ。"]),
        ("ko", "비가 온다. 배가 간다.", ["비가 온다.", "배가 간다."]),
        ("ko", '"가자."라고 톰이 말했다.', ['"가자."라고 톰이 말했다.']),  # no space, no end
        ("data.en-GB", "It rains. I go.", ["It rains.", "I go."]),
    ],
)
def test_sentences_of_a_line(language, line, sentences):
    assert Sentences.of_language(language).split(line) == sentences


def test_a_text_is_cut_at_line_breaks_and_put_together_with_them():
    text = "It rains. I go.\r\n\nWhy?\n"
    assert ENGLISH.parts(text) == [Part("It rains.", " "), Part("I go.", "\n"), Part("", "\n"), Part("Why?", "")]
    assert ENGLISH.model_copy(update={"joiner": ""}).parts(text)[0] == Part("It rains.", "")


def test_whole_lines_stay_where_the_rules_or_the_caller_say_so():
    rules, text = Sentences.of_language("en"), "It rains. I go.\nWhy?"
    assert rules.parts(text) == [Part("It rains. I go.", "\n"), Part("Why?", "")]
    assert rules.parts(text, split=True) == ENGLISH.parts(text)
    assert ENGLISH.parts(text, split=False) == [Part(text, "")]


@given(st.text(alphabet="aB .!?。\"'()1…\u0301\ud800\u200b😀\n\r\t", max_size=40))
def test_no_character_is_lost(text):
    parts = ENGLISH.parts(text)
    assert normalize("".join(part.text for part in parts)).replace(" ", "") == normalize(text).replace(" ", "")
    assert parts[-1].end == ""


SINGLE = [f"The owl {i} sleeps." for i in range(9)]
NO_SPACES = ["船が沈む。"] * 9


@pytest.mark.parametrize(
    ("sources", "targets", "single", "joiner"),
    [
        (SINGLE, SINGLE, True, " "),
        ([*SINGLE, "It rains. I go."], NO_SPACES, True, ""),
        (NO_SPACES, SINGLE, True, " "),
        ([f"{line} It rains." for line in SINGLE], SINGLE, False, " "),
        (["owl", "boat", "Dr.", "3.50"], ["o w l"] * 4, False, " "),  # words
        (["aʊ l", "b oʊ t", "ɹ eɪ . n i"], ["owl"] * 3, False, ""),  # their pronunciation
        (["THE OWL SLEEPS", "it rains"], ["a b"] * 2, False, " "),
        ([], [], False, " "),
    ],
)
def test_lines_are_split_if_most_of_the_training_text_is_single_sentences(sources, targets, single, joiner):
    rules = Sentences.learn("en", sources, targets)
    assert (rules.single, rules.joiner) == (single, joiner)


def test_a_word_that_continues_lines_of_the_training_text_ends_no_sentence():
    lines = ["M. Blanc dort.", "Il voit M. Blanc.", "Elle voit M. Blanc.", "Il dort.", "Elle rit. Il dort."]
    rules = Sentences.learn("fr", lines, lines)
    assert rules.unfinished == ["M."]
    assert rules.split("M. Gris rit. Il dort.") == ["M. Gris rit.", "Il dort."]
