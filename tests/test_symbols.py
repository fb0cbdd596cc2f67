"""Symbols that are one token each, decomposed letters, and a user's own sentencepiece model."""

import io
import json
from random import Random

import pytest
import sentencepiece
from tiny import write_config

from seq2seq.config import load_config
from seq2seq.data.sampling import draw
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import rewriting_of
from seq2seq.text.own_models import import_model, import_tokenizers
from seq2seq.text.sentences import Sentences
from seq2seq.text.tokenizer import EOS, SPECIALS, UNK, train_tokenizers
from seq2seq.text.vocabularies import load_tokenizers, save_tokenizers
from seq2seq.training.train import train

SYMBOLS = ["<2ko>", "<2", "Ａ|B", "한"]
TYPES = ["unigram", "bpe", "char", "word"]
LINES = ["The cat <2ko> and the 한국 dog", "den Hund sah Ａ|B", "<2 Häuser"] * 30


def learn(type, lowercase=False, decompose=False, symbols=SYMBOLS):
    options = {"decompose": decompose, "symbols": symbols}
    return train_tokenizers(type, 400, True, lowercase, "split", LINES, LINES, **options)


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("decompose", [False, True])
@pytest.mark.parametrize("type", TYPES)
def test_a_symbol_is_one_token_wherever_it_stands_and_survives(type, lowercase, decompose, tmp_path):
    save_tokenizers(learn(type, lowercase, decompose), tmp_path)
    tokenizer = load_tokenizers(tmp_path).src
    assert tokenizer.pieces(range(4)) == SPECIALS
    for text, symbols in [
        ("<2ko> the cat", ["<2ko>"]),
        ("the <2ko><2 cat", ["<2ko>", "<2"]),  # the longest comes first
        ("catＡ|Bdog 한국", ["Ａ|B", "한"]),
        ("<2k <2ko", ["<2", "<2"]),
    ]:
        ids = tokenizer.encode(text)
        assert [piece for piece in tokenizer.pieces(ids) if piece in SYMBOLS] == symbols
        assert type == "word" or tokenizer.decode(ids) == tokenizer.rewrite(text) == text
    assert tokenizer.rewrite("THE Ａ|B") == ("the Ａ|B" if lowercase else "THE Ａ|B")


@pytest.mark.parametrize("type", ["unigram", "bpe"])
def test_sampling_never_cuts_a_symbol(type):
    tokenizer = learn(type).src
    row = tokenizer.encode("the <2ko> cat Ａ|B")
    for seed in range(50):
        (drawn,) = draw(tokenizer, type, 0.5 if type == "bpe" else 0.1, [row], seed)
        assert [piece for piece in tokenizer.pieces(drawn) if piece in SYMBOLS] == ["<2ko>", "Ａ|B"]
        assert tokenizer.decode(drawn) == "the <2ko> cat Ａ|B"


def test_a_decomposed_syllable_is_three_letters_and_one_again():
    tokenizer = train_tokenizers("char", 400, True, False, "split", ["한국 á"], ["한국 á"], decompose=True).src
    assert tokenizer.pieces(tokenizer.encode("한á")) == ["▁", "ᄒ", "ᅡ", "ᆫ", "a", "\u0301"]
    assert tokenizer.decode(tokenizer.encode("한국 á")) == "한국 á"


@pytest.mark.parametrize(
    ("symbols", "says"),
    [
        ("[a b]", "white space"),
        ("['']", "at least 1"),
        ("[</s>]", "special token"),
        ("['<0x0A>']", "special token"),
        ("['▁x']", "sentencepiece needs"),
        ("['e\u0301']", "NFC"),
        ("[<x>, <x>]", "twice"),
    ],
)
def test_what_cannot_be_a_symbol_is_an_error(tmp_path, symbols, says):
    with pytest.raises(UserError, match=f"tokenizer.symbols.*{says}"):
        load_config(write_config(tmp_path), [f"tokenizer.symbols={symbols}"])


def test_a_tag_is_given_to_each_sentence_of_a_line():
    sources = ["<2ko> The cat sat.", "<2de> The <n> dog ran."] * 5
    rules = Sentences.learn("en", sources, sources, ["<2ko>", "<2de>", "<n>", "<never>"])
    assert rules.tags == ["<2ko>", "<2de>"]
    parts = rules.parts("<2ko> It sat. It ran.\n<n> It sat. It ran.", split=True)
    assert [part.text for part in parts] == ["<2ko> It sat.", "<2ko> It ran.", "<n> It sat.", "It ran."]


# ------------------------------------------------------------------------------------------------------- own models


