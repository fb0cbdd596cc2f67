"""Attention: every score against its formula in scalars, and what all scores share."""

import copy
import math

import pytest
import torch
from random_model import SENTENCES, batch_of, random_model
from torch import nn

from seq2seq.decoding.search import Limits, beam_search
from seq2seq.model.attention import SCORES, Sizes, build_attention

SIZES = {"dot": (4, 4), "scaled_dot": (4, 4), "cosine": (4, 4)}  # (query, state); others may differ
LENGTHS = (5, 3, 1)
LOOKING = [score for score in SCORES if score != "none"]


def attention_of(score, seed=1, **options):
    """In float64, with weights that make the distributions far from uniform."""
    torch.manual_seed(seed)
    sizes = Sizes(*SIZES.get(score, (4, 6)), num_heads=2, max_positions=8, **options)
    attention = build_attention(score, sizes).double()
    with torch.no_grad():
        for weight in attention.parameters():
            weight *= 3
    return attention


def inputs_of(attention, lengths=LENGTHS, tgt=4, seed=2):
    """Queries, states and mask; the states on padding are numbers that must not matter."""
    torch.manual_seed(seed)
    query = torch.randn(len(lengths), tgt, attention.query_size, dtype=torch.float64)
    states = torch.randn(len(lengths), max(lengths), attention.state_size, dtype=torch.float64)
    return query, states, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def look(attention, query, states, mask):
    context, weights, _ = attention(query, attention.memorize(states, mask))
    return context, weights


# ------------------------------------------------------------------------------ the formulas, a number at a time


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def times(W, x):
    return [dot(row, x) for row in W]


def score_in_scalars(score, weights, h, k, i):
    """e for one query h and the key at position i, lists of floats."""
    match score:
        case "dot":
            return dot(h, k)
        case "scaled_dot":
            return dot(h, k) / math.sqrt(len(k))
        case "cosine":
            return weights["beta"] * dot(h, k) / math.sqrt(dot(h, h)) / math.sqrt(dot(k, k))
        case "general":
            return dot(h, times(weights["W_a.weight"], k))
        case "concat":
            W_a = [q + k for q, k in zip(weights["W_q.weight"], weights["W_k.weight"], strict=True)]  # [W_q, W_k]
            return dot(weights["v_a.weight"][0], [math.tanh(x) for x in times(W_a, h + k)])
        case "location":
            return dot(weights["W_a.weight"][i], h)


def softmax_in_scalars(scores):
    powers = [math.exp(e) for e in scores]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("score", ["dot", "scaled_dot", "cosine", "general", "concat", "location"])
def test_scores_weights_and_context_are_the_equations(score):
    attention = attention_of(score)
    query, states, mask = inputs_of(attention)
    context, weights = look(attention, query, states, mask)
    assert weights.shape == (3, 1, 4, 5)
    parameters = {name: value.tolist() for name, value in attention.named_parameters()}
    for b, length in enumerate(LENGTHS):
        keys = states[b, :length].tolist()
        for t, h in enumerate(query[b].tolist()):
            a = softmax_in_scalars([score_in_scalars(score, parameters, h, k, i) for i, k in enumerate(keys)])
            c = [dot(a, column) for column in zip(*keys, strict=True)]
            assert weights[b, 0, t, :length].tolist() == pytest.approx(a, rel=1e-9)
            assert context[b, t].tolist() == pytest.approx(c, rel=1e-9)


@pytest.mark.parametrize(("query_size", "state_size"), [(8, 8), (8, 6), (4, 10)])
@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_multi_head_equals_that_of_torch(query_size, state_size, num_heads):
    torch.manual_seed(1)
    ours = build_attention("multi_head", Sizes(query_size, state_size, num_heads)).double()
    theirs = nn.MultiheadAttention(query_size, num_heads, kdim=state_size, vdim=state_size, batch_first=True).double()
    with torch.no_grad():
        if query_size == state_size:
            theirs.in_proj_weight.copy_(torch.cat([ours.W_q.weight, ours.W_k.weight, ours.W_v.weight]))
        else:
            theirs.q_proj_weight.copy_(ours.W_q.weight)
            theirs.k_proj_weight.copy_(ours.W_k.weight)
            theirs.v_proj_weight.copy_(ours.W_v.weight)
        theirs.in_proj_bias.copy_(torch.cat([ours.W_q.bias, ours.W_k.bias, ours.W_v.bias]))
        theirs.out_proj.load_state_dict(ours.W_o.state_dict())
    query, states, mask = inputs_of(ours)
    context, weights = look(ours, query, states, mask)
    expected = theirs(query, states, states, key_padding_mask=~mask, average_attn_weights=False)
    torch.testing.assert_close((context, weights), expected)


def test_cosine_starts_equal_to_scaled_dot_on_vectors_of_norm_sqrt_d():
    cosine, scaled_dot = (build_attention(score, Sizes(9, 9)).double() for score in ("cosine", "scaled_dot"))
    assert cosine.beta.item() == pytest.approx(3)
    query, states, mask = inputs_of(cosine)
    query, states = (3 * nn.functional.normalize(x, dim=-1) for x in (query, states))
    torch.testing.assert_close(look(cosine, query, states, mask), look(scaled_dot, query, states, mask))


def test_cosine_does_not_depend_on_the_length_of_vectors():
    cosine = attention_of("cosine")
    query, states, mask = inputs_of(cosine)
    _, weights = look(cosine, query, states, mask)
    _, scaled = look(cosine, 7 * query, states * torch.tensor([1, 2, 3, 4, 5])[:, None], mask)
    torch.testing.assert_close(weights, scaled)


