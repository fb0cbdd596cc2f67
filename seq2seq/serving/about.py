"""What a run tells of itself to the person who opens it."""

from collections.abc import Sequence
from itertools import islice
from statistics import median

from seq2seq.data.corpus import Pair
from seq2seq.data.dataset import form_of
from seq2seq.data.formats import stream_pairs
from seq2seq.data.store import Store
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.files import is_folder, read_json
from seq2seq.runs.exporting import Card
from seq2seq.runs.fitting import count_parameters
from seq2seq.runs.metrics import weakness
from seq2seq.runs.run import Run
from seq2seq.text.languages import language_code, language_name

MOST_LINES = 1000  # of the dev set that are read


def describe(run: Run, translator: Translator) -> dict[str, str]:
    """Return what is known of a run: languages, training pairs, vocabulary, model, scores on the dev set."""
    config, src, tgt = run.config(), translator.tokenizers.src, translator.tokenizers.tgt
    languages = (language_name(language_code(code)) for code in (config.data.src, config.data.tgt))
    sizes = f"{len(src):,}" if config.tokenizer.joint else f"{len(src):,} and {len(tgt):,}"
    kinds, score = (config.model.encoder.type, config.model.decoder.type), config.model.attention.score
    attention = "no attention" if score == "none" else f"{score} attention"
    known = {
        "languages": " to ".join(languages),
        "vocabulary": f"{sizes} tokens ({config.tokenizer.type_name})",
        "model": f"{kinds[0]} encoder, {attention}, {kinds[1]} decoder",
        "parameters": f"{count_parameters(translator.model):,}",
    }

    # what a run folder has as long as it is whole, and the card of an exported file
    try:
        if run.is_exported:
            card = read_json(run.folder / "card.json", Card, "export the run again")
            measured = (
                f"BLEU {each.bleu.score:.1f}, chrF {each.chrf.score:.1f} on the {split} set"
                for split, each in card.scores.items()
            )
            return known | {"measured": "; ".join(measured)} if card.scores else known
        if is_folder(run.path / "store"):
            known["learned from"] = f"{Store(run.path / 'store').report.kept:,} training pairs"
        if scores := run.best_scores():
            known["measured"] = f"BLEU {scores['bleu']:.1f}, chrF {scores['chrf']:.1f} on the dev set"
            if weak := weakness(scores):
                known["beware"] = weak
    except UserError:
        pass
    return known


def read_sources(run: Run) -> list[str]:
    """Return the first source lines of the dev set; none if it is not there any more, or cannot be read."""
    config = run.config()
    try:
        rows = islice(stream_pairs(config.data.dev, *form_of(config)), MOST_LINES)
        return [source for row in rows if (source := Pair.normalized(*row).src)]
    except UserError:
        return []


def choose_examples(sources: Sequence[str], count: int = 3) -> list[str]:
    """Return lines to try: different ones, of a length that is quickly read if there are such."""
    unique = list(dict.fromkeys(sources))
    return ([line for line in unique if 4 <= len(line.split()) <= 12] or unique)[:count]


def are_words(sources: Sequence[str]) -> bool:
    """Return whether most lines are one word, as for pronunciations or inflections."""
    return bool(sources) and median(len(line.split()) for line in sources) <= 1
