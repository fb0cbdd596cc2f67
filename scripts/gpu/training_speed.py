"""The speed of training on a device: tokens a second at several sizes, shares of the peak, and what could be faster."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from statistics import median
from types import SimpleNamespace
from typing import Any, NamedTuple, cast
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from cases import Case, Result, Setup, must, use_tf32
from torch import Tensor, nn
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

import seq2seq.fast.loss
import seq2seq.model.decoder
from seq2seq.build import build_model
from seq2seq.config import parse_config
from seq2seq.config.keys import TrainingConfig
from seq2seq.data.batches import Batch, Batches, Position
from seq2seq.data.corpus import EncodedPair
from seq2seq.fast.precision import choose_precision
from seq2seq.model.decoder import Decoder
from seq2seq.model.encoder import real_positions
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.profiling.operations import FORMULAS
from seq2seq.profiling.parts import profile_updates, synchronized_time
from seq2seq.runs.fitting import count_parameters
from seq2seq.text.tokenizer import EOS, PAD, Tokenizers, WordTokenizer
from seq2seq.training.update import make_optimizer, update


class Size(NamedTuple):
    """A model and its batches."""

    hidden: int
    layers: int
    vocabularies: tuple[int, int]
    dropout: float
    batch: dict[str, str | int]  # keys of `training`


SENTENCES: dict[str, str | int] = {"batch_type": "sentences", "batch_sentences": 64}
TOKENS: dict[str, str | int] = {"batch_type": "tokens", "batch_tokens": 8192}
SIZES = {
    "LUONG-256, 64 sentences": Size(256, 1, (7859, 5921), 0.0, SENTENCES),
    "LUONG-256": Size(256, 1, (7859, 5921), 0.0, TOKENS),
    "512 x 2": Size(512, 2, (8000, 8000), 0.2, TOKENS),
    "1,024 x 4": Size(1024, 4, (32_000, 32_000), 0.2, TOKENS),
}
TINY = {"tiny": Size(16, 2, (60, 50), 0.0, {"batch_type": "sentences", "batch_sentences": 8})}

# What the makers name, in TFLOP/s, dense; by a part of the GPU's name, the more special one first
NOMINAL: dict[str, dict[str, float]] = {
    "H100 PCIe": {"bf16": 756, "tf32": 378, "fp32": 51},
    "H100": {"bf16": 989, "tf32": 495, "fp32": 67},
    "H200": {"bf16": 989, "tf32": 495, "fp32": 67},
    "A100": {"bf16": 312, "tf32": 156, "fp32": 19.5},
}


def sizes(setup: Setup) -> dict[str, Size]:
    """Return the sizes to measure."""
    return TINY if setup.tiny else SIZES


def own_sizes(setup: Setup) -> dict[str, Size]:
    """Return the models to measure, each once: without the small batches."""
    return {name: size for name, size in sizes(setup).items() if "64 sentences" not in name}


# ------------------------------------------------------------------------------------------------------------- peak


def peaks(setup: Setup) -> Iterator[Case]:
    """Yield a case for each precision: the fastest product of two square matrices."""
    for precision in ("fp32", "bf16", "tf32")[: 3 if setup.device.type == "cuda" else 2]:
        yield Case(precision, partial(_peak, setup, precision))


def _peak(setup: Setup, precision: str) -> Result:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    rates = {}
    use_tf32(precision == "tf32")
    try:
        for n in (128, 256) if setup.tiny else (2048, 4096, 8192, 16384):
            a, b = torch.randn(2, n, n, dtype=dtype, device=setup.device)
            timer = Timer("a @ b", globals={"a": a, "b": b}, num_threads=torch.get_num_threads())
            rates[n] = 2 * n**3 / timer.blocked_autorange(min_run_time=0.02 if setup.tiny else 0.3).median
    finally:
        use_tf32(False)

    # the fastest, beside what is promised
    n = max(rates, key=lambda n: rates[n])
    setup.peaks[precision] = rates[n]
    result: Result = {"tflops": rates[n] / 1e12, "rows": n}
    name = torch.cuda.get_device_name(setup.device) if setup.device.type == "cuda" else ""
    if nominal := next((named for part, named in NOMINAL.items() if part in name), None):
        result |= {"nominal_tflops": float(nominal[precision]), "share": rates[n] / 1e12 / nominal[precision]}
    return result


# --------------------------------------------------------------------------------------------------------- training


def training_speed(setup: Setup) -> Iterator[Case]:
    """Yield a case for each size, decoder and precision; `fp32` is without TF32."""
    for precision, (name, size), feeding in product(("fp32", "bf16"), sizes(setup).items(), (False, True)):
        yield Case(title(name, feeding, precision), partial(_speed, setup, name, size, feeding, precision))


def training_with_tf32(setup: Setup) -> Iterator[Case]:
    """Yield a case for each size and decoder, on a GPU."""
    if setup.device.type == "cuda":
        for (name, size), feeding in product(sizes(setup).items(), (False, True)):
            yield Case(title(name, feeding, "tf32"), partial(_speed, setup, name, size, feeding, "tf32"))


def title(name: str, feeding: bool, precision: str) -> str:
    """Return the name of a case."""
    return f"{name}, {'stepwise' if feeding else 'fused'}, {precision}"


class Subject(NamedTuple):
    """A model in training, and endless batches."""

    model: Seq2Seq
    training: TrainingConfig
    optimizer: torch.optim.Optimizer
    batches: Iterator[tuple[Position, Batch]]


def subject_of(setup: Setup, size: Size, feeding: bool, precision: str = "fp32") -> Subject:
    """Build an untrained model on the device, and its batches."""
    side: dict[str, Any] = {"hidden_size": size.hidden, "num_layers": size.layers}
    model: dict[str, Any] = {
        "embedding_size": size.hidden,
        "dropout": size.dropout,
        "tie_embeddings": "none",
        "encoder": side,
    }
    model |= {"decoder": {**side, "input_feeding": feeding}}
    data = {"train": "train", "dev": "dev", "src": "de", "tgt": "en"}
    training = {**size.batch, "precision": "bf16" if precision == "bf16" else "fp32"}
    config = parse_config({"data": data, "model": model, "training": training}, "check")
    src, tgt = (WordTokenizer([f"w{i}" for i in range(EOS + 1, n)], "split") for n in size.vocabularies)
    torch.manual_seed(1)
    built = build_model(config, Tokenizers(src, tgt, ("word", "word"), False, "split")).to(setup.device).train()
    stream = batches_of(setup, size, config.training).stream(Position())
    return Subject(built, config.training, make_optimizer(config.training, built), stream)


def batches_of(setup: Setup, size: Size, training: TrainingConfig) -> Batches:
    """Return batches of random pairs."""
    per_batch = training.batch_tokens if training.batch_type == "tokens" else training.batch_sentences
    return Batches(random_pairs(200 if setup.tiny else 20_000, *size.vocabularies), per_batch, training.batch_type, 1)


def random_pairs(count: int, src_vocab: int, tgt_vocab: int) -> list[EncodedPair]:
    """Draw pairs as long as those of Multi30k, 12 words a side and 3 to 44, with words drawn by Zipf's law."""
    rng = np.random.default_rng(1)
    tgt = np.clip(rng.lognormal(math.log(11.6), 0.32, count).round(), 3, 44)
    src = np.clip((tgt + rng.normal(0, 1.8, count)).round(), 3, 44)

    def sentences(lengths: np.ndarray, vocabulary: int) -> list[list[int]]:
        mass = np.cumsum(1 / np.arange(1, vocabulary - EOS))
        words = EOS + 1 + np.searchsorted(mass, rng.random(int(lengths.sum())) * mass[-1])
        return [[*part, EOS] for part in (p.tolist() for p in np.split(words, np.cumsum(lengths.astype(int))[:-1]))]

    return list(zip(sentences(src, src_vocab), sentences(tgt, tgt_vocab), strict=True))


