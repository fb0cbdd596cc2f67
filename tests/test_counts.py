"""What speed rests on, counted: how often a step of training or of search does what costs time."""

import pytest
import torch
from counting import Counting
from random_model import random_model

from seq2seq.config import TrainingConfig
from seq2seq.data.batches import make_batch
from seq2seq.decoding.search import Limits, beam_search
from seq2seq.fast.cells import OneAtATime
from seq2seq.model.recurrent import Recurrent
from seq2seq.text.tokenizer import BOS, EOS, PAD, UNK
from seq2seq.training.update import losses, make_optimizer, update


def pairs(length):
    """Pairs whose sides have so many tokens, the target's end among them."""
    return [([5, 7, EOS], [4] * (length - 1) + [EOS]), ([9, 6, EOS], [5] * (length - 1) + [EOS])]


@pytest.mark.parametrize(("feeding", "by_layers", "by_cells"), [(False, [9], []), (True, [], [1] * 9)])
def test_training_goes_through_the_target_at_once_and_with_input_feeding_by_cells(
    monkeypatch, feeding, by_layers, by_cells
):
    model, layers, cells = random_model(decoder={"input_feeding": feeding}), [], []
    model.decoder.recurrent.layers[0].register_forward_hook(lambda _, inputs, __: layers.append(inputs[0].size(1)))
    call = OneAtATime.__call__
    monkeypatch.setattr(OneAtATime, "__call__", lambda *inputs: (cells.append(inputs[1].size(1)), call(*inputs))[1])
    losses(model, make_batch(pairs(9))).loss.backward()
    assert layers == by_layers
    assert cells == by_cells


def test_the_products_for_the_gradients_of_the_cells_weights_do_not_grow_with_the_loop():
    """A position takes two products each way (W_ih x_t, W_hh h_t; dx_t, dh_t); the weights, two at the end."""
    counts = []
    for length in (3, 4, 5):
        recurrent, state = Recurrent("lstm", 6, 8), torch.zeros(2, 1, 2, 8, requires_grad=True)
        with Counting() as counted:
            one_at_a_time = OneAtATime(recurrent, rows=2, steps=length)
            for x in torch.randn(2, length, 6, requires_grad=True).split(1, dim=1):
                _, state = one_at_a_time(x, state)
            state.sum().backward()
        counts.append(counted.products())
    assert [count - counts[0] for count in counts] == [0, 4, 8]
    assert counts[0] == 3 * 4 + 2


def test_the_operations_of_an_update_do_not_grow_with_the_length_of_the_target():
    counts = []
    for length in (3, 12):
        model, training = random_model().train(), TrainingConfig()
        optimizer, batch = make_optimizer(training, model), make_batch(pairs(length))
        with Counting() as counted:
            update(model, optimizer, [batch], training)
        counts.append(counted.products())
    assert counts[0] == counts[1]


def test_the_optimizer_takes_all_weights_in_one_operation():
    model, training = random_model().train(), TrainingConfig()
    optimizer = make_optimizer(training, model)
    with Counting() as counted:
        update(model, optimizer, [make_batch(pairs(3))], training)
    assert sum(count for name, count in counted.calls.items() if "adam" in name) == 1


@torch.no_grad()
@pytest.mark.parametrize("beam", [1, 4])
def test_a_search_begins_with_one_row_a_sentence_and_ranks_only_rows_that_run(beam):
    model, steps = random_model(), []

    def step(tokens, state, running):
        log_probs, after = model.step(tokens, state, running)
        steps.append((len(tokens), len(running), len(log_probs)))
        return log_probs, after

    batch = make_batch(pairs(3))
    limits = Limits(BOS, EOS, (PAD, UNK, BOS), torch.tensor([8, 8]))
    beam_search(step, model.encode(batch.src, batch.src_lengths), limits, beam=beam)
    assert steps[0] == (2, 2, 2)
    assert all(ranked == running <= rows <= 2 * beam for rows, running, ranked in steps)
