"""Several models as one: its probabilities are means, and the search sees no difference. Minimum Bayes risk."""

import itertools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from random_model import SENTENCES, TGT_VOCAB, batch_of, random_model
from sacrebleu.metrics import CHRF
from tiny import write_config

from seq2seq import load
from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.decoding.ensemble import Ensemble
from seq2seq.decoding.mbr import chrf_matrix, expected_chrf
from seq2seq.decoding.search import Limits, beam_search
from seq2seq.decoding.translation import Options, Sampling
from seq2seq.errors import UserError
from seq2seq.training.train import train

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


# ------------------------------------------------------------------------------------------------------- several runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of one config with different seeds, and one with another vocabulary."""
    folder = tmp_path_factory.mktemp("runs")
    path = write_config(folder, training={"max_updates": 40})
    keys = {"one": [], "two": ["seed=4", "model.attention.score=multi_head"], "other": ["tokenizer.vocab_size=9"]}
    return {name: str(train(load_config(path, more), folder / name).path) for name, more in keys.items()}


def translated(capsys, *command):
    assert main(["translate", *command]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_runs_translate_together_and_show_all_their_heads(runs, tmp_path, capsys):
    lines = tmp_path / "in.en"
    lines.write_text("the old cat sees the dog\n\nthe dog likes\n", encoding="utf-8")
    options = ["--input", str(lines), "--json", "--attention"]
    (both, empty, _), twice, one = (
        translated(capsys, *names, *options)
        for names in ([runs["one"], runs["two"]], [runs["one"], runs["one"]], [runs["one"]])
    )
    assert empty["text"] == ""
    assert [t["text"] for t in twice] == [t["text"] for t in one]
    assert [t["score"] for t in twice] == pytest.approx([t["score"] for t in one], abs=1e-4)
    assert sum(both["token_scores"]) == pytest.approx(both["score"], abs=1e-4)
    assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in both["attention"])
    assert load(runs["one"], runs["two"]).decoder_heads == [
        "model 1 attention",
        *(f"model 2 head {i}" for i in range(1, 5)),
    ]


def test_results_of_several_runs_replace_none_of_a_single_one(runs, capsys):
    folder = Path(runs["one"])
    assert main(["evaluate", runs["one"], "--split", "dev"]) == 0
    before = (folder / "dev.json").read_bytes()
    assert main(["evaluate", runs["one"], runs["two"], "--split", "dev", "--mbr"]) == 0
    assert (folder / "dev.json").read_bytes() == before
    (kept,) = (folder / "evaluations").glob("dev-*.json")
    assert json.loads(kept.read_text())["mbr"] is True


@pytest.mark.parametrize("command", ["translate", "evaluate"])
def test_other_vocabularies_are_an_error_that_names_the_run(runs, capsys, command):
    assert main([command, runs["one"], runs["two"], runs["other"]]) == 2
    assert f"{runs['other']}: its vocabularies are not those of {runs['one']}" in capsys.readouterr().err


def test_runs_of_other_languages_are_an_error_that_names_both(runs, tmp_path, capsys):
    other = shutil.copytree(runs["two"], tmp_path / "back")
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("src: en", "src: de").replace("tgt: de\n", "tgt: en\n"))
    assert main(["translate", runs["one"], str(other)]) == 2
    assert f"{other} translates de to en, and {runs['one']} en to de" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ minimum Bayes risk

TEXTS = ["a man in a hat", "a man in a red hat .", "", "the dog", "a", "a man  in a hat"]


def test_chrf_is_sacrebleus():
    expected = [[CHRF().sentence_score(text, [reference]).score for reference in TEXTS] for text in TEXTS]
    assert chrf_matrix(TEXTS) == pytest.approx(np.array(expected))


def test_the_expected_chrf_is_a_mean_weighted_with_flattened_probabilities():
    scores = [-1.0, -2.0, -3.0, -9.0, -4.0, -700.0]
    weights = [math.exp(score / 2) for score in scores]
    expected = chrf_matrix(TEXTS) @ np.array(weights) / sum(weights)
    assert expected_chrf(TEXTS, scores) == pytest.approx(expected)


def test_of_the_beams_of_all_runs_the_one_most_like_the_others_is_taken(runs):
    line = "the old cat sees the dog"
    apart = [load(runs[name]).translate([line], nbest=3, attention=False)[0] for name in ("one", "two")]
    pool = [(each.text, each.score) for t in apart for each in (t, *t.alternatives)]
    chrf = dict(zip([text for text, _ in pool], expected_chrf(*zip(*pool, strict=True)), strict=True))
    (found,) = load(runs["one"], runs["two"]).translate([line], nbest=3, mbr=True)
    ranked = sorted(chrf, key=chrf.get, reverse=True)[:3]
    assert [found.text, *(each.text for each in found.alternatives)] == ranked
    assert found.normalized_score == pytest.approx(chrf[found.text])


def test_mbr_and_sampling_exclude_each_other():
    with pytest.raises(UserError, match="mbr and sampling are both given"):
        Options(mbr=True, sampling=Sampling())
