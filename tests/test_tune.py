"""`tune`: every setting is searched and scored as `evaluate` does, and the best becomes the run's default."""

import pytest
from tiny import write_config

from seq2seq import load
from seq2seq.commands.main import main
from seq2seq.config import SearchConfig, load_config
from seq2seq.decoding.translator import Translator
from seq2seq.evaluation.evaluate import evaluate, split_texts
from seq2seq.evaluation.measures import Measure
from seq2seq.experiments.tuning import Trial, best_of
from seq2seq.training.train import train


def test_the_best_setting_becomes_the_default_and_the_table_is_recorded(tmp_path, capsys):
    path = write_config(tmp_path, training={"max_updates": 40}, search={"beam": 3, "length_penalty": 7.0})
    run = train(load_config(path), tmp_path / "run")
    command = ["tune", str(run.path), "--beams", "4,1", "--length-penalties", "0,2"]
    assert main([*command, "--dry-run"]) == 0
    assert run.config().search.beam == 3
    assert main(command) == 0
    out = capsys.readouterr().out

    # the recorded scores are those of `evaluate`
    tuned = run.environment()["tuned"]
    assert tuned["before"] == {"beam": 3, "length_penalty": 7.0}
    settings = [(trial["beam"], trial["length_penalty"]) for trial in tuned["dev"]]
    assert settings == [(1, 0.0), (1, 2.0), (4, 0.0), (4, 2.0)]
    translator = Translator.load(run.path)
    for trial in tuned["dev"]:
        translator.engine.search = translator.search.model_copy(update={"length_penalty": trial["length_penalty"]})
        evaluation = evaluate(translator, *split_texts(run, "dev"), beam=trial["beam"])
        assert evaluation.bleu.score == pytest.approx(trial["bleu"])
        assert f"{trial['bleu']:.2f}" in out

    # the best is what every command now searches with
    best = max(tuned["dev"], key=lambda trial: trial["bleu"])
    search = load(run.path).search
    scores = {(trial["beam"], trial["length_penalty"]): trial["bleu"] for trial in tuned["dev"]}
    assert scores[search.beam, search.length_penalty] == best["bleu"]


def test_of_equal_settings_the_present_one_stays_and_then_the_cheapest_is_taken():
    def trial(beam, alpha, score):
        return Trial(beam, alpha, Measure(score, ""))

    trials = [trial(2, 0.0, 30.0), trial(5, 0.6, 31.0), trial(10, 0.6, 31.0)]
    assert best_of(trials, "bleu", SearchConfig(beam=10, length_penalty=0.6))[:2] == (10, 0.6)
    assert best_of(trials, "bleu", SearchConfig(beam=3))[:2] == (5, 0.6)
    assert best_of(trials, "cer", SearchConfig(beam=3))[:2] == (2, 0.0)
    same = [trial(1, 0.0, 0.0), trial(2, 0.6, 0.0)]
    assert best_of(same, "bleu", SearchConfig(beam=5, length_penalty=1.0))[:2] == (5, 1.0)


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ("--beams=1,x", "--beams 1,x: write whole numbers from 1 to 1000, such as 1,5,10"),
        ("--beams=0", "--beams 0: write whole numbers from 1 to 1000"),
        ("--length-penalties=nan", "--length-penalties nan: write numbers from 0 to 10, such as 0,0.6,1"),
        ("--length-penalties=", "--length-penalties : write numbers from 0 to 10"),
    ],
)
def test_a_value_that_no_search_can_use_is_an_error_with_an_example(tmp_path, capsys, option, error):
    assert main(["tune", str(tmp_path), option]) == 2
    assert error in capsys.readouterr().err
