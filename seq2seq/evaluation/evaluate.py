"""The quality of translations: BLEU, chrF and TER by sacrebleu, exact match, and the character error rate."""

import errno
import hashlib
import logging
import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from seq2seq.data.corpus import LONGEST_TOKEN, read_pairs
from seq2seq.data.dataset import form_of
from seq2seq.data.formats import explain_first_row, stream_sides
from seq2seq.data.tables import Form, table_ending, warn_of_tabs
from seq2seq.decoding.engine import LONGEST
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.evaluation.choice import blind_spot, make_bleu
from seq2seq.evaluation.measures import Counts, Measure, count_all
from seq2seq.files import check_writable, must_write, replace_text, write_json
from seq2seq.runs.run import Run
from seq2seq.text.languages import describe_exchange, scripts_of
from seq2seq.text.normalize import normalize
from seq2seq.text.tokenizer import Tokenizers

log = logging.getLogger("seq2seq")

MEND = "mend that and repeat"
COPIED = 5.0  # percent of lines: where so many equal their source, a score is worth what it has above a copy


class Texts(NamedTuple):
    """The lines to translate and one list of lines for each set of references."""

    sources: list[str]
    references: list[list[str]]


@dataclass(frozen=True)
class Evaluation:
    """The translations of a test set, and their scores."""

    sentences: int
    beam: int
    length_penalty: float
    shortlist: bool  # whether the search was restricted to the run's shortlist
    precision: str  # number format of the search: fp32 or bf16
    mbr: bool  # whether the translations are those that are most like the others in their beams
    seconds: float  # spent on translation; loading the model is not counted
    bleu: Measure
    chrf: Measure
    ter: Measure
    exact_match: Measure
    cer: Measure
    notes: list[str]  # measures that say nothing about these references, and what copying the sources would reach
    sources: list[str]
    references: list[list[str]]  # one list for each set of references
    hypotheses: list[str]
    counts: dict[str, Counts] = field(repr=False, compare=False)  # what each measure counts on each line

    def measures(self) -> dict[str, Measure]:
        """Return the measures under the names that are shown to users."""
        return {"BLEU": self.bleu, "chrF": self.chrf, "TER": self.ter, "exact match": self.exact_match, "CER": self.cer}

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the texts and what concerns single lines, for JSON."""
        found = asdict(replace(self, counts={}))
        lines = ("sources", "references", "hypotheses", "counts")
        return {key: value for key, value in found.items() if key not in lines}


def evaluate(
    translator: Translator,
    sources: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    beam: int | None = None,
    tokenize: str = "13a",
    lowercase: bool = False,
    mbr: bool = False,
) -> Evaluation:
    """Translate some lines and compare the translations with one or more lists of references.

    A line of several sentences is translated in one piece, as the model was trained on it: the score is the model's.

    Case is always ignored if the model's tokenizer lowercases. sacrebleu's tokenizer for BLEU is `13a`, `none`, `char`,
    `intl`, `zh`, `ja-mecab`, `ko-mecab`, ...; UserError says if it is unknown or needs a package.
    """
    # create BLEU first: a wrong tokenizer must be an error before the translation starts
    lowercase = lowercase or translator.tokenizers.lowercase
    bleu = make_bleu(tokenize, lowercase, "--tokenize")

    # translate
    start = time.perf_counter()
    found = translator.translate(sources, beam=beam, mbr=mbr, attention=False, split_sentences=False)
    hypotheses = [translation.text for translation in found]
    seconds = time.perf_counter() - start

    # measure
    normalized = [cut_references([normalize(line) for line in lines]) for lines in references]
    if blank := sum(not any(lines) for lines in zip(*normalized, strict=True)):
        lines = "1 line has a blank reference" if blank == 1 else f"{blank:,} lines have blank references"
        log.warning(f"{lines}: whatever is translated there counts as wrong")
    rewritten = [rewrite_references(lines, translator.tokenizers) for lines in normalized]
    counts = count_all(hypotheses, rewritten, lowercase, bleu, with_ter=True)
    measures = {name: replace(each.measure(), interval=each.interval()) for name, each in counts.items()}
    rewriting = rewriting_of(translator.tokenizers)
    blind = blind_spot([line for lines in normalized for line in lines], tokenize)
    copying = describe_copying([normalize(source) for source in sources], normalized)
    return Evaluation(
        sentences=len(hypotheses),
        beam=translator.search.beam if beam is None else beam,
        length_penalty=translator.search.length_penalty,
        shortlist=translator.engine.shortlist is not None,
        precision=translator.engine.precision.name,
        mbr=mbr,
        seconds=seconds,
        **{name: replace(found, signature=found.signature + rewriting) for name, found in measures.items()},
        notes=[f"BLEU says nothing about this text: {blind}; see chrF and exact match"] * bool(blind)
        + [copying] * bool(copying),
        sources=list(sources),
        references=normalized,
        hypotheses=hypotheses,
        counts=counts,
    )


def describe_copying(sources: Sequence[str], references: Sequence[Sequence[str]]) -> str:
    """Say how many references equal their source, where many do, as in normalization; else return an empty text."""
    copies = sum(source in lines for source, *lines in zip(sources, *references, strict=True) if source)
    share = 100 * copies / max(len(sources), 1)
    return f"a copy of each source would have exact match {share:.2f}" if share >= COPIED else ""


def split_texts(run: Run, split: str) -> Texts:
    """Read the `dev` or `test` set of a run; raise UserError if its config does not set it, or it cannot be read."""
    run.must_be_a_folder(f"it holds no {split} set")
    config = run.config()
    if (prefix := getattr(config.data, split)) is None:
        raise UserError(f"{run.path / 'config.yaml'}: data.{split} is not set")
    try:
        pairs = read_pairs(prefix, *form_of(config))
    except UserError as error:
        raise UserError(f"{error} (data.{split} in {run.path / 'config.yaml'})") from None
    return Texts([pair.src for pair in pairs], [[pair.tgt for pair in pairs]])


def corpus_texts(corpus: str, form: Form) -> Texts:
    """Read the pairs of a corpus, a table or two files; warn of a header, and of sides that are exchanged."""
    if header := explain_first_row(corpus, form):
        log.warning(header)
    pairs = read_pairs(corpus, *form)
    texts = Texts([pair.src for pair in pairs], [[pair.tgt for pair in pairs]])
    _warn_if_exchanged(texts, form)
    return texts


def file_texts(src: str, references: Sequence[str], form: Form) -> Texts:
    """Read a source file and one or more files of translations, a sentence a line; warn of tabs, and if the languages
    are exchanged.

    Raises UserError: they differ in length, or are one table.
    """
    columns = [list(stream_sides(src, reference)) for reference in references]
    is_table = table_ending(src) not in ("", ".txt") or any("\t" in source for source, _ in columns[0])
    if src in references and is_table:
        raise UserError(f"{src}: a table, but both files must have a sentence a line; --data {src} reads its columns")
    sources = list(warn_of_tabs((source for source, _ in columns[0]), src))
    sides = zip(columns, references, strict=True)
    texts = Texts(sources, [list(warn_of_tabs((line for _, line in column), name)) for column, name in sides])
    _warn_if_exchanged(texts, form)
    return texts


def _warn_if_exchanged(texts: Texts, form: Form) -> None:
    if exchanged := describe_exchange(scripts_of(texts.sources, texts.references[0]), (form.src, form.tgt)):
        log.warning(exchanged)


def name_of_file(src: str, others: Sequence[str] = ()) -> str:
    """Return the name of the results of a user's file, in a folder of their own, where they replace nothing else.

    A digest of the whole path follows its last part: two files with the same name have two results. The paths of the
    `others`, the runs that translated together with the first, are in the digest too.
    """
    plain = re.sub(r"[^\w.+-]+", "-", Path(src).name, flags=re.ASCII).strip("-")[:80]
    paths = "\n".join(map(os.path.abspath, (src, *others))).encode(errors="surrogatepass")
    return f"evaluations/{plain}-{hashlib.sha256(paths).hexdigest()[:8]}"


def can_keep(run: Run, name: str) -> str | None:
    """Return why no results can be kept in a run, of which nothing may be changed; None if they can.

    Raises:
        UserError: they cannot be kept for a reason that can be mended, such as a full disk.
    """
    folder = (run.path / name).parent
    if run.is_exported:
        return f"{run.path}: the results are not kept: an exported file is never changed"
    with must_write(folder, MEND):
        try:
            check_writable(folder, is_own=folder != run.path)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            return f"{folder}: the results cannot be kept: {error.strerror}"
    return None


def save_evaluation(run: Run, name: str, evaluation: Evaluation) -> None:
    """Write the translations to `name.hyp` and the measures to `name.json` in the run folder.

    Raises:
        UserError: they cannot be written.
    """
    folder, stem = (run.path / name).parent, Path(name).name
    with must_write(folder, MEND):
        replace_text(folder / f"{stem}.hyp", "".join(line + "\n" for line in evaluation.hypotheses))
        best = run.checkpoints.named("best")
        write_json(folder / f"{stem}.json", evaluation.as_dict() | {"checkpoint": best and best.name})


def cut_references(references: Sequence[str]) -> list[str]:
    """Cut references after `LONGEST` words, with a warning: on longer ones the measures take minutes, and TER hours."""
    cut = [" ".join(line[: LONGEST * LONGEST_TOKEN].split(" ")[:LONGEST]) for line in references]
    if count := sum(len(short) < len(line) for short, line in zip(cut, references, strict=True)):
        log.warning(f"cut {count:,} {'reference' if count == 1 else 'references'} after {LONGEST:,} words")
    return cut


def rewrite_references(references: Sequence[str], tokenizers: Tokenizers) -> list[str]:
    """Return references as a perfect model would write them.

    A tokenizer of words may lowercase, cut off punctuation or leave some out, which nothing can undo in a translation.
    The references go the same way, so that both sides are measured alike.
    """
    return [tokenizers.tgt.rewrite(line) for line in references]


def rewriting_of(tokenizers: Tokenizers) -> str:
    """Return what to add to the signature of a measure: the tokenizer that has rewritten the references, if one has."""
    if tokenizers.types[1] == "word" and tokenizers.word_tokenizer != "split":
        return f"|words:{tokenizers.word_tokenizer}"
    return f"|normalizer:{tokenizers.normalizer}" * (tokenizers.normalizer != "identity")
