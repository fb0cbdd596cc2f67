"""`seq2seq tune`: search with several beams and length penalties on the dev set; the best become the run's defaults."""

import logging
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch

from seq2seq.config import SearchConfig
from seq2seq.decoding.translation import Options
from seq2seq.decoding.translator import Translator
from seq2seq.evaluation.choice import LOWER_IS_BETTER, make_bleu
from seq2seq.evaluation.evaluate import cut_references, rewrite_references, split_texts
from seq2seq.evaluation.measures import Measure, measure
from seq2seq.runs.run import Run
from seq2seq.training.calibration import calibrate

log = logging.getLogger("seq2seq")

BEAMS = (1, 2, 5, 10)
LENGTH_PENALTIES = (0.0, 0.3, 0.6, 1.0, 1.4)


class Trial(NamedTuple):
    """A search of the whole dev set, and its score."""

    beam: int
    length_penalty: float
    score: Measure


def try_searches(
    run: Run, translator: Translator, metric: str, beams: Sequence[int], length_penalties: Sequence[float]
) -> list[Trial]:
    """Translate the dev set of a run with every beam and every length penalty; greedy search has no length penalty."""
    # the dev set
    sources, references = split_texts(run, "dev")
    rewritten = [rewrite_references(cut_references(lines), translator.tokenizers) for lines in references]
    lowercase = translator.tokenizers.lowercase
    bleu = make_bleu(run.config().evaluation.bleu_tokenize, lowercase)

    # search after search
    trials: list[Trial] = []
    for beam, alpha in product(beams, length_penalties):
        if beam == 1 and alpha != length_penalties[0]:
            trials.append(trials[-1]._replace(length_penalty=alpha))
            continue
        options = Options(beam, length_penalty=alpha, split_sentences=False)
        found = translator.translate(sources, attention=False, **vars(options))
        score = measure([translation.text for translation in found], rewritten, lowercase, bleu)[metric]
        trials.append(Trial(beam, alpha, score))
        log.info("beam %d, length penalty %g: %.2f", *trials[-1][:2], score.score)
    return trials


def best_of(trials: Sequence[Trial], metric: str, now: SearchConfig) -> Trial:
    """Return the trial with the best score; of equal ones the present setting, then the smallest beam.

    If several have the same score and none has another, the present setting is returned, even if it was not tried.
    """
    sign = 1 if metric in LOWER_IS_BETTER else -1
    is_now = (now.beam, now.length_penalty)
    if len({trial.score.score for trial in trials}) < min(2, len(trials)):
        return Trial(*is_now, trials[0].score)
    return min(trials, key=lambda trial: (sign * trial.score.score, trial[:2] != is_now, *trial[:2]))


def keep_best(run: Run, trials: Sequence[Trial], metric: str, device: torch.device) -> Trial:
    """Make the best trial the default of a run, in `config.yaml`; `environment.json` records what was tried.

    What marks a translation as unsure is measured again, because scores depend on the search.

    Raises:
        UserError: the run folder cannot be written.
    """
    config = run.config()
    now, best = config.search, best_of(trials, metric, config.search)
    before, chosen = ({"beam": each.beam, "length_penalty": each.length_penalty} for each in (now, best))
    tried = [
        {"beam": trial.beam, "length_penalty": trial.length_penalty, metric: trial.score.score} for trial in trials
    ]
    with run.writing():
        run.add_to_environment({"tuned": {"before": before, "signature": best.score.signature, "dev": tried}})
        if chosen != before:
            config = config.model_copy(update={"search": now.model_copy(update=chosen)})
            run.save_config(config)
            calibrate(run, config, device)
    return best