def updating(setup: Setup, subject: Subject) -> Callable[[], int]:
    """Return a function that makes an update of the next batch, copying it to the device, and returns its tokens."""
    precision = choose_precision(setup.device, subject.training.precision)

    def run() -> int:
        _, batch = next(subject.batches)
        update(subject.model, subject.optimizer, [batch.to(setup.device)], subject.training, precision=precision)
        return batch.tokens

    return run


def rates_in_turn(
    setup: Setup, runs: dict[str, Callable[[], int]], rounds: int = 5, warmup: int = 6
) -> dict[str, list[float]]:
    """Return the tokens a second of each way, one number a round; the ways take turns, after a warm-up of each."""
    # warm up, and count how many calls take about half a second
    calls: dict[str, int] = {}
    rates: dict[str, list[float]] = {}
    for name, run in runs.items():
        for _ in range(1 if setup.tiny else warmup):
            run()
        start = synchronized_time(setup.device)
        run()
        seconds = synchronized_time(setup.device) - start
        calls[name] = max(1, min(200, int((0.01 if setup.tiny else 0.4) / seconds)))
        rates[name] = []

    # measure
    for _ in range(2 if setup.tiny else rounds):
        for name, run in runs.items():
            start = synchronized_time(setup.device)
            tokens = sum(run() for _ in range(calls[name]))
            rates[name].append(tokens / (synchronized_time(setup.device) - start))
    return rates


