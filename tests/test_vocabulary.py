"""The vocabulary product and its loss equal torch's, and do no more work than they say."""

import pytest
import torch
import torch.nn.functional as F
from counting import Counting

from seq2seq.fast import loss as module
from seq2seq.fast.loss import Vocabulary


@pytest.fixture(autouse=True)
def small_buffer(monkeypatch):
    monkeypatch.setattr(module, "ROWS", 3)


def problem(rows=7, vocab=21, dtype=torch.float64):
    torch.manual_seed(1)
    s = torch.randn(rows, 5, dtype=dtype, requires_grad=True)
    return s, Vocabulary(5, vocab).to(dtype), torch.randint(vocab, (rows,))


def gradients(loss, s, vocabulary):
    return torch.autograd.grad(0.3 * loss, [s, vocabulary.weight, vocabulary.bias])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [1, 3, 7])
@pytest.mark.parametrize("vocab", [4, 16, 21])
def test_loss_and_gradients_are_those_of_torch(rows, vocab, smoothing):
    s, vocabulary, y = problem(rows, vocab)
    expected = F.cross_entropy(vocabulary(s), y, reduction="sum", label_smoothing=smoothing)
    loss = vocabulary.cross_entropy(s, y, smoothing)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    for ours, theirs in zip(gradients(loss, s, vocabulary), gradients(expected, s, vocabulary), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("size", [1e3, -1e3])
def test_large_logits_neither_overflow_nor_vanish(size):
    s, vocabulary, y = problem(dtype=torch.float32)
    s = s + size
    expected = F.cross_entropy(vocabulary(s), y, reduction="sum")
    torch.testing.assert_close(vocabulary.cross_entropy(s, y), expected)


def test_each_chunk_of_rows_takes_three_products_and_no_number_of_a_logit_is_kept_for_the_backward_pass():
    s, vocabulary, y = problem(rows=9, vocab=100)
    with Counting() as counted:
        loss = vocabulary.cross_entropy(s, y)
    assert counted.products() == 3 * 3
    assert counted.largest == max(3 * 112, 100 * 5) * 8  # the buffer, its rows rounded up to 112; the gradient of W_y
    with Counting() as counted:
        loss.backward()
    assert counted.products() == 0


def test_without_gradients_a_chunk_takes_one_product():
    s, vocabulary, y = problem(rows=9)
    with torch.no_grad(), Counting() as counted:
        vocabulary.cross_entropy(s, y)
    assert counted.products() == 3


def test_a_loss_can_be_differentiated_twice_over_for_the_same_gradient():
    s, vocabulary, y = problem()
    loss = vocabulary.cross_entropy(s, y)
    once, again = (torch.autograd.grad(loss, vocabulary.weight, retain_graph=True)[0] for _ in range(2))
    assert once.equal(again)


def test_no_rows_cost_nothing():
    s, vocabulary, y = problem()
    assert vocabulary.cross_entropy(s[:0], y[:0]) == 0


@pytest.mark.parametrize("rows", [4, 0])
@pytest.mark.parametrize("vocab", [16, 21])
@torch.no_grad()
def test_log_probabilities_are_those_of_the_logits_and_their_rows_begin_on_cache_lines(rows, vocab):
    s, vocabulary, _ = problem(rows, vocab, torch.float32)
    log_probs = vocabulary.log_probs(s)
    torch.testing.assert_close(log_probs, vocabulary(s).log_softmax(-1))
    assert log_probs.stride(0) * log_probs.element_size() % 64 == 0
