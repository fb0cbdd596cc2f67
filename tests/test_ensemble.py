"""Several models as one: its probabilities are means, and the search sees no difference."""

import itertools

import pytest
import torch
from random_model import SENTENCES, TGT_VOCAB, batch_of, random_model

from seq2seq.decoding.search import Limits, beam_search
from seq2seq.model.ensemble import Ensemble

PAD, UNK, BOS, EOS = range(4)


@pytest.fixture(scope="module")
def models():
    """Three models of different kinds, with the same vocabularies."""
    transformer = {"embedding_size": 8, "decoder": {"type": "transformer"}}
    kinds = [("general", "lstm", {}), ("concat", "gru", {"decoder": {"type": "bahdanau"}})]
    made = [random_model(score, cell, seed=i, **more) for i, (score, cell, more) in enumerate(kinds)]
    return [*made, random_model("multi_head", seed=3, spread=1.5, **transformer)]


@torch.no_grad()
def test_a_probability_is_the_mean_of_those_of_the_models(models):
    targets = torch.tensor([[BOS, 4, 7], [BOS, 9, 5], [BOS, 6, 6]])
    src = batch_of(SENTENCES)
    together = Ensemble(models)
    output = together(*src, targets)
    found = together.logits(output.attentional).log_softmax(-1)
    each = [model.logits(model(*src, targets).attentional).softmax(-1) for model in models]
    torch.testing.assert_close(found.exp(), sum(each) / len(models), rtol=1e-4, atol=1e-6)
    assert output.weights.size(1) == 1 + 1 + 2  # the heads of all

    # step by step
    decoding, running = together.encode(*src), torch.tensor([0, 2])
    for t in range(3):
        log_probs, decoding = together.step(targets[:, t], decoding, running)
        torch.testing.assert_close(log_probs, found[running, t], rtol=1e-4, atol=1e-5)

    # within some tokens, each model's probabilities of these sum to 1
    ids = torch.tensor([BOS, EOS, 5, 9])
    log_probs, _ = together.step_within(ids)(torch.zeros(3, dtype=torch.long), together.encode(*src), running)
    listed = [p[running, 0][:, ids] / p[running, 0][:, ids].sum(1, keepdim=True) for p in each]
    torch.testing.assert_close(log_probs.exp(), sum(listed) / len(models), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_the_search_finds_the_best_of_all_sequences(models):
    """By brute force: every target of at most three tokens."""
    together, src = Ensemble(models), batch_of(SENTENCES[:1])
    limits = Limits(BOS, EOS, (PAD, UNK, BOS), torch.tensor([4]))
    (found,) = beam_search(together.step, together.encode(*src), limits, beam=TGT_VOCAB**3, nbest=5)
    scores = {}
    for length in range(4):
        for target in itertools.product(range(4, TGT_VOCAB), repeat=length):
            out = together(*src, torch.tensor([[BOS, *target]])).attentional[0]
            scores[target] = sum(out[t, token].item() for t, token in enumerate([*target, EOS]))
    best = sorted(scores, key=scores.get, reverse=True)[:5]
    assert [tuple(h.tokens) for h in found] == best
    assert [h.score for h in found] == pytest.approx([scores[target] for target in best], abs=1e-4)


@torch.no_grad()
def test_a_model_with_itself_is_that_model(models):
    src, model = batch_of(SENTENCES), models[0]
    twice = Ensemble([model, model])
    limits = Limits(BOS, EOS, (PAD, UNK, BOS), torch.tensor([9, 7, 5]))
    ours, its = (beam_search(m.step, m.encode(*src), limits, beam=4, nbest=4) for m in (twice, model))
    for several, alone in zip(ours, its, strict=True):
        assert [h.tokens for h in several] == [h.tokens for h in alone]
        assert [h.score for h in several] == pytest.approx([h.score for h in alone], abs=1e-5)
