"""Each part of the model on tasks that need attention: copying and reversing. `make test-all` runs them."""

import json
import random

import pytest
import yaml

from seq2seq.commands.main import main

pytestmark = pytest.mark.slow

TRANSFORMER = {
    "encoder": {"type": "self_attention", "hidden_size": 96, "num_layers": 2},
    "attention": {"score": "multi_head"},
    "decoder": {"type": "transformer", "hidden_size": 96, "num_layers": 2},
}


@pytest.mark.parametrize(
    ("name", "task", "keys"),
    [
        ("copy", list, {"attention": {"score": "dot"}}),
        ("reverse", reversed, {"decoder": {"cell": "gru", "hidden_size": 96, "input_feeding": True}}),
        ("reverse", reversed, {"decoder": {"type": "bahdanau", "hidden_size": 96}}),
        ("copy", list, {"attention": {"score": "concat", "coverage": True}}),
        ("copy", list, {"attention": {"score": "concat", "convolution": True}}),
        ("copy", list, {"attention": {"score": "dot", "window": "local_m", "window_size": 2}}),
        ("reverse", reversed, {"attention": {"score": "dot", "window": "local_p", "window_size": 4}}),
        ("copy", list, TRANSFORMER),
    ],
)
def test_it_learns_to_copy_and_to_reverse(tmp_path, name, task, keys):
    """Sequences of 3 to 10 of 20 letters, of which no test sequence was seen in training."""
    rng = random.Random(1)
    letters = "abcdefghijklmnopqrst"
    distinct = sorted({tuple(rng.choices(letters, k=rng.randint(3, 10))) for _ in range(8_000)})
    rng.shuffle(distinct)
    for split, rows in (("train", distinct[:-400]), ("dev", distinct[-400:-200]), ("test", distinct[-200:])):
        (tmp_path / f"{split}.src").write_text("".join(" ".join(row) + "\n" for row in rows))
        (tmp_path / f"{split}.tgt").write_text("".join(" ".join(list(task(row))) + "\n" for row in rows))
    config = {
        "data": {split: str(tmp_path / split) for split in ("train", "dev", "test")} | {"src": "src", "tgt": "tgt"},
        "tokenizer": {"type": "word", "vocab_size": 24},
        "model": {
            "embedding_size": 96,
            "dropout": 0.1,
            "encoder": {"cell": "gru", "hidden_size": 96},
            "decoder": {"cell": "gru", "hidden_size": 96},
            **keys,
        },
        "training": {
            "batch_type": "sentences",
            "max_updates": 1200 if keys is TRANSFORMER else 900,
            "validate_every": 300,
            "learning_rate": 2e-3 if keys is TRANSFORMER else 4e-3,
            "warmup_updates": 100,
            "schedule": "cosine",
            "early_stopping_metric": "exact_match",
        },
    }
    (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", str(tmp_path / f"{name}.yaml"), "--run", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run/test.json").read_text())["exact_match"]["score"] >= 95
