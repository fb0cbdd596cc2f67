"""The measure that decides: what is chosen for which text, and what a measure cannot say."""

import pytest
import yaml
from tiny import WORDS, write_config

from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.decoding.translation import Translation
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.evaluation.choice import blind_spot, choose_metric
from seq2seq.evaluation.evaluate import evaluate
from seq2seq.evaluation.measures import measure
from seq2seq.runs.run import Run
from seq2seq.text.tokenizer import train_tokenizers
from seq2seq.training.progress import Progress
from seq2seq.training.train import train

TEXTS = {  # references of dev, and the measure that `auto` chooses for them
    "German": (["Die alte Katze schläft.", "Der Hund."], "bleu"),
    "Korean, with spaces": (["고양이는 오늘 배가 고팠다.", "개가 밥을 먹는다."], "bleu"),
    "phonemes": (["k a t s", "d o g"], "bleu"),
    "Chinese": (["我喜欢猫，也喜欢狗。", "今天天气很好。"], "chrf"),
    "Chinese, cut into words": (["我 喜欢 猫 ， 也 喜欢 狗 。", "今天 天气 很 好 。"], "bleu"),
    "Chinese with ASCII marks and digits": (["我有3只猫, 你有4只狗.", "今天天气很好, 我们去公园散步吧!"], "chrf"),
    "Japanese": (["私は猫が好きです。", "犬はどこですか？"], "chrf"),
    "Thai, with spaces between phrases": (["ฉันชอบแมวมาก แต่เธอชอบสุนัขมากกว่า", "วันนี้อากาศดีมาก"], "chrf"),
    "Khmer": (["ខ្ញុំចូលចិត្តឆ្មា", "ថ្ងៃនេះអាកាសធាតុល្អ"], "chrf"),
    "inflected words": (["walked", "sang", "children"], "chrf"),
    "words and marks": (["walked .", "sang !", "“children”"], "chrf"),
    "Korean words": (["고양이", "개"], "chrf"),
    "letters without spaces": (["DieKatzeschläft", "DerHundfraßdenFisch"], "chrf"),
    "phrases too short for BLEU": (["the cat", "an old dog"], "chrf"),
    "mostly words": (["walked", "sang", "went up and down again"], "chrf"),
    "mostly sentences": (["walked", "he went up and down", "they went up and down"], "bleu"),
    "blank": (["", ""], "bleu"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_auto_chooses_the_measure_that_can_move(name):
    references, expected = TEXTS[name]
    assert choose_metric("auto", references, "13a").metric == expected
    # the other measures stay as they were asked for, and BLEU says where it is blind
    chosen = choose_metric("bleu", references, "13a")
    assert (chosen.metric, chosen.is_blind) == ("bleu", expected == "chrf")
    assert ("BLEU says nothing" in chosen.reason) == chosen.is_blind
    assert choose_metric("loss", references, "13a").metric == "loss"


def test_a_tokenizer_that_finds_the_words_gives_bleu_its_sight():
    chinese = TEXTS["Chinese"][0]
    assert [bool(blind_spot(chinese, name)) for name in ("13a", "intl", "none", "zh", "char")] == [1, 1, 1, 0, 0]
    assert choose_metric("auto", chinese, "zh").metric == "bleu"


def test_blind_bleu_gives_even_a_perfect_translation_nothing():
    for references, expected in TEXTS.values():
        score = measure(references, [references], lowercase=False)["bleu"].score
        assert score == pytest.approx(100) if expected == "bleu" and any(references) else score < 100.01


def test_a_missing_tokenizer_stops_a_training_before_it_begins(tmp_path, capfd, monkeypatch):
    path = write_config(tmp_path)

    class MissingBleu:
        TOKENIZERS = ("13a", "ja-mecab")

        def __init__(self, **settings):
            raise RuntimeError("\nJapanese needs:\n  pip install sacrebleu[ja]\n")

    monkeypatch.setattr("seq2seq.evaluation.choice.BLEU", MissingBleu)
    for command in (["check", str(path)], ["train", str(path), "--run", str(tmp_path / "run")]):
        assert main([*command, "evaluation.bleu_tokenize=ja-mecab"]) == 2
        (line,) = capfd.readouterr().err.strip().splitlines()
        assert "evaluation.bleu_tokenize is ja-mecab, which needs a package: Japanese needs: pip install" in line
    assert not (tmp_path / "run").exists()


def test_the_tokenizer_of_the_config_is_in_every_signature(tmp_path, capsys):
    path = write_config(tmp_path, evaluation={"bleu_tokenize": "char"}, training={"max_updates": 10})
    assert main(["train", str(path), "--run", str(tmp_path / "run")]) == 0
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.count("tok:char") == 2
    assert main(["evaluate", str(tmp_path / "run"), "--tokenize", "intl"]) == 0
    assert "tok:intl" in capsys.readouterr().out


# --------------------------------------------------------------------------------------------------- agreeing measures


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize(
    ("type", "word_tokenizer"),
    [
        *(("word", name) for name in ("split", "basic_english", "moses", "toktok", "spacy", "revtok", "subword")),
        ("unigram", "split"),
        ("char", "split"),
    ],
)
def test_a_perfect_translation_scores_100(tmp_path, monkeypatch, type, word_tokenizer, lowercase):
    lines = ["The cat's “old” fish; it: ate, (Yes) today.", "Did it rain? NO! ▁ It did not. 1 & 2 < 3 [a|b]"]
    try:
        tokenizers = train_tokenizers(type, 400, True, lowercase, word_tokenizer, lines, lines)
    except UserError as error:
        pytest.skip(str(error))  # the package of this tokenizer is not installed
    path = write_config(tmp_path, training={"max_updates": 1})
    translator = Translator.load(train(load_config(path), tmp_path / "run").path)
    translator.tokenizers = tokenizers
    perfect = [tokenizers.tgt.decode(tokenizers.tgt.encode(line)) for line in lines]
    found = [Translation(text, 0.0, 0.0, [], []) for text in perfect]
    monkeypatch.setattr(translator, "translate", lambda *args, **options: found)
    evaluation = evaluate(translator, lines, [lines])
    scores = [evaluation.bleu, evaluation.chrf, evaluation.exact_match]
    assert [score.score for score in scores] == pytest.approx([100, 100, 100])
    assert evaluation.cer.score == evaluation.ter.score == 0
    assert evaluation.bleu.signature.endswith(f"|words:{word_tokenizer}") == (word_tokenizer != "split")
    assert evaluation.references == [lines]


def test_a_blank_among_several_references_is_no_reference():
    hypotheses, whole = ["", "a b c d e"], [["x y z u v", "a b c d e"], ["x y z u v", "a b c d e"]]
    gaps = [["", "a b c d e"], ["x y z u v", ""]]
    assert {name: found.score for name, found in measure(hypotheses, gaps, lowercase=False).items()} == {
        name: found.score for name, found in measure(hypotheses, whole, lowercase=False).items()
    }
    assert measure([""], [[""], [""]], lowercase=False)["exact_match"].score == 100  # a line without any is blank


# ------------------------------------------------------------------------------------------------ text without spaces


@pytest.fixture
def no_spaces(tmp_path):
    """A config of a training into a language without spaces between words."""
    path = write_config(tmp_path, tokenizer={"type": "char", "vocab_size": 400})
    for split in ("train", "dev", "test"):
        file = tmp_path / f"{split}.de"
        file.write_text(file.read_text().replace(" ", ""))
    return path


def test_a_training_into_a_language_without_spaces_is_ruled_by_chrf(no_spaces, tmp_path, caplog, capsys):
    caplog.set_level("INFO")
    run = train(load_config(no_spaces, ["training.max_updates=100"]), tmp_path / "run")
    dev = [record for record in run.metrics.records() if record["split"] == "dev"]
    assert run.environment()["early_stopping_metric"] == "chrf"
    assert any("best chrF on data.dev (auto, not BLEU: all its lines are one word" in line for line in caplog.messages)
    best = max(dev, key=lambda record: (record["chrf"], record["exact_match"], -record["update"]))
    assert run.checkpoints.named("best").update == best["update"] > 10
    assert main(["evaluate", str(run.path)]) == main(["check", str(no_spaces)]) == 0
    out = capsys.readouterr().out
    assert "BLEU says nothing about this text: all its lines are one word or have no spaces between words" in out
    assert "not BLEU: all its lines" in out
    assert main(["compare", str(run.path), str(run.path)]) == 0
    assert "BLEU says nothing" in capsys.readouterr().out


def test_a_measure_that_stays_at_0_uses_up_no_patience_and_leaves_the_choice_to_the_loss(no_spaces, tmp_path, caplog):
    overrides = ["training.early_stopping_metric=bleu", "training.patience=1", "training.max_updates=60"]
    run = train(load_config(no_spaces, overrides), tmp_path / "run")
    dev = [record for record in run.metrics.records() if record["split"] == "dev"]
    assert [record["bleu"] for record in dev] == [0] * 6
    assert run.checkpoints.named("best").update == min(dev, key=lambda record: record["loss"])["update"] > 10
    assert any("BLEU says nothing about it" in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("metric", "scores", "best", "stale"),
    [
        ("bleu", [(0, 0, 5), (0, 0, 4), (0, 0, 6)], 2, 0),
        ("bleu", [(0, 0, 5), (1, 0, 6), (0, 0, 4)], 2, 1),
        ("bleu", [(1, 0, 5), (1, 0, 4)], 1, 1),
        ("chrf", [(50, 10, 5), (50, 20, 6), (50, 20, 4)], 2, 1),
        ("exact_match", [(0, 0, 5), (0, 0, 6), (0, 0, float("nan"))], 1, 0),
        ("cer", [(0, 0, 5), (0, 0, 4)], 1, 1),
    ],
)
def test_ties_are_broken_where_a_score_says_nothing(tmp_path, metric, scores, best, stale):
    training = load_config(write_config(tmp_path, training={"early_stopping_metric": metric})).training
    progress = Progress()
    for score, exact, loss in scores:
        progress.update += 1
        progress.count_validation({"exact_match": exact, metric: score, "loss": loss}, training)
    assert (progress.best_update, progress.stale) == (best, stale)


# ---------------------------------------------------------------------------------------------------- another yardstick


def other_words(tmp_path):
    """Have dev translate the words by others, so that no earlier checkpoint is any good."""
    file = tmp_path / "dev.de"
    for word in WORDS.values():
        file.write_text(file.read_text().replace(word, word[::-1]))


def progress_of(run):
    return run.checkpoints.named("last").training_state()["progress"]


@pytest.mark.parametrize("change", ["data", "metric"])
def test_another_dev_set_or_measure_is_another_race(tmp_path, caplog, change):
    """The old best is measured again, and the run ends with the model that is best by the new yardstick."""
    caplog.set_level("INFO")
    overrides = [] if change == "data" else ["training.early_stopping_metric=loss"]
    path = write_config(tmp_path, training={"patience": 2, "learning_rate": 0.003})
    run = train(load_config(path), tmp_path / "run")
    before = progress_of(run)
    if change == "data":
        other_words(tmp_path)
    config = load_config(path, ["training.max_updates=60", *overrides])
    with pytest.raises(UserError, match="--allow-changes"):
        train(config, run.path, resume=True)
    caplog.clear()
    train(config, run.path, resume=True, allow_changes=True)
    records = [record for record in run.metrics.records() if record["split"] == "dev"]
    again = records[before["update"] // 10 :][: before["update"] // 10]
    assert [record["update"] for record in again] == [10, 20, 30]
    assert before["best_update"] in [record["update"] for record in again]
    assert any("best, patience and plateau begin anew" in line for line in caplog.messages)
    # what rules is the new measure on the new data alone
    metric = "loss" if change == "metric" else "bleu"
    sign = -1 if metric == "loss" else 1
    best = max(records[3:], key=lambda record: (sign * record[metric], -record["loss"] * (record[metric] == 0)))
    assert run.checkpoints.named("best").update == best["update"]
    assert progress_of(run)["metric"] == metric
    # and it goes on as any other run does
    lines = len(run.metrics.records())
    train(config, run.path, resume=True)
    assert len(run.metrics.records()) == lines


def test_a_finished_run_on_another_dev_set_is_measured_again(tmp_path):
    path = write_config(tmp_path)
    run = train(load_config(path), tmp_path / "run")
    other_words(tmp_path)
    train(load_config(path), run.path, resume=True, allow_changes=True)
    again = [record for record in run.metrics.records() if record["split"] == "dev"][3:]
    assert [record["update"] for record in again] == [10, 20, 30]
    assert progress_of(run)["stale"] == 0
    best = max(again, key=lambda record: (record["bleu"], -record["loss"]))
    assert run.checkpoints.named("best").update == best["update"]


def test_the_same_measure_by_another_name_is_no_change(tmp_path):
    path = write_config(tmp_path)
    run = train(load_config(path), tmp_path / "run")
    train(load_config(path, ["training.early_stopping_metric=bleu"]), run.path, resume=True)
    with pytest.raises(UserError, match=r"training\.early_stopping_metric = bleu, and the config now says chrf"):
        train(load_config(path, ["training.early_stopping_metric=chrf"]), run.path, resume=True)
    with pytest.raises(UserError, match=r"evaluation\.bleu_tokenize = 13a, and the config now says char"):
        train(load_config(path, ["evaluation.bleu_tokenize=char"]), run.path, resume=True)


def test_runs_of_older_versions_have_the_usual_tokenizer(tmp_path):
    run = train(load_config(write_config(tmp_path), ["training.max_updates=1"]), tmp_path / "run")
    keys = yaml.safe_load((run.path / "config.yaml").read_text())
    del keys["evaluation"]
    (run.path / "config.yaml").write_text(yaml.safe_dump(keys))
    assert Run.open(run.path).config().evaluation.bleu_tokenize == "13a"
