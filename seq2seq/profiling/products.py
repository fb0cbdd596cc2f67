"""The matrix products of an update: which they are, how many operations they take, how long each takes alone."""

import copy
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seq2seq.config import TrainingConfig
from seq2seq.data.batches import Batch
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.text.tokenizer import EOS
from seq2seq.training.update import make_optimizer, update

aten = torch.ops.aten
FIRST = {aten.mm: 0, aten.bmm: 0, aten.addmm: 1, aten.addmm_: 1, aten.baddbmm: 1, aten.baddbmm_: 1}  # a's place

Layout = tuple[tuple[int, ...], tuple[int, ...]]
"""Shape and strides: products of the same size are not equally fast however their numbers lie."""


class Product(NamedTuple):
    """out = a b, of matrices or of batches of them."""

    a: Layout
    b: Layout
    out: Layout
    dtype: torch.dtype

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * math.prod(self.a[0]) * self.b[0][-1]


def square(size: int, dtype: torch.dtype) -> Product:
    """A product of two square matrices."""
    layout = ((size, size), (size, 1))
    return Product(layout, layout, layout, dtype)


def products(model: Seq2Seq, batch: Batch, training: TrainingConfig) -> Counter[Product]:
    """The products of an update on a batch, forward and backward, and how often each occurs; the model stays as it is.

    A layer of torch is one kernel, and another on each device. It counts as its formula says: two products forward,
    x W^T for all positions at once and h U^T position by position, and for the gradients each of them twice. Where
    cells run instead, their products are seen one by one.
    """
    model, noted = copy.deepcopy(model).train(), _Noted()
    for layer in model.modules():
        if isinstance(layer, nn.RNNBase):
            layer.forward = _stand_in(layer, noted)
    with noted:
        update(model, make_optimizer(training, model), [batch], training)
    return noted.found


def operations(model: Seq2Seq, lengths: Sequence[tuple[int, int]], training: TrainingConfig) -> float:
    """The operations that an update needs in its products: those of sentence pairs without any padding.

    What a pair of lengths (s, t), `</s>` included, takes is a polynomial of degree two in s and t. So six pairs tell
    what any others take.
    """
    known = [(2, 2), (3, 2), (4, 2), (2, 3), (2, 4), (3, 3)]
    device = model.decoder.W_y.weight.device
    counts = []
    for s, t in known:
        src, tgt = torch.full((1, s), EOS, device=device), torch.full((1, t), EOS, device=device)
        found = products(model, Batch(src, torch.tensor([s], device=device), tgt, tgt, t), training)
        counts.append(sum(product.operations * times for product, times in found.items()))
    coefficients = np.linalg.solve(_terms(known), np.array(counts, dtype=float))
    return float((_terms(lengths) @ coefficients).sum())


def _terms(lengths: Sequence[tuple[int, int]]) -> np.ndarray:
    s, t = np.array(lengths, dtype=float).T
    return np.stack([np.ones_like(s), s, t, s * t, s * s, t * t], axis=1)


def seconds_alone(product: Product, device: torch.device) -> float:
    """How long a product takes with nothing else to do and its buffers reused: the median of five times."""
    a, b, out = (_laid(layout, product.dtype, device) for layout in (product.a, product.b, product.out))
    multiply = torch.mm if a.dim() == 2 else torch.bmm
    calls = 1
    while (took := _seconds(lambda: multiply(a, b, out=out), calls, device)) < 2e-3:
        calls *= 2
    return median([took, *(_seconds(lambda: multiply(a, b, out=out), calls, device) for _ in range(4))]) / calls


def _layout(x: Tensor) -> Layout:
    return tuple(x.shape), x.stride()


def _laid(layout: Layout, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Random numbers in a layout."""
    shape, stride = layout
    size = 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    return torch.randn(size, dtype=dtype, device=device).as_strided(shape, stride)


def _seconds(function: Callable[[], Any], calls: int, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        function()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class _Noted(TorchDispatchMode):
    """Sees every operation that torch runs, and notes the products."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[Product] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if (first := FIRST.get(func.overloadpacket)) is not None:
            self.note(args[first], args[first + 1], out)
        return out

    def note(self, a: Tensor, b: Tensor, out: Tensor) -> None:
        self.found[Product(_layout(a), _layout(b), _layout(out), a.dtype)] += 1

    @torch.no_grad()
    def note_recurrent(self, layer: nn.RNNBase, x: Tensor, steps: list[int]) -> None:
        W, U = layer.get_parameter("weight_ih_l0"), layer.get_parameter("weight_hh_l0")
        h, gates = x.new_empty(len(x), layer.hidden_size), x.new_empty(len(x), len(U))
        for _ in range(1 + layer.bidirectional):
            self.note(x, W.mT, gates)
            self.note(gates, W, x)
            self.note(gates.mT, x, W)
            self.note(gates.mT, h, U)
            for rows in steps:
                self.note(h[:rows], U.mT, gates[:rows])
                self.note(gates[:rows], U, h[:rows])


def _stand_in(layer: nn.RNNBase, noted: _Noted) -> Callable[..., Any]:
    """A forward of a recurrent layer that does nothing but note its products and let gradients through."""

    def forward(x: Tensor | PackedSequence, state: Tensor | tuple[Tensor, Tensor] | None = None) -> Any:
        data = x.data if isinstance(x, PackedSequence) else x
        steps = x.batch_sizes.tolist() if isinstance(x, PackedSequence) else [x.size(0)] * x.size(1)
        noted.note_recurrent(layer, data.flatten(0, -2), steps)
        zero = 0 * sum(part.sum() for part in [data, *tree_leaves(state)] if part is not None)
        directions = 1 + layer.bidirectional
        h = zero.expand(*data.shape[:-1], directions * layer.hidden_size)
        last = zero.expand(directions, steps[0], layer.hidden_size)
        outputs = x._replace(data=h) if isinstance(x, PackedSequence) else h
        return outputs, (last, last) if layer.mode == "LSTM" else last

    return forward
