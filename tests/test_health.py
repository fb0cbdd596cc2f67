"""Attention health: the four numbers, that they do not depend on batching, and when they are a reason to warn."""

import logging
import math

import pytest
import torch
from random_model import random_model
from tiny import write_config

from seq2seq.config import load_config
from seq2seq.data.batches import make_batch
from seq2seq.evaluation import health as module
from seq2seq.evaluation.health import Health, health_sums, warnings
from seq2seq.text.tokenizer import EOS, PAD
from seq2seq.training.train import train

PAIRS = [([5, 7, 6, 8, EOS], [4, 9, EOS]), ([9, 5, EOS], [8, 8, 6, 5, 10, EOS]), ([4, EOS], [EOS]), ([EOS], [7, EOS])]


def sums_of(*sentences):
    """Of sentences given as weights (head tgt src), in one batch; on padding the weights hold rubbish."""
    shape = [max(a.size(axis) for a in sentences) for axis in range(3)]
    weights = torch.full((len(sentences), *shape), 0.7)
    for row, a in zip(weights, sentences, strict=True):
        row[:, : a.size(1), : a.size(2)] = a
    S, T = torch.tensor([a.size(2) for a in sentences]), torch.tensor([a.size(1) for a in sentences])
    return health_sums(weights, S, T)


def health_of(*sentences):
    return Health.of(sums_of(*sentences))


def lively(T, S, heads=1, seed=0):
    """Distributions far from uniform."""
    return (3 * torch.randn(heads, T, S, generator=torch.Generator().manual_seed(seed))).softmax(-1)


def walk(tokens, S):
    """One head that looks at one token at a time."""
    return torch.eye(S)[list(tokens)][None]


def transcribed(sentences):
    """The formulas of the module's docstring, a number at a time."""
    entropies, covered, at_eos, numerator, denominator = [], [], [], 0.0, 0.0
    for heads in (a.double().tolist() for a in sentences):
        T, S = len(heads[0]), len(heads[0][0])
        normalized = [[[w / (sum(row) or 1) for w in row] for row in head] for head in heads]
        for head in normalized:
            for t, row in enumerate(head):
                if sum(row) == 0:
                    continue
                entropies.append(-sum(w * math.log(w) for w in row if w > 0) / math.log(S))
                at_eos.append(row[-1])
                x = sum(w * (i + 0.5) for i, w in enumerate(row)) / S - 0.5
                y = (t + 0.5) / T - 0.5
                numerator += x * y
                denominator += y * y
        for i in range(S - 1):
            looked = sum(head[t][i] for head in normalized for t in range(T)) / len(normalized)
            covered.append(min(1, looked))
    mean_entropy, coverage, eos = (sum(values) / len(values) for values in (entropies, covered, at_eos))
    return mean_entropy, coverage, numerator / denominator, eos


@pytest.mark.parametrize("heads", [1, 3])
def test_the_numbers_are_their_formulas(heads):
    sentences = [lively(4, 6, heads, 1), lively(7, 3, heads, 2), lively(2, 2, heads, 3)]
    assert health_of(*sentences) == pytest.approx(transcribed(sentences), abs=1e-6)


def test_weights_that_do_not_sum_to_one_are_normalized_and_rows_of_zeros_left_out():
    a = lively(5, 4, 2)
    scaled = a * torch.rand(2, 5, 1, generator=torch.Generator().manual_seed(5))
    assert health_of(scaled) == pytest.approx(tuple(health_of(a)), abs=1e-6)
    scaled[0, 1] = scaled[1, 3] = 0
    assert health_of(scaled) == pytest.approx(transcribed([scaled]), abs=1e-6)