def _speed(setup: Setup, name: str, size: Size, feeding: bool, precision: str) -> Result:
    subject = subject_of(setup, size, feeding, precision)
    run = updating(setup, subject)
    if setup.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(setup.device)
    use_tf32(precision == "tf32")
    try:
        rates = rates_in_turn(setup, {"update": run})["update"]
    finally:
        use_tf32(False)

    # operations of a target token, counted once for each model
    key = title(name, feeding, "")
    if key not in setup.operations:
        with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
            tokens = run() + run()
        setup.operations[key] = counter.get_total_flops() / tokens

    rate, operations = median(rates), setup.operations[key]
    result: Result = {"tokens_per_second": rate, "lowest": min(rates), "highest": max(rates)}
    result |= {"mflop_per_token": operations / 1e6, "tflops": operations * rate / 1e12}
    if peak := setup.peaks.get(precision):
        result["share_of_peak"] = operations * rate / peak
    if setup.device.type == "cuda":
        result["memory_mib"] = float(torch.cuda.max_memory_allocated(setup.device) / 2**20)
    return {**result, "parameters": count_parameters(subject.model), "rates": rates}


def training_parts(setup: Setup) -> Iterator[Case]:
    """Yield a case for each size and decoder: where the time of an update goes, and how long the GPU waits."""
    for (name, size), feeding in product(own_sizes(setup).items(), (False, True)):
        yield Case(title(name, feeding, "fp32"), partial(_parts, setup, size, feeding))


def _parts(setup: Setup, size: Size, feeding: bool) -> Result:
    run = updating(setup, subject := subject_of(setup, size, feeding))
    for _ in range(3):
        run()
    count = 1 if setup.tiny else 3
    seconds = profile_updates(subject.model, (run() for _ in range(count)), setup.device)
    parts: dict[str, float] = {}
    for (part, _), value in seconds.items():
        parts[part] = parts.get(part, 0.0) + 1e3 * value / count
    return {f"{part}_ms": value for part, value in parts.items()} | {"waiting": parts["other"] / sum(parts.values())}


# ------------------------------------------------------------------------------------------- what could be faster


def fast_parts(setup: Setup) -> Iterator[Case]:
    """Yield cases that compare two ways in turn: on the GPU the second one is not what the package does."""
    for name, size in list(own_sizes(setup).items())[:2]:
        fused, stepwise = (title(name, feeding, "fp32") for feeding in (False, True))
        yield Case(f"own cells: {stepwise}", partial(_switched, setup, size, True, seq2seq.model.decoder))
        yield Case(f"own loss: {fused}", partial(_switched, setup, size, False, seq2seq.fast.loss))
        yield Case(f"no waiting for numbers: {fused}", partial(_waiting, setup, size, False))
        yield Case(f"no waiting for numbers: {stepwise}", partial(_waiting, setup, size, True))


def decoder_graphs(setup: Setup) -> Iterator[Case]:
    """Yield a case for some sizes: a stepwise decoder as one graph."""
    for name, size in list(own_sizes(setup).items())[:2]:
        yield Case(title(name, True, "fp32"), partial(_graphed, setup, size))


def compared(rates: dict[str, list[float]]) -> Result:
    """Return both rates, and the median of the ratios of their rounds."""
    (first, before), (second, after) = rates.items()
    ratios = [b / a for a, b in zip(before, after, strict=True)]
    return {first: median(before), second: median(after), "ratio": median(ratios), "ratios": ratios}


