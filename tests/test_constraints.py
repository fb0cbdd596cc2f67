"""Constraints of a search: against all sequences of a few tokens, and on random models with every tokenizer."""

import itertools
import re
from dataclasses import fields
from functools import cache
from inspect import signature

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.build import build_model
from seq2seq.config import SearchConfig, parse_config
from seq2seq.decoding.constraints import Ban, Constraint, Prefix, Spelling, continues
from seq2seq.decoding.search import Limits, beam_search, length_penalty
from seq2seq.decoding.translation import Options, Sampling
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.fast.shortlist import Shortlist
from seq2seq.text.normalize import normalize
from seq2seq.text.sentences import Sentences
from seq2seq.text.tokenizer import BOS, EOS, PAD, UNK, train_tokenizers

TYPES = ["unigram", "bpe", "char", "word"]
LINES = [
    "der Hund sieht die Hunde",
    "die Katze, der Hund!",
    "Hundehütte und Café",
    "das Haus der Katzen",
    "너는 개를 본다",
    "犬が好き 犬",
    "du duo da , dé ! d",
]


@cache
def tokenizers_of(type, lowercase=False, decompose=False):
    return train_tokenizers(type, 400, True, lowercase, "split", LINES * 3, LINES, decompose=decompose)


@cache
def spelling_of(type):
    return Spelling(tokenizers_of(type).tgt, torch.device("cpu"))


@cache
def translator_of(type, lowercase=False, decompose=False, listed=False):
    """An untrained model, whose translations are any sequences of tokens; perhaps with a shortlist of every 5th one."""
    tokenizers = tokenizers_of(type, lowercase, decompose)
    sizes = {"cell": "gru", "hidden_size": 8}
    data = {"train": "train", "dev": "dev", "src": "en", "tgt": "de"}
    model = {"embedding_size": 6, "encoder": sizes, "decoder": sizes}
    torch.manual_seed(1)
    built = build_model(parse_config({"data": data, "model": model}, "test"), tokenizers).eval()
    with torch.no_grad():
        for weight in built.parameters():
            weight *= 6
    size = len(tokenizers.tgt)
    shortlist = (
        Shortlist(np.array([PAD, UNK, BOS, EOS, *range(5, size, 5)]), np.zeros((size, 1), int)) if listed else None
    )
    return Translator(built, tokenizers, SearchConfig(max_length=8), shortlist)


# ------------------------------------------------------------------------------------------ against all sequences


class Chain:
    """A `step` whose log-probabilities depend on the last token alone; the state is empty."""

    def __init__(self, size, seed):
        generator = torch.Generator().manual_seed(seed)
        self.log_probs = (2 * torch.randn(size, size, generator=generator)).log_softmax(-1)

    def __call__(self, tokens, state, running):
        return self.log_probs[tokens[running]], state

    def select(self, rows, sentences):
        return self

    def score(self, tokens):
        return sum(self.log_probs[a, b].item() for a, b in itertools.pairwise([BOS, *tokens, EOS]))


def holds(text, word):
    """Whether a text holds a word, with neighbours that do not continue it."""
    for found in re.finditer(f"(?={re.escape(word)})", text):
        before, after = text[: found.start()][-1:], text[found.start() + len(word) :][:1]
        left, right = continues(word[0]) and before, continues(word[-1]) and after
        if not (left and continues(left)) and not (right and continues(right)):
            return True
    return False


def begins(spelling, tokens, prefix):
    """Whether tokens spell a prefix, without spaces or accents that change nothing or something before them."""
    spelled = spelling.spell(tokens).decode("utf-8", "replace").removeprefix(" ")
    text = spelling.tokenizer.decode(tokens)
    return f"{spelled} ".startswith(prefix) and (f"{text} ").startswith(prefix)