def test_sentences_in_one_batch_or_in_many_padded_or_alone_give_the_same():
    sentences = [lively(4, 6, 2, 1), lively(7, 3, 2, 2), lively(3, 9, 2, 3), lively(1, 4, 2, 4), lively(4, 1, 2, 5)]
    alone = sum(sums_of(a) for a in sentences)
    torch.testing.assert_close(sums_of(*sentences), alone, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(sums_of(*sentences[:2]) + sums_of(*sentences[2:]), alone, rtol=1e-6, atol=1e-6)


def test_a_sentence_of_one_position_on_either_side_does_not_count():
    a = lively(4, 6)
    assert health_of(a, torch.ones(1, 5, 1), lively(1, 6)) == pytest.approx(tuple(health_of(a)), abs=1e-6)
    assert health_of(torch.ones(1, 5, 1), lively(1, 6)) is None


@pytest.mark.parametrize(("T", "S"), [(2, 2), (5, 7), (6, 4)])
def test_uniform_attention_has_entropy_1_and_no_diagonality(T, S):
    uniform = torch.full((1, T, S), 1 / S)
    assert health_of(uniform) == pytest.approx((1, min(1, T / S), 0, 1 / S), abs=1e-6)


@pytest.mark.parametrize("S", [2, 5, 6])
def test_walking_the_diagonal_has_diagonality_1_and_backwards_minus_1(S):
    assert health_of(walk(range(S), S)) == pytest.approx((0, 1, 1, 1 / S), abs=1e-6)
    assert health_of(walk(reversed(range(S)), S)) == pytest.approx((0, 1, -1, 1 / S), abs=1e-6)


@pytest.mark.parametrize(("S", "k"), [(3, 2), (4, 3), (20, 2)])
def test_a_diagonal_between_sentences_of_unlike_length_has_diagonality_1_or_nearly(S, k):
    wide = torch.eye(S).repeat_interleave(k, dim=1)[None] / k  # k source tokens a target position
    assert health_of(wide) == pytest.approx((math.log(k) / math.log(S * k), 1 / k, 1, 1 / (S * k)), abs=1e-6)
    steep = walk([t // k for t in range(S * k)], S)  # k target positions a source token
    slope = (1 - 1 / S**2) / (1 - 1 / (S * k) ** 2)
    assert health_of(steep) == pytest.approx((0, 1, slope, 1 / S), abs=1e-6)


@pytest.mark.parametrize("token", [0, 2, 5])
def test_looking_at_one_token_all_the_time_has_no_diagonality_wherever_it_is(token):
    health = health_of(walk([token] * 7, 6))
    assert health == pytest.approx((0, 0 if token == 5 else 1 / 5, 0, float(token == 5)), abs=1e-6)


def test_halfway_between_uniform_and_diagonal_is_half_the_diagonality():
    half = (walk(range(6), 6) + 1 / 6) / 2
    assert health_of(half).diagonality == pytest.approx(0.5, abs=1e-6)


def test_heads_share_the_coverage_and_have_an_entropy_each():
    heads = torch.cat([walk([0, 0, 3], 4), walk([1, 1, 3], 4)])
    health = health_of(heads)
    assert health.coverage == pytest.approx(2 / 3)
    assert health.entropy == pytest.approx(0, abs=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("score", ["general", "location", "multi_head"])
def test_a_models_numbers_do_not_depend_on_its_batches(score):
    model = random_model(score)

    def sums(pairs):
        batch = make_batch(pairs)
        _, weights, _ = model(batch.src, batch.src_lengths, batch.tgt_in)
        return health_sums(weights, batch.src_lengths, (batch.tgt_out != PAD).sum(1))

    torch.testing.assert_close(sums(PAIRS), sum(sums([pair]) for pair in PAIRS), rtol=1e-5, atol=1e-5)


def test_without_attention_there_is_no_health():
    assert health_of(torch.zeros(1, 5, 4)) is None


# ----------------------------------------------------------------------------------------------------- in a training


def test_every_validation_logs_the_numbers_unless_there_is_no_attention(tmp_path):
    path = write_config(tmp_path)
    keys = {"attention_entropy", "attention_coverage", "attention_diagonality", "attention_eos"}
    with_attention = train(load_config(path), tmp_path / "general").metrics.records()
    assert all(keys <= record.keys() for record in with_attention if record["split"] == "dev")
    without = train(load_config(path, ["model.attention.score=none"]), tmp_path / "none").metrics.records()
    assert not any(keys & record.keys() for record in without)


def test_warnings_reach_the_log(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "WARN_FROM", 20)
    monkeypatch.setattr(module, "UNIFORM", 0.0)
    with caplog.at_level(logging.WARNING, logger="seq2seq"):
        train(load_config(write_config(tmp_path)), tmp_path / "run")
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        "the attention is still uniform after 20 updates",
        "the attention is still uniform after 30 updates",
    ]


# ----------------------------------------------------------------------------------------------------- warnings

FINE = {"perplexity": 7.0}
HEALTHY = Health(entropy=0.2, coverage=0.8, diagonality=0.7, eos=0.1)
UNIFORM, RESTING, STILL = "uniform after 4,000 updates", "rests on </s>", "stays on the same tokens"


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({}, []),
        ({"entropy": 0.96}, [UNIFORM]),
        ({"entropy": 0.94}, []),
        ({"eos": 0.51}, [RESTING]),
        ({"eos": 0.49}, []),
        ({"coverage": 0.24, "diagonality": 0.05}, [STILL]),
        ({"coverage": 0.24, "diagonality": -0.05}, [STILL]),
        ({"coverage": 0.26, "diagonality": 0.05}, []),
        ({"coverage": 0.24, "diagonality": 0.15}, []),
        ({"coverage": 0.24, "diagonality": -0.15}, []),
        ({"eos": 0.9, "coverage": 0.1, "diagonality": 0}, [RESTING]),
        ({"entropy": 0.99, "coverage": 0.2, "diagonality": 0}, [UNIFORM]),
    ],
)
def test_a_warning_appears_when_its_threshold_is_passed_and_names_the_cause(numbers, expected):
    lines = warnings(4000, FINE | HEALTHY._replace(**numbers).scores(), vocabulary=50)
    assert len(lines) == len(expected)
    assert all(part in line and "\n" not in line for part, line in zip(expected, lines, strict=True))


def test_a_warning_says_the_number_and_what_to_do_next():
    (line,) = warnings(4000, FINE | HEALTHY._replace(eos=0.62).scores(), vocabulary=50)
    assert "62%" in line
    assert "try another model.attention.score" in line


def test_there_are_no_warnings_before_update_1000_nor_without_attention():
    uniform = FINE | HEALTHY._replace(entropy=0.99).scores()
    assert not warnings(999, uniform, vocabulary=50)
    assert warnings(1000, uniform, vocabulary=50)
    assert not warnings(4000, FINE, vocabulary=50)


@pytest.mark.parametrize("perplexity", [2 * 50 + 1e-3, 1e30, math.inf, math.nan])
def test_a_perplexity_far_above_a_uniform_guess_is_a_warning_from_the_first_update_on(perplexity):
    (line,) = warnings(1, {"perplexity": perplexity}, vocabulary=50)
    assert "uniform guess, 50" in line
    assert "lower training.learning_rate" in line
    assert "data.dev" in line
    assert not warnings(1, {"perplexity": 2 * 50}, vocabulary=50)
