"""What scripts/measure_pronouns.py counts, on attention maps made by hand."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import write_config

from seq2seq.config import load_config
from seq2seq.data.dataset import data_digests
from seq2seq.errors import UserError
from seq2seq.plots import AttentionMap
from seq2seq.runs.run import Run

ROOT = Path(__file__).parents[1]
TOY = ROOT / "data" / "toy"
TEXT = "The cat ate ice cream because it was hungry."  # "it" is word 6
PIECES = ["▁The", "▁c", "at", "▁ate", "▁ice", "▁cream", "▁because", "▁it", "▁was", "▁hungry", ".", "</s>"]
WORDS = [0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9]
HUNGRY, SWEET = (1, 6, 1, 4), (1, 6, 4, 1)  # rows of the annotation: the cat is meant, or the ice cream


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("measure_pronouns", ROOT / "scripts" / "measure_pronouns.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seen(*heads):
    """A map with a head for each dict: what "it" gives to the pieces; the other pieces look at `</s>`."""
    weights = np.zeros((len(heads), len(PIECES), len(PIECES)))
    weights[:, :, -1] = 1
    for table, given in zip(weights, heads, strict=True):
        table[PIECES.index("▁it")] = [given.get(piece, 0) for piece in PIECES]
    return AttentionMap(PIECES, PIECES, [f"head {i + 1}" for i in range(len(heads))], weights, WORDS, WORDS)


CAT, CREAM, ICE = {"▁c": 0.3, "at": 0.3, "▁cream": 0.4}, {"▁c": 0.1, "▁cream": 0.9}, {"▁ice": 1.0}


def measured(script, maps, rows):
    return script.measure(maps, [script.Row(*row) for row in rows])


def test_a_head_is_right_where_it_gives_the_antecedent_more_than_the_other_noun(script):
    heads = measured(script, [seen(CAT, CREAM)] * 4, [HUNGRY, HUNGRY, HUNGRY, SWEET])
    assert [(head.name, head.share) for head in heads] == [("head 1", 75), ("head 2", 25)]


def test_a_word_has_the_sum_of_its_pieces(script):
    (head,) = measured(script, [seen(CAT)], [HUNGRY])  # 0.3 + 0.3 against 0.4
    assert (head.share, head.antecedent, head.other) == (100, pytest.approx(0.6), pytest.approx(0.4))


def test_equal_weights_are_not_right(script):
    assert [head.share for head in measured(script, [seen(ICE, {})], [HUNGRY])] == [0, 0]


def test_weights_are_means_over_the_sentences(script):
    (head,) = measured(script, [seen(CAT), seen(CREAM)], [HUNGRY, SWEET])
    assert (head.antecedent, head.other) == (pytest.approx(0.75), pytest.approx(0.25))


def test_the_first_of_the_best_heads_is_chosen(script):
    assert script.choose([script.Head(name, share, 0, 0) for name, share in zip("abc", (40, 80, 80), strict=True)]) == 1


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_annotation_of_the_toy_corpus_fits_it(script, split):
    texts = (TOY / f"{split}.en").read_text(encoding="utf-8").splitlines()
    assert len(script.read_rows(TOY / f"{split}.it.tsv", texts)) == 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\t6\t1\n", "it.tsv:1: '1\\t6\\t1' does not fit"),
        ("1\t6\t1\t4\n9\t6\t1\t4\n", "it.tsv:2: '9"),
        ("1\t6\t1\t9\n", "it.tsv:1: '1"),
        ("1\t5\t1\t4\n", 'points at "because"'),
        ("", "it.tsv: empty"),
    ],
)
def test_an_annotation_that_does_not_fit_is_refused_with_its_line(script, tmp_path, text, message):
    (tmp_path / "it.tsv").write_text(text)
    with pytest.raises(UserError) as error:
        script.read_rows(tmp_path / "it.tsv", [TEXT])
    assert message in str(error.value)


def translator(*maps):
    """Stands for a `Translator`: looks at one text after another."""
    return SimpleNamespace(look=lambda texts, options: [SimpleNamespace(encoder=found) for found in maps])


def test_an_encoder_without_self_attention_is_refused(script):
    with pytest.raises(UserError, match="no self-attention"):
        script.look(translator(None), [TEXT])


def test_a_tokenizer_with_other_words_is_refused(script):
    with pytest.raises(UserError, match="makes 9 words"):
        script.look(translator(seen(CAT)), ["The cat ate ice cream ; it was hungry ."])


@pytest.fixture
def run(script, tmp_path, monkeypatch):
    """A run of one sentence a split: head 1 is right in dev and wrong in test, head 2 the other way round."""
    config = load_config(write_config(tmp_path), [])
    for split in ("dev", "test"):
        for language in ("en", "de"):
            (tmp_path / f"{split}.{language}").write_text(TEXT + "\n")
        (tmp_path / f"{split}.it.tsv").write_text("1\t6\t1\t4\n")
    maps = iter([seen(CAT, CREAM), seen(CREAM, CAT)])
    looking = SimpleNamespace(look=lambda texts, options: [SimpleNamespace(encoder=next(maps)) for _ in texts])
    monkeypatch.setattr(script.Translator, "load", lambda path: looking)
    return Run.create(tmp_path / "run", config, data_digests(config)).path


def test_test_has_no_say_in_which_head_is_chosen(script, run, capsys):
    assert script.main([str(run)]) == 0
    out = capsys.readouterr().out
    assert "The best on dev, head 1," in out
    assert "dev   100.0 % of 1 " in out
    assert "test  0.0 % of 1 " in out


def test_dev_alone_leaves_test_unread(script, run, capsys):
    (run.parent / "test.it.tsv").unlink()
    assert script.main([str(run), "--split", "dev"]) == 0
    assert "test" not in capsys.readouterr().out


def test_the_picture_shows_the_first_sentence_of_test_with_the_chosen_head(script, run, monkeypatch, capsys):
    pictures = []
    monkeypatch.setattr(script, "save_attention", lambda path, drawn, rows: pictures.append((path, drawn)))
    assert script.main([str(run), "--split", "dev", "--picture", "it.png"]) == 0
    ((path, drawn),) = pictures
    assert (path, drawn.heads, drawn.columns) == (Path("it.png"), ["head 1"], [*TEXT.split(), "</s>"])
    assert f"it.png: {TEXT}" in capsys.readouterr().out


def test_a_mistake_is_one_line_and_exit_code_2(script, run, capsys):
    (run.parent / "dev.it.tsv").unlink()
    assert script.main([str(run)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