CASES = {
    "inside a word": {"prefix": "d"},
    "whole words": {"prefix": "d d "},
    "a letter of two bytes": {"prefix": "dé"},
    "a word": {"ban": ["du"]},
    "phrases": {"ban": ["du duo", "D o"]},
    "a word and the prefix": {"prefix": "du", "ban": ["Du"]},
    "a script without spaces": {"ban": ["犬"]},
    "no bigram twice": {"no_repeat_ngram": 2},
    "no token twice, two at least": {"no_repeat_ngram": 1, "min_length": 2},
}


def constraint_of(spelling, prefix=None, ban=(), **numbers):
    begin = Prefix(spelling, prefix, None) if prefix else None
    return Constraint(spelling, (), begin, Ban(spelling, ban) if ban else None, **numbers)


def obeys(spelling, tokens, prefix="", ban=(), no_repeat_ngram=0, min_length=0):
    text, size = spelling.tokenizer.decode(tokens), no_repeat_ngram
    ngrams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    words = [first + word[1:] for word in ban for first in (word[0].upper(), word[0].lower())]
    return (
        begins(spelling, tokens, prefix)
        and not any(holds(text, word) for word in words)
        and len(tokens) >= min_length
        and (size == 0 or len(set(ngrams)) == len(ngrams))
    )


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("case", CASES)
def test_a_search_finds_all_sequences_that_obey_and_no_others(type, case):
    spelling, asked, length = spelling_of(type), CASES[case], 4
    some = ["d ", "du ", "duo ", "dé ", "犬 ", " ", "d", "u", " du", " duo", "o", "!", "é", "犬"]
    tokens = [token for text in some for token in spelling.exactly(text.encode())]
    if case == "a letter of two bytes":
        tokens += [token for byte in (b"\xc3", b"\xa9") for token in spelling.exactly(byte)]
    chain = Chain(len(spelling.bytes), seed=len(case))
    everything = [list(each) for n in range(length) for each in itertools.product(tokens, repeat=n)]
    good = {tuple(each): chain.score(each) for each in everything if obeys(spelling, each, **asked)}
    assert 0 < len(good) < len(everything)

    others = tuple(set(range(len(spelling.bytes))) - {EOS, *tokens})
    limits = Limits(BOS, EOS, others, torch.tensor([length]), [constraint_of(spelling, **asked).masks])
    (found,) = beam_search(chain, chain, limits, beam=len(everything), nbest=len(everything))
    assert {tuple(h.tokens): h.score for h in found} == pytest.approx(good, abs=1e-4)


# ---------------------------------------------------------------------------------------- on translations of any model


KINDS = [{"type": type} for type in TYPES]
KINDS += [{"type": "bpe", "lowercase": True}, {"type": "unigram", "listed": True}, {"type": "bpe", "decompose": True}]
HOW = {"greedy": {"beam": 1}, "beam": {"beam": 4, "nbest": 3}, "drawn": {"sampling": Sampling(2.0)}}
WORDS = sorted({word for line in LINES for word in line.split()})
NOT_CAFE = [word for word in WORDS if word != "Café"]
TEXT = "die Katze"


def found_by(translator, **options):
    (translation,) = translator.translate([TEXT], **options)
    forced = sum(translation.token_scores)
    assert translator.engine.shortlist or translation.score == pytest.approx(forced, rel=1e-3)
    texts = [each.text for each in (translation, *translation.alternatives)]
    assert len(set(texts)) == len(texts)
    return texts


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("how", HOW)
@settings(deadline=None, max_examples=8)
@given(st.data())
def test_every_translation_begins_with_the_prefix_and_holds_no_banned_word(kind, how, data):
    translator = translator_of(**kind)
    words = data.draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))
    text = " ".join(words) if kind["type"] == "word" else data.draw(st.text("dH ué犬!̈ßaΩ", min_size=1, max_size=6))
    text = f"{text[: len(text) - data.draw(st.sampled_from([0, 1]))]}{data.draw(st.sampled_from(['', ' ']))}"
    prefix = translator.tokenizers.tgt.rewrite(normalize(text))
    banned = data.draw(st.sampled_from([[], ["Hund"], ["犬", "du"], ["Katze", "der Hund"], ["Café", "dé"]]))
    if any(holds(prefix, each) for word in banned for each in (word, word.lower(), word.capitalize())):
        banned = []
    if kind["type"] == "word" and prefix and not any(word.startswith(prefix.split()[-1]) for word in NOT_CAFE):
        banned = []  # only a banned word would finish the prefix; the next test has that
    if kind["type"] == "word" and text.endswith(" ") and not set(prefix.split()) <= set(WORDS):
        return

    for found in found_by(translator, prefix=text, ban=banned, **HOW[how]):
        assert f"{found} ".startswith(prefix + " " * text.endswith(" ") if prefix else "")
        assert not any(holds(found, word) for word in banned)


