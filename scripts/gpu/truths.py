"""Truths on a device: the equations of the CPU, the same hypotheses, the same updates, and runs that resume exactly."""

import copy
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import Any

import torch
from cases import Case, Result, Setup, default_dtype, must
from safetensors.torch import load_file
from torch import Tensor

import seq2seq
from seq2seq.config import TrainingConfig, load_config
from seq2seq.data.batches import Batch, make_batch
from seq2seq.decoding.search import Hypothesis, Limits, beam_search
from seq2seq.errors import UserError
from seq2seq.fast.precision import choose_precision
from seq2seq.model.attention import SCORES
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.text.tokenizer import BOS, EOS, PAD, UNK
from seq2seq.training.update import make_optimizer, update

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from random_model import SRC_VOCAB, TGT_VOCAB, random_model  # type: ignore[import-not-found]
from tiny import write_config  # type: ignore[import-not-found]

Keys = dict[str, Any]  # arguments of `random_model`
DECODERS: dict[str, Keys] = {
    "rnn": {},
    "rnn, input feeding": {"input_feeding": True},
    "bahdanau": {"type": "bahdanau"},
    "gnmt": {"type": "gnmt", "num_layers": 2},
    "transformer": {"type": "transformer", "num_layers": 2},
}
OTHERS: dict[str, Keys] = {
    **{f"window {window}": {"attention": {"window": window}} for window in ("local_m", "local_p")},
    **{past: {"attention": {past: True}} for past in ("coverage", "convolution")},
    "encoder of self-attention": {"encoder": {"type": "self_attention", "num_layers": 2}},
    "self-attention on top": {"encoder": {"self_attention_layers": 1}},
    **{f"two {cell} layers": {"cell": cell, "encoder_layers": 2, "decoder_layers": 2} for cell in ("rnn", "gru")},
}


def truths(setup: Setup) -> Iterator[Case]:
    """Yield a case for each truth."""
    models = dict(_models())
    few = {f"{name}, {score}": models[f"{name}, {score}"] for name, score in zip(DECODERS, FEW, strict=True)}
    for name, keys in models.items():
        yield Case(f"loss and gradient: {name}", partial(_gradients, setup, keys))
    for name, keys in few.items():
        yield Case(f"hypotheses: {name}", partial(_hypotheses, setup, keys))
        yield Case(f"bf16: {name}", partial(_bf16, setup, keys))
    for optimizer, count in (("adam", 1), ("adamw", 2), ("sgd", 1)):
        yield Case(f"ten updates: {optimizer}", partial(_updates, setup, optimizer, count))
    yield Case("a loss that is not finite changes nothing", partial(_not_finite, setup))
    for feeding, exact in product((False, True), repeat=2):
        name = f"resumed run{', input feeding' * feeding}{', deterministic algorithms' * exact}"
        yield Case(name, partial(_resumed, setup, feeding, exact))


FEW = ("general", "general", "concat", "general", "multi_head")  # a score for each of DECODERS


def _models() -> Iterator[tuple[str, Keys]]:
    """Yield every score with every decoder, and more kinds of models."""
    for (name, decoder), score in product(DECODERS.items(), SCORES):
        keys = {"score": score, "decoder": decoder}
        try:
            _model(keys)
        except UserError:  # a combination that no config allows
            continue
        yield f"{name}, {score}", keys
    yield from OTHERS.items()


def _model(keys: Keys, spread: float = 2.0) -> Seq2Seq:
    """Return a small model on the CPU, without dropout, in training mode: cuDNN has no gradient in the other."""
    keys = {**keys, "attention": {"score": keys.get("score", "general"), **keys.get("attention", {})}}
    model: Seq2Seq = random_model(embedding_size=8, spread=spread, dropout=0.0, **keys)
    return model.train()