@contextmanager
def switched(module: object, on: bool) -> Iterator[None]:
    """Turn the fast code of a module on or off, whatever the device."""
    with patch.object(module, "fast", SimpleNamespace(is_on_for=lambda _: on)):
        yield


def _switched(setup: Setup, size: Size, feeding: bool, module: object) -> Result:
    """Train with torch's own operations, and with the code of `fast/` that is there for a CPU."""
    subject = subject_of(setup, size, feeding)
    run = updating(setup, subject)

    def switched_run(on: bool) -> int:
        with switched(module, on):
            return run()

    return compared(rates_in_turn(setup, {"torch": partial(switched_run, False), "own": partial(switched_run, True)}))


def _waiting(setup: Setup, size: Size, feeding: bool) -> Result:
    """Train as the package does, and without reading anything back: loss, norm, and the places of real tokens."""
    subject = subject_of(setup, size, feeding)
    model, optimizer = subject.model, subject.optimizer

    def loss_of(batch: Batch) -> Tensor:
        attentional = model(batch.src, batch.src_lengths, batch.tgt_in).attentional
        real = torch.nonzero_static(batch.tgt_out.flatten() != PAD, size=batch.tokens).squeeze(1)
        s = model.decoder.dropout(attentional.flatten(0, 1).index_select(0, real))
        y = batch.tgt_out.flatten().index_select(0, real)
        logits = F.linear(s, model.decoder.W_y.weight, model.decoder.W_y.bias)
        smoothing = subject.training.label_smoothing
        return F.cross_entropy(logits, y, reduction="sum", label_smoothing=smoothing) / batch.tokens

    def run() -> int:
        _, batch = next(subject.batches)
        optimizer.zero_grad()
        loss_of(batch.to(setup.device)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), subject.training.clip_norm)
        optimizer.step()
        return batch.tokens

    # the same loss
    if not size.dropout:
        batch = next(subject.batches)[1].to(setup.device)
        with torch.no_grad():
            loss = loss_of(batch).item()
        expected = update(model, optimizer, [batch], subject.training).loss  # before the step of this update
        must(abs(loss - expected) < 1e-4 * expected, f"loss {loss}, that of an update {expected}")
    return compared(rates_in_turn(setup, {"as it is": updating(setup, subject), "no waiting": run}))


class _Attentional(nn.Module):
    """A decoder as a function of tensors alone, so that it can be captured in a graph, with its gradient."""

    def __init__(self, decoder: Decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, tgt: Tensor, states: Tensor, mask: Tensor, summary: Tensor) -> Tensor:
        memory = self.decoder.memorize(states, mask)
        return self.decoder(tgt, memory, self.decoder.start(summary, mask)).attentional


def _graphed(setup: Setup, size: Size) -> Result:
    """Run a stepwise decoder forward and backward on one batch, operation by operation and as one graph."""
    # a batch, and what the encoder makes of it
    subject = subject_of(setup, size, feeding=True)
    model = subject.model
    assert isinstance(model.decoder, Decoder)
    batch = next(subject.batches)[1].to(setup.device)
    mask = real_positions(batch.src, batch.src_lengths)
    with torch.no_grad():
        encoded = model.encoder(batch.src, batch.src_lengths)
    inputs = (batch.tgt_in, encoded.states.clone().requires_grad_(), mask, encoded.summary.clone().requires_grad_())

    # without the output layer, whose weights a graph of the decoder would miss
    decoder = _Attentional(model.decoder)
    decoder.decoder.W_y.requires_grad_(False)
    ways: dict[str, Callable[..., Tensor]] = {"operations": decoder, "graph": decoder}
    expected = decoder(*inputs).detach().clone() if not size.dropout else None
    if setup.device.type == "cuda":
        twin = _Attentional(model.decoder)
        ways["graph"] = cast(_Attentional, torch.cuda.make_graphed_callables(twin, inputs))
    if expected is not None:
        torch.testing.assert_close(ways["graph"](*inputs), expected, rtol=1e-4, atol=1e-4)

    def run(way: str) -> int:
        decoder.zero_grad()
        ways[way](*inputs).sum().backward()
        return batch.tokens

    return compared(rates_in_turn(setup, {way: partial(run, way) for way in ways}))
