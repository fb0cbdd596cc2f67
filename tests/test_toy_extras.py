"""The romanized phrases and the word vectors that two toy configs use."""

import importlib.util
from pathlib import Path
from random import Random

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
TOY = ROOT / "data" / "toy"


@pytest.fixture(scope="module")
def extras():
    spec = importlib.util.spec_from_file_location("make_toy_extras", ROOT / "scripts" / "make_toy_extras.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines(name):
    return (TOY / name).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("korean", "latin"),
    [
        ("고양이", "goyangi"),
        ("값", "gabs"),
        ("없었습니다", "eobseossseubnida"),
        ("꽃, 의", "kkoch, ui"),
        ("cat", "cat"),
    ],
)
def test_romanization_goes_letter_by_letter(extras, korean, latin):
    assert extras.romanize(korean) == latin


def test_making_the_phrases_again_yields_the_committed_ones(extras):
    for split, phrases in extras.phrases(lines("train.ko"), Random(1)).items():
        assert phrases == lines(f"roman.{split}.ko")
        assert [extras.romanize(phrase) for phrase in phrases] == lines(f"roman.{split}.latin")


def test_no_phrase_stands_in_two_splits_and_train_has_every_character():
    train, dev, test = (lines(f"roman.{split}.ko") for split in ("train", "dev", "test"))
    assert len({*train, *dev, *test}) == len(train) + len(dev) + len(test)
    assert set("".join(dev + test)) <= set("".join(train))


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_training_word_has_a_vector(extras, language):
    rows = dict(line.split(" ", 1) for line in lines(f"vectors.{language}"))
    assert set(rows) == {word for line in lines(f"train.{language}") for word in extras.words_of(line)}
    vectors = np.array([np.array(row.split(), dtype=float) for row in rows.values()])
    assert vectors.shape[1] == extras.DIMENSIONS
    assert np.isfinite(vectors).all()
    assert np.sqrt((vectors**2).mean()) == pytest.approx(extras.DIMENSIONS**-0.5, rel=0.01)


def test_words_of_one_kind_have_vectors_that_point_the_same_way():
    rows = dict(line.split(" ", 1) for line in lines("vectors.en"))
    unit = {word: np.array(row.split(), dtype=float) for word, row in rows.items()}
    unit = {word: vector / np.linalg.norm(vector) for word, vector in unit.items()}

    def likeness(group, other):
        return np.mean([unit[a] @ unit[b] for a in group for b in other if a != b])

    animals, prepositions, predicates = (
        ["cat", "dog", "fox", "cow"],
        ["in", "behind", "next"],
        ["tired", "happy", "lazy"],
    )
    for group in (animals, prepositions, predicates):
        others = [likeness(group, other) for other in (animals, prepositions, predicates) if other is not group]
        assert likeness(group, group) > max(others) + 0.05