def _batch(seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def sentence(vocabulary: int) -> list[int]:
        length = int(torch.randint(1, 10, (), generator=generator))
        return [*torch.randint(EOS + 1, vocabulary, (length,), generator=generator).tolist(), EOS]

    return make_batch([(sentence(SRC_VOCAB), sentence(TGT_VOCAB)) for _ in range(12)])


def _loss_and_gradient(model: Seq2Seq, batch: Batch, precision: str = "fp32") -> tuple[float, Tensor]:
    """Return the loss in nats a token, and the gradient of all weights, from an update that leaves them as they are."""
    still = {"learning_rate": 0.0}
    training = TrainingConfig(optimizer="sgd", clip_norm=0.0).model_copy(update=still)
    chosen = choose_precision(batch.src.device, precision)
    loss = update(model, make_optimizer(training, model), [batch], training, precision=chosen).loss
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return loss, torch.cat([gradient.flatten() for gradient in gradients]).double().cpu()


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def _gradients(setup: Setup, keys: Keys) -> Result:
    """Compare loss and gradient with those of the CPU in double precision."""
    result = {}
    with default_dtype(torch.float64):
        reference = _model(keys)
        loss, gradient = _loss_and_gradient(reference, _batch())
    for dtype, limit in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        with default_dtype(dtype):
            model = copy.deepcopy(reference).to(setup.device, dtype)
            found, found_gradient = _loss_and_gradient(model, _batch().to(setup.device))
        error = max(abs(found - loss) / loss, _error(found_gradient, gradient))
        result[f"error in {dtype}".replace("torch.", "")] = error
        must(error < limit, f"loss {found}, on the CPU {loss}; error of the gradient {error:.1e} in {dtype}")
    return result


def _hypotheses(setup: Setup, keys: Keys) -> Result:
    """Compare the hypotheses of greedy and of beam search with those of the CPU, in double precision."""
    batch, error = _batch(), 0.0

    @torch.inference_mode()
    def search(model: Seq2Seq, device: torch.device, beam: int) -> list[list[Hypothesis]]:
        decoding = model.encode(batch.src.to(device), batch.src_lengths.to(device))
        limits = Limits(BOS, EOS, (PAD, UNK, BOS), (batch.src_lengths + 5).to(device))
        return beam_search(model.step, decoding, limits, beam=beam, alpha=0.6, nbest=min(beam, 2))

    with default_dtype(torch.float64):
        reference = _model(keys).eval()
        model = copy.deepcopy(reference).to(setup.device)
        for beam in (1, 5):
            expected, found = search(reference, torch.device("cpu"), beam), search(model, setup.device, beam)
            for one, other in zip(chain(*found), chain(*expected), strict=True):
                must(one.tokens == other.tokens, f"beam {beam}: {one.tokens}, on the CPU {other.tokens}")
                error = max(error, abs(one.score - other.score))
    must(error < 1e-4, f"scores differ by {error:.1e}")
    return {"error of scores": error}


def _bf16(setup: Setup, keys: Keys) -> Result:
    """Compare loss and gradient in bf16 with those in float32."""
    model = _model(keys, spread=1.0).to(setup.device)
    batch = _batch().to(setup.device)
    loss, gradient = _loss_and_gradient(model, batch)
    found, found_gradient = _loss_and_gradient(model, batch, "bf16")
    errors = {"error of the loss in bf16": abs(found - loss) / loss}
    errors["error of the gradient in bf16"] = _error(found_gradient, gradient)
    must(errors["error of the loss in bf16"] < 0.02, f"loss {found}, in float32 {loss}")
    must(errors["error of the gradient in bf16"] < 0.1, f"gradient: {errors}")
    return errors


def _updates(setup: Setup, optimizer: str, count: int) -> Result:
    """Compare the weights after ten updates of `count` batches with those on the CPU, in double precision."""
    training = TrainingConfig(precision="fp32", optimizer=optimizer, learning_rate=0.01, weight_decay=0.01)  # type: ignore[arg-type]
    found = []
    with default_dtype(torch.float64):
        start = _model({"decoder": {"input_feeding": True}})
        for device in (setup.device, torch.device("cpu")):
            model = copy.deepcopy(start).to(device)
            kept = make_optimizer(training, model)
            for number in range(10):
                update(model, kept, [_batch(10 * number + i).to(device) for i in range(count)], training)
            found.append(torch.cat([weight.detach().flatten().cpu() for weight in model.parameters()]))
    error = _error(*found)
    must(error < 1e-7, f"weights differ by {error:.1e}")
    return {"error of weights": error}


def _not_finite(setup: Setup) -> Result:
    model = _model({}).to(setup.device)
    model.decoder.W_y.bias.data.fill_(torch.nan)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    training = TrainingConfig(precision="fp32")
    optimizer = make_optimizer(training, model)
    result = update(model, optimizer, [_batch().to(setup.device)], training)
    must(not result.is_finite and not optimizer.state_dict()["state"], f"the optimizer made a step: {result}")
    after = model.state_dict()
    must(all(torch.equal(after[name].nan_to_num(7), before[name].nan_to_num(7)) for name in before), "weights changed")
    return {}


def _resumed(setup: Setup, feeding: bool, exact: bool) -> Result:
    """Train a run, train it again in two parts, and compare the bits; then open it on the CPU."""
    folder = setup.folder / f"feeding-{feeding}-exact-{exact}"
    folder.mkdir()
    cell = {"cell": "lstm", "hidden_size": 24}
    keys = {**cell, "input_feeding": feeding}
    source = write_config(folder, model={"dropout": 0.1, "embedding_size": 24, "encoder": cell, "decoder": keys})
    updates = (10, 20) if setup.tiny else (15, 30)
    config = [load_config(source, [f"training.max_updates={n}", f"training.device={setup.device}"]) for n in updates]

    # train; torch names the operations that it cannot repeat exactly
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.use_deterministic_algorithms(exact, warn_only=True)
        try:
            whole = seq2seq.train(config[1], run=folder / "whole")
            seq2seq.train(config[0], run=folder / "parts")
            parts = seq2seq.train(config[1], run=folder / "parts", resume=True)
        finally:
            torch.use_deterministic_algorithms(False)
    last = f"checkpoints/step-{updates[1]:06}/model.safetensors"
    one, other = load_file(whole.path / last), load_file(parts.path / last)
    differing = [name for name in one if not torch.equal(one[name], other[name])]
    must(not (differing and exact), f"a resumed run has other bits: {differing}; {[str(w.message) for w in caught]}")

    # a run of this device on the CPU
    lines = (folder / "test.en").read_text(encoding="utf-8").splitlines()
    there, here = (seq2seq.load(whole.path, device=device).translate(lines) for device in (str(setup.device), "cpu"))
    different = sum(a.text != b.text for a, b in zip(there, here, strict=True))
    must(not different, f"{different} of {len(lines)} lines are translated otherwise on the CPU")
    error = max(abs(a.score - b.score) for a, b in zip(there, here, strict=True))
    notes = sorted({str(warning.message)[:200] for warning in caught})
    return {"same_bits": not differing, "error of scores on the CPU": error, "warnings": notes}
