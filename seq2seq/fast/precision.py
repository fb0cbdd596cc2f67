"""The precision of products and recurrent layers, and the library that computes them on a CPU.

torch multiplies float32 matrices on a CPU with MKL, or with oneDNN where `torch.backends.mkldnn.matmul.fp32_precision`
is "bf16". This setting permits bfloat16: on a CPU with matrix instructions for it (AMX) oneDNN rounds both factors to
bfloat16 and sums in float32, and elsewhere it computes in float32. On AMD's processors this is faster than MKL. So a
product is measured: its error tells the format, and its time the faster library.

    fp32    float32, by the faster library
    bf16    on a CPU with AMX: tensors in float32, products and LSTM layers in bfloat16
            on other CPUs with bfloat16, and on GPUs: torch's autocast
            sums over a batch, weights, gradients and the optimizer stay in float32

The plain twin is float32 by torch's default library.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Condition
from time import thread_time
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch.func import functional_call

from seq2seq import fast
from seq2seq.errors import UserError

Products = Literal["ieee", "bf16"]  # torch's names: by its default library, or by oneDNN, which may use bfloat16

# Rows, inner size and columns of the measured product: the logits of a vocabulary. Their rows do not begin on cache
# lines, like those of most vocabularies; MKL then takes half as long again on AMD's processors.
SHAPE = (192, 256, 6001)
FLOAT32_ERROR = 1e-5  # the relative error of a float32 product is about 5e-7, and that of bfloat16 2e-3
ROUNDS = 5  # products by each library, in turn
ADVANTAGE = 1.15  # oneDNN is chosen if it is so many times as fast: on AMD it is 1.6 times, on Intel 0.9 times


class Precision(NamedTuple):
    """How a device computes products and recurrent layers."""

    name: Literal["fp32", "bf16"]
    products: Products = "ieee"  # the library of float32 products on a CPU
    autocast: Literal["", "cpu", "cuda"] = ""  # the type of device on which autocast is on

    @contextmanager
    def settings(self) -> Iterator[None]:
        """Compute in this precision until the end of the block, then put torch's settings back.

        The settings belong to the whole process. So a thread waits until no other thread computes in another precision,
        and one thread must not put a block of another precision into a block.
        """
        with _hold((self.products, "bf16" if self.name == "bf16" else "ieee")):
            yield

    def forward(self) -> torch.autocast:
        """Return the context of a forward pass, inside of `settings`."""
        return torch.autocast(self.autocast or "cpu", torch.bfloat16, enabled=bool(self.autocast))

    def __str__(self) -> str:
        by = {"ieee": "torch's default library", "bf16": "oneDNN"}[self.products]
        return self.name if self.autocast == "cuda" else f"{self.name}, products by {by}"


FP32 = Precision("fp32")


def choose_precision(
    device: torch.device, name: str, key: str = "training.precision", products: Products | None = None
) -> Precision:
    """Return the precision of a name in a config: `fp32`, `bf16`, or `auto`, which is `fp32`.

    Args:
        device: the device that computes.
        name: the value of the key.
        key: for the error message.
        products: a run's library, which it keeps where that has float32's error here too.

    Raises:
        UserError: another name, or bf16 on a device that does not compute in it.
    """
    if name not in ("auto", "fp32", "bf16"):
        raise UserError(f"{key} is {name!r:.40}; write auto, fp32 or bf16")
    # a GPU
    if device.type != "cpu":
        if name != "bf16":
            return FP32
        if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision("bf16", autocast="cuda")
    # a CPU
    elif name == "bf16":
        if _cpu_has_bf16():
            return Precision("bf16", "bf16", "" if product_error("bf16") > FLOAT32_ERROR else "cpu")
    elif products and product_error(products) < FLOAT32_ERROR:
        return Precision("fp32", products)
    else:
        return Precision("fp32", fastest_float32())
    raise UserError(f"{key} is bf16, which this {device.type} does not compute in; write auto or fp32")


@cache
def product_error(products: Products) -> float:
    """Return the relative error of a product of random float32 matrices by a library."""
    a, b = (x[:, :512] for x in _factors())
    exact = a.double() @ b.double()
    with _hold((products, "ieee")):
        return float((a @ b - exact).norm() / exact.norm())


def libraries_of(precision: Precision) -> list[Products]:
    """Return the libraries whose products have the error of a precision, or less."""
    return [p for p in get_args(Products) if precision.name == "bf16" or product_error(p) < FLOAT32_ERROR]


@cache
def fastest_float32() -> Products:
    """Return the library with the fastest product of those that have float32's error; measure it in about 0.1 s."""
    if not fast.ON or len(libraries_of(FP32)) == 1:
        return "ieee"
    a, b = _factors()
    seconds: dict[Products, list[float]] = {"ieee": [], "bf16": []}  # of this thread: other programs do not count
    for _ in range(ROUNDS):
        for products, times in seconds.items():
            with _hold((products, "ieee")):
                start = thread_time()
                a @ b
                times.append(thread_time() - start)
    return "bf16" if min(seconds["ieee"]) > ADVANTAGE * min(seconds["bf16"]) else "ieee"


