"""Subword sampling: other pieces of the same text, of the distribution that the paper gives, the same for a seed."""

import math
import os
import subprocess
import sys
from collections import Counter
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from test_batches import count_batches
from tiny import write_config, write_corpus

from seq2seq.config import load_config
from seq2seq.data.batches import Batches, Position
from seq2seq.data.sampling import draw, draw_subwords
from seq2seq.errors import UserError
from seq2seq.text.tokenizer import BOS, EOS, PAD, train_tokenizers

LINES = [
    "the low lower lowest newer newest wider widest",
    "lower and lower",
    "wide widest new low",
    "네가 lowest 네",
] * 5
STRANGE = ["", " ", "lowest  newest ", "▁ wide", "日本 \U0001f600", "</s> <pad>", "a\u0301 low"]


def tokenizers_of(type, *, joint=True, lines=LINES):
    return train_tokenizers(type, 400, joint, False, "split", lines, [line[::-1] for line in lines])


@pytest.mark.parametrize("type", ["unigram", "bpe"])
@pytest.mark.parametrize("joint", [True, False])
def test_other_pieces_spell_the_same_text(type, joint):
    tokenizers = tokenizers_of(type, joint=joint)
    texts = [*LINES[:4], *STRANGE]
    pairs = [([*tokenizers.src.encode(t), EOS], [*tokenizers.tgt.encode(t[::-1]), EOS]) for t in texts]
    drawn = [draw_subwords(tokenizers, 0.3, pairs, (1, 2, seed)) for seed in range(20)]
    assert any(pieces != pairs for pieces in drawn)
    for pieces in drawn:
        for (src, tgt), (old_src, old_tgt) in zip(pieces, pairs, strict=True):
            for tokenizer, new, old in ((tokenizers.src, src, old_src), (tokenizers.tgt, tgt, old_tgt)):
                assert tokenizer.processor.decode(new[:-1]) == tokenizer.processor.decode(old[:-1])
            assert (src[-1], tgt[-1]) == (EOS, EOS)
            assert not {PAD, BOS, EOS} & {*src[:-1], *tgt[:-1]}


def test_a_seed_gives_the_same_pieces_whatever_was_drawn_before_and_another_seed_others():
    tokenizers = tokenizers_of("unigram")
    pairs = [([*tokenizers.src.encode(line), EOS],) * 2 for line in LINES]
    sampling = partial(draw_subwords, tokenizers, 0.2)
    first = sampling(pairs, (1, 0))
    other = sampling(pairs, (1, 1))
    assert sampling(pairs, (1, 0)) == first != other
    assert [src for src, _ in first] != [tgt for _, tgt in first]  # the sides are drawn apart


@pytest.mark.parametrize("type", ["unigram", "bpe"])
def test_another_process_draws_the_same(type):
    code = f"""
from seq2seq.data.sampling import draw
from test_sampling import LINES, tokenizers_of
tokenizers = tokenizers_of({type!r})
print(draw(tokenizers.src, {type!r}, 0.3, [tokenizers.src.encode(line) for line in LINES], 5))
"""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    run = [sys.executable, "-c", code]
    printed = {
        subprocess.run(run, capture_output=True, check=True, env=os.environ | {"PYTHONPATH": path}).stdout
        for _ in (1, 2)
    }
    assert len(printed) == 1


@pytest.mark.parametrize("type", ["unigram", "bpe"])
def test_without_chance_the_tokens_are_those_of_sentencepiece(type):
    """With a large alpha only the likeliest segmentation is left; with alpha 0 every merge is made."""
    tokenizers = tokenizers_of(type)
    ids = [tokenizers.src.encode(text) for text in [*LINES[:4], *STRANGE]]
    assert draw(tokenizers.src, type, 1e4 if type == "unigram" else 0.0, ids, 1) == ids


