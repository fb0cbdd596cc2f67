"""A user's own sentencepiece model, changed so that its special tokens have this project's names and ids."""

from pathlib import Path
from typing import NamedTuple

from seq2seq.errors import UserError
from seq2seq.files import must_read, read_small
from seq2seq.text.folding import SPECIALS, Folding
from seq2seq.text.tokenizer import SubwordTokenizer, Tokenizers, TokenizerType

TYPES: dict[int, TokenizerType] = {1: "unigram", 2: "bpe", 4: "char"}  # as sentencepiece numbers them


class OwnModel(NamedTuple):
    """A sentencepiece model in which pad, unk, bos and eos have the ids 0 to 3."""

    content: bytes
    type: TokenizerType
    normalizer: str


def import_tokenizers(paths: list[str], lowercase: bool, decompose: bool, symbols: list[str]) -> Tokenizers:
    """Make the tokenizers of both sides from one sentencepiece model, or of each side from its own.

    Every model must have the symbols, texts that are one token each.

    Raises:
        UserError: a file is no model that can be used, lacks a symbol, or the two are of different kinds.
    """
    models = [import_model(path) for path in paths]
    kinds = [(model.type, model.normalizer) for model in models]
    if len({*kinds}) > 1:
        raise UserError(f"tokenizer.model: {paths[0]} is {kinds[0]}, {paths[1]} is {kinds[1]}; both must be alike")
    folding = Folding(lowercase, decompose, tuple(symbols))
    tokenizers = [SubwordTokenizer(model.content, folding) for model in models]
    for path, tokenizer in zip(paths, tokenizers, strict=True):
        for symbol in symbols:
            if symbol not in tokenizer.pieces(tokenizer.encode(symbol)):
                fix = "train the model with --user_defined_symbols, or leave it out of tokenizer.symbols"
                raise UserError(f"tokenizer.model: {path}: cuts the symbol {symbol} into pieces; {fix}")
    type, normalizer = kinds[0]
    return Tokenizers(tokenizers[0], tokenizers[-1], (type, type), lowercase, "split", normalizer)


def import_model(path: str) -> OwnModel:
    """Read a sentencepiece model and put its special tokens first; those that it lacks are added.

    Raises:
        UserError: the file cannot be read, is no model of subwords, or has one of our names for another piece.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import SentencePieceProcessor
    from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]

    # read
    place, fix = f"tokenizer.model: {path}", "give the .model file that sentencepiece's spm_train has written"
    with must_read(place, fix):
        content = read_small(Path(path))
    try:
        model = ModelProto.FromString(content)
        processor = SentencePieceProcessor(model_proto=model.SerializeToString())
    except (DecodeError, RuntimeError):
        model = ModelProto()
    if not model.pieces:
        raise UserError(f"{place}: not a sentencepiece model; {fix}")
    spec = model.trainer_spec
    if spec.model_type not in TYPES:
        raise UserError(f"{place}: a model of words; give one of type unigram, bpe or char, or set tokenizer.type word")

    if spec.treat_whitespace_as_suffix:
        raise UserError(f"{place}: its spaces are at the end of words; train it without treat_whitespace_as_suffix")

    # the special tokens in our order; -1: it has none
    Piece, ids = ModelProto.SentencePiece, [processor.pad_id(), processor.unk_id(), processor.bos_id()]
    ids.append(processor.eos_id())
    kinds = [Piece.CONTROL, Piece.UNKNOWN, Piece.CONTROL, Piece.CONTROL]
    special = [Piece(piece=name, score=0.0, type=kind) for name, kind in zip(SPECIALS, kinds, strict=True)]
    others = [piece for i, piece in enumerate(model.pieces) if i not in ids]
    if taken := sorted({piece.piece for piece in others} & {*SPECIALS}):
        raise UserError(f"{place}: the piece {taken[0]} is no special token there, but it is one here; rename it")

    # the model with these
    del model.pieces[:]
    model.pieces.extend([*special, *others])
    spec.pad_piece, spec.unk_piece, spec.bos_piece, spec.eos_piece = SPECIALS
    spec.pad_id, spec.unk_id, spec.bos_id, spec.eos_id = range(len(SPECIALS))
    normalizer = "identity" if not model.normalizer_spec.precompiled_charsmap else model.normalizer_spec.name or "own"
    return OwnModel(model.SerializeToString(deterministic=True), TYPES[spec.model_type], normalizer)
