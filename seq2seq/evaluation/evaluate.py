"""Measuring translations against references: BLEU, chrF and TER by sacrebleu, exact match, character error rate."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rapidfuzz.distance import Levenshtein
from sacrebleu.metrics import BLEU, CHRF, TER

from seq2seq.data.corpus import LONGEST_TOKEN, read_pairs
from seq2seq.data.formats import read_sides
from seq2seq.decoding.translator import LONGEST, Translator
from seq2seq.errors import UserError
from seq2seq.files import replace_text
from seq2seq.runs.run import Run
from seq2seq.text.normalize import normalize

log = logging.getLogger("seq2seq")


@dataclass(frozen=True)
class Measure:
    """A score, in percent, and what exactly was computed: sacrebleu's signature, or the definition in words."""

    score: float
    signature: str


@dataclass(frozen=True)
class Evaluation:
    """The translations of a test set and how good they are."""

    sentences: int
    beam: int
    length_penalty: float
    shortlist: bool  # whether search was among the tokens of the run's shortlist alone
    seconds: float  # translation alone, with the model loaded
    bleu: Measure
    chrf: Measure
    ter: Measure
    exact_match: Measure
    cer: Measure
    sources: list[str]
    references: list[list[str]]  # one list a set of references
    hypotheses: list[str]

    def measures(self) -> dict[str, Measure]:
        """The measures by the names that people read."""
        return {
            "BLEU": self.bleu,
            "chrF": self.chrf,
            "TER": self.ter,
            "exact match": self.exact_match,
            "CER": self.cer,
        }

    def examples(self, count: int) -> list[tuple[str, str, str]]:
        """Source, first reference and hypothesis of the first lines."""
        return list(zip(self.sources, self.references[0], self.hypotheses, strict=True))[:count]

    def as_dict(self) -> dict[str, Any]:
        """Everything but the texts, for JSON."""
        texts = ("sources", "references", "hypotheses")
        return {key: value for key, value in asdict(self).items() if key not in texts}


def evaluate(
    translator: Translator,
    sources: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    beam: int | None = None,
    tokenize: str = "13a",
    lowercase: bool = False,
) -> Evaluation:
    """Translate and measure.

    Args:
        translator: the model.
        sources: lines to translate.
        references: one or more reference translations of all lines, which are `shortened`.
        beam: as in `Translator.translate`.
        tokenize: sacrebleu's tokenizer for BLEU: `13a`, `none`, `char`, `intl`, `zh`, `ja-mecab`, `ko-mecab`, ...
        lowercase: compare without regard to case; always so where the model's tokenizer lowercases.

    Raises:
        UserError: a tokenizer that sacrebleu does not know, or whose package is not installed.
    """
    lowercase = lowercase or translator.tokenizers.lowercase
    bleu = _bleu(tokenize, lowercase)
    start = time.perf_counter()
    hypotheses = [t.text for t in translator.translate(sources, beam=beam, attention=False)]
    seconds = time.perf_counter() - start
    normalized = [shortened(list(map(normalize, lines))) for lines in references]
    return Evaluation(
        len(hypotheses),
        translator.search.beam if beam is None else beam,
        translator.search.length_penalty,
        translator.shortlist is not None,
        seconds,
        _measured(bleu, hypotheses, normalized),
        _measured(CHRF(lowercase=lowercase), hypotheses, normalized),
        _measured(TER(case_sensitive=not lowercase), hypotheses, normalized),
        exact_match(hypotheses, normalized, lowercase),
        character_error_rate(hypotheses, normalized, lowercase),
        list(sources),
        normalized,
        hypotheses,
    )


def split_texts(run: Run, split: str) -> tuple[list[str], list[list[str]]]:
    """The source lines of a run's `dev` or `test` set, and its references.

    Raises:
        UserError: the run's config has no such set, or it cannot be read.
    """
    data = run.config().data
    prefix = {"dev": data.dev, "test": data.test}[split]
    if prefix is None:
        raise UserError(f"{run.path / 'config.yaml'}: data.{split} is not set; use --split dev, or --src and --ref")
    try:
        pairs = read_pairs(prefix, data.src, data.tgt)
    except UserError as error:
        raise UserError(f"{error} (data.{split} in {run.path / 'config.yaml'}); or give --src and --ref") from None
    return [pair.src for pair in pairs], [[pair.tgt for pair in pairs]]


