"""One update: the loss, accumulation, clipping, padding."""

import copy
import math

import pytest
import torch
from random_model import random_model

from seq2seq.config import TrainingConfig
from seq2seq.data.batches import make_batch
from seq2seq.text.tokenizer import EOS, PAD
from seq2seq.training.update import losses, make_optimizer, update

PAIRS = [([5, 7, 6, 8, EOS], [4, 9, EOS]), ([9, 5, EOS], [8, 8, 6, 5, 10, EOS]), ([4, EOS], [EOS]), ([EOS], [7, EOS])]


def updated(model, *micro_batches, **training):
    """The model after one update with plain SGD at rate 1, the loss and the norm."""
    model = copy.deepcopy(model)
    keys = {"optimizer": "sgd", "learning_rate": 1.0, "clip_norm": 0.0, **training}
    config = TrainingConfig(**keys)
    return model, *update(model, make_optimizer(config, model), list(micro_batches), config)[:2]


def weights(model):
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


@torch.no_grad()
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_cross_entropy_with_smoothed_targets(smoothing):
    model, expected, batch = random_model(), 0.0, make_batch(PAIRS)
    attentional, _, _ = model(batch.src, batch.src_lengths, batch.tgt_in)
    for row, (_, tgt) in zip(model.logits(attentional).tolist(), PAIRS, strict=True):
        for logits, token in zip(row, tgt, strict=False):
            log_sum = math.log(sum(math.exp(x) for x in logits))
            for other, x in enumerate(logits):
                target = (1 - smoothing) * (other == token) + smoothing / len(logits)
                expected -= target * (x - log_sum)
    assert losses(model, batch, smoothing).loss.item() == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("input_feeding", [False, True])
def test_a_batch_costs_what_its_pairs_cost_alone(input_feeding):
    model = random_model(decoder={"input_feeding": input_feeding})
    alone = sum(losses(model, make_batch([pair]), 0.1).loss.item() for pair in PAIRS)
    assert losses(model, make_batch(PAIRS), 0.1).loss.item() == pytest.approx(alone, rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("attention", [{}, {"coverage": True}])
def test_the_coverage_loss_is_added_with_its_weight_for_real_tokens_alone(attention):
    model, batch = random_model("concat", attention=attention), make_batch(PAIRS)
    _, weights, _ = model(batch.src, batch.src_lengths, batch.tgt_in)
    expected = 0.0
    for a, (src, tgt) in zip(weights[:, 0].tolist(), PAIRS, strict=True):
        seen = [0.0] * len(src)
        for row in a[: len(tgt)]:
            expected += sum(map(min, row, seen))
            seen = [x + y for x, y in zip(seen, row, strict=False)]
    plain = losses(model, batch).loss.item()
    assert losses(model, batch, coverage=0.5).loss.item() == pytest.approx(plain + 0.5 * expected, rel=1e-5)


def test_the_loss_given_back_is_the_mean_over_real_target_tokens():
    model, batch = random_model(), make_batch(PAIRS)
    _, loss, _ = updated(model, batch, label_smoothing=0.0)
    assert loss == pytest.approx(losses(model, batch).loss.item() / 12, rel=1e-6)


def test_an_update_of_two_small_batches_is_an_update_of_both_in_one():
    model = random_model(dropout=0.0, spread=1.5).train()
    both, loss, norm = updated(model, make_batch(PAIRS))
    parts, loss_of_parts, norm_of_parts = updated(model, make_batch(PAIRS[:1]), make_batch(PAIRS[1:]))
    assert (loss_of_parts, norm_of_parts) == pytest.approx((loss, norm), rel=1e-4)
    torch.testing.assert_close(weights(parts), weights(both), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(weights(both), weights(model), atol=1e-2)


@pytest.mark.parametrize("clip_norm", [0.01, 0.5])
def test_clipping_limits_the_norm_and_keeps_the_direction(clip_norm):
    model, batch = random_model(), make_batch(PAIRS)
    free, _, norm = updated(model, batch)
    clipped, _, norm_before = updated(model, batch, clip_norm=clip_norm)
    step, clipped_step = weights(free) - weights(model), weights(clipped) - weights(model)
    assert step.norm().item() == pytest.approx(norm, rel=1e-4)
    assert norm == norm_before > clip_norm
    assert clipped_step.norm().item() == pytest.approx(clip_norm, rel=1e-3)
    torch.testing.assert_close(clipped_step * (norm / clip_norm), step, rtol=1e-2, atol=1e-3)


def test_a_gradient_below_the_limit_is_left_alone():
    model, batch = random_model(), make_batch(PAIRS)
    torch.testing.assert_close(weights(updated(model, batch, clip_norm=1e6)[0]), weights(updated(model, batch)[0]))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_padding_embeddings_stay_zero(optimizer):
    model = random_model(tie="none")
    new, _, _ = updated(model, make_batch(PAIRS), optimizer=optimizer, weight_decay=0.1)
    for embedding in (new.encoder.embedding, new.decoder.embedding):
        assert not embedding.weight[PAD].any()
        assert embedding.weight[EOS].any()
    assert not torch.equal(new.encoder.embedding.weight, model.encoder.embedding.weight)


def test_gradients_of_the_update_before_are_forgotten():
    model, batch = random_model(), make_batch(PAIRS)
    once, _, norm = updated(model, batch)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    config = TrainingConfig(optimizer="sgd", learning_rate=1.0, clip_norm=0.0)
    norm_again = update(model, make_optimizer(config, model), [batch], config).gradient_norm
    assert norm_again == norm
    torch.testing.assert_close(weights(model), weights(once))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_or_a_gradient_that_is_not_finite_reaches_neither_weights_nor_optimizer(optimizer, bad, where):
    model, batch = random_model(), make_batch(PAIRS)
    config = TrainingConfig(optimizer=optimizer, weight_decay=0.1)
    made = make_optimizer(config, model)
    assert update(model, made, [batch], config).is_finite
    before, memory = weights(model), copy.deepcopy(made.state_dict())
    weight = model.decoder.W_c.weight
    if where == "loss":
        hook = model.decoder.register_forward_hook(lambda _, __, out: (out[0] + bad, *out[1:]))
    else:
        hook = weight.register_hook(lambda gradient: gradient.clone().index_fill_(0, torch.tensor([0]), bad))
    assert not update(model, made, [batch, batch], config).is_finite
    assert torch.equal(weights(model), before)
    assert str(made.state_dict()) == str(memory)
    hook.remove()
    assert update(model, made, [batch], config).is_finite
    assert not torch.equal(weights(model), before)
