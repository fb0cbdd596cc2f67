"""The attention of one sentence of dev, which a training keeps from before its first update to its last validation."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from tiny import write_config

from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.data.corpus import Pair
from seq2seq.decoding.forced import look_at_pairs
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.plots import AttentionMap, spread
from seq2seq.text.tokenizer import train_tokenizers
from seq2seq.training.train import train
from seq2seq.training.watch import choose, read_watched

LETTERS = {"type": "char", "vocab_size": 300}
SMALL = {"embedding_size": 24, "encoder": {"hidden_size": 24}, "decoder": {"hidden_size": 24}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("watch")


@pytest.fixture(scope="module")
def run(folder):
    """A run with two heads in letters, whose checkpoints before the last are gone."""
    model = {"attention": {"score": "multi_head", "num_heads": 2}}
    training = {"max_updates": 25, "validate_every": 10, "keep": 1, "patience": 0}
    config = write_config(folder, tokenizer=LETTERS, model={**SMALL, **model}, training=training)
    return train(load_config(config), folder / "run")


def test_the_untrained_model_and_every_validation_are_kept_with_the_mean_of_the_heads(run):
    watched = read_watched(run.path / "attention.jsonl")
    dev = [Path(f"{run.config().data.dev}.{side}").read_text("utf-8").splitlines() for side in ("en", "de")]
    sentence = watched.sentence
    assert sentence.pair == tuple(lines[sentence.line - 1] for lines in dev)
    assert (
        [*watched.maps()]
        == [0, *(r["update"] for r in run.metrics.records() if r["split"] == "dev")]
        == [0, 10, 20, 25]
    )
    last = Translator.load(run.path, checkpoint=run.checkpoints.named("last"))
    (look,) = look_at_pairs(last, [sentence.src], [sentence.tgt])
    kept = watched.maps()[25]
    assert kept.weights == pytest.approx(look.decoder.mean().weights, abs=0.001)
    assert (kept.rows, kept.columns, kept.row_words) == (
        look.decoder.rows,
        look.decoder.columns,
        look.decoder.row_words,
    )
    assert watched.maps()[0].weights.sum(-1) == pytest.approx(1, abs=0.01)


def crossing(words):
    """A pair whose translation, in capitals, has the opposite order."""
    return Pair(" ".join(words), " ".join(word.upper() for word in reversed(words)))


def test_the_pair_of_middle_length_whose_words_change_their_order_most_is_chosen():
    rng, words = np.random.default_rng(1), [*"abcdefghij"]
    lines = [list(rng.permutation(words)[:n]) for n in (3, 5, 8) for _ in range(20)]
    dev = [Pair(" ".join(line), " ".join(line).upper()) for line in lines]
    dev[7], dev[33], dev[50] = (crossing(lines[i]) for i in (7, 33, 50))  # short, middle, long
    half = lines[25]
    dev[25] = Pair(" ".join(half), " ".join([*half[:3], half[4], half[3]]).upper())
    dev.insert(0, Pair("", "A"))
    tokenizers = train_tokenizers("word", 100, False, False, "split", *zip(*dev, strict=True))
    assert choose(dev, tokenizers).line == 35
    dev[34] = dev[1]
    assert choose(dev, tokenizers).line == 27
    assert choose([Pair("", "A"), Pair("a " * 200, "A")], tokenizers) is None
    assert choose([Pair("a", "zzz")], tokenizers).columns == ["a", "</s>"]


def test_a_model_without_attention_keeps_none_and_plot_says_so(folder, capsys):
    model = {**SMALL, "attention": {"score": "none"}}
    config = write_config(folder, model=model, training={"max_updates": 10})
    blind = train(load_config(config), folder / "blind")
    assert not (blind.path / "attention.jsonl").exists()
    assert main(["plot", str(blind.path), "--attention"]) == 2
    assert "attention.jsonl: there is none" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_a_warning_and_the_training_goes_on(folder, monkeypatch, caplog, run):
    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("seq2seq.training.watch.replace_text", full)
    other = train(run.config(), folder / "full")
    assert [r["update"] for r in other.metrics.records()] == [r["update"] for r in run.metrics.records()]
    assert not (other.path / "attention.jsonl").exists()
    assert "attention.jsonl: cannot be written: No space left on device; training without it" in caplog.text


DAMAGE = {
    "empty": (lambda lines: [], "line 1: damaged"),
    "no sentence": (lambda lines: lines[1:], "line 1: damaged, the key 'line' is missing"),
    "cut short": (lambda lines: [lines[0], lines[1][:-9]], "line 2: damaged, not JSON"),
    "a row less": (lambda lines: [*lines[:2], '{"update":10,"weights":[[1.0]]}'], "line 3: damaged, not "),
    "not finite": (lambda lines: [lines[0], lines[1].replace("[[0.", "[[NaN,0.", 1)], "line 2: damaged"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_an_error_of_plot_and_begun_anew_by_a_training(run, folder, kind, capsys, caplog):
    spoil, message = DAMAGE[kind]
    file = run.path / "attention.jsonl"
    before = file.read_text("utf-8")
    try:
        file.write_text("".join(f"{line}\n" for line in spoil(before.splitlines())), "utf-8")
        with pytest.raises(UserError, match=message):
            read_watched(file)
        assert main(["plot", str(run.path), "--attention"]) == 2
        assert message in capsys.readouterr().err
    finally:
        file.write_text(before, "utf-8")


def test_a_resumed_run_goes_on_with_its_sentence_whatever_dev_is_and_begins_a_damaged_file_anew(folder, caplog):
    config = write_config(folder, tokenizer=LETTERS, model=SMALL, training={"max_updates": 20})
    run = train(load_config(config), folder / "moved")
    file = run.path / "attention.jsonl"
    first = file.read_text("utf-8").splitlines()[0]
    (folder / "other.en").write_text("the dog\n", "utf-8")
    (folder / "other.de").write_text("die Hund\n", "utf-8")
    changed = run.config().model_copy(
        update={
            "data": run.config().data.model_copy(update={"dev": str(folder / "other")}),
            "training": run.config().training.model_copy(update={"max_updates": 30}),
        }
    )
    train(changed, run.path, resume=True, allow_changes=True)
    lines = file.read_text("utf-8").splitlines()
    assert lines[0] == first
    assert [json.loads(line)["update"] for line in lines[1:]] == [0, 10, 20, 30]

    # damaged: another sentence, from here on
    file.write_text("{}\n", "utf-8")
    longer = changed.model_copy(update={"training": changed.training.model_copy(update={"max_updates": 40})})
    train(longer, run.path, resume=True, allow_changes=True)
    assert "attention.jsonl, line 1: damaged" in caplog.text
    watched = read_watched(file)
    assert (watched.sentence.pair, [*watched.maps()]) == (("the dog", "die Hund"), [40])


def test_plot_draws_what_was_kept_from_the_first_to_the_last_in_a_row(run, folder, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr("seq2seq.plots.figures.save", lambda figure, path: drawn.append((figure, path)))
    assert main(["plot", str(run.path), "--attention"]) == 0
    assert main(["plot", str(run.path), "--attention", "--words", "--output", str(folder / "w.svg")]) == 0
    assert capsys.readouterr().out.splitlines() == [str(run.path / "attention.png"), str(folder / "w.svg")]
    (tokens, path), (words, _) = drawn
    assert path == run.path / "attention.png"
    *panels, _bar = tokens.axes
    best = run.checkpoints.named("best").update
    names = [f"update {n}{', best' if n == best else ''}" for n in (0, 10, 20, 25)]
    assert [axes.texts[0].get_text() for axes in panels] == names
    assert len({round(axes.get_position().y0, 6) for axes in panels}) == 1
    assert len(words.axes[0].get_xticks()) < len(tokens.axes[0].get_xticks())


def test_the_page_has_every_moment(run, folder):
    assert main(["plot", str(run.path), "--attention", "--output", str(folder / "a.html")]) == 0
    page = (folder / "a.html").read_text("utf-8")
    sentence = read_watched(run.path / "attention.jsonl").sentence
    assert all(text in page for text in (*sentence.pair, '"update 0"', '"update 10', '"update 20', '"update 25'))


def test_few_panels_divide_the_way_of_the_weights_evenly():
    def over_time(*weights):
        tables = np.array([[[w, 1 - w]] for w in weights], dtype=float)
        names = [str(i) for i in range(len(weights))]
        return AttentionMap(["a"], ["b", "c"], names, tables, [0], [0, 1])

    slow_then_still = over_time(0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.8, 0.8, 0.8, 0.8)
    assert spread(slow_then_still, 5).heads == ["0", "2", "4", "6", "12"]
    assert spread(slow_then_still, 2).heads == ["0", "12"]
    assert spread(over_time(0.5), 5).heads == ["0"]
    assert spread(over_time(0.5, 0.5, 0.5, 0.5), 3).heads == ["0", "1", "3"]
    assert spread(over_time(0, 1, 0), 5).weights.tolist() == over_time(0, 1, 0).weights.tolist()
