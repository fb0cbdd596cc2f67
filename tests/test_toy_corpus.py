"""The toy corpus is what data/README.md says: reproducible, correct, and honest about what it holds out."""

import importlib.util
import re
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from random import Random

import pytest

ROOT = Path(__file__).parents[1]
TOY = ROOT / "data" / "toy"
LANGS = ("en", "de", "ko")
SPLITS = ("train", "dev", "test")


def load_script():
    spec = importlib.util.spec_from_file_location("make_toy_corpus", ROOT / "scripts" / "make_toy_corpus.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


toy = load_script()


@pytest.fixture(scope="module")
def corpus():
    return toy.build()


@pytest.fixture(scope="module")
def held():
    return toy.held_out(toy.Sampler(Random(toy.SEED)))


def lines(name):
    return (TOY / name).read_text(encoding="utf-8").splitlines()


def words(text):
    return re.findall(r"\w+", text)


def has_final_consonant(word):
    """Without the script's arithmetic: the last letter of the decomposed word is one of the final consonants."""
    return "\u11a8" <= unicodedata.normalize("NFD", word)[-1] <= "\u11c2"


def noun(en):
    return next(noun for noun in toy.nouns() if noun.en == en)


def verb(en):
    return next(verb for verb in toy.verbs() if verb.en == en)


def adjective(en):
    return next(adjective for adjective in toy.adjectives() if adjective.en == en)


# The files


def test_making_it_again_yields_the_committed_bytes(corpus):
    for name, text in toy.files(corpus).items():
        assert (TOY / name).read_bytes() == text.encode(), name


@pytest.mark.parametrize(("split", "least"), [("train", 10_000), ("dev", 500), ("test", 500)])
def test_a_split_has_as_many_lines_in_each_language(split, least):
    counts = {len(lines(f"{split}.{lang}")) for lang in LANGS}
    assert len(counts) == 1
    assert min(counts) >= least


def test_every_line_is_one_normalized_sentence_with_its_final_mark():
    sentence = re.compile(r"\S+( \S+)*[.?]")
    for path in [TOY / f"{split}.{lang}" for split in ("train", "dev", "test") for lang in ("en", "de", "ko")]:
        text = path.read_bytes().decode()
        assert unicodedata.is_normalized("NFC", text)
        assert text.endswith("\n")
        assert not [line for line in text.removesuffix("\n").split("\n") if not sentence.fullmatch(line)], path.name


def test_questions_are_questions_in_all_languages():
    for split in SPLITS:
        for texts in zip(*(lines(f"{split}.{lang}") for lang in LANGS), strict=True):
            assert len({text.endswith("?") for text in texts}) == 1, texts


def test_no_english_sentence_comes_twice():
    counts = Counter(line for name in (*SPLITS, "pronouns") for line in lines(f"{name}.en"))
    assert max(counts.values()) == 1


def test_one_english_sentence_has_one_translation():
    sampler, translations = toy.Sampler(Random(5)), {}
    for kind in ("simple", "question", "pronoun", "reported") * 2000:
        item = sampler.draw(kind)
        assert translations.setdefault(item.en, item[1:3]) == item[1:3]
    assert len(translations) < 8000  # sentences did come twice


def test_the_longest_quarter_has_seventeen_words_or_more():
    for split in SPLITS:
        lengths = sorted(len(line.split()) for line in lines(f"{split}.en"))
        assert lengths[len(lengths) * 3 // 4] >= 17


def test_a_fifth_of_train_has_a_pronoun_to_resolve():
    train = lines("train.en")
    assert sum(bool(re.search(r" (he|she|it) was ", line)) for line in train) >= len(train) / 5


def test_the_samples_of_the_readme_are_in_the_test_set():
    samples = re.findall(r"^    (.+)\n    (.+)\n    (.+)$", (ROOT / "data" / "README.md").read_text("utf-8"), re.M)
    triples = set(zip(*(lines(f"test.{lang}") for lang in LANGS), strict=True))
    assert len(samples) == 3
    assert triples.issuperset(samples)


# What is held out


def test_dev_and_test_hold_out_different_combinations(held):
    assert held["dev"].isdisjoint(held["test"])


@pytest.mark.parametrize("split", ["dev", "test", "pronouns"])
def test_every_sentence_of_a_split_has_a_combination_held_out_for_it(corpus, held, split):
    assert all(held[split].intersection(item.combinations) for item in corpus[split])


@pytest.mark.parametrize("split", ["dev", "test", "pronouns"])
def test_no_other_split_has_a_combination_held_out_for_this_one(corpus, held, split):
    for other in corpus.keys() - {split}:
        assert all(held[split].isdisjoint(item.combinations) for item in corpus[other]), other


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_text_of_train_has_no_adjective_beside_a_noun_it_is_held_out_from(held, split):
    train = "\n".join(lines("train.en"))
    pairs = sorted(combination[1:] for combination in held[split] if combination[0] == "adjective-noun")
    assert pairs
    assert not [pair for pair in pairs if re.search(rf"\b{' '.join(pair)}\b", train)]


def test_every_held_out_combination_is_made_of_words_that_train_has_often(held):
    train = Counter(words("\n".join(lines("train.en"))))
    for combination in held["dev"] | held["test"] | held["pronouns"]:
        assert min(train[word] for part in combination[1:] for word in part.split()) >= 100, combination


@pytest.mark.parametrize("lang", LANGS)
def test_every_word_outside_train_occurs_in_train(lang):
    known = set(words("\n".join(lines(f"train.{lang}"))))
    others = [f"{split}.{lang}" for split in ("dev", "test")]
    others += [path.name for path in TOY.glob(f"pronouns*.{lang}")]
    for name in others:
        assert known.issuperset(words("\n".join(lines(name)))), name


# The pronoun set


def test_the_pronoun_set_has_500_items_that_differ_only_in_the_pronoun():
    right, wrong = lines("pronouns.de"), lines("pronouns.wrong.de")
    assert len(lines("pronouns.en")) == len(right) == len(wrong) == 500
    for good, bad in zip(right, wrong, strict=True):
        differing = [pair for pair in zip(good.split(), bad.split(), strict=True) if pair[0] != pair[1]]
        assert len(differing) == 1
        assert set(differing[0]) < {"er", "sie", "es"}


def test_the_right_pronoun_agrees_with_the_antecedent_and_the_wrong_one_with_the_other_noun(corpus):
    by_gender = dict(zip("mfn", ("er", "sie", "es"), strict=True))
    genders = {en.replace("my ", ""): by_gender[gender] for _, en, _, gender, _ in toy.table(toy.NOUNS)}
    for item, wrong in zip(corpus["pronouns"], lines("pronouns.wrong.de"), strict=True):
        subject, target, predicate = next(c for c in item.combinations if c[0] == "pronoun")[1:]
        living = toy.fits(adjective(predicate).kinds, noun(subject))
        expected = [genders[subject], genders[target]] if living else [genders[target], genders[subject]]
        clause = r"(?:weil|obwohl|als|aber) (er|sie|es) "
        assert [re.search(clause, text)[1] for text in (item.de, wrong)] == expected
        assert item.en.endswith(f" it was {predicate}.")


def test_train_shows_each_pronoun_predicate_and_each_gender_often(corpus):
    items = [item for item in corpus["train"] if isinstance(item.tree, toy.Pronoun)]
    predicates = Counter(item.tree.predicate.en for item in items)
    antecedents = Counter(item.tree.antecedent.noun.en for item in items)
    for item in corpus["pronouns"]:
        assert predicates[item.tree.predicate.en] >= 20
        assert antecedents[item.tree.antecedent.noun.en] >= 10


# Which word "it" stands for


def annotation(split):
    """Of each row the English and the German line, and the words pointed at: "it", its antecedent, the other noun."""
    english, german = lines(f"{split}.en"), lines(f"{split}.de")
    for row in lines(f"{split}.it.tsv"):
        line, *indices = map(int, row.split("\t"))
        split_words = english[line - 1].split()
        yield english[line - 1], german[line - 1], *(split_words[index].strip(".,") for index in indices)


@pytest.fixture(scope="module")
def head_nouns():
    return {noun.en.split()[-1]: noun for noun in toy.nouns()}


@pytest.mark.parametrize("split", ["dev", "test"])
def test_200_lines_of_dev_and_of_test_are_annotated_in_their_order(split):
    numbers = [int(row.split("\t")[0]) for row in lines(f"{split}.it.tsv")]
    assert len(numbers) == 200
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("split", ["dev", "test"])
def test_an_annotated_it_has_the_gender_of_its_antecedent_in_german(split, head_nouns):
    for english, german, it, antecedent, other in annotation(split):
        pronouns = re.findall(r", (?:weil|obwohl|als|aber) (er|sie|es) ", german)
        assert (it, words(english).count("it"), antecedent != other) == ("it", 1, True), english
        assert pronouns == [("er", "sie", "es")[head_nouns[antecedent].gender]], english


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_predicate_of_an_annotated_it_fits_the_antecedent_and_not_the_other_noun(split, head_nouns):
    for english, _, _, antecedent, other in annotation(split):
        predicate = adjective(re.search(r" it was (\w+)", english)[1])
        assert toy.fits(predicate.kinds, head_nouns[antecedent]), english
        assert not toy.fits(predicate.kinds, head_nouns[other]), english
        assert {"a"} < {kind for noun in (antecedent, other) for kind in head_nouns[noun].kinds}, english


def test_of_a_noun_of_two_words_the_last_is_annotated():
    fox, ice_cream = (toy.Phrase(noun(name), "the") for name in ("fox", "ice cream"))
    main = toy.Clause(fox, verb("ate"), ice_cream)
    for predicate, antecedent, expected in (("hungry", fox, (7, 1, 5)), ("sweet", ice_cream, (7, 5, 1))):
        tree = toy.Pronoun(main, toy.BUT, adjective(predicate), antecedent)
        assert toy.pointers(toy.example(tree, [])) == expected


def test_a_sentence_where_it_leaves_no_choice_is_not_annotated():
    cat, woman, hat = (toy.Phrase(noun(name), "the") for name in ("cat", "woman", "hat"))
    of_woman = toy.Pronoun(toy.Clause(woman, verb("chose"), hat), toy.BECAUSE, adjective("light"), hat)
    somewhere = toy.Clause(cat, verb("chose"), hat, place=("in the park", "im Park", "공원에서"))
    of_place = toy.Pronoun(somewhere, toy.BECAUSE, adjective("beautiful"), hat)
    for tree in (of_woman, of_place, somewhere):
        assert toy.pointers(toy.example(tree, [])) is None


# The languages


def test_korean_particles_agree_with_the_last_sound_of_the_noun():
    tokens = {word for name in SPLITS for word in words("\n".join(lines(f"{name}.ko")))}
    checked = 0
    for last in sorted({noun.ko.split()[-1] for noun in toy.nouns()}):
        for after_consonant, after_vowel in (("은", "는"), ("이", "가"), ("을", "를"), ("과", "와")):
            wrong = after_vowel if has_final_consonant(last) else after_consonant
            assert last + wrong not in tokens
            checked += last + (after_consonant + after_vowel).replace(wrong, "") in tokens
    assert checked > 150


@pytest.mark.parametrize(
    ("article", "color", "name", "cases"),
    [
        ("the", "small", "dog", ("der kleine Hund", "den kleinen Hund", "dem kleinen Hund")),
        ("the", "small", "cat", ("die kleine Katze", "die kleine Katze", "der kleinen Katze")),
        ("the", "small", "sheep", ("das kleine Schaf", "das kleine Schaf", "dem kleinen Schaf")),
        ("a", "expensive", "hat", ("ein teurer Hut", "einen teuren Hut", "einem teuren Hut")),
        ("a", "old", "clock", ("eine alte Uhr", "eine alte Uhr", "einer alten Uhr")),
        ("a", "tired", "child", ("ein müdes Kind", "ein müdes Kind", "einem müden Kind")),
        ("the", "lazy", "bear", ("der faule Bär", "den faulen Bären", "dem faulen Bären")),
        ("my", "sad", "uncle", ("mein trauriger Onkel", "meinen traurigen Onkel", "meinem traurigen Onkel")),
    ],
)
def test_german_articles_adjectives_and_weak_nouns_decline(article, color, name, cases):
    phrase = toy.Phrase(
        noun(name), article, next(a for a in toy.adjectives() if a.en == color and toy.fits(a.kinds, noun(name)))
    )
    assert tuple(phrase.de(case) for case in (toy.NOMINATIVE, toy.ACCUSATIVE, toy.DATIVE)) == cases


def test_animals_fressen_and_people_essen():
    assert (verb("ate").german(noun("cat")), verb("ate").german(noun("Anna"))) == ("fraß", "aß")


@pytest.mark.parametrize(
    ("name", "before_noun", "during"),
    [("ate", "먹은", "먹는"), ("stole", "훔친", "훔치는"), ("sold", "판", "파는"), ("carried", "나른", "나르는")],
)
def test_korean_verbs_take_the_endings_of_their_stems(name, before_noun, during):
    assert toy.before_noun(verb(name).stem) == before_noun
    assert verb(name).korean("~는 동안", negated=False) == f"{during} 동안"


def test_a_clause_takes_its_order_from_its_place_in_the_sentence():
    cat, fish, woman = (toy.Phrase(noun(name), "the") for name in ("cat", "fish", "woman"))
    eating = toy.Clause(cat, verb("ate"), fish, time=("yesterday", "gestern", "어제"), time_first=True)
    assert toy.example(eating, [])[:3] == (
        "Yesterday the cat ate the fish.",
        "Gestern fraß die Katze den Fisch.",
        "어제 고양이는 생선을 먹었다.",
    )
    seeing = toy.Clause(woman, verb("saw"), cat)
    assert toy.example(toy.Subordinate(toy.Clause(cat, verb("ate"), fish), toy.WHEN, seeing, first=True), [])[:3] == (
        "When the woman saw the cat, the cat ate the fish.",
        "Als die Frau die Katze sah, fraß die Katze den Fisch.",
        "여자가 고양이를 보았을 때 고양이는 생선을 먹었다.",
    )


@pytest.mark.parametrize(
    ("predicate", "of_subject", "texts"),
    [
        (
            "hungry",
            True,
            (
                "The cat ate the fish because it was hungry.",
                "Die Katze fraß den Fisch, weil sie hungrig war.",
                "고양이는 배고팠기 때문에 생선을 먹었다.",
            ),
        ),
        (
            "fresh",
            False,
            (
                "The cat ate the fish because it was fresh.",
                "Die Katze fraß den Fisch, weil er frisch war.",
                "생선이 신선했기 때문에 고양이는 그것을 먹었다.",
            ),
        ),
    ],
)
def test_a_pronoun_follows_the_noun_its_predicate_is_about(predicate, of_subject, texts):
    cat, fish = (toy.Phrase(noun(name), "the") for name in ("cat", "fish"))
    main = toy.Clause(cat, verb("ate"), fish)
    tree = toy.Pronoun(main, toy.BECAUSE, adjective(predicate), cat if of_subject else fish)
    assert toy.example(tree, [])[:3] == texts