def test_unigram_pieces_come_as_often_as_their_probability_to_the_power_of_alpha():
    """Every segmentation of a word by hand: the pieces that spell it, and the product of their probabilities."""
    tokenizers, alpha, draws = tokenizers_of("unigram"), 0.3, 4000
    processor = tokenizers.src.processor
    score = {
        processor.id_to_piece(i): processor.get_score(i) for i in range(4, len(processor)) if not processor.is_byte(i)
    }

    def segmentations(text):
        if not text:
            yield ()
        for end in range(1, len(text) + 1):
            if text[:end] in score:
                yield from ((text[:end], *rest) for rest in segmentations(text[end:]))

    weights = {pieces: math.exp(alpha * sum(score[piece] for piece in pieces)) for pieces in segmentations("▁lowest")}
    assert len(weights) > 3
    ids = draw(tokenizers.src, "unigram", alpha, [tokenizers.src.encode("lowest")] * draws, 7)
    found = Counter(tuple(tokenizers.src.pieces(each)) for each in ids)
    assert found.keys() <= weights.keys()
    for pieces, weight in weights.items():
        p = weight / sum(weights.values())
        assert abs(found[pieces] / draws - p) < 5 * math.sqrt(p * (1 - p) / draws) + 1e-4, pieces


def test_bpe_leaves_out_as_many_merges_as_it_is_told():
    tokenizers = train_tokenizers("bpe", 264, True, False, "split", ["ab ab ab"], ["ab"])
    tokenizer = tokenizers.src
    encoded = tokenizer.encode("ab")
    assert tokenizer.pieces(encoded) == ["▁", "ab"]  # one merge
    draws = draw(tokenizer, "bpe", 0.25, [encoded] * 4000, 5)
    left_out = sum(tokenizer.pieces(ids) == ["▁", "a", "b"] for ids in draws)
    assert left_out + draws.count(encoded) == 4000
    assert abs(left_out / 4000 - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 4000)


def store_of(tokenizers):
    rng = np.random.default_rng(1)
    words = [" ".join(rng.choice(LINES[0].split(), size=size)) for size in rng.integers(1, 9, 200)]
    return [([*tokenizers.src.encode(text), EOS],) * 2 for text in words]


def test_batches_are_drawn_anew_each_epoch_and_are_the_same_from_any_position():
    tokenizers = tokenizers_of("unigram")
    pairs = store_of(tokenizers)
    batches = Batches(pairs, 80, "tokens", 3, partial(draw_subwords, tokenizers, 0.3))
    count = count_batches(batches)
    assert count == count_batches(Batches(pairs, 80, "tokens", 3))
    seen = list(islice(batches.stream(Position()), 2 * count))
    for start in (1, count - 1, count, count + 3):
        position, _ = seen[start - 1]
        again = Batches(pairs, 80, "tokens", 3, partial(draw_subwords, tokenizers, 0.3)).stream(position)
        for (after, batch), (expected_after, expected) in zip(again, seen[start:], strict=False):
            assert after == expected_after
            assert all(torch.equal(a, b) for a, b in zip(batch[:4], expected[:4], strict=True))
    epochs = [
        Counter(tuple(row.tolist()) for _, batch in part for row in batch.src) for part in (seen[:count], seen[count:])
    ]
    assert epochs[0] != epochs[1]
    texts = [
        Counter(tokenizers.src.decode([i for i in row if i > EOS]) for row in epoch.elements()) for epoch in epochs
    ]
    assert texts[0] == texts[1] == Counter(tokenizers.src.decode(src) for src, _ in pairs)


@pytest.mark.parametrize("type", ["char", "word"])
def test_text_that_can_be_cut_in_one_way_only_is_not_sampled(tmp_path, type):
    write_corpus(tmp_path, "train", 5, 1)
    with pytest.raises(UserError, match=r"tokenizer\.sampling is 0\.1; it is only for unigram and bpe, so set it to 0"):
        load_config(write_config(tmp_path, tokenizer={"type": type, "sampling": 0.1}))
