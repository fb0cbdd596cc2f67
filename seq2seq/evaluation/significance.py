"""Whether models differ by more than the luck of a test set: paired bootstrap resampling (Koehn 2004), by sacrebleu.

A sample is as many lines as the set has, drawn from it with replacement, the same lines for every model. The p-value is
the share of samples whose difference strays from the mean one by more than the difference of the whole set. It is about
the choice of the lines alone: how much a model changes with its random seed is seen from trainings with several seeds.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest, Result

from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import split_texts
from seq2seq.runs.run import Run
from seq2seq.text.normalize import normalize

SAMPLES = 1000
SEED = 12345  # sacrebleu's own default, so that its command gives the same numbers
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class System:
    """A model under one metric: its score, in percent, and the interval that holds it in 95 % of the samples."""

    name: str
    score: float
    low: float
    high: float
    p: float | None  # that the difference from the baseline is chance; None for the baseline


@dataclass(frozen=True)
class MetricTest:
    """The models under one metric, the baseline first."""

    metric: str
    signature: str
    systems: list[System]

    def verdicts(self) -> list[str]:
        """One sentence for each model but the baseline."""
        return [_verdict(self.metric, self.systems[0], system) for system in self.systems[1:]]


class Comparison(NamedTuple):
    """What `compare_runs` has found."""

    split: str  # whose lines were translated
    sentences: int
    searches: list[str]  # how each run searched, by its own config
    tests: list[MetricTest]


def compare_runs(paths: Sequence[Path], split: str | None = None) -> Comparison:
    """Translate a set with the best checkpoint and the search of each run, and test the difference from the first one.

    Args:
        paths: two or more run folders; the first is the baseline.
        split: `dev` or `test`; None for test, or for dev where a run has no test set.

    Raises:
        UserError: a folder without a trained run, a set that is missing, or runs whose sets are not the same.
    """
    runs = [Run.open(path) for path in paths]
    split = split or ("test" if all(run.config().data.test for run in runs) else "dev")
    sources, references = split_texts(runs[0], split)
    for run in runs[1:]:
        if split_texts(run, split) != (sources, references):
            raise UserError(
                f"{runs[0].path} and {run.path} have different {split} sets (data.{split}, data.src, data.tgt); only "
                "translations of the same lines can be compared"
            )
    names = [str(path) for path in paths]
    translators = [Translator.load(path) for path in paths]
    lowercase = any(translator.tokenizers.lowercase for translator in translators)
    references = [[normalize(line) for line in lines] for lines in references]
    hypotheses = [[t.text for t in translator.translate(sources, attention=False)] for translator in translators]
    searches = [
        f"beam {t.search.beam}, length penalty {t.search.length_penalty:g}{', shortlist' if t.shortlist else ''}"
        for t in translators
    ]
    return Comparison(split, len(sources), searches, paired_bootstrap(names, hypotheses, references, lowercase))


def paired_bootstrap(
    names: Sequence[str], hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[str]], lowercase: bool
) -> list[MetricTest]:
    """Test BLEU and chrF of each model against those of the first.

    Args:
        names: of the models.
        hypotheses: of each model, the translations.
        references: one list a set of references.
        lowercase: compare without regard to case.
    """
    metrics = {"BLEU": BLEU(lowercase=lowercase, force=True), "chrF": CHRF(lowercase=lowercase)}
    named = list(zip(names, hypotheses, strict=True))
    with _fixed_seed():
        signatures, results = PairedTest(
            named, metrics, [list(lines) for lines in references], test_type="bs", n_samples=SAMPLES, n_jobs=1
        )()
    tests = []
    for label, (metric, signature) in zip(metrics, signatures.items(), strict=True):
        baseline, systems = results[metric][0], []
        for name, result in zip(names, results[metric], strict=True):
            assert isinstance(result, Result)
            assert isinstance(baseline, Result)
            assert result.mean is not None
            assert result.ci is not None
            # No difference is as small as none: sacrebleu, which counts greater ones, would call it significant
            p = 1.0 if result.score == baseline.score else result.p_value
            low, high = float(result.mean - result.ci), float(result.mean + result.ci)
            systems.append(System(name, result.score, low, high, None if result is baseline else p))
        tests.append(MetricTest(label, str(signature), systems))
    return tests


def _verdict(metric: str, baseline: System, system: System) -> str:
    assert system.p is not None
    difference = system.score - baseline.score
    if system.p >= SIGNIFICANT:
        return f"{system.name}: no difference of {metric} from {baseline.name} that this set can show"
    greater = round(system.p * (SAMPLES + 1)) - 1  # p = (greater + 1) / (SAMPLES + 1)
    return (
        f"{system.name} is {'better' if difference > 0 else 'worse'} by {abs(difference):.2f} {metric}, and a "
        f"difference of this size would arise by chance in {greater or 'none'} of {SAMPLES:,} samples"
    )


@contextmanager
def _fixed_seed() -> Iterator[None]:
    """The random numbers of sacrebleu, which takes their seed from the environment alone."""
    before = os.environ.get("SACREBLEU_SEED")
    os.environ["SACREBLEU_SEED"] = str(SEED)
    try:
        yield
    finally:
        if before is None:
            del os.environ["SACREBLEU_SEED"]
        else:
            os.environ["SACREBLEU_SEED"] = before
