"""A significance test for the difference of models: paired bootstrap resampling (Koehn 2004), by sacrebleu.

A sample draws as many lines as the set has, with replacement; every model is measured on the same lines. The p-value is
the share of samples whose difference exceeds the mean difference by more than the difference on the whole set. The test
measures only the effect of the chosen lines. To see the effect of the seed, train with several seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from sacrebleu.metrics import CHRF
from sacrebleu.significance import PairedTest

from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.evaluation.choice import blind_spot, make_bleu
from seq2seq.evaluation.evaluate import rewriting_of, split_texts
from seq2seq.evaluation.measures import SAMPLES
from seq2seq.runs.run import Run
from seq2seq.text.normalize import normalize

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class System:
    """A model under one metric: its score in percent, and the interval that holds 95 % of the samples' scores."""

    name: str
    score: float
    low: float
    high: float
    p: float | None  # probability of so large a difference if both models were equally good; None for the baseline


@dataclass(frozen=True)
class MetricTest:
    """The models under one metric; the baseline comes first."""

    metric: str
    signature: str
    systems: list[System]

    def verdicts(self) -> list[str]:
        """Return one sentence for each model but the baseline."""
        baseline, sentences = self.systems[0], []
        for system in self.systems[1:]:
            assert system.p is not None
            same = f"{system.name}: no difference of {self.metric} from {baseline.name} that this set can show"
            difference = system.score - baseline.score
            tests, digits = (100, 2) if system.p >= 0.005 else (1000, 3)
            chance = f"would appear in {max(1, round(system.p * tests))} of {tests:,} such tests"
            meaning = f"p = {system.p:.{digits}f}: if the two were equally good, a difference this large {chance}"
            size = f"{'better' if difference > 0 else 'worse'} by {abs(difference):.2f} {self.metric}"
            if not difference:
                sentences.append(same)
            elif system.p >= SIGNIFICANT:
                sentences.append(f"{same}; {meaning}")
            else:
                sentences.append(f"{system.name} is {size}; {meaning}")
        return sentences


class Comparison(NamedTuple):
    """The result of `compare_runs`."""

    split: str  # `dev` or `test`
    sentences: int
    searches: list[str]  # the search settings of each run
    notes: list[str]  # measures that say nothing about the references, and why
    tests: list[MetricTest]


def compare_runs(paths: Sequence[Path], split: str | None = None, device: str | None = None) -> Comparison:
    """Translate a set with the best checkpoint of several runs, and test how much each run differs from the first.

    The set, which must be the same for all, is `dev` or `test`; by default test, or dev if a run has no test set.
    """
    # read the set, which an exported file does not hold
    runs = [Run.open(path) for path in paths]
    holders = [run for run in runs if not run.is_exported] or runs
    split = split or ("test" if all(run.config().data.test for run in holders) else "dev")
    texts = split_texts(holders[0], split)
    for run in holders[1:]:
        if split_texts(run, split) != texts:
            raise UserError(
                f"{holders[0].path} and {run.path} have different {split} sets (data.{split}, data.src, data.tgt); "
                "only translations of the same lines can be compared"
            )

    # translate
    translators = [Translator.load(path, device=device) for path in paths]
    searches, hypotheses = [], []
    for t in translators:
        other = ", shortlist" * (t.engine.shortlist is not None) + ", bf16" * (t.engine.precision.name == "bf16")
        searches.append(f"beam {t.search.beam}, length penalty {t.search.length_penalty:g}{other}")
        translations = t.translate(texts.sources, attention=False, split_sentences=False)
        hypotheses.append([translation.text for translation in translations])

    # write all alike: if one model does not know case, or its tokenizer of words rewrites a text, the others follow
    lowercase = any(t.tokenizers.lowercase for t in translators)
    references = [[normalize(line) for line in lines] for lines in texts.references]
    tokenize = runs[0].config().evaluation.bleu_tokenize
    blind = blind_spot(references[0], tokenize)
    rewriting = {rewriting_of(t.tokenizers): t.tokenizers.tgt for t in translators}
    for name, tokenizer in rewriting.items():
        references = [[tokenizer.rewrite(line) for line in lines] for lines in references]
        for translator, lines in zip(translators, hypotheses, strict=True):
            if rewriting_of(translator.tokenizers) != name:
                lines[:] = [tokenizer.rewrite(line) for line in lines]

    # test
    tests = paired_bootstrap([str(path) for path in paths], hypotheses, references, lowercase, tokenize)
    tests = [replace(test, signature=test.signature + "".join(rewriting)) for test in tests]
    notes = [f"BLEU says nothing about this text: {blind}; see chrF"] if blind else []
    for run in runs[1:]:
        if (other := run.config().evaluation.bleu_tokenize) != tokenize:
            notes.append(
                f"BLEU cuts all translations by {tokenize}, as {runs[0].path} does; {run.path} has "
                f"evaluation.bleu_tokenize {other}"
            )
    return Comparison(split, len(texts.sources), searches, notes, tests)


def paired_bootstrap(
    names: Sequence[str],
    hypotheses: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    lowercase: bool,
    tokenize: str = "13a",
) -> list[MetricTest]:
    """Test the BLEU and the chrF of each model against those of the first; `references` has a list for each set."""
    # let sacrebleu draw the samples
    metrics = {"BLEU": make_bleu(tokenize, lowercase), "chrF": CHRF(lowercase=lowercase)}
    named = list(zip(names, hypotheses, strict=True))
    signatures, results = PairedTest(named, metrics, references, test_type="bs", n_samples=SAMPLES)()

    # collect its results, metric by metric
    tests = []
    for label, metric in zip(metrics, signatures, strict=True):
        rows: list[Any] = results[metric]
        baseline, systems = rows[0], []
        for name, result in zip(names, rows, strict=True):
            # sacrebleu counts only greater differences, so equal outputs would be significantly different
            p = 1.0 if result.score == baseline.score else result.p_value
            low, high = float(result.mean - result.ci), float(result.mean + result.ci)
            systems.append(System(name, result.score, low, high, None if result is baseline else p))
        tests.append(MetricTest(label, str(signatures[metric]), systems))
    return tests
