"""The switch of what is there for speed alone: on and off, a training gives the same losses."""

import subprocess
import sys

import pytest
import torch
from random_model import random_model

from seq2seq import fast
from seq2seq.config import TrainingConfig
from seq2seq.data.batches import make_batch
from seq2seq.fast import loss
from seq2seq.fast.cells import OneAtATime
from seq2seq.text.tokenizer import EOS
from seq2seq.training.update import make_optimizer, update

PAIRS = [([5, 7, 6, EOS], [4, 9, 5, EOS]), ([9, EOS], [8, EOS]), ([6, 8, EOS], [10, 4, EOS])]


@pytest.mark.parametrize(
    "decoder",
    [
        {},
        {"input_feeding": True},
        {"type": "bahdanau", "num_layers": 2},
        {"type": "gnmt", "num_layers": 3, "input_feeding": True},
    ],
)
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_training_gives_the_same_losses_with_the_fast_ways_and_with_their_plain_twins(monkeypatch, cell, decoder):
    losses = {}
    for on in (True, False):
        monkeypatch.setattr(fast, "ON", on)
        model, training = random_model("concat", cell, spread=1, decoder=decoder).train(), TrainingConfig()
        optimizer = make_optimizer(training, model)
        torch.manual_seed(1)
        losses[on] = [update(model, optimizer, [make_batch(PAIRS)], training).loss for _ in range(20)]
    assert losses[True] == pytest.approx(losses[False], rel=1e-5)
    assert losses[True][-1] < losses[True][0]


@pytest.mark.parametrize("on", [True, False])
def test_off_no_fast_way_is_taken(monkeypatch, on):
    taken = []
    monkeypatch.setattr(fast, "ON", on)
    for place, name in ((OneAtATime, "__call__"), (loss, "fused_cross_entropy")):
        way = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *args, name=name, way=way: (taken.append(name), way(*args))[1])
    model, training, batch = random_model(decoder={"input_feeding": True}), TrainingConfig(), make_batch(PAIRS)
    update(model, make_optimizer(training, model), [batch], training)
    with torch.no_grad():
        model.step(torch.tensor([2, 2, 2]), model.encode(batch.src, batch.src_lengths), torch.arange(3))
    assert set(taken) == ({"__call__", "fused_cross_entropy"} if on else set())


def test_on_another_device_the_plain_twins_run():
    assert fast.is_on_for(torch.zeros(1))
    assert not fast.is_on_for(torch.zeros(1, device="meta"))


@pytest.mark.parametrize(("value", "on"), [("0", False), ("1", True)])
def test_the_environment_turns_it_off(value, on):
    code = "from seq2seq import fast; print(fast.ON)"
    done = subprocess.run([sys.executable, "-c", code], env={"SEQ2SEQ_FAST": value}, capture_output=True, text=True)
    assert done.stdout.strip() == str(on), done.stderr
