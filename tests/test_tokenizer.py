"""Text to ids and back, for every type of tokenizer."""

import json
import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.errors import UserError
from seq2seq.text.normalize import normalize
from seq2seq.text.tokenizer import EOS, SPECIALS, UNK, Tokenizers, WordTokenizer, train_tokenizers
from seq2seq.text.vocabularies import load_tokenizers, save_tokenizers, vocabulary_digests

SUBWORDS = ["unigram", "bpe", "char"]
TYPES = [*SUBWORDS, "word"]
SPELLED = ["<s>", "</s>", "<unk>", "<pad>", "a </s> b", "</s></s>", "<0x0A>", "<s>the</s>", "▅"]


def corpus(number=200, seed=0):
    rng = random.Random(seed)
    words = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 8))) for _ in range(60)]
    return [" ".join(rng.choices(words, k=rng.randint(2, 9))) for _ in range(number)]


def train(type, src=None, tgt=None, vocab_size=400, joint=True, lowercase=False, word_tokenizer="split"):
    src = corpus() if src is None else src
    return train_tokenizers(
        type, vocab_size, joint, lowercase, word_tokenizer, src, corpus(seed=1) if tgt is None else tgt
    )


@pytest.fixture(scope="module")
def trained():
    return {type: train(type, src=corpus() + SPELLED * 20).src for type in TYPES}


@pytest.mark.parametrize("type", TYPES)
def test_the_first_ids_are_pad_unk_bos_eos(trained, type):
    assert trained[type].pieces(range(4)) == SPECIALS == ["<pad>", "<unk>", "<s>", "</s>"]


@pytest.mark.parametrize("type", SUBWORDS)
@settings(deadline=None, max_examples=100)
@given(st.text(st.characters(exclude_characters="▁"), max_size=30))
def test_any_text_survives_subwords(trained, type, text):
    text = normalize(text)
    ids = trained[type].encode(text)
    assert trained[type].decode(ids) == text
    assert all(EOS < i < len(trained[type]) for i in ids)


@pytest.mark.parametrize("type", SUBWORDS)
@pytest.mark.parametrize("text", SPELLED)
def test_a_special_token_spelled_in_the_text_is_ordinary_text(trained, type, text):
    ids = trained[type].encode(text)
    assert min(ids) > EOS
    assert trained[type].decode(ids) == text


@pytest.mark.parametrize("text", ["<s>", "</s>", "<unk>", "<pad>"])
def test_a_word_spelled_like_a_special_token_is_unknown(trained, text):
    assert trained["word"].encode(text) == [UNK]


@pytest.mark.parametrize("type", TYPES)
def test_known_words_survive_and_special_ids_are_left_out(trained, type):
    text = corpus()[3]
    assert trained[type].decode([2, *trained[type].encode(text), 3, 0, 0]) == text


def test_an_unknown_word_is_shown_and_does_not_grow_the_vocabulary(trained):
    size = len(trained["word"])
    assert trained["word"].decode(trained["word"].encode("Unseen!")) == "<unk>"
    assert len(trained["word"]) == size


@pytest.mark.parametrize("type", SUBWORDS)
def test_a_line_feed_made_of_a_byte_piece_does_not_split_the_output(trained, type):
    line_feed = next(i for i in range(len(trained[type])) if trained[type].pieces([i]) == ["<0x0A>"])
    assert trained[type].decode([line_feed, *trained[type].encode("a"), line_feed]) == "a"


@pytest.mark.parametrize("type", TYPES)
def test_decode_prints_normalized_text_whatever_the_ids(trained, type):
    rng = random.Random(0)
    for _ in range(50):
        text = trained[type].decode(rng.choices(range(len(trained[type])), k=12))
        assert text == normalize(text)


@pytest.mark.parametrize("type", TYPES)
def test_lines_that_are_encoded_together_have_the_ids_that_each_has_alone(trained, type):
    lines = ["", *SPELLED, *corpus(), "Unseen!"]
    assert trained[type].encode_lines(lines) == [trained[type].encode(line) for line in lines]
    assert trained[type].encode_lines([]) == []


