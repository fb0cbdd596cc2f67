"""Text to token ids and back: sentencepiece subwords, or words through torchtext.

In every vocabulary the first four ids are pad, unk, bos and eos. Only code makes them: a text that happens to spell
`</s>` or `<pad>` is ordinary text. Both kinds of tokenizer expect normalized text and return normalized text.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal, Self

from seq2seq.errors import UserError
from seq2seq.text.folding import BOS, EOS, NO_FOLDING, PAD, SPECIALS, UNK, Folding
from seq2seq.text.normalize import normalize
from seq2seq.text.words import WordTokenizer

TokenizerType = Literal["unigram", "bpe", "char", "word"]
Types = tuple[TokenizerType, TokenizerType]  # of the source and of the target
_UNKNOWN_MARK, _SPACE_MARK = "\u2585", "\u2581"  # sentencepiece's own


class SubwordTokenizer:
    """A sentencepiece model. Those that `train` makes have byte fallback: no word is unknown, `decode` restores it.

    The one exception: U+2581, sentencepiece's own mark for a space, is decoded as a space.
    """

    def __init__(self, model: bytes, folding: Folding = NO_FOLDING):
        from sentencepiece import SentencePieceProcessor

        self.model, self.folding = model, folding
        self.processor = SentencePieceProcessor(model_proto=model)

    @classmethod
    def train(cls, type: str, vocab_size: int, folding: Folding, lines: Sequence[str]) -> Self:
        """Learn a `unigram`, `bpe` or `char` vocabulary of at most `vocab_size` pieces; same lines, same bytes."""
        import sentencepiece

        # learn; the trainer would skip every line with U+2585, which means "unknown" to it
        lines = [folding(line).replace(_UNKNOWN_MARK, " ") for line in lines]
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                model_type=type,
                vocab_size=vocab_size,
                hard_vocab_limit=False,
                pad_id=PAD,
                unk_id=UNK,
                bos_id=BOS,
                eos_id=EOS,
                user_defined_symbols=list(folding.symbols),
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                character_coverage=1.0,
                byte_fallback=True,
                max_sentence_length=2**30,  # bytes; the default silently skips lines over 4192
                shuffle_input_sentence=False,
                num_threads=4,  # a constant, because the order of float sums depends on it
                minloglevel=3,
            )
        except RuntimeError as error:
            # explain the failure that a user can cause
            characters, symbols = len(set().union(*lines) - {" "}), len(folding.symbols)
            if vocab_size < (needed := len(SPECIALS) + 256 + characters + 1 + symbols):
                listed = f", {symbols} symbols" * bool(symbols)
                raise UserError(
                    f"tokenizer.vocab_size is {vocab_size}: too small; the training text needs at least {needed} "
                    f"({characters} characters, the space{listed}, 256 bytes and 4 special tokens)"
                ) from None
            raise UserError(f"tokenizer.vocab_size is {vocab_size}: sentencepiece failed: {error}") from None
        return cls(model.getvalue(), folding)

    def encode(self, text: str) -> list[int]:
        """Return the ids of normalized text, without bos and eos."""
        return self.processor.encode(self.folding(text))

    def encode_lines(self, lines: Sequence[str]) -> list[list[int]]:
        """Return what `encode` returns for each line; sentencepiece takes a thread for each processor."""
        return self.processor.encode([self.folding(line) for line in lines], num_threads=-1)

    @cached_property
    def missing(self) -> frozenset[int]:
        """The ids of the tokens that stand for what the vocabulary lacks: bytes and `<unk>`."""
        return frozenset([UNK, *filter(self.processor.is_byte, range(len(self)))])

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of the ids; special ones are left out, bytes that form no character become U+FFFD."""
        return normalize(self.processor.decode([i for i in ids if i > EOS]))

    def rewrite(self, text: str) -> str:
        """Return normalized text as `decode` would write it: what a perfect translation looks like."""
        return normalize(self.processor.normalize(self.folding(text)).replace(_SPACE_MARK, " "))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Return sentencepiece's own strings: `▁` for a space, `<0xE2>` for a byte, `</s>` for eos."""
        return [self.processor.id_to_piece(i) for i in ids]

    def word_numbers(self, ids: Sequence[int]) -> list[int]:
        """Return the number of the word, from 0, that each token belongs to; eos is a word of its own."""
        begins = [i == EOS or piece.startswith("▁") for i, piece in zip(ids, self.pieces(ids), strict=True)]
        return list(accumulate(begins[1:], initial=0))  # the beginnings of words after the first token, counted so far

    def spellings(self) -> list[bytes]:
        """Return the bytes that each token adds to a text in UTF-8; a space at the start of a text is dropped later."""
        pieces = self.pieces(range(len(self)))
        return [
            b""
            if self.processor.is_control(i) or i <= EOS
            else bytes.fromhex(piece[3:5])
            if self.processor.is_byte(i)
            else piece.replace(_SPACE_MARK, " ").encode()
            for i, piece in enumerate(pieces)
        ]

    def ids(self, pieces: Iterable[str]) -> list[int]:
        """Return the ids of some of the strings that `pieces` returns; `UNK` for one that is no token."""
        return [self.processor.piece_to_id(piece) for piece in pieces]

    def __len__(self) -> int:
        return self.processor.get_piece_size()


Tokenizer = SubwordTokenizer | WordTokenizer


@dataclass(frozen=True)
class Tokenizers:
    """The tokenizers of both sides, one object if the vocabulary is joint, and the settings they were made with."""

    src: Tokenizer
    tgt: Tokenizer
    types: Types
    lowercase: bool
    word_tokenizer: str
    normalizer: str = "identity"  # of an own sentencepiece model

    @property
    def joint(self) -> bool:
        """Whether both sides share one vocabulary."""
        return self.src is self.tgt


def of_both_sides(type: TokenizerType | Types) -> Types:
    """Return the type of the source and of the target, where one may stand for both."""
    return (type, type) if isinstance(type, str) else type


def train_tokenizers(
    type: TokenizerType | Types,
    vocab_size: int,
    joint: bool,
    lowercase: bool,
    word_tokenizer: str,
    src_lines: Sequence[str],
    tgt_lines: Sequence[str],
    *,
    decompose: bool = False,
    symbols: Sequence[str] = (),
) -> Tokenizers:
    """Learn the vocabularies of both sides from normalized lines of the training corpus.

    `type` is that of both sides, or the source's and the target's, which cannot be joint. A vocabulary has at most
    `vocab_size` tokens, special ones included; if `joint`, one is learned from both sides. For `word`, `word_tokenizer`
    is `split` (at spaces) or a name that `torchtext.data.get_tokenizer` knows. `Folding` explains the others.

    Raises:
        UserError: `vocab_size` is too small, there is no text, or `word_tokenizer` is unknown.
    """
    folding = Folding(lowercase, decompose, tuple(symbols))

    def train(type: TokenizerType, lines: Sequence[str]) -> Tokenizer:
        if not any(line.strip(f" {_UNKNOWN_MARK}") for line in lines):
            raise UserError(
                "there is no text to learn a vocabulary from: every line of the training corpus is blank or too long; "
                "raise data.max_length or check the corpus"
            )
        if type == "word":
            return WordTokenizer.train(vocab_size, folding, word_tokenizer, lines)
        return SubwordTokenizer.train(type, vocab_size, folding, lines)

    # one vocabulary for both sides, or one for each
    types = of_both_sides(type)
    src = train(types[0], [*src_lines, *tgt_lines] if joint else src_lines)
    tgt = src if joint else train(types[1], tgt_lines)
    return Tokenizers(src, tgt, types, lowercase, word_tokenizer)
