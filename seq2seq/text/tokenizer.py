"""Text to token ids and back: sentencepiece subwords, or words through torchtext.

In every vocabulary the first four ids are pad, unk, bos and eos. Only code makes them: a text that happens to spell
`</s>` or `<pad>` is ordinary text. Both kinds of tokenizer expect normalized text and return normalized text.
"""

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, Self, get_args, runtime_checkable

from seq2seq.errors import UserError
from seq2seq.files import read_json, write_json
from seq2seq.text.normalize import normalize

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = ["<pad>", "<unk>", "<s>", "</s>"]

TokenizerType = Literal["unigram", "bpe", "char", "word"]


class Scored(NamedTuple):
    """A piece of a sentencepiece vocabulary."""

    id: int
    score: float  # unigram: its log-probability; bpe: the higher, the earlier it is merged


Pieces = dict[str, Scored]


@runtime_checkable  # so that tests check signatures
class Tokenizer(Protocol):
    """What the rest of the program knows of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of normalized text, without bos and eos."""

    def encode_lines(self, lines: Sequence[str]) -> list[list[int]]:
        """Return what `encode` returns for each line."""
        return [self.encode(line) for line in lines]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of the ids, one normalized line; pad, bos and eos are left out."""

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Return one readable string for each token, special ones included."""

    def word_numbers(self, ids: Sequence[int]) -> list[int]:
        """Return the number of the word, from 0, that each token belongs to; eos is a word of its own."""

    def __len__(self) -> int:
        """Return the size of the vocabulary."""

    def save(self, folder: Path, name: str) -> None:
        """Write the vocabulary to a file called `name`, with the ending of its kind, in `folder`."""


class SubwordTokenizer(Tokenizer):
    """A sentencepiece model with byte fallback: no word is unknown, and `decode` restores the text.

    The one exception: U+2581, sentencepiece's own mark for a space, is decoded as a space.
    """

    def __init__(self, model: bytes, lowercase: bool):
        from sentencepiece import SentencePieceProcessor

        self._model = model
        self._processor = SentencePieceProcessor(model_proto=model)
        self.lowercase = lowercase

    @classmethod
    def train(cls, type: str, vocab_size: int, lowercase: bool, lines: Sequence[str]) -> Self:
        """Learn a `unigram`, `bpe` or `char` vocabulary of at most `vocab_size` pieces; same lines, same bytes.

        Raises:
            UserError: `vocab_size` is too small for all characters and bytes, or there is no text.
        """
        import sentencepiece

        # the trainer would skip every line with U+2585, which means "unknown" to it
        lines = [_cased(line, lowercase).replace("\u2585", " ") for line in lines]
        characters = len(set().union(*lines) - {" "})
        if not characters:
            raise _no_text()

        # learn
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
            # explain the only failure that a user can cause
            needed = len(SPECIALS) + 256 + characters + 1
            if vocab_size < needed:
                raise UserError(
                    f"tokenizer.vocab_size is {vocab_size}: too small; the training text needs at least {needed} "
                    f"({characters} characters, the space, 256 bytes and 4 special tokens)"
                ) from None
            raise UserError(f"tokenizer.vocab_size is {vocab_size}: sentencepiece failed: {error}") from None
        return cls(model.getvalue(), lowercase)

    @classmethod
    def load(cls, folder: Path, name: str, lowercase: bool) -> Self:
        """Read what `save` wrote; raise UserError if it is damaged."""
        path = folder / f"{name}.model"
        try:
            tokenizer = cls(path.read_bytes(), lowercase)
            is_ours = tokenizer.pieces(range(len(SPECIALS))) == SPECIALS
        except (OSError, RuntimeError, IndexError):  # IndexError: the file is empty
            is_ours = False
        if not is_ours:
            raise UserError(f"{path}: not a readable sentencepiece model; copy the run folder again")
        return tokenizer

    def save(self, folder: Path, name: str) -> None:
        """Write `name.model`, an ordinary sentencepiece model."""
        (folder / f"{name}.model").write_bytes(self._model)

    def encode(self, text: str) -> list[int]:
        """Return the ids of normalized text, without bos and eos."""
        return self._processor.encode(_cased(text, self.lowercase))

    def encode_lines(self, lines: Sequence[str]) -> list[list[int]]:
        """Return what `encode` returns for each line; sentencepiece takes a thread for each processor."""
        return self._processor.encode([_cased(line, self.lowercase) for line in lines], num_threads=-1)

    def is_byte(self, id: int) -> bool:
        """Return whether a token is a byte of a character that the vocabulary lacks."""
        return bool(self._processor.is_byte(id))

    @cached_property
    def scored_pieces(self) -> Pieces:
        """The ids and scores of all pieces but bytes and special tokens."""
        ids = [i for i in range(len(SPECIALS), len(self)) if not self.is_byte(i)]
        return {self._processor.id_to_piece(i): Scored(i, self._processor.get_score(i)) for i in ids}

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of the ids; special ones are left out, bytes that form no character become U+FFFD."""
        return normalize(self._processor.decode([i for i in ids if i > EOS]))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Return sentencepiece's own strings: `▁` for a space, `<0xE2>` for a byte, `</s>` for eos."""
        return [self._processor.id_to_piece(i) for i in ids]

    def word_numbers(self, ids: Sequence[int]) -> list[int]:
        """Return the word of each token; a word begins with `▁`."""
        begins = [i == EOS or piece.startswith("▁") for i, piece in zip(ids, self.pieces(ids), strict=True)]
        return list(accumulate(begins[1:], initial=0))

    def __len__(self) -> int:
        return self._processor.get_piece_size()


