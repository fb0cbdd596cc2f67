"""`distill`: the corpus that models write, its filters, where it says it comes from, and what is refused."""

import hashlib
import json

import pytest
from tiny import write_config

from seq2seq import load
from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.decoding.translator import Translator
from seq2seq.experiments.distilling import REASONS, fault
from seq2seq.files import locked
from seq2seq.training.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distill")
    return train(load_config(write_config(folder, training={"max_updates": 60})), folder / "run").path


def test_a_student_learns_from_the_translations_of_the_training_text(run, tmp_path, capsys):
    prefix = tmp_path / "distilled"
    assert main(["distill", str(run), "--output", str(prefix), "--nbest", "2"]) == 0
    src, tgt = (prefix.with_suffix(f".{side}") for side in ("en", "de"))

    # each pair is a line and one of its two translations, but for what the filters leave out
    expected, dropped = [], 0
    lines = (run.parent / "train.en").read_text(encoding="utf-8").splitlines()
    for translation in load(run).translate(lines, nbest=2, attention=False):
        line = lines[len(expected)]
        both = [translation.text, *(other.text for other in translation.alternatives)]
        expected.append([(line, text) for text in both if fault(line, text) is None])
        dropped += len(both) - len(expected[-1])
    written = list(zip(*(file.read_text(encoding="utf-8").splitlines() for file in (src, tgt)), strict=True))
    assert written == [pair for pairs in expected for pair in pairs]
    origin = json.loads((tmp_path / "distilled.json").read_text())
    assert (origin["lines"], origin["pairs"], sum(origin["dropped"].values())) == (120, len(written), dropped)
    assert origin["files"] == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (src, tgt)}
    assert list(origin["runs"]) == [str(run)]

    # the student
    corpora = [{"path": str(run.parent / "train")}, {"path": str(prefix), "weight": 0.5}]
    config = load_config(write_config(tmp_path, data={"train": corpora}, training={"max_updates": 2}))
    assert train(config, tmp_path / "student").checkpoints.named("last")

    # what is there is not written over
    assert main(["distill", str(run), "--output", str(prefix)]) == 2
    assert f"{src}: exists already; choose another prefix with --output" in capsys.readouterr().err


@pytest.mark.parametrize("done", [1, 3])
def test_a_stopped_corpus_goes_on_and_ends_with_the_same_bytes(run, tmp_path, monkeypatch, done):
    monkeypatch.setattr("seq2seq.experiments.distilling.BATCHES", 1)
    command = ["distill", str(run), "--batch-size", "32", "--output"]
    real, translated = Translator.translate, []

    def translate(self, texts, **options):
        if len(translated) == done:
            translated.append(0)
            raise KeyboardInterrupt
        translated.append(len(texts))
        return real(self, texts, **options)

    # 120 lines in parts of 32; of the stopped corpus there is no file yet
    monkeypatch.setattr(Translator, "translate", translate)
    assert main([*command, str(tmp_path / "stopped")]) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["stopped.parts"]
    assert main([*command, str(tmp_path / "stopped")]) == 0
    assert [*translated[:done], *translated[done + 1 :]] == [32, 32, 32, 24]

    monkeypatch.undo()
    assert main([*command, str(tmp_path / "whole")]) == 0
    for ending in ("en", "de"):
        assert (tmp_path / f"stopped.{ending}").read_bytes() == (tmp_path / f"whole.{ending}").read_bytes()
    assert not list(tmp_path.glob("*.parts"))


def test_lines_of_a_file_are_translated_and_normalized(run, tmp_path):
    (tmp_path / "in").write_text("the  cat\nthe old dog\n", encoding="utf-8")
    assert main(["distill", str(run), "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out.en").read_text(encoding="utf-8") == "the cat\nthe old dog\n"


def test_what_a_person_has_put_there_is_not_replaced_and_two_do_not_write_one_corpus(run, tmp_path, capsys):
    (tmp_path / "in").write_text("the cat\n", encoding="utf-8")
    distilling = ["distill", str(run), "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    (tmp_path / "out.parts").mkdir()  # a stopped call has left it
    (tmp_path / "out.en").write_text("my own text\n", encoding="utf-8")
    assert main(distilling) == 2
    assert "out.en: holds other text already; move it, or choose another prefix" in capsys.readouterr().err
    assert (tmp_path / "out.en").read_text(encoding="utf-8") == "my own text\n"
    (tmp_path / "out.en").unlink()

    # while another call writes
    with locked(tmp_path / "out.parts"):
        assert main(distilling) == 2
        assert "another distillation is writing into it; wait for it, stop it, or choose another with --output" in (
            capsys.readouterr().err
        )
    assert main(distilling) == 0
    assert not (tmp_path / "out.parts").exists()


@pytest.mark.parametrize(
    ("source", "translation", "reason"),
    [
        ("the cat", "die Katze", None),
        ("the cat", "", "empty"),
        ("", "die Katze", "empty"),
        ("Berlin", "Berlin", "copied"),
        ("the cat", "die Katze " * 5, "length"),
        ("the old cat sees the dog and the other dog and the cat" * 2, "die Katze", "length"),
        ("the old cat sees the old dog", "die alte alte alte alte alte Katze", "repeats itself"),
        ("old old old old old dog", "alte alte alte alte alte Hund", None),
    ],
)
def test_what_is_no_translation_is_left_out(source, translation, reason):
    assert fault(source, translation) == reason
    assert reason is None or reason in REASONS


def test_mistakes_are_found_before_the_work(run, tmp_path, capsys):
    cases = {
        ("--output", str(tmp_path / "none" / "x")): "no such folder; make it, or choose another prefix with --output",
        ("--output", str(tmp_path / "x"), "--nbest", "9"): "nbest is 9 and beam 3",
        ("--output", str(tmp_path / "x"), "--input", str(tmp_path / "none")): "none",
    }
    for options, error in cases.items():
        assert main(["distill", str(run), *options]) == 2
        assert error in capsys.readouterr().err
    assert not list(tmp_path.glob("x*"))
