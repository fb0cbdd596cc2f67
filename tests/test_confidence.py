"""A translation is marked as unsure where a signal is lower than on nearly all of dev."""

import random

import pytest

from seq2seq.decoding.confidence import FALSE_ALARMS, Confidence
from seq2seq.decoding.search import Hypothesis
from seq2seq.text.tokenizer import EOS, UNK, WordTokenizer

WORDS = [f"w{i}" for i in range(40)]
TOKENIZER = WordTokenizer(WORDS, "split")
COUNTS = [0, 0, 0, 500, *[100] * 38, 0, 0]  # pad, unk, bos, eos, the words; two of them never occur as a source
DEV = 2000


def hypothesis(tokens, per_token):
    score = per_token * (len(tokens) + 1)
    return Hypothesis(tokens, score, score)


@pytest.fixture(scope="module")
def confidence():
    draw = random.Random(1)
    lines = [draw.sample(range(4, 42), draw.randint(4, 9)) for _ in range(DEV)]
    dev = [([*ids, EOS], hypothesis(ids, draw.gauss(-0.5, 0.1))) for ids in lines]
    confidence = Confidence.calibrate(COUNTS, dev)
    assert sum(bool(confidence.low(*each)) for each in dev) <= FALSE_ALARMS * DEV
    return confidence


@pytest.mark.parametrize(
    ("text", "target", "per_token", "doubt"),
    [
        ("w1 w2 w3 w4 w5", [5, 6, 7, 8, 9], -0.5, None),
        ("w1 w2 w3 w4 w5", [5, 6, 7, 8, 9], -2.0, "unlike the training text"),
        ("w1 w2 w3 w4 w5", [5, 6] * 4, -0.5, "repeats itself"),
        (" ".join(WORDS[:30]), [*range(4, 34)], -0.5, "longer than the training text"),
        ("w1 foo bar", [5, 6, 7], -0.5, "mostly unknown words: foo, bar"),
        ("a b\u00a0 b c d", [5, 6, 7], -0.5, "mostly unknown words: a, b, c, ..."),
        ("w38 w39 w38 w39", [5, 6, 7, 8], -0.5, "mostly unknown words: w38, w39"),
        ("w1 w2 foo w4 bar w6", [5, 6, 7, 8, 9, 10], -2.0, "unlike the training text"),
    ],
)
def test_the_reason_is_given_in_words(confidence, text, target, per_token, doubt):
    source = [*TOKENIZER.encode(text), EOS]
    assert confidence.doubt(text, source, hypothesis(target, per_token), TOKENIZER) == doubt


def test_a_small_dev_set_does_not_mark_what_is_a_little_lower():
    dev = [([5, 6, 7, EOS], hypothesis([5, 6, 7], -0.5 - 0.01 * i)) for i in range(8)]
    confidence = Confidence.calibrate(COUNTS, dev)
    assert confidence.low([5, 6, 7, EOS], hypothesis([5, 6, 7], -0.575)) == []
    assert confidence.low([5, 6, 7, EOS], hypothesis([5, 6, 7], -0.7)) == ["likelihood"]


def test_unknown_words_are_unfamiliar_and_one_token_is_no_repetition(confidence):
    known, unknown = (confidence.signals([i, EOS], hypothesis([], -1)) for i in (4, UNK))
    assert known.familiarity > unknown.familiarity
    assert known.variety == 1