def product_dtype(x: torch.Tensor) -> torch.dtype:
    """Return the type that a product of x computes in: under autocast bfloat16."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def recurrent_dtype(weight: torch.Tensor) -> torch.dtype:
    """Return the type that a recurrent layer computes in.

    On a CPU it is bfloat16 where the precision is bf16: torch has a setting for this, which its LSTM does not yet obey.
    """
    mkldnn: Any = torch.backends.mkldnn
    bf16 = mkldnn.rnn.fp32_precision == "bf16"
    return torch.bfloat16 if bf16 and weight.device.type == "cpu" and weight.dtype == torch.float32 else weight.dtype


def run_recurrent(layer: Any, x: Any, start: tuple[torch.Tensor, ...] | None) -> tuple[Any, tuple[torch.Tensor, ...]]:
    """Call one of torch's recurrent layers on a tensor or a packed sequence, in the type of `recurrent_dtype`.

    The state is a tuple: h, and in an LSTM c. The results are in the type of the weights.
    """
    weight = layer.weight_hh_l0
    dtype = recurrent_dtype(weight)
    if start is not None:
        start = tuple(part.to(dtype) for part in start)
    state = start if start is None or len(start) == 2 else start[0]
    with torch.autocast(weight.device.type, enabled=False):  # CUDA would run this in half precision, not in bf16
        if dtype == weight.dtype:
            x, end = layer(x.to(dtype), state)
        else:
            weights = {name: parameter.to(dtype) for name, parameter in layer.named_parameters()}
            x, end = functional_call(layer, weights, (x.to(dtype), state))
    parts = end if isinstance(end, tuple) else (end,)
    return x.to(weight.dtype), tuple(part.to(weight.dtype) for part in parts)


def _cpu_has_bf16() -> bool:
    return any(has for name, has in torch.cpu.get_capabilities().items() if name.endswith("bf16"))


def _factors() -> tuple[torch.Tensor, torch.Tensor]:
    rows, inner, columns = SHAPE
    generator = torch.Generator().manual_seed(0)  # of its own, so that no other random number changes
    return torch.randn(rows, inner, generator=generator), torch.randn(inner, columns, generator=generator)


_free = Condition()
_held: list[tuple[str, str]] = []  # the settings of each block that is running; all are equal
_users = ("none", "none")  # the settings outside of all blocks


@contextmanager
def _hold(settings: tuple[str, str]) -> Iterator[None]:
    """Set torch's precision of products and of recurrent layers, once no thread holds other settings."""
    global _users
    mkldnn: Any = torch.backends.mkldnn  # torch's type stubs do not know these settings
    with _free:
        _free.wait_for(lambda: not _held or _held[0] == settings)
        if not _held:
            _users = (mkldnn.matmul.fp32_precision, mkldnn.rnn.fp32_precision)
            mkldnn.matmul.fp32_precision, mkldnn.rnn.fp32_precision = settings
        _held.append(settings)
    try:
        yield
    finally:
        with _free:
            _held.pop()
            if not _held:
                mkldnn.matmul.fp32_precision, mkldnn.rnn.fp32_precision = _users
                _free.notify_all()
