"""An exported ONNX model computes what torch computes, without torch."""

import io
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from random_model import random_model
from test_install import OTHERS_ARE_MISSING
from tiny import write_config

import seq2seq
from seq2seq.commands.main import main
from seq2seq.runs.onnx import write_graphs
from seq2seq.text.tokenizer import BOS, EOS

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data/toy"
TOLERANCE = 1e-5
KINDS = {
    "lstm": {},
    "gru, input feeding, local_p": {
        "cell": "gru",
        "score": "concat",
        "attention": {"window": "local_p"},
        "decoder": {"input_feeding": True},
    },
    "rnn, layers, local_m": {
        "cell": "rnn",
        "score": "dot",
        "attention": {"window": "local_m"},
        "encoder_layers": 2,
        "decoder_layers": 2,
        "residual": True,
    },
    "bahdanau, convolution": {"score": "concat", "decoder": {"type": "bahdanau"}, "attention": {"convolution": True}},
    "gnmt": {"score": "general", "decoder": {"type": "gnmt", "num_layers": 2}},
    "coverage": {"attention": {"coverage": True}},
    "none": {"score": "none"},
    "scaled_dot": {"score": "scaled_dot"},
    "cosine": {"score": "cosine"},
    "location": {"score": "location"},
    "multi_head over self-attention over an rnn": {"score": "multi_head", "encoder": {"self_attention_layers": 1}},
    "self_attention": {"embedding_size": 8, "encoder": {"type": "self_attention"}},
    "transformer": {
        "embedding_size": 8,
        "score": "multi_head",
        "encoder": {"type": "self_attention"},
        "decoder": {"type": "transformer", "num_layers": 2},
    },
}


@pytest.fixture(autouse=True)
def _unchecked():
    """While torch traces a model, sizes are tensors, which the checks of shapes refuse."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def run(graph, given):
    names = [output.name for output in graph.get_outputs()]
    return dict(zip(names, graph.run(names, {each.name: given[each.name] for each in graph.get_inputs()}), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_every_step_equals_that_of_torch(tmp_path, kind):
    ort = pytest.importorskip("onnxruntime")
    model = random_model(**KINDS[kind], spread=1.0)
    state = write_graphs(model, tmp_path)
    encoder, step = (ort.InferenceSession(tmp_path / f"{name}.onnx") for name in ("encoder", "step"))
    for source in ([EOS], [5, EOS], [4, 9, 5, 7, 6, 8, 10, 4, 11, 12, 5, 5, 6, EOS]):
        src = torch.tensor([source])
        decoding, known = model.encode(src, torch.tensor([len(source)])), run(encoder, {"src": src.numpy()})
        known = {name: value.repeat(3, 0) for name, value in known.items()}  # three hypotheses, each with its memory
        decoding = decoding.select(torch.zeros(3, dtype=torch.long), None)
        for tokens in ([BOS, BOS, BOS], [4, 5, 6], [7, 7, 4], [5, 6, 5], [8, 9, 10]):
            found = run(step, known | {"token": torch.tensor(tokens).numpy()})
            weights = model.decoder(torch.tensor(tokens)[:, None], *decoding).weights[:, :, 0]
            log_probs, decoding = model.step(torch.tensor(tokens), decoding, torch.arange(3))
            torch.testing.assert_close(torch.from_numpy(found["log_probs"]), log_probs, atol=TOLERANCE, rtol=TOLERANCE)
            torch.testing.assert_close(torch.from_numpy(found["weights"]), weights, atol=TOLERANCE, rtol=TOLERANCE)
            known |= {name: found[f"next_{name}"] for name in state}


@pytest.mark.slow
def test_the_example_finds_the_greedy_translations_of_200_sentences_without_torch(tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxruntime")
    # a model that has learned a little
    data = {split: str(DATA / split) for split in ("train", "dev", "test")}
    config = write_config(
        tmp_path,
        data=data,
        tokenizer={"type": "bpe", "vocab_size": 1000},
        model={"embedding_size": 64, "dropout": 0.0, "encoder": {"hidden_size": 64}, "decoder": {"hidden_size": 64}},
        training={"max_updates": 60, "validate_every": 60, "batch_tokens": 1000, "learning_rate": 0.01},
        search={"beam": 1},
    )
    trained = seq2seq.train(str(config), run=tmp_path / "run")
    assert main(["export", "--onnx", str(tmp_path / "onnx"), str(trained.path), "--license", "CC0-1.0"]) == 0
    assert json.loads((tmp_path / "onnx/card.json").read_text())["license"] == "CC0-1.0"

    # the example, in a process that can import nothing but what it says it needs
    lines = (DATA / "test.en").read_text(encoding="utf-8").splitlines()[:200]
    allowed = "{'numpy', 'onnxruntime', 'sentencepiece', 'packaging', 'google', 'flatbuffers', 'coloredlogs', 'sympy'}"
    others = OTHERS_ARE_MISSING.replace("{'", allowed + " | {'", 1).replace("'torch'", "'json'")
    code = f"{others}\nimport runpy; runpy.run_path({str(ROOT / 'scripts/onnx_translate.py')!r})"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "onnx")],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    wanted = seq2seq.load(trained.path).translate(lines, split_sentences=False)
    assert done.stdout.splitlines() == [translation.text for translation in wanted]

    # the log-probability of every token is torch's
    monkeypatch.setattr(sys, "argv", ["onnx_translate.py", str(tmp_path / "onnx")])
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    example = runpy.run_path(str(ROOT / "scripts/onnx_translate.py"))
    run, step, model = (example[name] for name in ("run", "step", "model"))
    for line, translation in zip(lines, wanted, strict=True):
        src = [*example["source"].encode(line), model["eos"]]
        known, token = run(example["encoder"], {"src": np.array([src])}), model["bos"]
        for piece, score in zip(translation.tokens, translation.token_scores, strict=True):
            found = run(step, known | {"token": np.array([token])})
            token = example["target"].piece_to_id(piece)
            assert found["log_probs"][0, token] == pytest.approx(score, abs=1e-5)
            known |= {name: found[f"next_{name}"] for name in model["state"]}


def test_an_export_needs_one_place_and_overwrites_none(tmp_path, capsys):
    (tmp_path / "there").mkdir()
    kept = str(ROOT / "tests/kept/run")
    for arguments, message in (
        ([kept], "give the FILE to write, or --onnx DIR"),
        ([kept, "file", "--onnx", "folder"], "give the FILE to write, or --onnx DIR"),
        (["--onnx", str(tmp_path / "there"), kept], "there: exists, and nothing is overwritten"),
    ):
        assert main(["export", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
