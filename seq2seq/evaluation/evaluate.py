"""The quality of translations: BLEU, chrF and TER by sacrebleu, exact match, and the character error rate."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from rapidfuzz.distance import Levenshtein
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.metrics.base import Metric

from seq2seq.data.corpus import LONGEST_TOKEN, read_pairs
from seq2seq.data.formats import stream_sides
from seq2seq.decoding.translator import LONGEST, Translator
from seq2seq.errors import UserError
from seq2seq.files import replace_text
from seq2seq.runs.run import Run
from seq2seq.text.normalize import normalize

log = logging.getLogger("seq2seq")


class Texts(NamedTuple):
    """The lines to translate and one list of lines for each set of references."""

    sources: list[str]
    references: list[list[str]]


@dataclass(frozen=True)
class Measure:
    """A score in percent, with its exact definition: sacrebleu's signature, or words."""

    score: float
    signature: str


@dataclass(frozen=True)
class Evaluation:
    """The translations of a test set, and their scores."""

    sentences: int
    beam: int
    length_penalty: float
    shortlist: bool  # whether the search was restricted to the run's shortlist
    seconds: float  # spent on translation; loading the model is not counted
    bleu: Measure
    chrf: Measure
    ter: Measure
    exact_match: Measure
    cer: Measure
    sources: list[str]
    references: list[list[str]]  # one list for each set of references
    hypotheses: list[str]

    def measures(self) -> dict[str, Measure]:
        """Return the measures under the names that are shown to users."""
        return {"BLEU": self.bleu, "chrF": self.chrf, "TER": self.ter, "exact match": self.exact_match, "CER": self.cer}

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the texts, for JSON."""
        return {k: v for k, v in asdict(self).items() if k not in ("sources", "references", "hypotheses")}


def evaluate(
    translator: Translator,
    sources: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    beam: int | None = None,
    tokenize: str = "13a",
    lowercase: bool = False,
) -> Evaluation:
    """Translate some lines and compare the translations with one or more lists of references.

    A line of several sentences is translated in one piece, as the model was trained on it: the score is the model's.

    Case is always ignored if the model's tokenizer lowercases. sacrebleu's tokenizer for BLEU is `13a`, `none`, `char`,
    `intl`, `zh`, `ja-mecab`, `ko-mecab`, ...; UserError says if it is unknown or needs a package.
    """
    # create BLEU first: a wrong tokenizer must be an error before the translation starts
    lowercase = lowercase or translator.tokenizers.lowercase
    if tokenize not in BLEU.TOKENIZERS:
        raise UserError(f"--tokenize is {tokenize}; sacrebleu knows {', '.join(BLEU.TOKENIZERS)}")
    try:
        bleu = BLEU(tokenize=tokenize, lowercase=lowercase, force=True)
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(f"--tokenize is {tokenize}, which needs a package: {' '.join(str(error).split())}") from None

    # translate
    start = time.perf_counter()
    hypotheses = [t.text for t in translator.translate(sources, beam=beam, attention=False, split_sentences=False)]
    seconds = time.perf_counter() - start

    # measure
    normalized = [cut_references([normalize(line) for line in lines]) for lines in references]
    return Evaluation(
        sentences=len(hypotheses),
        beam=translator.search.beam if beam is None else beam,
        length_penalty=translator.search.length_penalty,
        shortlist=translator.shortlist is not None,
        seconds=seconds,
        **measure(hypotheses, normalized, lowercase, bleu),
        ter=_by_sacrebleu(TER(case_sensitive=not lowercase), hypotheses, normalized),
        sources=list(sources),
        references=normalized,
        hypotheses=hypotheses,
    )


def split_texts(run: Run, split: str) -> Texts:
    """Read the `dev` or `test` set of a run; raise UserError if its config does not set it, or it cannot be read."""
    data = run.config().data
    if (prefix := getattr(data, split)) is None:
        raise UserError(f"{run.path / 'config.yaml'}: data.{split} is not set; use --split dev, or --src and --ref")
    try:
        pairs = read_pairs(prefix, data.src, data.tgt)
    except UserError as error:
        raise UserError(f"{error} (data.{split} in {run.path / 'config.yaml'}); or give --src and --ref") from None
    return Texts([pair.src for pair in pairs], [[pair.tgt for pair in pairs]])


def file_texts(src: str, references: Sequence[str]) -> Texts:
    """Read a source file and one or more reference files; raise UserError if they are empty or differ in length."""
    columns = [list(stream_sides(src, reference)) for reference in references]
    if not columns[0]:
        raise UserError(f"{src}: empty; there is nothing to measure")
    return Texts([source for source, _ in columns[0]], [[reference for _, reference in column] for column in columns])


def save_evaluation(run: Run, name: str, evaluation: Evaluation) -> None:
    """Write the translations to `name.hyp` and the measures to `name.json` in the run folder."""
    hypotheses = "".join(line + "\n" for line in evaluation.hypotheses)
    measures = json.dumps(evaluation.as_dict(), indent=2) + "\n"
    for file, text in ((f"{name}.hyp", hypotheses), (f"{name}.json", measures)):
        try:
            replace_text(run.path / file, text)
        except OSError as error:
            raise UserError(f"{run.path / file}: cannot be written: {error.strerror}; mend that and repeat") from None


def cut_references(references: Sequence[str]) -> list[str]:
    """Cut references after `LONGEST` words, with a warning: on longer ones the measures take minutes, and TER hours."""
    cut = [" ".join(line[: LONGEST * LONGEST_TOKEN].split(" ")[:LONGEST]) for line in references]
    if count := sum(len(short) < len(line) for short, line in zip(cut, references, strict=True)):
        log.warning(f"cut {count:,} {'reference' if count == 1 else 'references'} after {LONGEST:,} words")
    return cut


def measure(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], lowercase: bool, bleu: BLEU | None = None
) -> dict[str, Measure]:
    """Return `bleu` (with the given settings), `chrf`, `exact_match` and `cer`; TER, which is slow, is left out."""
    metrics = {"bleu": bleu or BLEU(lowercase=lowercase, force=True), "chrf": CHRF(lowercase=lowercase)}
    found = {name: _by_sacrebleu(metric, hypotheses, references) for name, metric in metrics.items()}

    # the share of hypotheses that equal a reference; the Levenshtein distance to the nearest reference
    hits = edits = characters = 0
    for hypothesis, *options in zip(hypotheses, *references, strict=True):
        if lowercase:
            hypothesis, options = hypothesis.lower(), [option.lower() for option in options]
        hits += hypothesis in options
        distance, nearest = min((Levenshtein.distance(hypothesis, option), option) for option in options)
        edits += distance
        characters += len(nearest)
    case = ", lowercased" * lowercase
    found["exact_match"] = Measure(100 * hits / len(hypotheses), "share of lines equal to a reference" + case)
    found["cer"] = Measure(100 * edits / max(characters, 1), "character edits / reference characters" + case)
    return found


def _by_sacrebleu(metric: Metric, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Measure:
    score = metric.corpus_score(hypotheses, references).score
    return Measure(score, str(metric.get_signature()))