def test_a_prefix_that_only_a_banned_word_finishes_is_an_error():
    with pytest.raises(UserError, match=r"no translation of .* obeys the prefix"):
        found_by(translator_of("word"), prefix="Caf", ban=["Café"], beam=4)


def test_a_prefix_and_its_tokens_may_be_longer_than_a_translation():
    translator = translator_of("bpe")
    assert found_by(translator, prefix="犬 " * 20)[0].startswith(
        "犬 犬 犬 犬 犬 犬 犬 犬 犬 犬 犬 犬 犬 犬 犬 犬 犬 犬 犬 犬"
    )
    (translation,) = translator.translate([TEXT], prefix_tokens=["▁der"] * 20)
    assert translation.tokens[:20] == ["▁der"] * 20


@pytest.mark.parametrize("type", TYPES)
def test_tokens_of_a_translation_are_a_prefix_that_finds_it_again(type):
    translator = translator_of(type)
    (first,) = translator.translate([TEXT], beam=1)
    assert len(first.tokens) > 2
    for length in range(len(first.tokens)):  # it may then be longer, by the length of the prefix
        (again,) = translator.translate([TEXT], beam=1, prefix_tokens=first.tokens[:length])
        assert again.tokens[: len(first.tokens) - 1] == first.tokens[:-1]
    (again,) = translator.translate([TEXT], beam=1, prefix_tokens=first.tokens)
    assert (again.tokens, again.score) == (first.tokens, pytest.approx(first.score, abs=1e-4))


def test_each_text_has_its_own_prefix_or_all_have_one():
    translator = translator_of("char")
    texts = ["die Katze", "", "der Hund"]
    one, empty, other = (t.text for t in translator.translate(texts, prefix=["Ha", "du", None]))
    assert (one[:2], empty, other) == ("Ha", "", translator.translate(["der Hund"])[0].text)
    assert [t.text[:2] for t in translator.translate(texts, prefix="Ha")] == ["Ha", "", "Ha"]
    tokens = [["▁", "H"], None, []]
    assert [t.tokens[:2] == tokens[0] for t in translator.translate(texts, prefix_tokens=tokens)][::2] == [True, False]


def splitting(joiner):
    translator = translator_of("bpe")
    return Translator(
        translator.model,
        translator.tokenizers,
        translator.search,
        None,
        Sentences(language="en", single=True, joiner=joiner),
    )