def spm(path, **options):
    """Train a model as a user would, with sentencepiece's own defaults; return its name."""
    rng, model = Random(1), io.BytesIO()
    lines = [" ".join(rng.choices(["the", "cat", "sees", "eine", "Katze", "½"], k=6)) for _ in range(200)]
    given = {"vocab_size": 40, "hard_vocab_limit": False, "minloglevel": 3} | options
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, **given)
    path.write_bytes(model.getvalue())
    return str(path)


@pytest.mark.parametrize("options", [{}, {"pad_id": 3}, {"pad_id": 0, "bos_id": -1, "unk_id": 2, "eos_id": 1}])
@pytest.mark.parametrize("type", ["unigram", "bpe", "char"])
def test_an_own_model_cuts_as_before_and_has_our_special_tokens(tmp_path, type, options):
    path = spm(tmp_path / "own.model", model_type=type, **options)
    theirs = sentencepiece.SentencePieceProcessor(model_file=path)
    made = import_tokenizers([path], False, False, [])
    save_tokenizers(made, tmp_path / "saved")
    ours = load_tokenizers(tmp_path / "saved")
    assert (ours.types, ours.normalizer, ours.joint) == ((type, type), "nmt_nfkc", True)
    assert ours.src.pieces(range(4)) == SPECIALS
    for text in ("the cat sees", "eine Katze ½", "cat x"):
        ids = ours.src.encode(text)
        assert ours.src.pieces(ids) == [
            piece if piece in theirs.encode(text, out_type=str) else "<unk>" for piece in ours.src.pieces(ids)
        ]
        known = [i for i in theirs.encode(text) if i != theirs.unk_id()]
        assert ours.src.decode(ids) == theirs.decode(known).strip()
        assert (UNK in ids) == (text == "cat x")
        assert EOS not in ids
    assert ours.src.rewrite("Katze ½") == "Katze 1⁄2"  # as a perfect translation would be written
    assert rewriting_of(ours) == "|normalizer:nmt_nfkc"


def test_a_file_that_is_no_model_of_subwords_is_an_error(tmp_path):
    (tmp_path / "text").write_text("the cat")
    (tmp_path / "empty").write_bytes(b"")
    spm(tmp_path / "words", model_type="word")
    spm(tmp_path / "suffix", treat_whitespace_as_suffix=True)
    spm(tmp_path / "taken", bos_piece="[BOS]", user_defined_symbols=["<s>"])
    for name, says in (
        ("text", "not a sentencepiece model"),
        ("empty", "not a sentencepiece model"),
        ("none", "cannot be read"),
        ("words", "a model of words"),
        ("suffix", "its spaces are at the end of words"),
        ("taken", "<s>"),
    ):
        with pytest.raises(UserError, match=f"tokenizer.model: .*{name}.*{says}"):
            import_model(str(tmp_path / name))
    with pytest.raises(UserError, match="cuts the symbol <2ko>"):
        import_tokenizers([spm(tmp_path / "plain")], False, False, ["<2ko>"])


def test_a_model_of_characters_cannot_be_sampled(tmp_path):
    own = spm(tmp_path / "letters", model_type="char")
    keys = [f"tokenizer.model={own}", "tokenizer.type=unigram", "tokenizer.sampling=0.3"]
    with pytest.raises(UserError, match=r"tokenizer.sampling is 0.3; it cannot cut with .*letters of type char"):
        train(load_config(write_config(tmp_path), keys), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_with_an_own_model_records_it_and_needs_it_no_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spm(tmp_path / "own.model")
    keys = ["tokenizer.model=own.model", "training.max_updates=2", "tokenizer.type=unigram"]
    run = train(load_config(write_config(tmp_path), keys), tmp_path / "run")
    environment = json.loads((run.path / "environment.json").read_text())
    assert [*environment["tokenizer_models"]] == [str(tmp_path / "own.model")]
    spm(tmp_path / "own.model", model_type="bpe")
    keys[1] = "training.max_updates=4"
    with pytest.raises(UserError, match=r"own.model of tokenizer.model has changed .* keeps the old vocabulary"):
        train(load_config(tmp_path / "tiny.yaml", keys), tmp_path / "run", resume=True)
    (tmp_path / "own.model").unlink()
    train(load_config(tmp_path / "tiny.yaml", keys), tmp_path / "run", resume=True)
    assert len(Translator.load(run.path).translate(["the cat"])) == 1
    with pytest.raises(UserError, match=r"one is for tokenizer\.joint true"):
        load_config(tmp_path / "tiny.yaml", [*keys, "tokenizer.joint=false"])