def file_texts(src: str, references: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The lines of a source file and of one or more reference files.

    Raises:
        UserError: a file that cannot be read, is empty, or has another number of lines than the source.
    """
    columns = [read_sides(src, reference) for reference in references]
    if not columns[0]:
        raise UserError(f"{src}: empty; there is nothing to measure")
    return [source for source, _ in columns[0]], [[reference for _, reference in column] for column in columns]


def keep(run: Run, name: str, evaluation: Evaluation) -> None:
    """Write the hypotheses to `name.hyp` and the measures to `name.json` in the run folder.

    Raises:
        UserError: a file that cannot be written.
    """
    hypotheses = "".join(line + "\n" for line in evaluation.hypotheses)
    for file, text in (
        (f"{name}.hyp", hypotheses),
        (f"{name}.json", json.dumps(evaluation.as_dict(), indent=2) + "\n"),
    ):
        try:
            replace_text(run.path / file, text)
        except OSError as error:
            raise UserError(f"{run.path / file}: cannot be written: {error.strerror}; mend that and repeat") from None


def shortened(references: Sequence[str]) -> list[str]:
    """References, cut after `LONGEST` words: the measures of more take minutes, TER hours. The log warns of it."""
    cut = [" ".join(line[: LONGEST * LONGEST_TOKEN].split(" ")[:LONGEST]) for line in references]
    if count := sum(len(short) < len(line) for short, line in zip(cut, references, strict=True)):
        log.warning(f"cut {count:,} {'reference' if count == 1 else 'references'} after {LONGEST:,} words")
    return cut


def quick_scores(hypotheses: Sequence[str], references: Sequence[str], lowercase: bool) -> dict[str, float]:
    """What a validation looks at: bleu, chrf, exact_match and cer, in percent."""
    return {
        "bleu": _measured(_bleu("13a", lowercase), hypotheses, [references]).score,
        "chrf": _measured(CHRF(lowercase=lowercase), hypotheses, [references]).score,
        "exact_match": exact_match(hypotheses, [references], lowercase).score,
        "cer": character_error_rate(hypotheses, [references], lowercase).score,
    }


def exact_match(hypotheses: Sequence[str], references: Sequence[Sequence[str]], lowercase: bool = False) -> Measure:
    """The share of hypotheses that equal a reference, in percent."""
    hits = sum(h in options for h, options in _beside(hypotheses, references, lowercase))
    return Measure(100 * hits / len(hypotheses), "share of lines equal to a reference" + ", lowercased" * lowercase)


def character_error_rate(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], lowercase: bool = False
) -> Measure:
    """Character edits (Levenshtein) over the references' characters, in percent; of several references the nearest."""
    errors = characters = 0
    for hypothesis, options in _beside(hypotheses, references, lowercase):
        distance, nearest = min((Levenshtein.distance(hypothesis, option), option) for option in options)
        errors += distance
        characters += len(nearest)
    return Measure(
        100 * errors / max(characters, 1), "character edits / reference characters" + ", lowercased" * lowercase
    )


def _beside(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], lowercase: bool
) -> list[tuple[str, list[str]]]:
    """Each hypothesis with its references."""

    def cased(line: str) -> str:
        return line.lower() if lowercase else line

    columns = zip(*references, strict=True)
    return [(cased(h), [cased(r) for r in options]) for h, options in zip(hypotheses, columns, strict=True)]


def _measured(metric: BLEU | CHRF | TER, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Measure:
    score = metric.corpus_score(list(hypotheses), [list(lines) for lines in references]).score
    return Measure(score, str(metric.get_signature()))


def _bleu(tokenize: str, lowercase: bool) -> BLEU:
    if tokenize not in BLEU.TOKENIZERS:
        raise UserError(f"--tokenize is {tokenize}; sacrebleu knows {', '.join(BLEU.TOKENIZERS)}")
    try:
        return BLEU(tokenize=tokenize, lowercase=lowercase, force=True)
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(f"--tokenize is {tokenize}, which needs a package: {' '.join(str(error).split())}") from None
