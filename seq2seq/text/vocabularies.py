"""The tokenizers of a run in a folder: their settings in `tokenizer.json`, and their vocabularies.

A joint vocabulary is called `joint`, others `src` and `tgt`. A `.model` is an ordinary model of sentencepiece; a `.txt`
holds one word a line, whose id is its line number, counted from 0.
"""

from pathlib import Path
from typing import get_args

from seq2seq.errors import UserError
from seq2seq.files import read_json, write_json
from seq2seq.text.tokenizer import SPECIALS, SubwordTokenizer, Tokenizer, Tokenizers, TokenizerType, WordTokenizer


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
    path, fix = folder / "tokenizer.json", "copy the run folder again"
    keys = ("type", "joint", "lowercase", "word_tokenizer")
    found = read_json(path, keys, fix)
    type, joint, lowercase, word_tokenizer = (found[key] for key in keys)
    if type not in get_args(TokenizerType) or not (isinstance(joint, bool) and isinstance(lowercase, bool)):
        raise UserError(f"{path}: damaged, a value is not what was written; {fix}")

    # the vocabularies
    def load(name: str) -> Tokenizer:
        path = folder / (f"{name}.txt" if type == "word" else f"{name}.model")
        tokenizer: Tokenizer
        try:
            if type == "word":
                words = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
                tokenizer = WordTokenizer(words[len(SPECIALS) :], word_tokenizer, lowercase)
                is_ours = tokenizer.pieces(range(len(tokenizer))) == words
            else:
                tokenizer = SubwordTokenizer(path.read_bytes(), lowercase)
                is_ours = tokenizer.pieces(range(len(SPECIALS))) == SPECIALS
        except (OSError, UnicodeDecodeError, RuntimeError, IndexError):  # IndexError: the file is empty
            is_ours = False
        if not is_ours:
            kind = "word list" if type == "word" else "sentencepiece model"
            raise UserError(f"{path}: not a readable {kind}; {fix}")
        return tokenizer

    src = load("joint" if joint else "src")
    return Tokenizers(src, src if joint else load("tgt"), type, lowercase, word_tokenizer)