@pytest.mark.parametrize("type", TYPES)
def test_one_piece_a_token(trained, type):
    ids = trained[type].encode(corpus()[0])
    assert len(trained[type].pieces(ids)) == len(ids)


@pytest.mark.parametrize("type", SUBWORDS)
def test_training_twice_gives_the_same_bytes(tmp_path, type):
    for name in ("first", "second"):
        save_tokenizers(train(type), tmp_path / name)
    assert (tmp_path / "first" / "joint.model").read_bytes() == (tmp_path / "second" / "joint.model").read_bytes()


@pytest.mark.parametrize("type", SUBWORDS)
def test_training_is_quiet(capfd, type):
    train(type)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("type", TYPES)
def test_saving_and_loading_keeps_every_id(tmp_path, type, joint):
    made = train(type, joint=joint, lowercase=True)
    save_tokenizers(made, tmp_path / "tokenizer")
    loaded = load_tokenizers(tmp_path / "tokenizer")
    assert loaded.joint is joint
    assert (loaded.types, loaded.lowercase, loaded.word_tokenizer) == ((type, type), True, "split")
    for old, new in ((made.src, loaded.src), (made.tgt, loaded.tgt)):
        assert new.pieces(range(len(new))) == old.pieces(range(len(old)))
        assert new.encode(corpus()[1].upper()) == old.encode(corpus()[1].upper())


def test_letters_on_one_side_and_signs_with_spaces_on_the_other(tmp_path):
    lines = ["haus", "maus"] * 9, ["h aʊ s", "m aʊ s"] * 9
    made = train_tokenizers(("char", "word"), 300, False, False, "split", *lines)
    save_tokenizers(made, tmp_path)
    loaded = load_tokenizers(tmp_path)
    assert loaded.types == ("char", "word")
    assert {*vocabulary_digests(tmp_path)} == {"src.model", "tgt.txt", "tokenizer.json"}
    assert loaded.src.pieces(loaded.src.encode("haus")) == ["▁", "h", "a", "u", "s"]
    assert loaded.tgt.pieces(loaded.tgt.encode("h aʊ s")) == ["h", "aʊ", "s"]
    assert loaded.tgt.decode(loaded.tgt.encode("h aʊ s")) == "h aʊ s"


@pytest.mark.parametrize("type", TYPES)
def test_separate_vocabularies_come_from_their_own_side(type):
    made = train(type, src=["aaa aab"] * 9, tgt=["zzz zzy"] * 9, joint=False)
    assert "b" in "".join(made.src.pieces(range(len(made.src)))[260 if type != "word" else 4 :])
    assert "a" not in "".join(made.tgt.pieces(range(len(made.tgt)))[260 if type != "word" else 4 :])


@pytest.mark.parametrize("type", TYPES)
def test_lowercase_folds_what_is_encoded(type):
    tokenizer = train(type, src=["The Cat"] * 9, tgt=[], lowercase=True).src
    assert tokenizer.decode(tokenizer.encode("tHE cAT")) == "the cat"


@pytest.mark.parametrize("type", TYPES)
def test_vocab_size_is_a_ceiling(type):
    assert len(train(type, vocab_size=300).src) <= 300
    assert len(train(type, src=corpus(10), tgt=[], vocab_size=32_000).src) < 32_000


@pytest.mark.parametrize(("type", "vocab_size"), [("unigram", 100), ("bpe", 100), ("char", 100), ("word", 4)])
def test_a_vocabulary_too_small_to_exist_names_the_key(type, vocab_size):
    with pytest.raises(UserError, match=rf"tokenizer\.vocab_size is {vocab_size}: too small"):
        train(type, vocab_size=vocab_size)


@pytest.mark.parametrize("type", ["unigram", "bpe"])
def test_the_smallest_vocabulary_that_the_error_names_works(type):
    with pytest.raises(UserError) as error:
        train(type, vocab_size=100)
    needed = int(str(error.value).split("at least ")[1].split()[0])
    assert len(train(type, vocab_size=needed).src) == needed


@pytest.mark.parametrize("type", TYPES)
def test_nothing_but_blank_lines_is_an_error(type):
    with pytest.raises(UserError, match="no text to learn a vocabulary from"):
        train(type, src=["", ""], tgt=[""])


