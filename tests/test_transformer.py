"""Self-attention: the lesson's steps, torch's own modules with the same weights, the cache of the decoder."""

import math

import pytest
import torch
from random_model import SENTENCES, batch_of, random_model
from torch import nn

from seq2seq.decoding.search import Limits, beam_search
from seq2seq.model.attention import Memory, MultiHead, Sizes
from seq2seq.model.encoder import SelfAttentionEncoder
from seq2seq.model.transformer import Cache, DecoderLayer, EncoderLayer, TransformerDecoder, add_positions

LENGTHS = (5, 3, 1)
TGT = torch.tensor([[2, 5, 7, 9, 6], [2, 8, 8, 4, 0], [2, 11, 0, 0, 0]])


def states_and_mask(size=8):
    torch.manual_seed(2)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(len(LENGTHS), max(LENGTHS), size, dtype=torch.float64), mask


def copy_attention(theirs, ours):
    theirs.in_proj_weight.copy_(torch.cat([ours.W_q.weight, ours.W_k.weight, ours.W_v.weight]))
    theirs.in_proj_bias.copy_(torch.cat([ours.W_q.bias, ours.W_k.bias, ours.W_v.bias]))
    theirs.out_proj.load_state_dict(ours.W_o.state_dict())


def copy_common(theirs, ours):
    """Self-attention, feed-forward part and norms of a layer."""
    copy_attention(theirs.self_attn, ours.self_attention)
    theirs.linear1.load_state_dict(ours.feed_forward.W_1.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.W_2.state_dict())
    for name in ("norm1", "norm2", "norm3"):
        if hasattr(theirs, name):
            getattr(theirs, name).load_state_dict(getattr(ours, name.replace("norm", "norm_")).state_dict())


def lively(module):
    with torch.no_grad():
        for weight in module.parameters():
            weight += torch.randn_like(weight) * 0.3  # norms and biases too
    return module.double().eval()


def test_self_attention_of_one_head_is_softmax_of_q_k_over_root_d_times_v():
    """Z = softmax(Q K^T / sqrt(d_k)) V with Q = X W_Q, K = X W_K, V = X W_V, number by number."""
    torch.manual_seed(1)
    attention = MultiHead(Sizes(3, 3, 1)).double()
    X = torch.randn(1, 4, 3, dtype=torch.float64)
    Z, weights, _ = attention(X, attention.memorize(X, torch.ones(1, 4, dtype=torch.bool)))

    def linear(layer, x):
        return [
            b + sum(w * v for w, v in zip(row, x, strict=True))
            for row, b in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        ]

    rows = X[0].tolist()
    Q, K, V = ([linear(layer, x) for x in rows] for layer in (attention.W_q, attention.W_k, attention.W_v))
    for t, q in enumerate(Q):
        powers = [math.exp(sum(a * b for a, b in zip(q, k, strict=True)) / math.sqrt(3)) for k in K]
        a = [power / sum(powers) for power in powers]
        z = [sum(weight * v[j] for weight, v in zip(a, V, strict=True)) for j in range(3)]
        assert weights[0, 0, t].tolist() == pytest.approx(a, rel=1e-9)
        assert Z[0, t].tolist() == pytest.approx(linear(attention.W_o, z), rel=1e-9)


@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_self_attention_equals_that_of_torch(num_heads):
    torch.manual_seed(1)
    ours = MultiHead(Sizes(8, 8, num_heads)).double()
    theirs = nn.MultiheadAttention(8, num_heads, batch_first=True).double()
    with torch.no_grad():
        copy_attention(theirs, ours)
    X, mask = states_and_mask()
    Z, weights, _ = ours(X, ours.memorize(X, mask))
    expected = theirs(X, X, X, key_padding_mask=~mask, average_attn_weights=False)
    torch.testing.assert_close((Z, weights), expected)


