"""The measures against their definitions, and the files of an evaluation."""

import json

import pytest
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF, TER
from tiny import write_config

from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.data.tables import Form
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import describe_copying, evaluate, file_texts, save_evaluation, split_texts
from seq2seq.evaluation.measures import SAMPLES, count_all, measure
from seq2seq.training.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    return train(load_config(write_config(folder), ["training.max_updates=60"]), folder / "run")


@pytest.fixture(scope="module")
def translator(run):
    return Translator.load(run.path, device="cpu")


def test_scores_are_sacrebleus_own(run, translator):
    sources, references = split_texts(run, "test")
    evaluation = evaluate(translator, sources, references)
    assert evaluation.bleu.score == sacrebleu.corpus_bleu(evaluation.hypotheses, references).score
    assert evaluation.chrf.score == sacrebleu.corpus_chrf(evaluation.hypotheses, references).score
    assert evaluation.ter.score == sacrebleu.corpus_ter(evaluation.hypotheses, references).score
    assert "tok:13a" in evaluation.bleu.signature
    assert f"version:{sacrebleu.__version__}" in evaluation.ter.signature


def test_tokenizer_case_and_number_of_references_reach_the_signature(run, translator):
    sources, references = split_texts(run, "test")
    evaluation = evaluate(translator, sources, references * 2, tokenize="char", lowercase=True)
    assert evaluation.bleu.signature.startswith("nrefs:2|case:lc|")
    assert "tok:char" in evaluation.bleu.signature
    assert "lowercased" in evaluation.cer.signature


def test_an_unknown_tokenizer_is_an_error_that_lists_the_known_ones(translator):
    with pytest.raises(UserError, match=r"--tokenize is 13b; sacrebleu knows .*13a"):
        evaluate(translator, ["the"], [["die"]], tokenize="13b")


def test_blank_references_are_counted_in_a_warning(translator, caplog):
    evaluate(translator, ["the cat", "the dog"], [["die Katze", " "], ["", "Hund"]])
    assert not caplog.messages
    evaluate(translator, ["the cat", "the dog"], [["die Katze", " "]])
    assert caplog.messages == ["1 line has a blank reference: whatever is translated there counts as wrong"]


def test_evaluation_and_translation_give_the_same_hypotheses(run, translator):
    sources, references = split_texts(run, "dev")
    hypotheses = evaluate(translator, sources, references).hypotheses
    assert hypotheses == [t.text for t in translator.translate(sources)]


def score_of(name, hypotheses, references, lowercase=False):
    return measure(hypotheses, references, lowercase)[name].score


def test_the_intervals_are_those_of_sacrebleu(run, translator):
    sources, references = split_texts(run, "test")
    evaluation = evaluate(translator, sources, references)
    for ours, metric in ((evaluation.bleu, BLEU()), (evaluation.chrf, CHRF()), (evaluation.ter, TER())):
        theirs = metric.corpus_score(evaluation.hypotheses, references, n_bootstrap=SAMPLES)
        low, high = ours.interval
        assert low < ours.score < high
        assert (high - low) / 2 == pytest.approx(theirs._ci, abs=1e-4)


def test_half_of_100_lines_has_the_interval_of_the_binomial_distribution():
    low, high = count_all(["a"] * 100, [["a", "b"] * 50], lowercase=False)["exact_match"].interval()
    assert (low, high) == pytest.approx((50 - 1.96 * 5, 50 + 1.96 * 5), abs=1)  # standard deviation: sqrt(25 %) / 10
    assert count_all(["a"], [["a"]], lowercase=False)["exact_match"].interval() == (100, 100)


def test_exact_match_counts_lines_equal_to_any_reference():
    assert score_of("exact_match", ["a", "b", "c", "D"], [["a", "x", "x", "d"], ["x", "b", "x", "x"]]) == 50
    assert score_of("exact_match", ["D"], [["d"]], lowercase=True) == 100


def test_character_error_rate_is_edits_over_reference_characters():
    # kitten -> sitting: 3 edits of 7 characters; "" -> ab: 2 of 2
    assert score_of("cer", ["kitten", ""], [["sitting", "ab"]]) == pytest.approx(100 * 5 / 9)


def test_character_error_rate_takes_the_nearest_reference():
    assert score_of("cer", ["abcd"], [["wxyz"], ["abce"]]) == 25


def test_hypotheses_and_measures_are_saved_in_the_run(run, translator):
    sources, references = split_texts(run, "test")
    evaluation = evaluate(translator, sources, references)
    save_evaluation(run, "test", evaluation)
    assert (run.path / "test.hyp").read_text(encoding="utf-8").splitlines() == evaluation.hypotheses
    saved = json.loads((run.path / "test.json").read_text())
    bleu = evaluation.bleu
    assert saved["bleu"] == {"score": bleu.score, "signature": bleu.signature, "interval": [*bleu.interval]}
    assert saved["sentences"] == 12


def test_a_split_that_is_not_set_says_what_to_do(run, capsys):
    config = run.config()
    without = config.model_copy(update={"data": config.data.model_copy(update={"test": None})})
    run.save_config(without)
    try:
        with pytest.raises(UserError, match=r"data\.test is not set$"):
            split_texts(run, "test")
        assert main(["evaluate", str(run.path)]) == 2
        assert "data.test is not set; give another with --split or --data, or two" in capsys.readouterr().err
    finally:
        run.save_config(config)


def test_reference_files_must_be_as_long_as_the_source(tmp_path):
    (tmp_path / "src").write_text("a\nb\n")
    (tmp_path / "ref").write_text("a\n")
    with pytest.raises(UserError, match=r"src:2 has no partner"):
        file_texts(str(tmp_path / "src"), [str(tmp_path / "ref")], Form("en", "de"))


def test_what_copying_reaches_is_said_where_it_reaches_much():
    sources, references = ["yn", "und", "vnd", ""], [["ihn", "und", "und", ""], ["in", "Und", "vnd", ""]]
    assert describe_copying(sources, references[:1]) == "a copy of each source would have exact match 25.00"
    assert describe_copying(sources, references) == "a copy of each source would have exact match 50.00"
    assert describe_copying(["a"] * 100, [["b"] * 96 + ["a"] * 4]) == ""
    assert describe_copying([], [[]]) == ""
