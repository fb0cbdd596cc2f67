"""Search: against brute force and a plain beam search over lists; batches, limits, ties, early stopping, sampling."""

import itertools
import math
from dataclasses import dataclass, replace

import pytest
import torch
from random_model import SENTENCES, batch_of, random_model

from seq2seq.decoding.sampling import sample
from seq2seq.decoding.search import Hypothesis, Limits, beam_search, length_penalty
from seq2seq.decoding.translation import Sampling
from seq2seq.fast.topk import blockwise_topk, first_topk
from seq2seq.model.attention import SCORES

PAD, UNK, BOS, EOS = range(4)
FORBIDDEN = (PAD, UNK, BOS)


@dataclass
class Prefixes:
    """The state of a toy step: the sentence and the prefix of each row."""

    sentence: torch.Tensor
    prefix: torch.Tensor  # (rows, length)

    def select(self, rows, sentences):
        return Prefixes(self.sentence[rows], self.prefix[rows])


class Toy:
    """A `step` whose logits are random numbers, fixed by sentence and prefix; it records how many rows run."""

    def __init__(self, vocab=7, spread=1.5, levels=None, eos=0.0):
        self.vocab, self.spread, self.levels, self.eos, self.rows = vocab, spread, levels, eos, []

    def log_probs(self, sentence, prefix):
        generator = torch.Generator().manual_seed(hash((sentence, *prefix)))
        logits = torch.randn(self.vocab, generator=generator) * self.spread
        if self.levels:
            logits = (logits * self.levels).round() / self.levels  # so that many are equal
        logits[EOS] += self.eos
        return logits.log_softmax(-1)

    def __call__(self, tokens, state, running):
        self.rows.append(len(running))
        prefix = torch.cat([state.prefix, tokens[:, None]], dim=1)
        rows = zip(state.sentence[running].tolist(), prefix[running, 1:].tolist(), strict=True)
        return torch.stack([self.log_probs(i, row) for i, row in rows]), Prefixes(state.sentence, prefix)

    def search(self, max_lengths, **options):
        return beam_search(self, *self.start(max_lengths), **options)

    def start(self, max_lengths, sentences=None):
        ids = torch.arange(len(max_lengths)) if sentences is None else torch.tensor(sentences)
        return Prefixes(ids, ids.new_empty(len(ids), 0)), limits_of(max_lengths)


def limits_of(max_lengths):
    return Limits(BOS, EOS, FORBIDDEN, torch.tensor(max_lengths))


def score_of(toy, sentence, tokens):
    path = [*tokens, EOS]
    return sum(toy.log_probs(sentence, path[:t])[token].item() for t, token in enumerate(path))


def brute_force(toy, sentence, max_length, alpha):
    """All sequences, best first."""
    found = []
    for length in range(max_length):
        for tokens in itertools.product(range(EOS + 1, toy.vocab), repeat=length):
            score = score_of(toy, sentence, tokens)
            found.append(Hypothesis(list(tokens), score, score / ((6 + length) / 6) ** alpha))
    return sorted(found, key=lambda h: (-h.normalized_score, h.tokens))


def plain_beam_search(toy, sentence, max_length, beam, alpha, nbest):
    """A beam search over lists: one sentence, and every hypothesis runs until it ends."""
    running, ended = [((), 0.0)], []
    for length in range(1, max_length + 1):
        allowed = range(EOS, EOS + 1) if length == max_length else range(EOS, toy.vocab)
        candidates = []
        for slot, (tokens, score) in enumerate(running):
            log_probs = toy.log_probs(sentence, tokens).tolist()
            candidates += [(-(score + log_probs[token]), slot, token, tokens) for token in allowed]
        candidates = sorted(candidates)[:beam]
        running = [((*tokens, token), -cost) for cost, _, token, tokens in candidates if token != EOS]
        for cost, _, token, tokens in candidates:
            if token == EOS:
                ended.append(Hypothesis(list(tokens), -cost, -cost / ((5 + length) / 6) ** alpha))
    return sorted(ended, key=lambda h: (-h.normalized_score, h.tokens))[:nbest]


def same(found, expected):
    return [h.tokens for h in found] == [h.tokens for h in expected] and all(
        h.score == pytest.approx(other.score, abs=1e-6)
        and h.normalized_score == pytest.approx(other.normalized_score, abs=1e-6)
        for h, other in zip(found, expected, strict=True)
    )


