"""The results of a translator as plain values, and the settings for random translations."""

from dataclasses import dataclass, field

from seq2seq.errors import UserError

NOT_FINITE = (
    "the model's log-probabilities are not finite: its weights have blown up; train again with a lower "
    "training.learning_rate or training.clip_norm"
)


@dataclass(frozen=True)
class Alternative:
    """A hypothesis of the n-best list, other than the best one."""

    text: str
    score: float  # sum of natural log-probabilities, `</s>` included
    normalized_score: float  # score over the length penalty


@dataclass(frozen=True)
class Translation:
    """The translation of one line.

    Scores are the model's log-probabilities. A search with a shortlist computes the softmax over the listed
    tokens only, so its scores are higher than those of `forced.score`.
    """

    text: str
    score: float  # sum of natural log-probabilities, `</s>` included; 0 for an empty line
    normalized_score: float  # score over the length penalty
    tokens: list[str]  # of the translation, `</s>` at the end
    source_tokens: list[str]  # of the line, `</s>` at the end
    alternatives: list[Alternative] = field(default_factory=list)  # the rest of the n-best list, best first
    attention: list[list[float]] | None = None  # a row per token, a column per source token; the mean of all heads


@dataclass(frozen=True)
class Sampling:
    """Settings for drawing a translation at random instead of searching for the best one."""

    temperature: float = 1.0  # below 1 favors probable tokens
    top_k: int = 0  # if over 0, draw from the k most probable tokens
    top_p: float = 1.0  # draw from the smallest set of tokens with this total probability (Holtzman et al. 2019)
    seed: int = 1

    def __post_init__(self) -> None:
        for name, low, high in (
            ("temperature", 1e-6, 1e6),
            ("top_k", 0, 10**9),
            ("top_p", 1e-6, 1),
            ("seed", 0, 2**63 - 1),
        ):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"{name} is {getattr(self, name)}; write {low} to {high}")