class WordTokenizer(Tokenizer):
    """torchtext's tokenizer and vocabulary: the most frequent words have an id, all others are `<unk>`.

    `decode` joins words with a space. It does not undo what the torchtext tokenizer did; `split` leaves nothing to
    undo. A word of the text that is spelled like a special token is unknown.
    """

    def __init__(self, words: Sequence[str], word_tokenizer: str, lowercase: bool):
        """Make a tokenizer in which `words` have the ids from 4 on, in their order."""
        from torchtext.vocab import Vocab

        ranked = Counter({word: len(words) - rank for rank, word in enumerate(words)})
        self._vocab = Vocab(ranked, specials=SPECIALS, specials_first=True)
        self._split = _word_splitter(word_tokenizer)
        self.lowercase = lowercase

    @classmethod
    def train(cls, vocab_size: int, lowercase: bool, word_tokenizer: str, lines: Sequence[str]) -> Self:
        """Learn the most frequent words of the lines: at most `vocab_size` tokens, special ones included.

        Raises:
            UserError: there is no room for a word, no text, or `word_tokenizer` is unknown.
        """
        from torchtext.vocab import Vocab

        if vocab_size <= len(SPECIALS):
            raise UserError(f"tokenizer.vocab_size is {vocab_size}: too small; 4 are special tokens, write 5 or more")
        split = _word_splitter(word_tokenizer)
        counts = Counter(word for line in lines for word in split(_cased(line, lowercase)))
        words = Vocab(counts, max_size=vocab_size - len(SPECIALS), specials=SPECIALS).itos[len(SPECIALS) :]
        if not words:
            raise _no_text()
        return cls(words, word_tokenizer, lowercase)

    @classmethod
    def load(cls, folder: Path, name: str, word_tokenizer: str, lowercase: bool) -> Self:
        """Read what `save` wrote; raise UserError if it is damaged."""
        path = folder / f"{name}.txt"
        try:
            words = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError):
            words = []
        if words[: len(SPECIALS)] != SPECIALS or len(set(words)) < len(words):
            raise UserError(f"{path}: not a readable word list; copy the run folder again")
        return cls(words[len(SPECIALS) :], word_tokenizer, lowercase)

    def save(self, folder: Path, name: str) -> None:
        """Write `name.txt`: one word a line; its id is its line number, counted from 0."""
        (folder / f"{name}.txt").write_bytes("".join(f"{word}\n" for word in self._vocab.itos).encode("utf-8"))

    def encode(self, text: str) -> list[int]:
        """Return the ids of the words of normalized text, without bos and eos."""
        ids = (self._vocab[word] for word in self._split(_cased(text, self.lowercase)))
        return [i if i > EOS else UNK for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the words, joined with a space; `<unk>` is shown, the other special tokens are left out."""
        return normalize(" ".join(self._vocab.itos[i] for i in ids if i > EOS or i == UNK))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Return the words, special ones included."""
        return [self._vocab.itos[i] for i in ids]

    def word_numbers(self, ids: Sequence[int]) -> list[int]:
        """Return the word of each token: every token is a word."""
        return list(range(len(ids)))

    def __len__(self) -> int:
        return len(self._vocab)


@dataclass(frozen=True)
class Tokenizers:
    """The tokenizers of both sides, one object if the vocabulary is joint, and the settings they were made with."""

    src: Tokenizer
    tgt: Tokenizer
    type: TokenizerType
    lowercase: bool
    word_tokenizer: str

    @property
    def joint(self) -> bool:
        """Whether both sides share one vocabulary."""
        return self.src is self.tgt

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and the vocabularies, `joint` or `src` and `tgt`, into `folder`, made if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        keys = {"type": self.type, "joint": self.joint, "lowercase": self.lowercase}
        write_json(folder / "tokenizer.json", {**keys, "word_tokenizer": self.word_tokenizer})
        if self.joint:
            self.src.save(folder, "joint")
        else:
            self.src.save(folder, "src")
            self.tgt.save(folder, "tgt")


def train_tokenizers(
    type: TokenizerType,
    vocab_size: int,
    joint: bool,
    lowercase: bool,
    word_tokenizer: str,
    src_lines: Sequence[str],
    tgt_lines: Sequence[str],
) -> Tokenizers:
    """Learn the vocabularies of both sides from normalized lines; `vocab_size` is the ceiling of each.

    Args:
        type: `unigram`, `bpe` or `char` (sentencepiece), or `word` (torchtext).
        vocab_size: tokens, special ones included, at most; a small corpus gives fewer.
        joint: learn one vocabulary from both sides, rather than one from each.
        lowercase: fold case before anything else.
        word_tokenizer: for `word`: `split` (at spaces) or a name that `torchtext.data.get_tokenizer` knows.
        src_lines: the source side of the training corpus.
        tgt_lines: the target side.

    Raises:
        UserError: `vocab_size` is too small, there is no text, or `word_tokenizer` is unknown.
    """

    def train(lines: Sequence[str]) -> Tokenizer:
        if type == "word":
            return WordTokenizer.train(vocab_size, lowercase, word_tokenizer, lines)
        return SubwordTokenizer.train(type, vocab_size, lowercase, lines)

    src = train([*src_lines, *tgt_lines] if joint else src_lines)
    tgt = src if joint else train(tgt_lines)
    return Tokenizers(src, tgt, type, lowercase, word_tokenizer)


def load_tokenizers(folder: Path) -> Tokenizers:
    """Read what `Tokenizers.save` wrote.

    Raises:
        UserError: a file is missing or broken.
    """
    # the settings
    path, fix = folder / "tokenizer.json", "copy the run folder again"
    keys = read_json(path, ("type", "joint", "lowercase", "word_tokenizer"), fix)
    type, joint, lowercase = keys["type"], keys["joint"], keys["lowercase"]
    if type not in get_args(TokenizerType) or not (isinstance(joint, bool) and isinstance(lowercase, bool)):
        raise UserError(f"{path}: damaged, a value is not what was written; {fix}")

    # the vocabularies
    def load(name: str) -> Tokenizer:
        if type == "word":
            return WordTokenizer.load(folder, name, keys["word_tokenizer"], lowercase)
        return SubwordTokenizer.load(folder, name, lowercase)

    src = load("joint" if joint else "src")
    return Tokenizers(src, src if joint else load("tgt"), type, lowercase, keys["word_tokenizer"])


def _no_text() -> UserError:
    return UserError(
        "there is no text to learn a vocabulary from: every line of the training corpus is blank or too long; "
        "raise data.max_length or check the corpus"
    )


def _cased(text: str, lowercase: bool) -> str:
    return text.lower() if lowercase else text


def _word_splitter(name: str) -> Callable[[str], list[str]]:
    from torchtext.data import get_tokenizer

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # torchtext prints advice about a missing package
            return get_tokenizer(None if name == "split" else name)
    except (ImportError, ValueError, AttributeError, LookupError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"tokenizer.word_tokenizer is {name}: not available ({reason}); write split or basic_english"
        ) from None