@pytest.mark.parametrize("joiner", [" ", ""])
@pytest.mark.parametrize("text", ["die Katze. Der Hund. Das Haus", "die Katze.\n\nDer Hund. Das Haus"])
def test_the_prefix_of_a_text_goes_through_its_sentences(joiner, text):
    translator = splitting(joiner)
    (free,) = translator.translate([text], beam=3)
    assert free.tokens.count("</s>") == 3
    for end in (2, len(free.text) // 2, len(free.text)):
        (found,) = translator.translate([text], beam=3, prefix=free.text[:end])
        assert found.text.startswith(free.text[:end].rstrip("\n"))
        assert found.tokens.count("</s>") == free.tokens.count("</s>")
    for end in (1, len(free.tokens) // 2, len(free.tokens)):
        (found,) = translator.translate([text], beam=3, prefix_tokens=free.tokens[:end])
        assert found.tokens[:end] == free.tokens[:end]


REFUSED = [
    ("word", {"prefix": "der Elefant"}, "prefix 'der Elefant': the vocabulary has no word 'Elefant'; write another"),
    ("word", {"prefix": "Katz "}, "prefix 'Katz ': the vocabulary has no word 'Katz'"),
    ("bpe", {"prefix": ["a", "b"]}, "prefix holds 2 and the texts are 1; give one for each, or one for all"),
    ("bpe", {"prefix_tokens": ["a", None]}, r"prefix_tokens holds 2 and the texts are 1"),
    ("bpe", {"prefix_tokens": [["a"], None]}, r"prefix_tokens holds 2 and the texts are 1"),
    (
        "bpe",
        {"prefix_tokens": ["▁der", "zzz"]},
        "prefix_tokens holds 'zzz', which no translation of this model can hold",
    ),
    ("bpe", {"prefix_tokens": ["<pad>"]}, "prefix_tokens holds '<pad>'"),
    ("bpe", {"prefix_tokens": ["</s>", "</s>"]}, "prefix_tokens ends 2 sentences, and the text has 1"),
    ("bpe", {"prefix": "a", "prefix_tokens": ["a"]}, "both given; give one"),
    ("bpe", {"ban": "Hund"}, r"ban is 'Hund'; write a list of words, such as \['Hund'\]"),
    ("bpe", {"ban": ["Hund", " "]}, "ban holds ' '; write a word or a phrase, or leave it out"),
    (
        "bpe",
        {"prefix": "der Hund ", "ban": ["Hund"]},
        "no translation of 'die Katze' obeys the prefix, the banned words",
    ),
    ("bpe", {"length_penalty": float("nan")}, "length_penalty is nan; write 0 to 10"),
]


@pytest.mark.parametrize(("type", "asked", "message"), REFUSED)
@pytest.mark.parametrize("beam", [1, 3])
def test_what_no_translation_can_obey_is_an_error_that_says_so(type, asked, message, beam):
    with pytest.raises(UserError, match=message):
        translator_of(type).translate([TEXT], beam=beam, **asked)


def test_a_prefix_with_more_lines_than_the_text_is_refused():
    with pytest.raises(UserError, match="has more lines than the text"):
        splitting(" ").translate(["die\nKatze"], prefix="a\nb\nc")


def test_a_vocabulary_without_bytes_names_the_character_that_it_cannot_write(monkeypatch):
    spelling = Spelling(tokenizers_of("char").tgt, torch.device("cpu"))
    for token, spelled in enumerate(spelling.bytes):
        spelling.bytes[token] = b"" if spelling.tokenizer.processor.is_byte(token) else spelled
    monkeypatch.setattr(spelling.tokenizer.__class__, "spellings", lambda self: spelling.bytes)
    with pytest.raises(UserError, match="prefix 'der Xylophon': no token of the vocabulary writes 'X'"):
        Prefix(Spelling(spelling.tokenizer, torch.device("cpu")), "der Xylophon", None).check()


def test_the_length_penalty_of_a_request_ranks_its_translations():
    translator = translator_of("bpe")
    for alpha in (0.0, 3.0):
        (found,) = translator.translate([TEXT], length_penalty=alpha, nbest=4, beam=4)
        assert found.normalized_score == pytest.approx(found.score / length_penalty(len(found.tokens), alpha))
    (look,) = translator.look([TEXT], Options(4, length_penalty=3.0))
    assert look.translation.text == found.text


def test_options_are_the_keywords_of_translate():
    keywords = set(signature(Translator.translate).parameters) - {"self", "texts", "attention"}
    assert {field.name for field in fields(Options)} == keywords


def test_numbers_of_the_config_hold_beside_a_prefix():
    translator = translator_of("char")
    search = translator.search.model_copy(update={"min_length": 10, "no_repeat_ngram": 1})
    strict = Translator(translator.model, translator.tokenizers, search)
    (found,) = strict.translate([TEXT], prefix="Haa")
    assert found.text.startswith("Haa")
    assert len(found.tokens) > 10
    after = found.tokens[4:]
    assert len(set(after)) == len(after)
