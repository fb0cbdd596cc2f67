"""The k largest numbers of long rows, which search needs at every step."""

import torch
from torch import Tensor

from seq2seq import fast
from seq2seq.shapes import Float, Int

BLOCKS = 8


def first_topk(x: Float[Tensor, "rows columns"], k: int) -> Int[Tensor, "rows k"]:
    """Return the columns of the k largest numbers of each row; of equal numbers the first columns are chosen.

    Numbers are often equal where logits are rounded to bfloat16. Of columns that hold -inf any may be chosen.
    """
    # one more than k, to see a tie for the last place
    values, columns = topk(x, min(k + 1, x.size(1)))
    columns, least = columns[:, :k], values[:, k - 1 : k]
    tied = ((values[:, k:] == least) & (least > -torch.inf)).any(1)
    if not tied.any():
        return columns

    # in the tied rows: the larger numbers, then the first columns that hold the least
    x, columns, values, least = x[tied], columns.clone(), values[tied, :k], least[tied]
    place = torch.arange(x.size(1), 0, -1, dtype=torch.float32, device=x.device)
    first, is_least = topk(place * (x == least), k)[1], values == least
    columns[tied] = torch.where(is_least, first.gather(1, (is_least.cumsum(1) - 1).clamp(min=0)), columns[tied])
    return columns


def topk(x: Float[Tensor, "rows columns"], k: int) -> tuple[Float[Tensor, "rows k"], Int[Tensor, "rows k"]]:
    """Return the k largest numbers of each row, and their columns; of equal numbers any may be chosen."""
    return blockwise_topk(x, k) if fast.is_on_for(x) else plain_topk(x, k)


def plain_topk(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the same by torch's own function."""
    values, columns = x.topk(k, dim=1)
    return values, columns


def blockwise_topk(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the same, in less time on a CPU.

    Each row is cut into `BLOCKS` blocks, which are laid below each other. The k largest numbers of the row then lie in
    the k columns with the largest maxima.
    """
    width = x.size(1) // BLOCKS
    if width <= k:
        return plain_topk(x, k)

    # find the k columns with the largest maxima
    blocks = x[:, : BLOCKS * width].unflatten(1, (BLOCKS, width))
    _, columns = blocks.amax(1).topk(k, dim=1)

    # search these columns, and the end of the row, which is shorter than a block
    candidates = (columns[:, None, :] + width * torch.arange(BLOCKS, device=x.device)[:, None]).flatten(1)
    rest = torch.arange(BLOCKS * width, x.size(1), device=x.device).expand(len(x), -1)
    candidates = torch.cat([candidates, rest], dim=1)
    values, index = x.gather(1, candidates).topk(k, dim=1)
    return values, candidates.gather(1, index)
