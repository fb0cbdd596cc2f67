"""Batches: padding, the token ceiling, the order of an epoch, resuming."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.data import batches as module
from seq2seq.data.batches import Batches, Position, make_batch
from seq2seq.data.dataset import padding_share
from seq2seq.data.flat import flatten
from seq2seq.text.tokenizer import BOS, EOS, PAD

LENGTHS = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=40)


def pairs_of(lengths):
    """Pairs of the given lengths (EOS not counted); the tokens tell pairs apart."""
    return [([10 + n] * src + [EOS], [10 + n] * tgt + [EOS]) for n, (src, tgt) in enumerate(lengths)]


def random_pairs(number=300):
    rng = np.random.default_rng(0)
    src = rng.integers(1, 40, number)
    return pairs_of(zip(src, np.maximum(1, src + rng.integers(-3, 4, number)), strict=True))


def members(batch):
    """Which pairs a batch holds, by their first source token."""
    return [int(token) for token in batch.src[:, 0]]


def count_batches(batches):
    return sum(1 for _ in batches.iterate(epoch=0))


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one[:4], other[:4], strict=True)) and one.tokens == other.tokens


def test_a_batch_is_padded_and_the_decoder_reads_one_token_behind():
    batch = make_batch([([5, 6, EOS], [7, EOS]), ([5, EOS], [8, 9, 8, EOS])])
    assert batch.src.tolist() == [[5, 6, EOS], [5, EOS, PAD]]
    assert batch.src_lengths.tolist() == [3, 2]
    assert batch.tgt_in.tolist() == [[BOS, 7, PAD, PAD], [BOS, 8, 9, 8]]
    assert batch.tgt_out.tolist() == [[7, EOS, PAD, PAD], [8, 9, 8, EOS]]
    assert {tensor.dtype for tensor in batch[:4]} == {torch.int64}


def test_tokens_counts_real_target_tokens():
    batch = make_batch(random_pairs(9))
    assert batch.tokens == int((batch.tgt_out != PAD).sum()) == int((batch.tgt_in != PAD).sum())


def test_a_batch_moves_whole():
    batch = make_batch(random_pairs(2)).to("meta")
    assert {tensor.device.type for tensor in batch[:4]} == {"meta"}


@settings(deadline=None, max_examples=50)
@given(LENGTHS, st.integers(1, 40), st.sampled_from(["tokens", "sentences"]), st.integers(0, 3))
def test_every_pair_occurs_once_an_epoch(lengths, size, batch_type, epoch):
    batches = Batches(pairs_of(lengths), size, batch_type, seed=1)
    seen = Counter(member for batch in batches.iterate(epoch) for member in members(batch))
    assert seen == Counter(range(10, 10 + len(lengths)))


@settings(deadline=None, max_examples=50)
@given(LENGTHS, st.integers(1, 40))
def test_padded_tokens_stay_under_the_ceiling_unless_a_pair_is_alone(lengths, size):
    for batch in Batches(pairs_of(lengths), size, "tokens", seed=1).iterate(0):
        assert max(batch.src.numel(), batch.tgt_out.numel()) <= size or len(batch.src) == 1


def test_batches_of_sentences_have_that_many_pairs():
    sizes = [len(batch.src) for batch in Batches(random_pairs(50), 16, "sentences", seed=1).iterate(0)]
    assert sorted(sizes) == [2, 16, 16, 16]


def test_the_order_depends_on_seed_and_epoch_and_nothing_else():
    torch.manual_seed(1)
    first = [members(batch) for batch in Batches(random_pairs(), 200, "tokens", seed=1).iterate(3)]
    torch.manual_seed(2)
    batches = Batches(random_pairs(), 200, "tokens", seed=1)
    assert [members(batch) for batch in batches.iterate(3)] == first
    assert [members(batch) for batch in batches.iterate(4)] != first
    assert [members(batch) for batch in Batches(random_pairs(), 200, "tokens", seed=2).iterate(3)] != first


def test_pairs_of_one_length_change_company_between_epochs():
    batches = Batches(pairs_of([(3, 3)] * 20), 5, "sentences", seed=1)
    company = [{frozenset(members(batch)) for batch in batches.iterate(epoch)} for epoch in (0, 1)]
    assert company[0] != company[1]


def test_no_global_random_state_is_touched():
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    list(Batches(random_pairs(), 200, "tokens", seed=1).iterate(0))
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_resuming_from_any_position_equals_the_uninterrupted_stream():
    fresh = Batches(random_pairs(40), 200, "tokens", seed=1)
    whole = list(islice(fresh.stream(Position(0, 0)), 3 * count_batches(fresh)))
    starts = [Position(0, 0), *(after for after, _ in whole[:-1])]
    for n, start in enumerate(starts):
        resumed = Batches(random_pairs(40), 200, "tokens", seed=1).stream(start)
        for (after, batch), (after_again, batch_again) in zip(whole[n:], islice(resumed, 4), strict=False):
            assert after == after_again
            assert same(batch, batch_again)


def test_the_position_after_the_last_batch_is_the_next_epoch():
    batches = Batches(random_pairs(40), 200, "tokens", seed=1)
    positions = [after for after, _ in islice(batches.stream(Position()), count_batches(batches) + 1)]
    assert positions[-2:] == [Position(1, 0), Position(1, 1)]


def test_streams_over_one_corpus_do_not_disturb_each_other():
    batches = Batches(random_pairs(40), 200, "tokens", seed=1)
    ahead, behind = batches.stream(Position(5)), batches.stream(Position(0))
    both = [(members(next(ahead)[1]), members(next(behind)[1])) for _ in range(6)]
    alone = [members(batch) for _, batch in islice(batches.stream(Position(0)), 6)]
    assert [second for _, second in both] == alone


@pytest.mark.parametrize(("size", "batch_type"), [(600, "tokens"), (16, "sentences")])
def test_padding_share_is_what_the_batches_hold_and_small(size, batch_type):
    batches = Batches(random_pairs(2000), size, batch_type, seed=1)
    padding = [(side == PAD).sum() for batch in batches.iterate(0) for side in (batch.src, batch.tgt_out)]
    places = [side.numel() for batch in batches.iterate(0) for side in (batch.src, batch.tgt_out)]
    assert padding_share(batches) == pytest.approx(float(sum(padding)) / sum(places))
    assert padding_share(batches) < 0.05


# ------------------------------------------------------------------------------------------------------------ parts


class InChunks:
    """Pairs in chunks of so many; counts whose lengths are asked for."""

    def __init__(self, pairs, size):
        chunks = [flatten(pairs[i : i + size], np.dtype(np.uint16)) for i in range(0, len(pairs), size)]
        self._lengths = [lengths for lengths, _ in chunks]
        self.tokens = np.concatenate([tokens for _, tokens in chunks])
        self.begins = np.cumsum([0, *(len(tokens) for _, tokens in chunks)]).tolist()[:-1]
        self.asked = Counter()

    def lengths(self, chunk):
        self.asked[chunk] += 1
        return self._lengths[chunk]


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "PART", 3)


def in_parts(pairs, size=200, batch_type="tokens", chunk=20):
    return Batches(InChunks(pairs, chunk), size, batch_type, seed=1)


@settings(deadline=None, max_examples=50)
@given(LENGTHS, st.integers(1, 40), st.sampled_from(["tokens", "sentences"]), st.integers(0, 3), st.integers(1, 20))
def test_every_pair_of_every_part_occurs_once_an_epoch(lengths, size, batch_type, epoch, chunk):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "PART", 3)
        batches = in_parts(pairs_of(lengths), size, batch_type, chunk)
        seen = Counter(member for batch in batches.iterate(epoch) for member in members(batch))
        assert seen == Counter(range(10, 10 + len(lengths)))


@pytest.mark.parametrize("chunk", [1, 7, 20, 40])
def test_one_part_of_chunks_is_dealt_like_a_list(monkeypatch, chunk):
    monkeypatch.setattr(module, "PART", 40)
    listed, chunked = Batches(random_pairs(40), 200, "tokens", seed=1), in_parts(random_pairs(40), chunk=chunk)
    for (after, batch), (after_too, batch_too), _ in zip(
        listed.stream(Position()), chunked.stream(Position()), range(40), strict=False
    ):
        assert after == after_too
        assert same(batch, batch_too)


def test_resuming_from_any_position_in_any_part_equals_the_uninterrupted_stream(small_parts):
    fresh = in_parts(random_pairs(200))
    whole = list(islice(fresh.stream(Position()), 2 * count_batches(fresh)))
    starts = [Position(), *(after for after, _ in whole[:-1])]
    assert {start.part for start in starts} == {0, 1, 2, 3}
    assert {start.epoch for start in starts} >= {0, 1}
    for n, start in enumerate(starts):
        resumed = in_parts(random_pairs(200)).stream(start)
        for (after, batch), (after_too, batch_too) in zip(whole[n:], islice(resumed, 2), strict=False):
            assert after == after_too
            assert same(batch, batch_too)


def test_no_lengths_beyond_the_part_are_touched(small_parts):
    batches = in_parts(random_pairs(400))
    asked = batches._chunks.asked
    stream = batches.stream(Position(epoch=5, part=2))
    touched = []
    for after, _ in stream:
        touched.append(len(asked))
        if after.part == 4:
            break
    assert set(touched) == {3, 6}  # of 20 chunks
    assert set(asked.values()) == {1}


def test_parts_change_company_between_epochs(small_parts):
    parts = []
    for epoch in range(3):
        batches = in_parts(random_pairs(400))
        next(batches.stream(Position(epoch)))
        parts.append(frozenset(batches._chunks.asked))
    assert len(set(parts)) > 1


def test_padding_share_counts_all_parts(small_parts):
    batches = in_parts(random_pairs(200))
    sides = [side for batch in batches.iterate(0) for side in (batch.src, batch.tgt_out)]
    padding, places = sum(int((side == PAD).sum()) for side in sides), sum(side.numel() for side in sides)
    assert padding_share(batches) == pytest.approx(padding / places)


def test_a_position_beyond_its_part_goes_on_with_the_next(small_parts):
    """As when a run is resumed with larger batches."""
    batches = in_parts(random_pairs(200))
    _, first = next(batches.stream(Position(0, part=1)))
    _, beyond = next(batches.stream(Position(0, index=10**6)))
    assert same(first, beyond)
