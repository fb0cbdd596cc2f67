"""Counting what a computation does, where a clock would be noise."""

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Counting(TorchDispatchMode):
    """Counts the operations that run inside it by name (`mm`, `addmm_`, ...), and keeps the largest result's size."""

    def __init__(self):
        super().__init__()
        self.calls, self.largest, self.shapes = Counter(), 0, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.__name__.split(".")[0]
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.calls[name] += 1
        self.shapes += [(name, tuple(tensor.shape)) for tensor in tensors]
        self.largest = max([self.largest, *(tensor.untyped_storage().nbytes() for tensor in tensors)])
        return result

    def products(self) -> int:
        """Matrix products, of any kind."""
        return sum(self.calls[name] for name in ("mm", "addmm", "addmm_", "bmm", "baddbmm"))
