"""LSTM layers in bfloat16, on the padded batch.

oneDNN has an LSTM in bfloat16, but not for sentences of different lengths: for these torch goes position by position,
which takes three times as long. The padded batch gives the same states if no padding changes a cell c. So every input
gets marks, 1 on padding and 0 on tokens, whose weights close the input gate and open the forget gate:

    i = sigmoid(... - 16,000) = 0,   f = sigmoid(... + 16,000) = 1,   c_t = f * c_{t-1} + i * g = c_{t-1}

The direction that reads from the right thus starts with c = 0 at the last token. Its plain twin is the packed batch.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

MARKS = 16  # the numbers that mark padding: one would do, but oneDNN is slow where the inputs are not multiples of 16
CLOSED = -1.0e3  # added to a gate by each mark; the sigmoid of the sum is 0


def bf16_lstm(
    layer: nn.LSTM, x: Tensor | PackedSequence, start: tuple[Tensor, ...] | None
) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
    """Return what the layer returns, computed in bfloat16.

    Args:
        layer: of one layer, `batch_first`, with float32 weights.
        x: the inputs, (batch, time, input), or packed; the outputs come in the same form.
        start: h and c, each (direction, batch, hidden); None means zero, and a packed batch must start from zero.
    """
    weights = [weight.to(torch.bfloat16) for weight in layer.parameters()]
    directions = 1 + layer.bidirectional
    padded, lengths = pad_packed_sequence(x, batch_first=True) if isinstance(x, PackedSequence) else (x, None)
    padded = padded.to(torch.bfloat16)

    # mark the padding, and close the input gate on it
    if lengths is not None:
        is_padding = torch.arange(padded.size(1)) >= lengths[:, None]
        padded = torch.cat([padded, is_padding[:, :, None].to(padded.dtype).expand(-1, -1, MARKS)], dim=2)
        zeros = weights[0].new_zeros(layer.hidden_size, MARKS)
        gates = torch.cat([zeros + CLOSED, zeros - CLOSED, zeros, zeros])  # input, forget, cell, output
        weights[::4] = [torch.cat([W_ih, gates], dim=1) for W_ih in weights[::4]]

    # the layer
    zero = padded.new_zeros(directions, len(padded), layer.hidden_size)
    h, c = (part.to(torch.bfloat16) for part in start) if start else (zero, zero)
    states, h, c = torch.lstm(padded, (h, c), weights, True, 1, 0.0, layer.training, layer.bidirectional, True)
    if lengths is None:
        return states, (h, c)

    # from left to right, h is that of the last token
    last = (lengths - 1)[:, None, None].expand(-1, 1, layer.hidden_size)
    h = torch.stack([states[:, :, : layer.hidden_size].gather(1, last)[:, 0], *h[1:]])
    return pack_padded_sequence(states, lengths, batch_first=True, enforce_sorted=False), (h, c)
