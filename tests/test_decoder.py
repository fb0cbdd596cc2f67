"""The decoder and the whole model: the equations in scalars, any number of positions, padding, ties, dropout."""

import math

import pytest
import torch
from jaxtyping import TypeCheckError
from random_model import SENTENCES, SRC_VOCAB, TGT_VOCAB, batch_of, random_model
from torch import nn

from seq2seq.model.attention import SCORES, build_attention
from seq2seq.model.decoder import Decoder
from seq2seq.model.recurrent import CELLS, Recurrent

TGT = torch.tensor([[2, 5, 7, 9, 6], [2, 8, 8, 4, 0], [2, 11, 0, 0, 0]])


def times(W, x, b=None):
    product = [sum(w * value for w, value in zip(row, x, strict=True)) for row in W]
    return product if b is None else [p + value for p, value in zip(product, b, strict=True)]


def tanh(x, y=None):
    return [math.tanh(a + b) for a, b in zip(x, y or [0.0] * len(x), strict=True)]


@torch.no_grad()
@pytest.mark.parametrize("input_feeding", [False, True])
def test_the_decoder_is_its_equations(input_feeding):
    torch.manual_seed(1)
    embed, hidden, attentional, vocab = 2, 3, 4, 5
    recurrent = Recurrent("rnn", embed + attentional * input_feeding, hidden)
    decoder = Decoder(
        nn.Embedding(vocab, embed),
        recurrent,
        build_attention("dot", hidden, hidden),
        attentional,
        nn.Linear(attentional, vocab),
        encoder_last_size=hidden,
        input_feeding=input_feeding,
    ).double()
    states, last = torch.randn(1, 4, hidden).double(), torch.randn(1, 1, 1, hidden).double()
    memory = decoder.attention.memorize(states, torch.ones(1, 4, dtype=torch.bool))
    tokens = [2, 4, 1]
    got_s, got_a, _ = decoder(torch.tensor([tokens]), memory, decoder.start(last))
    logits = decoder.logits(got_s)

    w = {name: value.tolist() for name, value in decoder.named_parameters()}
    keys = states[0].tolist()
    h = times(w["bridge.weight"], last.flatten().tolist(), w["bridge.bias"])
    s = [0.0] * attentional
    for t, token in enumerate(tokens):
        y = w["embedding.weight"][token] + (s if input_feeding else [])  # [y; s_{t-1}]
        from_input = times(w["recurrent.layers.0.weight_ih_l0"], y, w["recurrent.layers.0.bias_ih_l0"])
        from_state = times(w["recurrent.layers.0.weight_hh_l0"], h, w["recurrent.layers.0.bias_hh_l0"])
        h = tanh(from_input, from_state)
        powers = [math.exp(e) for e in times(keys, h)]
        a = [power / sum(powers) for power in powers]
        c = times(zip(*keys, strict=True), a)
        s = tanh(times(w["W_c.weight"], c + h, w["W_c.bias"]))
        assert got_a[0, 0, t].tolist() == pytest.approx(a, rel=1e-9)
        assert got_s[0, t].tolist() == pytest.approx(s, rel=1e-9)
        assert logits[0, t].tolist() == pytest.approx(times(w["W_y.weight"], s, w["W_y.bias"]), rel=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("cell", CELLS)
def test_all_positions_at_once_give_what_steps_of_one_give(cell, score, input_feeding):
    model = random_model(score, cell, input_feeding=input_feeding, decoder_layers=2, residual=True)
    src, lengths = batch_of(SENTENCES)
    attentional, weights, end = model.decoder(TGT, *model.encode(src, lengths))
    logits = model.logits(attentional)
    decoding = model.encode(src, lengths)
    for t in range(TGT.size(1)):
        _, a, _ = model.decoder(TGT[:, t : t + 1], *decoding)
        step, decoding = model.step(TGT[:, t], decoding)
        torch.testing.assert_close(step, logits[:, t], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(a, weights[:, :, t : t + 1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decoding.state, end, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("score", SCORES)
def test_a_padded_batch_gives_what_each_sentence_gives_alone(score, input_feeding):
    model = random_model(score, input_feeding=input_feeding)
    for embedding in (model.encoder.embedding, model.decoder.embedding):
        embedding.weight[0] = 7.0  # whatever is on padding must not matter
    src, lengths = batch_of(SENTENCES)
    attentional, weights = model(src, lengths, TGT)
    for i, sentence in enumerate(SENTENCES):
        real = int((TGT[i] != 0).sum())
        alone, a = model(*batch_of([sentence]), TGT[i : i + 1, :real])
        torch.testing.assert_close(attentional[i, :real], alone[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(weights[i, :, :real, : len(sentence)], a[0], rtol=1e-4, atol=1e-5)
        assert not weights[i, ..., len(sentence) :].any()


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
    _, last = model.encoder(*batch_of(SENTENCES))
    state = model.decoder.start(last)
    assert state.rnn.shape == (3, 3, parts, 8)
    assert state.attentional.shape == (3, 1, 6)
    assert not state.attentional.any()
    below = last.clone()
    below[:, 0] += 1
    torch.testing.assert_close(model.decoder.start(below), state, rtol=0, atol=0)
    expected = model.decoder.bridge(last[:, 1].flatten(1))
    torch.testing.assert_close(state.rnn.flatten(1), expected, rtol=0, atol=0)


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
    model = random_model(dropout=0.5, input_feeding=True).train(training)
    seen = []
    for module in (model.encoder.recurrent, model.decoder.recurrent, model.decoder.W_y):
        module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    attentional, _ = model(*batch_of(SENTENCES[:1]), TGT[:1])
    model.logits(attentional)
    src, *tgt, vocabulary = seen
    for x in (src.data, torch.cat(tgt)[..., :6], vocabulary):
        assert (x == 0).any() == training


@torch.no_grad()
def test_in_eval_nothing_is_random():
    model = random_model(dropout=0.5, encoder_layers=2, decoder_layers=2, input_feeding=True)
    batch = (*batch_of(SENTENCES), TGT)
    torch.testing.assert_close(model(*batch), model(*batch), rtol=0, atol=0)


def test_a_tensor_of_another_shape_than_the_signature_says_is_an_error_in_tests():
    model = random_model()
    decoding = model.encode(*batch_of(SENTENCES))
    with pytest.raises(TypeCheckError):
        model.step(TGT, decoding)  # rows and positions; a step takes rows
