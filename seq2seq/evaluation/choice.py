"""The measure that decides which checkpoint is the best, and whether a measure can say anything about a text.

BLEU is made of words, and of two, three and four words in a row. On lines that are one word, or that have no spaces
between their words, it stays near 0 however good a translation is. chrF is made of characters, and moves on every text.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from sacrebleu.metrics import BLEU

from seq2seq.errors import UserError

LABELS = {"loss": "loss", "bleu": "BLEU", "chrf": "chrF", "exact_match": "exact match", "cer": "CER"}
LOWER_IS_BETTER = ("loss", "cer")

BY_SPACES = ("13a", "intl", "none")  # sacrebleu's tokenizers that find words by the spaces between them
ORDER = 4  # words in a row that BLEU counts
_HAN_AND_KANA = re.compile(  # and Yi
    "[\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uf900-\ufaff\uff66-\uff9f"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)
_SOUTHEAST_ASIAN = re.compile(  # Thai, Lao, Tibetan, Burmese, Khmer, Tai, Balinese, Javanese
    "[\u0e01-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9df]"
)
# Scripts without spaces between words, and the most letters and accents that words have, on average over a line. Where
# "words" are longer, the line is not cut into words. It may be; and spaces alone prove nothing: Thai has some between
# phrases.
UNSPACED = {_HAN_AND_KANA: 3, _SOUTHEAST_ASIAN: 6}


class Choice(NamedTuple):
    """The measure that decides which checkpoint is the best."""

    metric: str  # a key of `LABELS`
    reason: str  # the line of the log that says why
    is_blind: bool  # whether it is BLEU on a text about which BLEU says nothing


def choose_metric(wanted: str, references: Sequence[str], tokenize: str) -> Choice:
    """Choose the measure of a training: `wanted`, or for `auto` BLEU where it can say something of the dev references.

    Raises:
        UserError: the tokenizer needs a package that is not installed.
    """
    blind = blind_spot(references, tokenize)
    if wanted == "auto":
        metric, why = ("chrf", f"not BLEU: {blind}") if blind else ("bleu", "most of its lines have several words")
        return Choice(metric, f"best is the checkpoint with the best {LABELS[metric]} on data.dev (auto, {why})", False)
    is_blind = wanted == "bleu" and blind is not None
    reason = f"best is the checkpoint with the best {LABELS[wanted]} on data.dev (training.early_stopping_metric)"
    if is_blind:
        reason += f"; BLEU says nothing about it, {blind}: set training.early_stopping_metric to auto or chrf"
    return Choice(wanted, reason, is_blind)


def blind_spot(references: Sequence[str], tokenize: str) -> str | None:
    """Say why BLEU, with a tokenizer of sacrebleu, says nothing about normalized lines; return None if it does.

    Blank lines do not count.
    """
    lines = [line for line in references if line]
    if not lines:
        return None

    # lines without a boundary between words
    if tokenize in BY_SPACES and (share := sum(map(_is_one_piece, lines)) / len(lines)) > 0.5:
        how_many = "all" if share == 1 else f"{min(share, 0.99):.0%} of"
        return f"{how_many} its lines are one word or have no spaces between words"

    # lines too short for BLEU: even a perfect translation has 0
    words = make_bleu(tokenize).tokenizer
    if not any(len(words(line).split()) >= ORDER for line in lines):
        return f"none of its lines has the {ORDER} words in a row that BLEU counts"
    return None


def make_bleu(tokenize: str, lowercase: bool = False, key: str = "evaluation.bleu_tokenize") -> BLEU:
    """Return sacrebleu's BLEU with one of its tokenizers; `key` is where the user names it.

    Raises:
        UserError: there is no such tokenizer, or it needs a package that is not installed.
    """
    if tokenize not in BLEU.TOKENIZERS:
        raise UserError(f"{key} is {tokenize}; sacrebleu knows {', '.join(BLEU.TOKENIZERS)}")
    try:
        return BLEU(tokenize=tokenize, lowercase=lowercase, force=True)
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(f"{key} is {tokenize}, which needs a package: {' '.join(str(error).split())}") from None


def _is_one_piece(line: str) -> bool:
    """Say whether a line has at most one word, or no spaces between its words."""
    words = [word for word in line.split() if any(map(_is_letter, word))]
    letters = sum(map(_is_letter, line))
    return len(words) <= 1 or any(
        2 * len(script.findall(line)) >= letters > longest * len(words) for script, longest in UNSPACED.items()
    )


def _is_letter(character: str) -> bool:
    """Say whether a character is a letter, a digit or an accent."""
    return unicodedata.category(character)[0] in "LMN"