@pytest.mark.parametrize("type", SUBWORDS)
def test_a_very_long_line_is_learned_from(type):
    tokenizer = train(type, src=["ab " * 10_000 + "ж"]).src
    assert "ж" in tokenizer.pieces(range(len(tokenizer)))


@pytest.mark.parametrize("type", SUBWORDS)
def test_a_line_with_the_trainers_own_mark_is_learned_from(type):
    tokenizer = train(type, src=["▅ ж"]).src
    assert "ж" in tokenizer.pieces(range(len(tokenizer)))


def test_the_most_frequent_words_are_kept():
    tokenizer = train("word", src=["b b b a a c"], tgt=[], vocab_size=6).src
    assert tokenizer.pieces(range(len(tokenizer))) == [*SPECIALS, "b", "a"]


def test_a_torchtext_tokenizer_can_be_named():
    tokenizer = train("word", src=["Hello, World."] * 2, tgt=[], word_tokenizer="basic_english").src
    assert tokenizer.decode(tokenizer.encode("Hello, world.")) == "hello , world ."


def test_an_unknown_word_tokenizer_names_the_key(capsys):
    for name in ("nonsense", "revtok"):
        with pytest.raises(UserError, match=rf"tokenizer\.word_tokenizer is {name}: not available"):
            train("word", word_tokenizer=name)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("type", "file"), [("bpe", "joint.model"), ("word", "joint.txt"), ("word", "tokenizer.json")])
def test_a_broken_or_missing_file_is_named_when_loading(tmp_path, type, file):
    save_tokenizers(train(type), tmp_path)
    (tmp_path / file).write_bytes(b"garbage")
    with pytest.raises(UserError, match=rf"{file}: (not a readable|damaged|cannot be read).*; copy the run f"):
        load_tokenizers(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(UserError, match=rf"{file}: (not a readable|damaged|cannot be read).*; copy the run f"):
        load_tokenizers(tmp_path)


@pytest.mark.parametrize("damage", [lambda model: b"", lambda model: model[:3000], lambda model: model[80:]])
def test_a_damaged_model_of_sentencepiece_is_named(tmp_path, damage):
    save_tokenizers(train("bpe"), tmp_path)
    (tmp_path / "joint.model").write_bytes(damage((tmp_path / "joint.model").read_bytes()))
    with pytest.raises(UserError, match=r"joint\.model: not a readable sentencepiece model; copy the run folder again"):
        load_tokenizers(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [{"word_tokenizer": 3}, {"word_tokenizer": "nonsense"}, {"type": "wrod"}, {"type": ["word"]}, {"joint": "no"}],
)
def test_a_description_of_a_tokenizer_that_we_never_wrote_is_refused(tmp_path, wrong):
    save_tokenizers(train("word"), tmp_path)
    right = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(right | wrong))
    with pytest.raises(UserError, match="tokenizer"):
        load_tokenizers(tmp_path)


def test_words_are_stored_one_a_line(tmp_path):
    words = WordTokenizer(["b", "a"], "split")
    save_tokenizers(Tokenizers(words, words, ("word", "word"), False, "split"), tmp_path)
    assert (tmp_path / "joint.txt").read_text(encoding="utf-8") == "<pad>\n<unk>\n<s>\n</s>\nb\na\n"


# ------------------------------------------------------------------------------------------------ words of tokens


@pytest.mark.parametrize("type", SUBWORDS)
@pytest.mark.parametrize("line", ["a word", "zyx word ümläut 고양이", "word"])
def test_pieces_of_a_word_have_one_number_and_words_are_what_stands_between_spaces(trained, type, line):
    ids = trained[type].encode(line)
    numbers = trained[type].word_numbers([*ids, EOS])
    words = [[i for i, n in zip(ids, numbers, strict=False) if n == word] for word in range(numbers[-1])]
    assert [trained[type].decode(word) for word in words] == line.split()


def test_every_token_of_a_word_vocabulary_is_a_word():
    tokenizer = WordTokenizer(["the", "cat"], "split")
    assert tokenizer.word_numbers([*tokenizer.encode("the cat dog"), EOS]) == [0, 1, 2, 3]