def test_location_does_not_depend_on_what_the_source_says():
    attention = attention_of("location")
    query, states, mask = inputs_of(attention)
    _, weights = look(attention, query, states, mask)
    _, others = look(attention, query, torch.randn_like(states), mask)
    torch.testing.assert_close(weights, others)


@pytest.mark.parametrize("length", [2, 3, 5])
def test_location_gives_no_weight_beyond_its_table(length):
    attention = build_attention("location", Sizes(4, 4, max_positions=3))
    query, states = torch.randn(1, 2, 4), torch.randn(1, length, 4)
    _, weights = look(attention, query, states, torch.ones(1, length, dtype=torch.bool))
    assert (weights[..., :3] > 0).all()
    assert (weights[..., 3:] == 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 1, 2))


def test_none_looks_at_nothing():
    attention = attention_of("none")
    context, weights = look(attention, *inputs_of(attention))
    assert context.shape == (3, 4, 6)
    assert weights.shape == (3, 1, 4, 5)
    assert not context.any()
    assert not weights.any()


# ------------------------------------------------------------------------------------------- what all scores share


@pytest.mark.parametrize("score", LOOKING)
def test_weights_sum_to_one_and_none_is_on_padding(score):
    attention = attention_of(score)
    query, states, mask = inputs_of(attention)
    _, weights = look(attention, query, states, mask)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert (weights >= 0).all()
    assert not weights.masked_select(~mask[:, None, None]).any()


@pytest.mark.parametrize("score", SCORES)
def test_what_lies_on_padding_does_not_matter(score):
    attention = attention_of(score)
    query, states, mask = inputs_of(attention)
    together = look(attention, query, states, mask)
    for b, length in enumerate(LENGTHS):
        context, weights = look(attention, query[b : b + 1], states[b : b + 1, :length], mask[b : b + 1, :length])
        torch.testing.assert_close(together[0][b : b + 1], context)
        torch.testing.assert_close(together[1][b : b + 1, ..., :length], weights)


@pytest.mark.parametrize("score", LOOKING)
def test_gradients_are_the_numerical_ones(score):
    attention = attention_of(score)
    query, states, mask = inputs_of(attention, lengths=(3, 2), tgt=2)
    inputs = (query.requires_grad_(), states.requires_grad_(), *attention.parameters())
    assert torch.autograd.gradcheck(lambda query, states, *_: look(attention, query, states, mask), inputs)


@pytest.mark.parametrize("score", LOOKING)
def test_padding_of_zeros_gets_no_gradient_and_makes_none_infinite(score):
    attention = attention_of(score)
    query, states, mask = inputs_of(attention)
    states = (states * mask[:, :, None]).requires_grad_()  # what the encoder gives
    context, weights = look(attention, query, states, mask)
    (context.sum() + weights.square().sum()).backward()
    assert states.grad.isfinite().all()
    assert not states.grad[~mask].any()
    assert all(weight.grad.isfinite().all() for weight in attention.parameters())


@pytest.mark.parametrize("score", SCORES)
def test_the_hypotheses_of_a_sentence_share_its_memory(score):
    attention, beam = attention_of(score), 3
    _, states, mask = inputs_of(attention)
    query, _, _ = inputs_of(attention, lengths=(1,) * len(LENGTHS) * beam, tgt=2)
    memory = attention.memorize(states, mask)
    copied = memory.select(torch.arange(len(LENGTHS)).repeat_interleave(beam))
    torch.testing.assert_close(attention(query, memory), attention(query, copied))


@pytest.mark.parametrize(
    ("score", "projections"),
    [("general", ["W_a"]), ("concat", ["W_k"]), ("multi_head", ["W_k", "W_v"])],
)
def test_keys_and_values_are_projected_once_a_sentence_and_not_in_a_step(score, projections):
    model = random_model(score)
    calls = []
    for name in projections:
        getattr(model.decoder.attention, name).register_forward_hook(lambda *_, name=name: calls.append(name))
    steps = []
    model.decoder.register_forward_hook(lambda *_: steps.append(1))
    limits = Limits(2, 3, (0, 1, 2), torch.tensor([6, 5, 6]))
    with torch.no_grad():
        model.decoder.W_y.bias[3] = -100  # the end comes with the limit
        beam_search(model.step, model.encode(*batch_of(SENTENCES)), limits, beam=3)
    assert calls == projections
    assert len(steps) > 1


# -------------------------------------------------------------------------------------- the chunks of concat


def gradients_and_saved(attention, query, states, mask):
    """Context, gradients of everything, and how many numbers were kept for them."""
    saved = []
    query, states = query.clone().requires_grad_(), states.clone().requires_grad_()

    def pack(tensor):
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        context, _ = look(attention, query, states, mask)
    grads = torch.autograd.grad(context.square().sum(), [query, states, *attention.parameters()])
    return context, grads, sum(saved)


@pytest.mark.parametrize("chunk_size", [1, 3, 8])
def test_chunks_of_concat_change_neither_values_nor_gradients(chunk_size):
    whole = attention_of("concat")
    chunked = copy.deepcopy(whole)
    chunked.chunk_size = chunk_size
    inputs = inputs_of(whole, tgt=8)
    torch.testing.assert_close(gradients_and_saved(whole, *inputs)[:2], gradients_and_saved(chunked, *inputs)[:2])


def test_chunks_of_concat_keep_less_for_the_gradient():
    whole, chunked = attention_of("concat"), attention_of("concat", chunk_size=2)
    inputs = inputs_of(whole, tgt=32)
    pairs = 3 * 32 * 5 * 4  # batch, tgt, src, hidden: what the tanh holds
    assert gradients_and_saved(whole, *inputs)[2] - gradients_and_saved(chunked, *inputs)[2] >= pairs
