"""The decoder and the whole model: the equations in scalars, any number of positions, padding, ties, dropout."""

import math
from itertools import product

import pytest
import torch
from jaxtyping import TypeCheckError
from random_model import SENTENCES, SRC_VOCAB, TGT_VOCAB, batch_of, random_model
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from seq2seq.errors import UserError
from seq2seq.model.attention import SCORES, Sizes, build_attention
from seq2seq.model.decoder import BahdanauDecoder, GnmtDecoder, LuongDecoder
from seq2seq.model.past import PASTS
from seq2seq.model.recurrent import LAYERS, Recurrent

TGT = torch.tensor([[2, 5, 7, 9, 6], [2, 8, 8, 4, 0], [2, 11, 0, 0, 0]])


def times(W, x, b=None):
    product = [sum(w * value for w, value in zip(row, x, strict=True)) for row in W]
    return product if b is None else [p + value for p, value in zip(product, b, strict=True)]


def tanh(x, y=None):
    return [math.tanh(a + b) for a, b in zip(x, y or [0.0] * len(x), strict=True)]


@torch.no_grad()
@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("kind", [LuongDecoder, BahdanauDecoder, GnmtDecoder])
def test_the_decoders_are_their_equations(kind, input_feeding):
    torch.manual_seed(1)
    embed, hidden, attentional, vocab = 2, 3, 4, 5
    looks_first, has_upper = kind is BahdanauDecoder, kind is GnmtDecoder
    recurrent = Recurrent("rnn", embed + attentional * input_feeding + hidden * looks_first, hidden)
    decoder = kind(
        nn.Embedding(vocab, embed),
        recurrent,
        build_attention("dot", Sizes(hidden, hidden)),
        nn.Linear(attentional, vocab),
        summary_size=hidden,
        input_feeding=input_feeding,
        upper=Recurrent("rnn", 2 * hidden, hidden) if has_upper else None,
    ).double()
    states, summary = torch.randn(1, 4, hidden).double(), torch.randn(1, hidden).double()
    mask = torch.ones(1, 4, dtype=torch.bool)
    tokens = [2, 4, 1]
    start = decoder.start(summary, mask)
    got_s, got_a, end = decoder(torch.tensor([tokens]), decoder.memorize(states, mask), start)
    logits = decoder.W_y(got_s)
    assert (start.position.item(), end.position.item()) == (0, 3)

    w = {name: value.tolist() for name, value in decoder.named_parameters()}
    keys = states[0].tolist()
    first = times(w["bridge.weight"], summary.flatten().tolist(), w["bridge.bias"])
    h, h_2 = first[:hidden], first[hidden:]
    s = [0.0] * attentional

    def look(h):
        powers = [math.exp(e) for e in times(keys, h)]
        a = [power / sum(powers) for power in powers]
        return a, times(zip(*keys, strict=True), a)

    def step(stack, x, h):
        W_ih, W_hh, b_ih, b_hh = (
            w[f"{stack}.layers.0.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        return tanh(times(W_ih, x, b_ih), times(W_hh, h, b_hh))

    for t, token in enumerate(tokens):
        y = w["embedding.weight"][token] + (s if input_feeding else [])  # [y; s_{t-1}]
        a, c = look(h)  # at h_{t-1}
        h = step("recurrent", y + c if looks_first else y, h)  # [y; c_t]
        if not looks_first:
            a, c = look(h)
        if has_upper:
            h_2 = step("upper", h + c, h_2)  # [h'_t; c_t]
        s = tanh(times(w["W_c.weight"], c + (h_2 if has_upper else h), w["W_c.bias"]))
        assert got_a[0, 0, t].tolist() == pytest.approx(a, rel=1e-9)
        assert got_s[0, t].tolist() == pytest.approx(s, rel=1e-9)
        assert logits[0, t].tolist() == pytest.approx(times(w["W_y.weight"], s, w["W_y.bias"]), rel=1e-9)


def combinations():
    """Every encoder, decoder, score, window and memory of the past that a config allows together."""
    encoders = ({}, {"type": "self_attention", "num_layers": 2}, {"self_attention_layers": 1})
    decoders = [
        {"type": kind, "input_feeding": f} for kind in ("rnn", "bahdanau", "gnmt", "transformer") for f in (False, True)
    ]
    windows = ("global", "local_m", "local_p")
    for encoder, decoder, score, window, past in product(encoders, decoders, SCORES, windows, PASTS):
        if encoder and (window, past) != ("local_p", "none"):
            continue  # what the decoder does with the states does not depend on where they come from
        keys = {"window": window} | ({past: True} if past != "none" else {})
        shown = [*encoder.values(), decoder["type"], "feeding" * decoder["input_feeding"], score, window, past]
        arguments = {"encoder": encoder, "decoder": {**decoder, "num_layers": 2}, "attention": {"score": score, **keys}}
        try:
            random_model(embedding_size=8, spread=1, **arguments)
        except UserError:
            continue
        yield pytest.param(arguments, id="-".join(str(word) for word in shown if word))


COMBINATIONS = list(combinations())


def test_the_combinations_are_many():
    assert len(COMBINATIONS) > 200


@torch.no_grad()
@pytest.mark.parametrize("arguments", COMBINATIONS)
def test_of_every_combination_steps_give_what_all_positions_at_once_give_and_padding_does_not_matter(arguments):
    model = random_model(embedding_size=8, spread=2, **arguments)
    src, lengths = batch_of(SENTENCES)
    attentional, weights, _ = model(src, lengths, TGT)
    log_probs = model.logits(attentional).log_softmax(-1)
    decoding = model.encode(src, lengths)
    for t in range(TGT.size(1)):
        step, decoding = model.step(TGT[:, t], decoding, torch.arange(len(TGT)))
        torch.testing.assert_close(step, log_probs[:, t], rtol=1e-4, atol=1e-4)
    for i, sentence in enumerate(SENTENCES):
        real = int((TGT[i] != 0).sum())
        alone, a, _ = model(*batch_of([sentence]), TGT[i : i + 1, :real])
        torch.testing.assert_close(attentional[i, :real], alone[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(weights[i, :, :real, : len(sentence)], a[0], rtol=1e-4, atol=1e-4)
        assert not weights[i, ..., len(sentence) :].any()


@torch.no_grad()
@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("kind", ["rnn", "bahdanau", "gnmt"])
@pytest.mark.parametrize("cell", LAYERS)
def test_of_every_cell_steps_give_what_all_positions_at_once_give(cell, kind, input_feeding):
    decoder = {"type": kind, "input_feeding": input_feeding}
    model = random_model("concat", cell, decoder_layers=3, residual=True, decoder=decoder)
    src, lengths = batch_of(SENTENCES)
    attentional, weights, end = model.decoder(TGT, *model.encode(src, lengths))
    log_probs = model.logits(attentional).log_softmax(-1)
    decoding = model.encode(src, lengths)
    for t in range(TGT.size(1)):
        _, a, _ = model.decoder(TGT[:, t : t + 1], *decoding)
        step, decoding = model.step(TGT[:, t], decoding, torch.arange(len(TGT)))
        torch.testing.assert_close(step, log_probs[:, t], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(a, weights[:, :, t : t + 1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decoding.state, end, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("score", SCORES)
def test_what_lies_on_padding_does_not_matter(score, input_feeding):
    model = random_model(score, decoder={"input_feeding": input_feeding})
    src, lengths = batch_of(SENTENCES)
    before = model(src, lengths, TGT)
    for embedding in (model.encoder.embedding, model.decoder.embedding):
        embedding.weight[0] = 7.0
    after = model(src, lengths, TGT)
    for i, sentence in enumerate(SENTENCES):
        real = int((TGT[i] != 0).sum())
        torch.testing.assert_close(after[0][i, :real], before[0][i, :real])
        torch.testing.assert_close(after[1][i, :, :real, : len(sentence)], before[1][i, :, :real, : len(sentence)])


@torch.no_grad()
def test_without_attention_the_source_enters_through_the_first_state_alone():
    model = random_model("none")
    src, lengths = batch_of(SENTENCES)
    memory, state = model.encode(src, lengths)
    s, _, _ = model.decoder(TGT, memory, state)
    other, _, _ = model.decoder(TGT, model.encode(torch.full_like(src, 9), lengths).memory, state)
    torch.testing.assert_close(s, other, rtol=0, atol=0)
    third, _, _ = model.decoder(TGT, memory, state._replace(rnn=-state.rnn))
    assert not torch.allclose(s, third)


@torch.no_grad()
@pytest.mark.parametrize(("cell", "parts"), [("rnn", 1), ("gru", 1), ("lstm", 2)])
def test_the_bridge_makes_the_first_state_of_every_layer_from_the_encoders_top_one(cell, parts):
    model = random_model(cell=cell, encoder_layers=2, decoder_layers=3)
    src, lengths = batch_of(SENTENCES)
    _, summary, weights = model.encoder(src, lengths)
    state = model.decoder.start(summary, src != 0)
    assert state.rnn.shape == (3, 3, parts, 8)
    assert state.attentional.shape == (3, 1, 6)
    assert not state.attentional.any()
    assert not state.position.any()
    assert weights.size(1) == 0
    _, last = model.encoder.recurrent(pack_padded_sequence(model.encoder.embedding(src), lengths, True, False))
    torch.testing.assert_close(summary, last[:, 1].flatten(1))
    torch.testing.assert_close(state.rnn.flatten(1), model.decoder.bridge(summary), rtol=0, atol=0)


def test_what_is_tied_is_one_tensor_and_is_counted_once():
    def count(tie):
        model = random_model(tie=tie)
        embeddings = (model.encoder.embedding.weight, model.decoder.embedding.weight, model.decoder.W_y.weight)
        return len({weight.data_ptr() for weight in embeddings}), sum(p.numel() for p in model.parameters())

    (none, numbers_none), (decoder, numbers_decoder), (joint, numbers_joint) = map(count, ("none", "decoder", "all"))
    assert (none, decoder, joint) == (3, 2, 1)
    embed, hidden = 6, 8  # W_y and W_c give and take the embedding's size where tied, hidden_size where not
    assert numbers_none - numbers_decoder == TGT_VOCAB * hidden + (hidden - embed) * (2 * hidden + 1)
    assert numbers_decoder - numbers_joint == SRC_VOCAB * embed


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
def test_dropout_falls_on_embeddings_and_on_the_attentional_state_before_the_vocabulary_in_training_only(training):
    model = random_model(dropout=0.5).train(training)
    seen = []
    for module in (model.encoder.recurrent, model.decoder.recurrent, model.decoder.W_y):
        module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    attentional, _, _ = model(*batch_of(SENTENCES[:1]), TGT[:1])
    model.logits(attentional)
    src, tgt, s = seen
    for x in (src.data, tgt, s):
        assert (x == 0).any() == training


@torch.no_grad()
@pytest.mark.parametrize("kind", ["rnn", "transformer"])
def test_word_dropout_zeroes_whole_tokens_of_both_sides_and_scales_the_others_in_training_only(kind):
    model = random_model(
        "multi_head", embedding_size=8, dropout=0.0, word_dropout=0.25, tie="none",
        encoder={} if kind == "rnn" else {"type": "self_attention"}, decoder={"type": kind},
    )  # fmt: skip
    seen, tokens = {}, torch.randint(4, TGT_VOCAB, (40, 50))
    for side in (model.encoder, model.decoder):
        side.embedding.register_forward_hook(lambda embedding, _, vectors: seen.update({embedding: vectors}))
    for training in (True, False):
        model.train(training)(tokens, torch.full((40,), 50), tokens)
        for embedding, vectors in seen.items():
            dropped = (vectors == 0).all(-1)
            whole = embedding.weight[tokens] / (0.75 if training else 1)
            torch.testing.assert_close(vectors[~dropped], whole[~dropped])
            assert 0.2 < dropped.float().mean() < 0.3 if training else not dropped.any()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["rnn", "transformer"])
def test_dropout_of_the_encoder_zeroes_numbers_of_its_states_and_scales_the_others_in_training_only(monkeypatch, kind):
    encoder = {"dropout": 0.25} | ({} if kind == "rnn" else {"type": "self_attention"})
    model = random_model("multi_head", embedding_size=8, dropout=0.0, encoder=encoder, decoder={"type": kind})
    seen, memorize, (src, lengths) = [], model.decoder.memorize, batch_of([[5, 6, 7] * 30])
    monkeypatch.setattr(
        model.decoder, "memorize", lambda states, mask: (seen.append(states), memorize(states, mask))[1]
    )
    for training in (True, False):
        model.train(training)(src, lengths, TGT[:1])
    states, dropped = seen[1], seen[0] == 0
    assert 0.2 < dropped.float().mean() < 0.3
    torch.testing.assert_close(seen[0][~dropped], states[~dropped] / 0.75)


@torch.no_grad()
def test_in_eval_nothing_is_random():
    model = random_model(dropout=0.5, encoder_layers=2, decoder_layers=2, decoder={"input_feeding": True})
    batch = (*batch_of(SENTENCES), TGT)
    torch.testing.assert_close(model(*batch), model(*batch), rtol=0, atol=0)


def test_a_tensor_of_another_shape_than_the_signature_says_is_an_error_in_tests():
    model = random_model()
    decoding = model.encode(*batch_of(SENTENCES))
    with pytest.raises(TypeCheckError):
        model.step(TGT, decoding, torch.arange(len(TGT)))  # rows and positions; a step takes rows
