"""Make the files that two of the toy configs need besides the corpus, from the corpus itself.

data/toy/roman.{train,dev,test}.{ko,latin}, for configs/toy_char.yaml: Korean phrases and their romanization, letter by
letter (Revised Romanization, its rule for reversible transliteration).

data/toy/vectors.{en,de}, for configs/toy_word.yaml: word vectors in the text format of GloVe. They are the positive
pointwise mutual information of neighbouring words, reduced by a singular value decomposition (Levy and Goldberg 2014).
"""

import argparse
import re
import unicodedata
from collections import Counter
from itertools import chain, pairwise
from pathlib import Path
from random import Random

import numpy as np

SIZES = {"train": 6_000, "dev": 300, "test": 300}
WINDOW = 4  # words to either side
DIMENSIONS = 128

INITIALS = "g kk n d tt l m b pp s ss - j jj ch k t p h".split()
VOWELS = "a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i".split()
FINALS = "- g kk gs n nj nh d l lg lm lb ls lt lp lh m b bs s ss ng j ch k t p h".split()


def romanize(text: str) -> str:
    """Replace each Hangul letter by its Latin one; leave other characters as they are."""
    return "".join(map(_syllable, unicodedata.normalize("NFC", text)))


def _syllable(char: str) -> str:
    index = ord(char) - ord("가")
    if not 0 <= index < len(INITIALS) * len(VOWELS) * len(FINALS):
        return char
    rest, final = divmod(index, len(FINALS))
    initial, vowel = divmod(rest, len(VOWELS))
    return (INITIALS[initial] + VOWELS[vowel] + FINALS[final]).replace("-", "")


def phrases(lines: list[str], rng: Random) -> dict[str, list[str]]:
    """Return pairs of neighbouring words; no phrase is in two splits, and train has every character of the others."""
    bare = [line.translate(str.maketrans("", "", ".,?!")).split() for line in lines]
    found = sorted({f"{first} {second}" for words in bare for first, second in pairwise(words)})
    rng.shuffle(found)
    train, rest = found[: SIZES["train"]], found[SIZES["train"] :]
    known = set("".join(train))
    fitting = [phrase for phrase in rest if known.issuperset(phrase)]
    return {
        "train": train,
        "dev": fitting[: SIZES["dev"]],
        "test": fitting[SIZES["dev"] : SIZES["dev"] + SIZES["test"]],
    }


def words_of(line: str) -> list[str]:
    """Split a line into lowercased words and marks, as torchtext's `basic_english` does."""
    return re.findall(r"\w+|[.,?]", line.lower())


def vectors(lines: list[str]) -> dict[str, np.ndarray]:
    """Return a vector (DIMENSIONS,) for each word, with the root mean square of new embeddings, 1/sqrt(DIMENSIONS)."""
    # count which words are near each other
    sentences = [words_of(line) for line in lines]
    counts = Counter(chain.from_iterable(sentences))
    words = sorted(counts, key=lambda word: (-counts[word], word))
    index = {word: i for i, word in enumerate(words)}
    together = np.ones((len(words), len(words)))
    for sentence in sentences:
        ids = [index[word] for word in sentence]
        for distance in range(1, WINDOW + 1):
            for first, second in zip(ids, ids[distance:], strict=False):
                together[first, second] += 1
                together[second, first] += 1

    # reduce what is above chance
    expected = together.sum(1, keepdims=True) * together.sum(0, keepdims=True) / together.sum()
    left, _, _ = np.linalg.svd(np.maximum(np.log(together / expected), 0))
    reduced = left[:, :DIMENSIONS] - left[:, :DIMENSIONS].mean(0)  # what all words share does not distinguish them
    reduced /= np.sqrt((reduced**2).mean()) * DIMENSIONS**0.5
    return dict(zip(words, reduced, strict=True))


def write(path: Path, lines: list[str]) -> None:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", type=Path, default=Path("data/toy"), help="the toy corpus (default: %(default)s)")
    toy: Path = parser.parse_args().toy
    for split, korean in phrases((toy / "train.ko").read_text("utf-8").splitlines(), Random(1)).items():
        write(toy / f"roman.{split}.ko", korean)
        write(toy / f"roman.{split}.latin", [romanize(phrase) for phrase in korean])
    for language in ("en", "de"):
        found = vectors((toy / f"train.{language}").read_text("utf-8").splitlines())
        write(toy / f"vectors.{language}", [" ".join([word, *(f"{x:.4f}" for x in v)]) for word, v in found.items()])


if __name__ == "__main__":
    main()
