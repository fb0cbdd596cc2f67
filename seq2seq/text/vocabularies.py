"""The tokenizers of a run in a folder: their settings in `tokenizer.json`, and their vocabularies.

A joint vocabulary is called `joint`, others `src` and `tgt`. A `.model` is an ordinary model of sentencepiece; a `.txt`
holds one word a line, whose id is its line number, counted from 0.
"""

from pathlib import Path
from typing import get_args

from seq2seq.errors import UserError
from seq2seq.files import read_json, write_json
from seq2seq.text.tokenizer import SPECIALS, SubwordTokenizer, Tokenizer, Tokenizers, TokenizerType, WordTokenizer

_FIX = "copy the run folder again"


def save_tokenizers(tokenizers: Tokenizers, folder: Path) -> None:
    """Write `tokenizer.json` and the vocabularies into `folder`, made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = {"type": tokenizers.type, "joint": tokenizers.joint, "lowercase": tokenizers.lowercase}
    write_json(folder / "tokenizer.json", {**keys, "word_tokenizer": tokenizers.word_tokenizer})
    sides = {"joint": tokenizers.src} if tokenizers.joint else {"src": tokenizers.src, "tgt": tokenizers.tgt}
    for name, tokenizer in sides.items():
        if isinstance(tokenizer, SubwordTokenizer):
            (folder / f"{name}.model").write_bytes(tokenizer.model)
        else:
            words = tokenizer.pieces(range(len(tokenizer)))
            (folder / f"{name}.txt").write_bytes("".join(f"{word}\n" for word in words).encode("utf-8"))


def load_tokenizers(folder: Path) -> Tokenizers:
    """Read what `save_tokenizers` wrote; raise UserError if a file is missing or damaged."""
    # the settings
    path = folder / "tokenizer.json"
    keys = read_json(path, ("type", "joint", "lowercase", "word_tokenizer"), _FIX)
    type, joint, lowercase, word_tokenizer = (keys[key] for key in ("type", "joint", "lowercase", "word_tokenizer"))
    if type not in get_args(TokenizerType) or not (isinstance(joint, bool) and isinstance(lowercase, bool)):
        raise UserError(f"{path}: damaged, a value is not what was written; {_FIX}")

    # the vocabularies
    def load(name: str) -> Tokenizer:
        if type == "word":
            return WordTokenizer(_read_words(folder / f"{name}.txt"), word_tokenizer, lowercase)
        return _read_model(folder / f"{name}.model", lowercase)

    src = load("joint" if joint else "src")
    return Tokenizers(src, src if joint else load("tgt"), type, lowercase, word_tokenizer)


def _read_words(path: Path) -> list[str]:
    try:
        words = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError):
        words = []
    if words[: len(SPECIALS)] != SPECIALS or len(set(words)) < len(words):
        raise UserError(f"{path}: not a readable word list; {_FIX}")
    return words[len(SPECIALS) :]


def _read_model(path: Path, lowercase: bool) -> SubwordTokenizer:
    try:
        tokenizer = SubwordTokenizer(path.read_bytes(), lowercase)
        if tokenizer.pieces(range(len(SPECIALS))) == SPECIALS:
            return tokenizer
    except (OSError, RuntimeError, IndexError):  # IndexError: the file is empty
        pass
    raise UserError(f"{path}: not a readable sentencepiece model; {_FIX}")
