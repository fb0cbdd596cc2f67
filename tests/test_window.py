"""Windows: the formulas of Luong et al. (2015, section 3.2) in scalars, both ends of a sentence, padding."""

import math

import pytest
import torch
from random_model import SENTENCES, batch_of, random_model
from torch import nn

from seq2seq.model.attention import Sizes, build_attention
from seq2seq.model.window import LocalP

LENGTHS = (7, 4, 1)
D = 2


def inputs(tgt=12, hidden=4, lengths=LENGTHS):
    torch.manual_seed(1)
    query = torch.randn(len(lengths), tgt, hidden, dtype=torch.float64)
    states = torch.randn(len(lengths), max(lengths), hidden, dtype=torch.float64)
    return query, states, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def attention_with(window, score="general", **options):
    torch.manual_seed(2)
    attention = build_attention(score, Sizes(4, 4, num_heads=2), window=window, window_size=D, **options).double()
    with torch.no_grad():
        for weight in attention.parameters():
            weight *= 3
    return attention


def center_in_scalars(window, attention, h, t, S):
    if window == "local_m":
        return min(t, S - 1)
    W_p, v_p = attention.window.W_p.weight.tolist(), attention.window.v_p.weight[0].tolist()
    inner = sum(v * math.tanh(sum(w * x for w, x in zip(row, h, strict=True))) for v, row in zip(v_p, W_p, strict=True))
    return S / (1 + math.exp(-inner))


@pytest.mark.parametrize("score", ["dot", "general", "concat"])
@pytest.mark.parametrize("window", ["local_m", "local_p"])
def test_weights_are_the_papers_also_of_a_target_longer_than_the_source_and_the_window(window, score):
    attention, everywhere = attention_with(window, score), attention_with("global", score)
    everywhere.load_state_dict({k: v for k, v in attention.state_dict().items() if "window" not in k})
    query, states, mask = inputs(tgt=12)  # S + D is 9, 6 and 3
    memory = attention.memorize(states, mask)
    context, weights, _ = attention(query, memory)
    scores = everywhere.score(everywhere.query(query)[:, None], memory.keys)
    for b, S in enumerate(LENGTHS):
        for t in range(12):
            p = center_in_scalars(window, attention, query[b, t].tolist(), t, S)
            inside = [s for s in range(S) if abs(s - p) <= D]
            total = sum(math.exp(scores[b, 0, t, s].item()) for s in inside)
            expected = [0.0] * max(LENGTHS)
            for s in inside:
                fall = math.exp(-((s - p) ** 2) / (2 * (D / 2) ** 2)) if window == "local_p" else 1.0
                expected[s] = math.exp(scores[b, 0, t, s].item()) / total * fall
            assert inside
            assert weights[b, 0, t].tolist() == pytest.approx(expected, abs=1e-12)
            value = [sum(a * x for a, x in zip(expected, column, strict=True)) for column in states[b].T.tolist()]
            assert context[b, t].tolist() == pytest.approx(value, abs=1e-12)


def test_monotonic_weights_sum_to_one_and_predictive_ones_to_less():
    query, states, mask = inputs()
    for window, whole in (("local_m", True), ("local_p", False)):
        attention = attention_with(window)
        total = attention(query, attention.memorize(states, mask))[1].sum(-1)
        assert torch.allclose(total, torch.ones_like(total)) == whole
        assert (total < 1 + 1e-9).all()
        assert (total > 0).all()


@pytest.mark.parametrize("push", [-1e3, 1e3])
def test_a_predicted_center_at_either_end_leaves_weight_inside_the_sentence(push):
    attention = attention_with("local_p", "dot")
    query, states, mask = inputs()
    with torch.no_grad():
        attention.window.W_p.weight.copy_(torch.eye(4) * push)
        attention.window.v_p.weight.fill_(1e3)
    query = query.abs()
    _, weights, _ = attention(query, attention.memorize(states, mask))
    assert weights.isfinite().all()
    for b, S in enumerate(LENGTHS):
        p = S if push > 0 else 0
        for s in range(S):
            assert (weights[b, 0, :, s] > 0).all() == (abs(s - p) <= D)


