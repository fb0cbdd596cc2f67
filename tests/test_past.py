"""Memory of the past: coverage and convolution in scalars, over every score that takes them."""

import math

import pytest
import torch
from random_model import SENTENCES, batch_of, random_model
from torch import nn

from seq2seq.decoding.search import Limits, beam_search
from seq2seq.model.attention import Sizes, build_attention
from seq2seq.model.past import Convolution, Coverage, coverage_loss

LENGTHS = (5, 3)
SCORES = ["dot", "scaled_dot", "general", "concat", "multi_head"]


def attention_with(past, score="concat", window="global"):
    torch.manual_seed(1)
    attention = build_attention(score, Sizes(4, 4, num_heads=2), past=past, window=window, window_size=1).double()
    with torch.no_grad():
        for weight in attention.parameters():
            weight *= 3
    return attention


def inputs(lengths=LENGTHS, tgt=4):
    torch.manual_seed(2)
    query = torch.randn(len(lengths), tgt, 4, dtype=torch.float64)
    states = torch.randn(len(lengths), max(lengths), 4, dtype=torch.float64)
    return query, states, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def run(attention, query, states, mask):
    """Step after step; the weights."""
    memory, past, weights = attention.memorize(states, mask), attention.start(mask), []
    for t in range(query.size(1)):
        _, a, past = attention(query[:, t : t + 1], memory, torch.full((len(query),), t), past)
        weights.append(a)
    return torch.cat(weights, dim=2), past


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def feature_in_scalars(attention, past, earlier, i, S):
    """f_ti from the weights of the steps before."""
    if past == "coverage":
        return [sum(a[i] for a in earlier)]
    filters = attention.past.F.weight[:, 0].tolist()
    half = len(filters[0]) // 2
    last = earlier[-1] if earlier else [0.0] * S
    return [sum(w * last[i + j - half] for j, w in enumerate(row) if 0 <= i + j - half < S) for row in filters]


@pytest.mark.parametrize("past", ["coverage", "convolution"])
def test_concat_with_a_memory_of_the_past_is_the_papers_formula(past):
    """e_ti = v_a tanh(W_q h_t + W_k k_i + W_f f_ti)."""
    attention = attention_with(past)
    query, states, mask = inputs()
    weights, _ = run(attention, query, states, mask)
    w = {name: value.tolist() for name, value in attention.named_parameters()}
    for b, S in enumerate(LENGTHS):
        earlier = []
        for t in range(query.size(1)):
            e = []
            for i in range(S):
                f = feature_in_scalars(attention, past, earlier, i, S)
                parts = zip(w["W_q.weight"], w["W_k.weight"], w["past.W_f.weight"], strict=True)
                h, k = query[b, t].tolist(), states[b, i].tolist()
                inner = [math.tanh(dot(row_q, h) + dot(row_k, k) + dot(row_f, f)) for row_q, row_k, row_f in parts]
                e.append(dot(w["v_a.weight"][0], inner))
            powers = [math.exp(x) for x in e]
            earlier.append([power / sum(powers) for power in powers])
            assert weights[b, 0, t, :S].tolist() == pytest.approx(earlier[-1], rel=1e-9)
            assert not weights[b, 0, t, S:].any()


def test_general_with_coverage_is_its_formula():
    """e_ti = h_t (W_a k_i + W_f sum of earlier weights)."""
    attention = attention_with("coverage", "general")
    query, states, mask = inputs()
    weights, _ = run(attention, query, states, mask)
    keys, W_f = attention.W_a(states), attention.past.W_f.weight[:, 0]
    for t in range(query.size(1)):
        cover = weights[:, 0, :t].sum(1)
        e = (query[:, t, None] * (keys + cover[:, :, None] * W_f)).sum(-1)
        torch.testing.assert_close(weights[:, 0, t], e.masked_fill(~mask, -math.inf).softmax(-1))


def test_with_heads_the_past_is_their_mean():
    attention = attention_with("coverage", "multi_head")
    weights, past = run(attention, *inputs())
    assert weights.size(1) == 2
    torch.testing.assert_close(past[:, 0], weights.mean(1).sum(1))


@pytest.mark.parametrize("past", ["coverage", "convolution"])
@pytest.mark.parametrize("score", SCORES)
def test_padding_gets_no_weight_and_does_not_matter(past, score):
    attention = attention_with(past, score)
    query, states, mask = inputs()
    together, _ = run(attention, query, states.masked_fill(~mask[:, :, None], 1e3), mask)
    for b, S in enumerate(LENGTHS):
        alone, _ = run(attention, query[b : b + 1], states[b : b + 1, :S], mask[b : b + 1, :S])
        torch.testing.assert_close(together[b : b + 1, ..., :S], alone)
        assert not together[b, ..., S:].any()


