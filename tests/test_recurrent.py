"""The recurrent layers and the encoder: against cells in a loop, a token at a time."""

import pytest
import torch
from random_model import SENTENCES, batch_of
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from seq2seq.fast.cells import OneAtATime
from seq2seq.model.encoder import Encoder
from seq2seq.model.recurrent import LAYERS, Recurrent

ONE_STEP = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


def cell_of(cell, layer, suffix=""):
    """One step of a layer, with the layer's weights."""
    one = ONE_STEP[cell](layer.input_size, layer.hidden_size)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    one.load_state_dict({name: getattr(layer, f"{name}_l0{suffix}") for name in names})
    return one


def run(one, xs):
    """h after each x, and the last state as (part, hidden)."""
    state, hs = None, []
    for x in xs:
        state = one(x) if state is None else one(x, state)
        hs.append(state[0] if isinstance(state, tuple) else state)
    return hs, torch.stack(state if isinstance(state, tuple) else (state,))


def by_hand(recurrent, cell, x):
    """A sentence alone, (time, size), through cells: outputs of the top layer, last states (layer, part, hidden)."""
    last = []
    for i, layer in enumerate(recurrent.layers):
        below = x
        hs, end = run(cell_of(cell, layer), list(below))
        if layer.bidirectional:
            back, back_end = run(cell_of(cell, layer, "_reverse"), list(below.flip(0)))
            hs = [torch.cat(both) for both in zip(hs, reversed(back), strict=True)]
            end = torch.cat([end, back_end], dim=-1)
        x = torch.stack(hs)
        if recurrent.residual and i > 0:
            x = x + below
        last.append(end)
    return x, torch.stack(last)


def encoder_of(cell, **options):
    torch.manual_seed(1)
    return Encoder(nn.Embedding(14, 6), Recurrent(cell, 6, 8, **options)).eval()


@torch.no_grad()
@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("num_layers", "residual"), [(1, False), (3, False), (3, True)])
def test_states_are_those_of_cells_in_a_loop_over_each_sentence_alone(cell, bidirectional, num_layers, residual):
    encoder = encoder_of(cell, bidirectional=bidirectional, num_layers=num_layers, residual=residual)
    src, lengths = batch_of(SENTENCES)
    states, summary, _ = encoder(src, lengths)
    packed = pack_padded_sequence(encoder.embedding(src), lengths, batch_first=True, enforce_sorted=False)
    _, last = encoder.recurrent(packed)
    assert states.shape == (3, 5, 8)
    assert last.shape == (3, num_layers, 2 if cell == "lstm" else 1, 8)
    for i, sentence in enumerate(SENTENCES):
        expected, end = by_hand(encoder.recurrent, cell, encoder.embedding(torch.tensor(sentence)))
        torch.testing.assert_close(states[i, : len(sentence)], expected)
        torch.testing.assert_close(last[i], end)
        torch.testing.assert_close(summary[i], end[-1].flatten())  # the top layer's
        assert not states[i, len(sentence) :].any()


@torch.no_grad()
def test_what_the_padding_embedding_is_does_not_matter():
    encoder, batch = encoder_of("lstm", bidirectional=True), batch_of(SENTENCES)
    before = encoder(*batch)
    encoder.embedding.weight[0] += 5
    torch.testing.assert_close(encoder(*batch), before, rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("cell", LAYERS)
def test_a_sequence_in_two_parts_gives_what_the_whole_gives(cell):
    torch.manual_seed(1)
    recurrent, x = Recurrent(cell, 6, 8, num_layers=2, residual=True), torch.randn(3, 5, 6)
    whole, end = recurrent(x)
    first, state = recurrent(x[:, :2])
    second, state = recurrent(x[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(state, end)


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize(("num_layers", "residual"), [(1, False), (3, True)])
def test_cells_one_at_a_time_give_the_values_and_the_gradients_of_the_layers(cell, num_layers, residual):
    torch.manual_seed(1)
    recurrent = Recurrent(cell, 6, 8, num_layers=num_layers, residual=residual).double()
    x, weight = torch.randn(3, 5, 6, requires_grad=True, dtype=torch.double), torch.randn(3, 5, 8, dtype=torch.double)
    start = torch.randn(3, num_layers, recurrent.parts, 8, requires_grad=True, dtype=torch.double)
    whole, end = recurrent(x, start)
    one_at_a_time, state, outputs = OneAtATime(recurrent, rows=3, steps=5), start, []
    for x_t in x.split(1, dim=1):
        output, state = one_at_a_time(x_t, state)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, dim=1), whole)
    torch.testing.assert_close(state, end)
    loss = (torch.cat(outputs, dim=1) * weight).sum() + state.sin().sum()
    torch.autograd.grad(loss, [x], retain_graph=True)  # a pass that does not get as far as the weights
    expected = torch.autograd.grad((whole * weight).sum() + end.sin().sum(), [x, start, *recurrent.parameters()])
    for _ in range(2):  # a second pass over the same graph forgets the first
        found = torch.autograd.grad(loss, [x, start, *recurrent.parameters()], retain_graph=True)
        torch.testing.assert_close(found, expected)


def test_cells_of_frozen_layers_give_the_gradients_of_their_inputs():
    torch.manual_seed(1)
    recurrent = Recurrent("gru", 6, 8).requires_grad_(requires_grad=False)
    x, start = torch.randn(3, 1, 6, requires_grad=True), torch.randn(3, 1, 1, 8)
    expected = torch.autograd.grad(recurrent(x, start)[0].sum(), x)
    torch.testing.assert_close(torch.autograd.grad(OneAtATime(recurrent, 3, 1)(x, start)[0].sum(), x), expected)


@torch.no_grad()
def test_a_residual_is_added_from_the_second_layer_on():
    recurrent, x = Recurrent("gru", 8, 8, num_layers=2, residual=True), torch.randn(1, 4, 8)
    first, _ = recurrent.layers[0](x)
    second, _ = recurrent.layers[1](first)
    torch.testing.assert_close(recurrent(x)[0], first + second)


@torch.no_grad()
def test_dropout_lies_between_layers_in_training_only():
    torch.manual_seed(1)
    recurrent, x = Recurrent("gru", 6, 8, num_layers=2, dropout=0.5), torch.randn(2, 4, 6)
    bottom, below, above = [], [], []
    recurrent.layers[0].register_forward_hook(lambda _, inputs, output: bottom.append(inputs[0]))
    recurrent.layers[1].register_forward_hook(lambda _, inputs, output: below.append(inputs[0]))
    recurrent.register_forward_hook(lambda _, inputs, output: above.append(output[0]))
    recurrent(x)
    assert not (bottom[0] == 0).any()
    assert (below[0] == 0).any()
    assert not (above[0] == 0).any()
    recurrent.eval()
    torch.testing.assert_close(recurrent(x), recurrent(x), rtol=0, atol=0)
    assert not (below[-1] == 0).any()