@pytest.mark.parametrize("score", ["dot", "cosine", "concat", "multi_head"])
@pytest.mark.parametrize("window", ["global", "local_m", "local_p"])
def test_gradients_are_the_numerical_ones(window, score):
    attention = attention_with(window, score)
    query, states, mask = inputs(tgt=3, lengths=(3, 2))
    inputs_ = (query.requires_grad_(), states.requires_grad_(), *attention.parameters())
    assert torch.autograd.gradcheck(
        lambda query, states, *_: attention(query, attention.memorize(states, mask))[:2], inputs_
    )


@pytest.mark.parametrize("score", ["dot", "scaled_dot", "cosine", "general", "concat", "multi_head"])
@pytest.mark.parametrize("window", ["local_m", "local_p"])
def test_no_weight_on_padding_whatever_lies_there(window, score):
    attention = attention_with(window, score)
    query, states, mask = inputs()
    _, weights, _ = attention(query, attention.memorize(states, mask))
    assert not weights.masked_select(~mask[:, None, None]).any()
    hostile = states.masked_fill(~mask[:, :, None], 1e6)
    torch.testing.assert_close(attention(query, attention.memorize(hostile, mask))[1], weights)


@pytest.mark.parametrize("window", ["local_m", "local_p"])
def test_a_query_late_in_the_target_is_told_its_position(window):
    attention = attention_with(window)
    query, states, mask = inputs()
    memory = attention.memorize(states, mask)
    _, weights, _ = attention(query, memory)
    for t in range(12):
        _, alone, _ = attention(query[:, t : t + 1], memory, torch.full((3,), t))
        torch.testing.assert_close(alone, weights[:, :, t : t + 1])


@torch.no_grad()
@pytest.mark.parametrize("window", ["local_m", "local_p"])
def test_hypotheses_that_share_a_memory_have_their_own_windows(window):
    attention = attention_with(window)
    _, states, mask = inputs()
    memory, beam = attention.memorize(states, mask), 3
    query = torch.randn(len(LENGTHS) * beam, 1, 4, dtype=torch.float64)
    position = torch.arange(len(LENGTHS) * beam)
    copied = memory.repeat(beam)
    torch.testing.assert_close(attention(query, memory, position)[:2], attention(query, copied, position)[:2])


def test_temperature_divides_the_scores():
    query, states, mask = inputs()
    plain, warm = attention_with("global"), attention_with("global", temperature=4.0)
    scores = plain.score(query[:, None], plain.memorize(states, mask).keys)
    expected = (scores / 4).masked_fill(~mask[:, None, None], -math.inf).softmax(-1)
    torch.testing.assert_close(warm(query, warm.memorize(states, mask))[1], expected)


def test_a_sharp_temperature_looks_at_one_place_and_a_flat_one_everywhere():
    query, states, mask = inputs()
    for temperature, bound in ((1e-4, 1.0), (1e6, 1 / 7)):
        attention = attention_with("global", temperature=temperature)
        weights = attention(query, attention.memorize(states, mask))[1]
        torch.testing.assert_close(
            weights[0].amax(-1), torch.full((1, 12), bound, dtype=torch.float64), atol=1e-3, rtol=0
        )


@torch.no_grad()
def test_a_wide_window_is_the_global_one():
    wide = random_model("dot", attention={"window": "local_m", "window_size": 50})
    everywhere = random_model("dot")
    tgt = torch.tensor([[2, 5, 7], [2, 8, 8], [2, 11, 4]])
    torch.testing.assert_close(wide(*batch_of(SENTENCES), tgt), everywhere(*batch_of(SENTENCES), tgt))


def test_the_predictive_window_learns_through_its_center():
    attention = attention_with("local_p", "dot")
    query, states, mask = inputs()
    attention(query, attention.memorize(states, mask))[0].sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in attention.window.parameters())
    assert isinstance(attention.window.W_p, nn.Linear)


def test_under_autocast_the_predicted_window_is_the_one_of_full_precision():
    torch.manual_seed(3)
    window = LocalP(8, D).float()
    query, mask = torch.randn(2, 5, 8), torch.ones(2, 1, 1, 300, dtype=torch.bool)
    t = torch.zeros(2, 5, dtype=torch.long)
    expected = window(query, t, mask)
    with torch.autocast("cpu", torch.bfloat16):
        got = window(query, t, mask)
    torch.testing.assert_close(got, expected)
    assert got[1].dtype == torch.float32
