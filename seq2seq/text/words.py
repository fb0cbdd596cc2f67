"""Words as tokens, through torchtext."""

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Self

from seq2seq.errors import UserError
from seq2seq.text.folding import EOS, NO_FOLDING, SPECIALS, UNK, Folding
from seq2seq.text.normalize import normalize


class WordTokenizer:
    """torchtext's tokenizer and vocabulary: the most frequent words have an id, all others are `<unk>`.

    `decode` joins words with a space. It does not undo the changes of the torchtext tokenizer; `split` makes no
    changes. A word of the text that is spelled like a special token is unknown.
    """

    def __init__(self, words: Sequence[str], word_tokenizer: str, folding: Folding = NO_FOLDING):
        """Make a tokenizer in which `words` have the ids from 4 on, in their order."""
        from torchtext.vocab import Vocab

        ranked = Counter({word: len(words) - rank for rank, word in enumerate(words)})
        self._vocab = Vocab(ranked, specials=SPECIALS, specials_first=True)
        self._split, self.folding = _word_splitter(word_tokenizer), folding

    missing = frozenset([UNK])  # the ids of the tokens that stand for what the vocabulary lacks

    @classmethod
    def train(cls, vocab_size: int, folding: Folding, word_tokenizer: str, lines: Sequence[str]) -> Self:
        """Learn the most frequent words of the lines: at most `vocab_size` tokens, special ones included."""
        from torchtext.vocab import Vocab

        first = [*SPECIALS, *folding.symbols]
        if vocab_size <= len(first):
            text = f"too small; {len(first)} are special tokens, write {len(first) + 1} or more"
            raise UserError(f"tokenizer.vocab_size is {vocab_size}: {text}")
        split = _word_splitter(word_tokenizer)
        counts = Counter(word for line in lines for part in folding.split(line)[::2] for word in split(part))
        words = Vocab(counts, max_size=vocab_size - len(first), specials=first).itos[len(SPECIALS) :]
        return cls(words, word_tokenizer, folding)

    def words(self, text: str) -> Iterator[str]:
        """Yield the words of normalized text, known or not."""
        for i, part in enumerate(self.folding.split(text)):
            yield from [part] if i % 2 else self._split(part)

    def encode(self, text: str) -> list[int]:
        """Return the ids of the words of normalized text, without bos and eos."""
        ids = (self._vocab[word] for word in self.words(text))
        return [i if i > EOS else UNK for i in ids]

    def encode_lines(self, lines: Sequence[str]) -> list[list[int]]:
        """Return what `encode` returns for each line."""
        return [self.encode(line) for line in lines]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the words, joined with a space; `<unk>` is shown, the other special tokens are left out."""
        return normalize(" ".join(self._vocab.itos[i] for i in ids if i > EOS or i == UNK))

    def rewrite(self, text: str) -> str:
        """Return normalized text as `decode` would write it, were all its words known."""
        return normalize(" ".join(self.words(text)))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Return the words, special ones included."""
        return [self._vocab.itos[i] for i in ids]

    def word_numbers(self, ids: Sequence[int]) -> list[int]:
        """Return the word of each token: every token is a word."""
        return list(range(len(ids)))

    def spellings(self) -> list[bytes]:
        """Return the bytes that each token adds to a text in UTF-8; a space at the end of a text is dropped later."""
        return [f"{word} ".encode() if i > EOS or i == UNK else b"" for i, word in enumerate(self._vocab.itos)]

    def ids(self, pieces: Iterable[str]) -> list[int]:
        """Return the ids of some of the strings that `pieces` returns; `UNK` for one that is no token."""
        return [self._vocab.stoi.get(piece, UNK) for piece in pieces]

    def __len__(self) -> int:
        return len(self._vocab)


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
