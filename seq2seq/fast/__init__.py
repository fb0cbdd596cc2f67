"""The code that exists only for speed. Each part has a plain twin: ordinary torch, the same results up to rounding.

    file             what it makes faster                                    its plain twin
    precision.py     all products, by another library or in bfloat16         float32 by torch's default library
    loss.py          the vocabulary product, its loss and its gradient       `plain_cross_entropy`
    cells.py         recurrent layers that go one position at a time         `Recurrent` of model/recurrent.py
    topk.py          the best tokens of a step of search                     `plain_topk`
    side_by_side.py  a function of many batches, on a CPU                    one batch after the other
    shortlist.py     the softmax in a search                                 search among all tokens (`--exact`)
    allocator.py     freeing and taking memory                               nothing at all

`SEQ2SEQ_FAST=0` in the environment turns everything off, and the plain twins run. (This does
not affect the shortlist, which changes results and so is on only if asked for.) tests/test_fast.py trains both ways.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ON = os.environ.get("SEQ2SEQ_FAST", "1") != "0"


def is_on_for(x: "Tensor") -> bool:
    """Return whether to use the fast code: it is on, and x is on a CPU. On a GPU its gain was not measured."""
    return ON and x.device.type == "cpu"
