"""A translation is marked as unsure where a signal is lower than on nearly all of dev."""

import math
import random
from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import pytest

from seq2seq.data.dataset import count_neighbors
from seq2seq.data.flat import InMemory
from seq2seq.decoding.confidence import FALSE_ALARMS, UNSEEN, Confidence
from seq2seq.decoding.search import Hypothesis
from seq2seq.text.tokenizer import EOS, UNK, WordTokenizer

WORDS = [f"w{i}" for i in range(40)]
TOKENIZER = WordTokenizer(WORDS, "split")
COUNTS = [0, 0, 0, 500, *[100] * 38, 0, 0]  # pad, unk, bos, eos, the words; two of them never occur as a source
ALL = [a * 44 + b for a in range(44) for b in range(44)]
PAIRS = (ALL, [1] * len(ALL))  # all words stand beside each other equally often
DEV = 2000


def hypothesis(tokens, per_token):
    score = per_token * (len(tokens) + 1)
    return Hypothesis(tokens, score, score)


@pytest.fixture(scope="module")
def confidence():
    draw = random.Random(1)
    lines = [draw.sample(range(4, 42), draw.randint(4, 9)) for _ in range(DEV)]
    dev = [([*ids, EOS], hypothesis(ids, draw.gauss(-0.5, 0.1))) for ids in lines]
    confidence = Confidence.calibrate(COUNTS, PAIRS, dev)
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
    confidence = Confidence.calibrate(COUNTS, PAIRS, dev)
    assert confidence.low([5, 6, 7, EOS], hypothesis([5, 6, 7], -0.575)) == []
    assert confidence.low([5, 6, 7, EOS], hypothesis([5, 6, 7], -0.7)) == ["likelihood"]


def test_unknown_words_are_unfamiliar_and_one_token_is_no_repetition(confidence):
    known, unknown = (confidence.signals([i, EOS], hypothesis([], -1)) for i in (4, UNK))
    assert known.familiarity > unknown.familiarity
    assert known.variety == 1


def test_the_information_of_neighbors_is_that_of_the_formula():
    counts, pairs = [0, 0, 0, 2, 4, 2, 0], ([3 * 7 + 4, 4 * 7 + 4, 4 * 7 + 5, 5 * 7 + 3], [2, 1, 2, 2])
    confidence = Confidence.calibrate(counts, pairs, [([4, 5, EOS], hypothesis([4], -1))])
    first, second, last = (math.log((n / 8) / (a / 8 * b / 8)) for n, a, b in ((2, 2, 4), (2, 4, 2), (2, 2, 2)))
    assert confidence.information == pytest.approx((first + second + last) / 3)
    same = math.log((1 / 8) / (4 / 8 * 4 / 8))
    excess = first + same + math.log(UNSEEN) - 3 * confidence.information  # EOS 4, 4 4, 4 EOS
    assert confidence.signals([4, 4, EOS], hypothesis([4], -1)).order == pytest.approx(excess / math.sqrt(3))


def test_the_pairs_of_a_store_are_counted_without_unknown_words_and_the_rarest_are_left_out():
    sources = [[4, 5, EOS], [4, 5, EOS], [4, UNK, 5, EOS]]
    store, tokenizers = InMemory([(source, [4, EOS]) for source in sources]), SimpleNamespace(src=TOKENIZER)
    size = len(WORDS) + 4
    assert count_neighbors(store, tokenizers, 10) == (
        [EOS * size + 4, 4 * size + 5, 5 * size + EOS],
        [3, 2, 3],
    )
    assert count_neighbors(store, tokenizers, 2) == ([EOS * size + 4, 5 * size + EOS], [3, 3])


def test_words_in_another_order_are_told_where_the_order_of_the_training_text_is_strict():
    draw = random.Random(2)
    lines = [[start, *(start + i for i in range(1, 8))] for start in (draw.randint(4, 30) for _ in range(DEV))]
    seen = Counter(pair for ids in lines for pair in pairwise([EOS, *ids, EOS]))
    pairs = sorted((a * 44 + b, n) for (a, b), n in seen.items())
    counts = [sum(ids.count(i) for ids in lines) for i in range(44)]
    counts[EOS] = DEV
    dev = [([*ids, EOS], hypothesis(ids, draw.gauss(-0.5, 0.1))) for ids in lines]
    confidence = Confidence.calibrate(counts, tuple(map(list, zip(*pairs, strict=True))), dev)
    assert sum("order" in confidence.low(*each) for each in dev) <= FALSE_ALARMS * DEV
    shuffled = [([*draw.sample(ids, len(ids)), EOS], hypothesis(ids, -0.5)) for ids in lines]
    assert sum(confidence.low(*each) == ["order"] for each in shuffled) > 0.9 * DEV
    text = "w9 w5 w8 w4 w6 w7 w3"
    assert confidence.doubt(text, [*TOKENIZER.encode(text), EOS], hypothesis([4], -0.5), TOKENIZER) == (
        "words in an unusual order"
    )