@torch.no_grad()
@pytest.mark.parametrize("num_heads", [1, 4])
def test_an_encoder_layer_equals_that_of_torch(num_heads):
    torch.manual_seed(1)
    ours = lively(EncoderLayer(8, num_heads))
    theirs = nn.TransformerEncoderLayer(8, num_heads, 32, dropout=0.0, batch_first=True, norm_first=True).double()
    copy_common(theirs, ours)
    x, mask = states_and_mask()
    z, _ = ours(x, mask)
    theirs.train()  # in eval mode it takes another road, which zeroes padding
    torch.testing.assert_close(z[mask], theirs(x, src_key_padding_mask=~mask)[mask])


@torch.no_grad()
@pytest.mark.parametrize("num_heads", [1, 4])
def test_a_decoder_layer_equals_that_of_torch(num_heads):
    torch.manual_seed(1)
    ours = lively(DecoderLayer(8, MultiHead(Sizes(8, 8, num_heads))))
    theirs = nn.TransformerDecoderLayer(8, num_heads, 32, dropout=0.0, batch_first=True, norm_first=True).double()
    copy_common(theirs, ours)
    copy_attention(theirs.multihead_attn, ours.attention)
    states, mask = states_and_mask()
    x = torch.randn(3, 6, 8, dtype=torch.float64)
    nothing = x.new_zeros(3, num_heads, 0, 8 // num_heads)
    first = torch.zeros(3, dtype=torch.long)
    z = ours(x, ours.attention.memorize(states, mask), Cache(nothing, nothing, first)).states
    causal = nn.Transformer.generate_square_subsequent_mask(6, dtype=torch.float64)
    torch.testing.assert_close(z, theirs(x, states, tgt_mask=causal, memory_key_padding_mask=~mask))


def test_positions_are_the_papers_sines_and_cosines():
    x = torch.zeros(1, 30, 6, dtype=torch.float64)
    got = add_positions(x)[0]
    for t in range(30):
        for i in range(3):
            angle = t / 10_000 ** (2 * i / 6)
            assert got[t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert got[t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)
    torch.testing.assert_close(add_positions(x[:, :1], torch.tensor([17]))[0, 0], got[17])
    ones = torch.ones(1, 30, 6, dtype=torch.float64)
    torch.testing.assert_close(add_positions(ones)[0], got + math.sqrt(6))


@torch.no_grad()
@pytest.mark.parametrize("encoder", [{"type": "self_attention", "num_layers": 2}, {"self_attention_layers": 2}])
def test_the_encoder_ignores_padding_and_shows_its_weights(encoder):
    model = random_model(embedding_size=8, encoder=encoder)
    assert isinstance(model.encoder, SelfAttentionEncoder)
    src, lengths = batch_of(SENTENCES)
    states, summary, weights = model.encoder(src, lengths)
    model.encoder.embedding.weight[0] = 7.0
    torch.testing.assert_close(model.encoder(src, lengths).states, states)
    assert weights.shape == (3, 2 * 2, 5, 5)  # two layers of two heads
    for i, sentence in enumerate(SENTENCES):
        alone = model.encoder(*batch_of([sentence]))
        torch.testing.assert_close(states[i, : len(sentence)], alone.states[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(summary[i], alone.states[0].mean(0), rtol=1e-4, atol=1e-5)
        assert not states[i, len(sentence) :].any()
        assert not weights[i, ..., len(sentence) :].any()
        rows = weights[i, :, : len(sentence)].sum(-1)
        torch.testing.assert_close(rows, torch.ones_like(rows))


@torch.no_grad()
def test_without_recurrence_positions_are_what_tells_word_order():
    model = random_model(embedding_size=8, encoder={"type": "self_attention"})
    one = model.encoder(*batch_of([[5, 7, 6, 3]]))
    other = model.encoder(*batch_of([[7, 5, 6, 3]]))
    assert not torch.allclose(one.summary, other.summary, atol=1e-3)


def transformer(**options):
    return random_model("multi_head", embedding_size=8, decoder={"type": "transformer", "num_layers": 2}, **options)


@torch.no_grad()
def test_no_position_sees_a_later_one():
    model = transformer()
    src, lengths = batch_of(SENTENCES)
    before, _, _ = model(src, lengths, TGT)
    changed = TGT.clone()
    changed[:, 3:] = 9
    after, _, _ = model(src, lengths, changed)
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert not torch.allclose(after[:, 3], before[:, 3])


@torch.no_grad()
def test_greedy_from_the_cache_equals_recomputing_everything():
    model = transformer(spread=2)
    limits = Limits(2, 3, (0, 1, 2), torch.tensor([8, 8, 8]))
    found = beam_search(model.step, model.encode(*batch_of(SENTENCES)), limits, beam=1)
    for sentence, (best,) in zip(SENTENCES, found, strict=True):
        tokens = [2]
        while len(tokens) < 8:
            s, _, _ = model(*batch_of([sentence]), torch.tensor([tokens]))
            logits = model.logits(s)[0, -1]
            logits[[0, 1, 2]] = -math.inf
            tokens.append(int(logits.argmax()))
            if tokens[-1] == 3:
                break
        assert best.tokens == [token for token in tokens[1:] if token != 3]


@torch.no_grad()
def test_a_step_projects_its_own_position_and_none_before_it():
    model = transformer()
    model.decoder.W_y.bias[3] = -100  # the end comes with the limit
    widths = []
    for layer in model.decoder.layers:
        layer.self_attention.W_k.register_forward_hook(lambda _, inputs, __: widths.append(inputs[0].size(1)))
    limits = Limits(2, 3, (0, 1, 2), torch.tensor([6, 6, 6]))
    beam_search(model.step, model.encode(*batch_of(SENTENCES)), limits, beam=2)
    assert len(widths) > 4
    assert set(widths) == {1}


@torch.no_grad()
def test_the_source_is_projected_once_a_sentence_in_each_layer():
    model = transformer()
    calls = []
    for layer in model.decoder.layers:
        layer.attention.W_k.register_forward_hook(lambda *_: calls.append(1))
    limits = Limits(2, 3, (0, 1, 2), torch.tensor([6, 6, 6]))
    beam_search(model.step, model.encode(*batch_of(SENTENCES)), limits, beam=2)
    assert len(calls) == 2


def test_gradients_of_an_encoder_layer_are_the_numerical_ones():
    torch.manual_seed(1)
    layer = lively(EncoderLayer(4, 2))
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    assert torch.autograd.gradcheck(lambda x, *_: layer(x, mask)[0][mask], (x, *layer.parameters()))


@torch.no_grad()
def test_dropout_falls_in_training_only():
    model = transformer(dropout=0.5, encoder={"type": "self_attention"})
    batch = (*batch_of(SENTENCES), TGT)
    torch.testing.assert_close(model(*batch), model(*batch), rtol=0, atol=0)
    model.train()
    assert not torch.allclose(model(*batch)[0], model(*batch)[0])


def test_a_memory_may_have_a_mask_for_every_query():
    attention = MultiHead(Sizes(8, 8, 2)).double()
    X, _ = states_and_mask()
    memory = attention.memorize(X, torch.ones(3, 5, dtype=torch.bool))
    causal = torch.ones(1, 1, 5, 5, dtype=torch.bool).tril()
    _, weights, _ = attention(X, Memory(memory.keys, memory.values, causal))
    assert not weights.triu(1).any()
    assert isinstance(transformer().decoder, TransformerDecoder)


def test_gradients_of_a_decoder_layer_are_the_numerical_ones():
    torch.manual_seed(1)
    layer = lively(DecoderLayer(4, MultiHead(Sizes(4, 4, 2))))
    states, mask = torch.randn(2, 3, 4, dtype=torch.float64), torch.tensor([[True] * 3, [True, True, False]])
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    nothing, first = x.new_zeros(2, 2, 0, 2), torch.zeros(2, dtype=torch.long)

    def output(x, *_):
        return layer(x, layer.attention.memorize(states, mask), Cache(nothing, nothing, first)).states

    assert torch.autograd.gradcheck(output, (x, *layer.parameters()))