def test_the_length_penalty_is_the_formula():
    assert length_penalty(1, 0.6) == 1
    assert length_penalty(7, 0.0) == 1
    assert length_penalty(7, 1.0) == 2
    assert length_penalty(13, 0.5) == pytest.approx(math.sqrt(3))


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("nbest", [1, 5, 40])
def test_a_beam_wide_enough_for_all_sequences_finds_the_best(alpha, nbest):
    toy = Toy(vocab=7)  # 3 words, at most 3 of them: 40 sequences
    for i, found in enumerate(toy.search([4, 4, 4], beam=40, alpha=alpha, nbest=nbest)):
        assert same(found, brute_force(toy, i, 4, alpha)[:nbest])


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
@pytest.mark.parametrize(("beam", "nbest"), [(1, 1), (2, 1), (3, 3), (4, 2), (8, 4)])
@pytest.mark.parametrize("eos", [-30.0, -2.0, 1.0])  # -30: so improbable that only the longest length ends a hypothesis
def test_neither_batching_nor_early_stopping_changes_the_result(alpha, beam, nbest, eos):
    toy, lengths = Toy(vocab=8, eos=eos), [7, 1, 5, 6, 2, 7, 4, 3]
    found = toy.search(lengths, beam=beam, alpha=alpha, nbest=nbest)
    for i, max_length in enumerate(lengths):
        assert same(found[i], plain_beam_search(toy, i, max_length, beam, alpha, nbest))


def test_a_hypothesis_that_can_no_longer_win_stops_running():
    def step(tokens, state, running):  # after <s>: the end 0.4, 4: 0.35, 5: 0.25; after a word: 4 or 5
        rows.append(len(running))
        table = torch.full((6, 6), -math.inf)
        table[BOS, [EOS, 4, 5]] = torch.tensor([0.4, 0.35, 0.25]).log()
        table[4:, 4:] = math.log(0.5)
        return table[tokens[running]], state

    for nbest, expected in ((1, [1]), (2, [1, 2, 4, 4])):  # the empty sequence, 0.4, is never beaten
        rows = []
        beam_search(step, *Toy().start([4]), beam=4, nbest=nbest)
        assert rows == expected


@pytest.mark.parametrize("columns", [5, 48, 57, 64, 100])
@pytest.mark.parametrize("levels", [3, 1000])
def test_the_largest_numbers_of_blocks_are_those_of_the_row(columns, levels):
    x = torch.randint(levels, (20, columns), generator=torch.Generator().manual_seed(1)).float()
    values, index = blockwise_topk(x, 5)
    assert values.equal(x.topk(5).values)
    assert x.gather(1, index).equal(values)
    assert all(len(set(row)) == 5 for row in index.tolist())


@pytest.mark.parametrize("beam", [1, 3, 6])
def test_ties_go_to_the_smaller_token_ids(beam):
    toy, lengths = Toy(vocab=40, spread=1.0, levels=1, eos=1.0), [5, 6, 4, 5]
    found = toy.search(lengths, beam=beam, nbest=beam)
    for i, max_length in enumerate(lengths):
        assert same(found[i], plain_beam_search(toy, i, max_length, beam, 0.0, beam))


@pytest.mark.parametrize("nbest", [3, 4])
def test_ties_of_different_lengths_go_to_the_smaller_token_ids_too(nbest):
    def step(tokens, state, running):  # after <s>: 4 or 5 or the end; after a word: 4 or the end
        table = torch.zeros(6, 6)
        table[[BOS, 4, 5]] = -math.inf
        table[BOS, [4, 5, EOS]] = torch.tensor([2.0, 1.0, 1.0]).log()
        table[4:, [4, EOS]] = 0.0
        return table[tokens[running]].log_softmax(-1), state

    found = beam_search(step, *Toy().start([3]), beam=8, nbest=nbest)[0]
    assert found[-1].score == found[2].score == pytest.approx(math.log(1 / 8))
    assert [h.tokens for h in found] == [[], [4], [4, 4], [5]][:nbest]


