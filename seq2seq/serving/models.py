"""The models that a server has, and the languages they translate."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException

from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.runs.run import Run
from seq2seq.serving.about import choose_examples, read_sources
from seq2seq.text.languages import base_code, language_code

ALIASES = {"zt": "zh-hant", "pb": "pt-br", "nb": "no", "no": "nb", "iw": "he"}  # other codes of the same languages
READ_FOR_LANGUAGE = 2_000  # characters of a text that tell its language
GUESSED = 3  # a text of fewer letters tells nothing of its language


@dataclass(frozen=True, eq=False)
class Model:
    """A model that is served."""

    name: str
    translator: Translator
    source: str  # language codes
    target: str
    examples: list[str]  # sentences to try


class Detected(NamedTuple):
    """The language of a text, and the confidence in it, 0 to 100."""

    language: str
    confidence: float


class Models:
    """The models of a server. Of several of one direction, requests that name none get the first."""

    def __init__(self, models: Sequence[Model]):
        self.all = list(models)
        self.targets: dict[str, list[str]] = {}
        for model in self.all:
            known = {model.target, *self.targets.get(model.source, [])}
            self.targets[model.source] = sorted(known)
        self.codes = list(dict.fromkeys([*self.targets, *(model.target for model in self.all)]))

    @classmethod
    def load(cls, runs: Sequence[str], device: str | None = None) -> "Models":
        """Load runs; a model has the name of its folder, or its whole path where two folders have the same name."""
        paths = [Run.open(run).path for run in runs]
        stems = [path.stem if path.is_file() else path.resolve().name for path in paths]
        names = [stem if stems.count(stem) == 1 else str(path) for stem, path in zip(stems, paths, strict=True)]
        if doubled := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f"{doubled} is given twice; leave one out")
        models = cls([_load(name, run, device) for name, run in zip(names, runs, strict=True)])
        models.detect("now, so that the first request need not wait for it")
        return models

    def code(self, given: str) -> str:
        """Return the code of a served language by any of its spellings: zh-Hans or zh_cn for zh, PT-BR for pt.

        Raises HTTPException: it is not served.
        """
        wanted = given.lower().replace("_", "-")
        served = {code.lower(): code for code in self.codes}
        for tag in (wanted, ALIASES.get(wanted, wanted)):
            while tag:
                if tag in served:
                    return served[tag]
                tag = tag.rpartition("-")[0]
        longer = [code for low, code in served.items() if low.startswith(f"{wanted}-")]
        if not longer:
            raise HTTPException(400, f"{given:.40} is not supported")
        return longer[0]

    def find(self, source: str, target: str) -> Model | None:
        """Return the first model of a direction."""
        return next((model for model in self.all if (model.source, model.target) == (source, target)), None)

    def choose(
        self, name: str | None, source: str | None = None, target: str | None = None, text: str = ""
    ) -> tuple[Model, Detected | None]:
        """Return the first model that fits, and the language of the text if `source` is auto.

        Raises HTTPException: none fits.
        """
        fitting = [model for model in self.all if name in (None, model.name)]
        if not fitting:
            names = ", ".join(model.name for model in self.all)
            raise HTTPException(400, f"there is no model {name:.80}; the models are {names}")
        detected = None
        if target:
            code = self.code(target)
            fitting = [model for model in fitting if model.target == code]
        if source and fitting:
            if source.lower() == "auto":
                detected = self.detect(text, [*dict.fromkeys(model.source for model in fitting)])[0]
            code = detected.language if detected else self.code(source)
            fitting = [model for model in fitting if model.source == code]
        if not fitting:
            to = f" to {target}" if target else ""
            raise HTTPException(400, f"no model translates {source or 'any language'}{to}")
        return fitting[0], detected

    def detect(self, text: str, among: Sequence[str] | None = None) -> list[Detected]:
        """Return languages of a text, the likeliest first, with their confidences; by default all that are served."""
        codes = list(among or self.codes)
        text = text[:READ_FOR_LANGUAGE]
        letters = sum(character.isalpha() for character in text)
        shares = {known: share for known, share in self._identifier.rank(text) if share} if letters else {}
        found = {code: shares.get(base_code(code), 0.0) for code in codes}
        total = sum(found.values()) or 1.0
        sure = letters >= GUESSED
        ranked = sorted(codes, key=lambda code: -found[code])
        return [Detected(code, round(100 * found[code] / total, 1) if sure else 0.0) for code in ranked]

    @cached_property
    def _identifier(self) -> Any:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        identifier.set_languages({base_code(code) for code in self.codes} & set(identifier.labels) or None)
        return identifier


def _load(name: str, run: str, device: str | None) -> Model:
    folder = Run.open(run)
    config = folder.config()
    translator = Translator.load(run, device=device)
    source, target = (language_code(code) for code in (config.data.src, config.data.tgt))
    return Model(name, translator, source, target, choose_examples(read_sources(folder)))
