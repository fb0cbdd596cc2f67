"""Nine small trainings have the losses that they had at commit a25525f, before the package was laid out anew.

In double precision, so that no machine's rounding grows into a difference. `golden.json` holds, for each training, the
records of its metrics: update, split, loss in nats a target token.
"""

import json
from pathlib import Path

import pytest
import torch

from seq2seq.config import load_config
from seq2seq.training.train import train

ROOT = Path(__file__).parent.parent
GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
UPDATES = 20

TRAININGS = {  # config, overrides
    "toy": ("toy",),
    "word": ("toy_word",),
    "self-attention": ("toy_self_attention",),
    "transformer": ("toy_transformer",),
    "input feeding": ("toy", "model.decoder.input_feeding=true"),
    "bahdanau": ("toy", "model.decoder.type=bahdanau", "model.attention.score=concat"),
    "local": ("toy", "model.attention.score=dot", "model.attention.window=local_p"),
    "coverage": ("toy", "model.attention.coverage=true", "training.coverage_loss=1"),
    "gru": ("toy", "model.encoder.cell=gru", "model.decoder.cell=gru", "model.encoder.num_layers=2"),
}


@pytest.fixture
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_the_losses_are_the_golden_ones(tmp_path, monkeypatch, double_precision, name):
    monkeypatch.chdir(ROOT)
    config, *overrides = TRAININGS[name]
    overrides += [f"training.max_updates={UPDATES}", f"training.validate_every={UPDATES}", "training.patience=0"]
    overrides += ["training.device=cpu", "search.beam=1"]
    run = train(load_config(f"configs/{config}.yaml", overrides), tmp_path / "run")
    records = [r for r in run.metrics.records() if r["update"] in (UPDATES // 2, UPDATES)]
    assert [(r["update"], r["split"]) for r in records] == [(update, split) for update, split, _ in GOLDEN[name]]
    losses = [loss for _, _, loss in GOLDEN[name]]
    assert [r["loss"] for r in records] == pytest.approx(losses, rel=1e-7)