def test_forbidden_tokens_are_never_chosen_and_change_no_probability():
    toy = Toy()
    start, limits = toy.start([4])
    limits = replace(limits, forbidden=(PAD, UNK, BOS, 5))
    found = beam_search(toy, start, limits, beam=20, nbest=15)[0]
    assert len(found) == 15  # two words are left: 1 + 2 + 4 + 8 sequences
    assert {token for h in found for token in h.tokens} == {4, 6}
    for h in found:
        assert h.score == pytest.approx(score_of(toy, 0, h.tokens), abs=1e-6)


@pytest.mark.parametrize(("beam", "rows"), [(1, [3, 2, 1, 1]), (2, [3, 4, 2, 2])])
def test_a_finished_sentence_leaves_the_batch(beam, rows):
    toy = Toy(eos=-30.0)
    toy.search([1, 4, 2], beam=beam)
    assert toy.rows == rows


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("input_feeding", [False, True])
def test_the_score_of_a_hypothesis_is_the_sum_of_its_log_probabilities_under_teacher_forcing(score, input_feeding):
    model = random_model(score, "gru", decoder={"input_feeding": input_feeding})
    src, lengths = batch_of(SENTENCES)
    with torch.no_grad():
        found = beam_search(model.step, model.encode(src, lengths), limits_of([6] * 3), beam=3, alpha=0.6, nbest=3)
        for sentence, hypotheses in zip(SENTENCES, found, strict=True):
            for h in hypotheses:
                s, _, _ = model(*batch_of([sentence]), torch.tensor([[BOS, *h.tokens]]))
                log_probs = model.logits(s)[0].log_softmax(-1)
                forced = sum(log_probs[t, token].item() for t, token in enumerate([*h.tokens, EOS]))
                assert h.score == pytest.approx(forced, abs=1e-4)
                assert h.normalized_score == h.score / length_penalty(len(h.tokens) + 1, 0.6)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_drawn_tokens_are_as_frequent_as_their_probabilities(temperature):
    toy, n = Toy(), 4000
    state, limits = toy.start([2] * n, [0] * n)
    drawn = sample(toy, state, limits, Sampling(temperature), torch.Generator().manual_seed(1))
    first = [(*h.tokens, EOS)[0] for (h,) in drawn]
    powers = {token: math.exp(toy.log_probs(0, [])[token].item() / temperature) for token in range(EOS, toy.vocab)}
    expected = {token: n * power / sum(powers.values()) for token, power in powers.items()}
    assert set(first) <= set(expected)
    assert sum((first.count(t) - count) ** 2 / count for t, count in expected.items()) < 16.3  # chi2, 3 d.o.f.: 0.1 %


@pytest.mark.parametrize(("options", "kept"), [({"top_k": 2}, 2), ({"top_p": 0.8}, 3), ({"top_p": 0.7}, 2)])
def test_sampling_draws_from_the_most_probable_tokens_only(options, kept):
    def step(tokens, state, running):  # 4: 0.5, 5: 0.25, 6: 0.15, end: 0.1
        logits = torch.tensor([-math.inf, -math.inf, -math.inf, math.log(0.1), *map(math.log, (0.5, 0.25, 0.15))])
        return logits.log_softmax(-1).expand(len(tokens), -1).clone(), state

    state, limits = Toy().start([2] * 300)
    drawn = sample(step, state, limits, Sampling(**options), torch.Generator().manual_seed(1))
    assert {(*h.tokens, EOS)[0] for (h,) in drawn} == {4, 5, 6} - set(range(4 + kept, 7))


def test_the_score_of_a_drawn_sequence_is_its_log_probability_without_temperature_and_cuts():
    toy = Toy()
    drawn = sample(toy, *toy.start([5] * 8), Sampling(0.7, top_k=3, top_p=0.9), torch.Generator().manual_seed(1))
    for i, (h,) in enumerate(drawn):
        assert h.score == h.normalized_score == pytest.approx(score_of(toy, i, h.tokens), abs=1e-5)
        assert len(h.tokens) < 5


@pytest.mark.parametrize("columns", [1, 3, 7, 40, 100])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_of_equal_numbers_the_first_columns_are_chosen(columns, k):
    torch.manual_seed(columns)
    k = min(k, columns)
    for kinds in (1, 2, 5, 1000):  # different numbers: the fewer, the more are equal
        x = torch.randint(-kinds, 0, (50, columns)).float()
        expected = x.argsort(dim=1, descending=True, stable=True)[:, :k]
        assert first_topk(x, k).sort(dim=1).values.equal(expected.sort(dim=1).values)
