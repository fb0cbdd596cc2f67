"""The vocabulary product and its loss equal their plain twins, and do no more work than they say."""

import pytest
import torch
from counting import Counting

from seq2seq.fast import loss as module
from seq2seq.fast.loss import fused_cross_entropy, plain_cross_entropy


@pytest.fixture(autouse=True)
def small_buffer(monkeypatch):
    monkeypatch.setattr(module, "ROWS", 3)


def problem(rows=7, vocab=21, dtype=torch.float64):
    """s, W, b, which want gradients, and y."""
    torch.manual_seed(1)
    s, W, b = (torch.randn(*size, dtype=dtype, requires_grad=True) for size in ((rows, 5), (vocab, 5), (vocab,)))
    return s, W, b, torch.randint(vocab, (rows,))


def gradients(loss, s, W, b):
    return torch.autograd.grad(0.3 * loss, [s, W, b])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [1, 3, 7])
@pytest.mark.parametrize("vocab", [4, 16, 21])
def test_loss_and_gradients_are_those_of_the_plain_twin(rows, vocab, smoothing):
    s, W, b, y = problem(rows, vocab)
    expected = plain_cross_entropy(s, W, b, y, smoothing)
    loss = fused_cross_entropy(s, W, b, y, smoothing)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    for ours, theirs in zip(gradients(loss, s, W, b), gradients(expected, s, W, b), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("size", [1e3, -1e3])
def test_large_logits_neither_overflow_nor_vanish(size):
    s, W, b, y = problem(dtype=torch.float32)
    problem_of_size = (s + size, W, b, y, 0.0)
    torch.testing.assert_close(fused_cross_entropy(*problem_of_size), plain_cross_entropy(*problem_of_size))


def test_each_chunk_of_rows_takes_three_products_and_no_logits_are_kept_for_the_backward_pass():
    s, W, b, y = problem(rows=9, vocab=100)
    with Counting() as counted:
        loss = fused_cross_entropy(s, W, b, y, 0.0)
    assert counted.products() == 3 * 3
    assert counted.largest == max(3 * 100, 100 * 5) * 8  # the buffer, the gradient of W_y
    with Counting() as counted:
        loss.backward()
    assert counted.products() == 0


def test_without_gradients_a_chunk_takes_one_product():
    s, W, b, y = problem(rows=9)
    with torch.no_grad(), Counting() as counted:
        fused_cross_entropy(s, W, b, y, 0.0)
    assert counted.products() == 3


def test_a_second_backward_pass_gives_the_same_gradient():
    s, W, b, y = problem()
    loss = fused_cross_entropy(s, W, b, y, 0.0)
    once, again = (torch.autograd.grad(loss, W, retain_graph=True)[0] for _ in range(2))
    assert once.equal(again)


def test_no_rows_cost_nothing():
    s, W, b, y = problem()
    assert fused_cross_entropy(s[:0], W, b, y[:0], 0.0) == 0