@pytest.mark.parametrize(
    ("score", "past", "window"),
    [(score, past, "global") for score in SCORES for past in ("coverage", "convolution")]
    + [("concat", "coverage", "local_m"), ("general", "coverage", "local_p"), ("dot", "convolution", "local_p")],
)
def test_gradients_are_the_numerical_ones(score, past, window):
    attention = attention_with(past, score, window)
    query, states, mask = inputs(lengths=(3, 2), tgt=3)
    tensors = (query.requires_grad_(), states.requires_grad_(), *attention.parameters())
    assert torch.autograd.gradcheck(lambda query, states, *_: run(attention, query, states, mask)[0], tensors)


@torch.no_grad()
@pytest.mark.parametrize("past", ["coverage", "convolution"])
def test_hypotheses_have_a_past_of_their_own(past):
    attention = attention_with(past)
    _, states, mask = inputs()
    memory, beam = attention.memorize(states, mask), 3
    query = torch.randn(len(LENGTHS) * beam, 1, 4, dtype=torch.float64)
    earlier = torch.rand(len(LENGTHS) * beam, 1, 5, dtype=torch.float64)
    got = attention(query, memory, None, earlier)
    for row in range(len(query)):
        alone = attention(
            query[row : row + 1], memory.select(torch.tensor([row // beam])), None, earlier[row : row + 1]
        )
        for ours, theirs in zip(got, alone, strict=True):
            torch.testing.assert_close(ours[row : row + 1], theirs)


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {"score": "concat", "attention": {"coverage": True}},
        {"score": "concat", "attention": {"convolution": True}},
        {"score": "general", "attention": {"coverage": True, "window": "local_p"}},
        {"score": "dot", "attention": {"window": "local_m"}},
        {"score": "general", "decoder": {"type": "bahdanau"}},
        {"score": "multi_head", "decoder": {"type": "transformer", "num_layers": 2}},
    ],
)
def test_search_carries_the_state_of_each_hypothesis(options):
    """A beam's scores equal those of its hypotheses run alone."""
    model = random_model(**options, embedding_size=8, spread=3)
    limits = Limits(2, 3, (0, 1, 2), torch.tensor([6, 5, 6]))
    found = beam_search(model.step, model.encode(*batch_of(SENTENCES)), limits, beam=4, nbest=4)
    for i, hypotheses in enumerate(found):
        for hypothesis in hypotheses:
            tgt = torch.tensor([[2, *hypothesis.tokens]])
            s, _, _ = model(*batch_of(SENTENCES[i : i + 1]), tgt)
            log_probs = model.logits(s)[0].log_softmax(-1)
            score = sum(log_probs[t, token].item() for t, token in enumerate([*hypothesis.tokens, 3]))
            assert hypothesis.score == pytest.approx(score, abs=1e-3)


def test_keys_are_projected_once_a_sentence_and_not_in_a_step():
    attention = attention_with("coverage")
    calls = []
    attention.W_k.register_forward_hook(lambda *_: calls.append(1))
    run(attention, *inputs(tgt=6))
    assert calls == [1]


def test_what_is_kept():
    first, second = torch.tensor([[[0.25, 0.75]]]), torch.tensor([[[0.5, 0.5]]])
    torch.testing.assert_close(Coverage(4).next(first, second), first + second)
    torch.testing.assert_close(Convolution(4).next(first, second), second)
    assert isinstance(Convolution(4).F, nn.Conv1d)


def test_the_coverage_loss_is_its_formula():
    torch.manual_seed(1)
    weights = torch.rand(2, 4, 3).softmax(-1)
    got = coverage_loss(weights)
    for b in range(2):
        before = [0.0] * 3
        for t in range(4):
            a = weights[b, t].tolist()
            assert got[b, t].item() == pytest.approx(sum(map(min, a, before)), rel=1e-5)
            before = [x + y for x, y in zip(before, a, strict=True)]


def test_looking_again_costs_and_looking_elsewhere_does_not():
    walk, stare = torch.eye(3)[None], torch.tensor([[[0.0, 1.0, 0.0]] * 3])
    assert coverage_loss(walk).sum() == 0
    assert coverage_loss(stare).tolist() == [[0, 1, 1]]


def test_a_past_that_is_not_handed_on_is_an_error():
    attention = attention_with("coverage")
    query, states, mask = inputs(tgt=1)
    with pytest.raises(AssertionError, match="pass the past that the previous call"):
        attention(query, attention.memorize(states, mask))
