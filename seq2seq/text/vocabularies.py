"""The tokenizers of a run in a folder: their settings in `tokenizer.json`, and their vocabularies.

A joint vocabulary is called `joint`, others `src` and `tgt`. A `.model` is an ordinary model of sentencepiece; a `.txt`
holds one word a line, whose id is its line number, counted from 0.
"""

import hashlib
from pathlib import Path

from pydantic import BaseModel

from seq2seq.errors import UserError
from seq2seq.files import must_read, read_json, read_small, status, write_json
from seq2seq.text.folding import SPECIALS, Folding
from seq2seq.text.tokenizer import SubwordTokenizer, Tokenizer, Tokenizers, TokenizerType, Types, of_both_sides
from seq2seq.text.words import WordTokenizer

SETTINGS, MODEL, WORDS = "tokenizer.json", ".model", ".txt"
FIX = "copy the run folder again"


class Settings(BaseModel, strict=True):
    """The content of `tokenizer.json`."""

    type: TokenizerType | Types  # of both sides, or of the source and of the target
    joint: bool
    lowercase: bool
    word_tokenizer: str
    normalizer: str = "identity"
    decompose: bool = False
    symbols: list[str] = []


def save_tokenizers(tokenizers: Tokenizers, folder: Path) -> None:
    """Write `tokenizer.json` and the vocabularies into `folder`, made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    src, tgt = tokenizers.types
    of_both = ("joint", "lowercase", "word_tokenizer", "normalizer")
    settings = {"type": src if src == tgt else [src, tgt]} | {name: getattr(tokenizers, name) for name in of_both}
    folding = tokenizers.src.folding
    write_json(folder / SETTINGS, settings | {"decompose": folding.decompose, "symbols": list(folding.symbols)})
    sides = {"joint": tokenizers.src} if tokenizers.joint else {"src": tokenizers.src, "tgt": tokenizers.tgt}
    for name, tokenizer in sides.items():
        if isinstance(tokenizer, SubwordTokenizer):
            (folder / f"{name}{MODEL}").write_bytes(tokenizer.model)
        else:
            words = tokenizer.pieces(range(len(tokenizer)))
            (folder / f"{name}{WORDS}").write_bytes("".join(f"{word}\n" for word in words).encode("utf-8"))


def vocabulary_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the files that `save_tokenizers` wrote, by name; other files do not count.

    Raises UserError: one of them cannot be read.
    """
    if status(folder / SETTINGS) is None:
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"{folder / SETTINGS}: missing; {FIX}")
        return {}
    settings = read_json(folder / SETTINGS, Settings, FIX)
    names = [*_vocabularies(settings), SETTINGS]
    found = [name for name in names if status(folder / name)]
    return {name: hashlib.sha256(_read(folder / name)).hexdigest() for name in found}


def load_tokenizers(folder: Path) -> Tokenizers:
    """Read what `save_tokenizers` wrote; raise UserError if a file is missing or damaged."""
    settings = read_json(folder / SETTINGS, Settings, FIX)
    folding = Folding(settings.lowercase, settings.decompose, tuple(settings.symbols))

    # a tokenizer from its file, which must give back what was written
    def load(name: str) -> Tokenizer:
        path, is_words = folder / name, name.endswith(WORDS)
        content = _read(path)
        tokenizer: Tokenizer
        try:
            if is_words:
                words = content.decode("utf-8").removesuffix("\n").split("\n")
                tokenizer = WordTokenizer(words[len(SPECIALS) :], settings.word_tokenizer, folding)
                is_ours = tokenizer.pieces(range(len(tokenizer))) == words
            else:
                tokenizer = SubwordTokenizer(content, folding)
                is_ours = tokenizer.pieces(range(len(SPECIALS))) == SPECIALS
        except (UnicodeDecodeError, RuntimeError, IndexError):  # IndexError: the file is empty
            is_ours = False
        if not is_ours:
            kind = "word list" if is_words else "sentencepiece model"
            raise UserError(f"{path}: not a readable {kind}; {FIX}")
        return tokenizer

    # one for both sides, or one for each
    names, types = _vocabularies(settings), of_both_sides(settings.type)
    src = load(names[0])
    tgt = src if settings.joint else load(names[1])
    return Tokenizers(src, tgt, types, settings.lowercase, settings.word_tokenizer, settings.normalizer)


def _vocabularies(settings: Settings) -> list[str]:
    """Return the names of the files of the vocabularies: of the joint one, or of the source's and the target's."""
    sides = ["joint"] if settings.joint else ["src", "tgt"]
    return [
        side + (WORDS if type == "word" else MODEL)
        for side, type in zip(sides, of_both_sides(settings.type), strict=False)
    ]


def _read(path: Path) -> bytes:
    with must_read(path, FIX):
        return read_small(path)
