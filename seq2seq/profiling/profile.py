"""What `seq2seq bench` measured of a training, what it says of it, and what it advises: numbers in, text out."""

import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

PARTS = {  # as a table names them, in its order
    "data": "data",
    "encoder": "encoder",
    "recurrence": "decoder: recurrence",
    "self_attention": "decoder: self-attention",
    "attention": "decoder: attention",
    "rest": "decoder: the rest",
    "vocabulary": "vocabulary and loss",
    "optimizer": "clip and optimizer",
    "other": "other, and the clock",
}


@dataclass(frozen=True)
class Part:
    """Milliseconds an update spends in a part; `forward` and `backward` are None where they cannot be told apart."""

    forward: float | None
    backward: float | None
    whole: float
    share: float  # of an update


def parts_of(seconds: Mapping[tuple[str, str], float], updates: int) -> dict[str, Part]:
    """The parts, of seconds by name and direction (`forward`, `backward`, or `both`) that some updates took."""
    total = sum(seconds.values())
    parts = {}
    for name in PARTS:
        forward, backward, both = (seconds.get((name, way)) for way in ("forward", "backward", "both"))
        whole = (forward or 0.0) + (backward or 0.0) + (both or 0.0)
        if whole:
            forward, backward = (None if both else 1e3 * (part or 0.0) / updates for part in (forward, backward))
            parts[name] = Part(forward, backward, 1e3 * whole / updates, whole / total)
    return parts


@dataclass(frozen=True)
class Profile:
    """What was measured: means over the updates, but where it says otherwise; `ms` is milliseconds."""

    target: str  # the config or the run
    parameters: int
    torch: str
    device: str
    precision: str
    threads: int
    cores: int
    updates: int
    sentences: float  # an update
    tokens: float  # an update: real target tokens, `</s>` included
    batch_key: str  # the key of the size of a batch
    padding: dict[str, float]  # the share of the positions of `src`, of `tgt`, of `both`
    by_tokens: dict[str, float] | None  # `batch_tokens` and `padding`, were batches cut by tokens; None if they are
    at_once: str | None  # what would let the decoder take all positions at once; None where it does, or never would
    tokens_per_second: float
    update_ms: list[float]  # quartiles
    memory: int  # bytes at the peak: of the process without mapped files, or on the GPU
    parts: dict[str, Part]
    operations: float  # of an update, in matrix products, padding left out
    vocabulary_operations: float  # of these
    square: int  # rows and columns of a large product
    square_rates: list[float]  # its operations a second, before and after the updates
    sample_ms: float  # median of an update on one batch
    sample_products_ms: float  # the products of this update, each alone
    sample_sentence_ms: float  # median of an update on one sentence of this batch

    @property
    def of_square(self) -> float:
        """Operations a second, over those of the large product."""
        return self.operations / self.tokens * self.tokens_per_second / mean(self.square_rates)

    @property
    def of_products(self) -> float:
        """The time that the products of an update take alone, over that of the update."""
        return self.sample_products_ms / self.sample_ms

    def as_dict(self) -> dict[str, Any]:
        """All of it and the advice, for JSON."""
        return {**asdict(self), "of_square": self.of_square, "of_products": self.of_products, "advice": advice(self)}


# ---------------------------------------------------------------------------------------------------------- advice

PADDING = 0.15  # of the positions
VOCABULARY = 0.5  # of the time, as are all below
ONE_BY_ONE = 0.3
DATA = 0.05
ONE_SENTENCE = 0.4


def advice(profile: Profile) -> list[str]:
    """What to change, each for a measured reason; empty where nothing stands out."""
    return [line for rule in _RULES if (line := rule(profile))]


def _padding(profile: Profile) -> str | None:
    share, by_tokens = profile.padding["both"], profile.by_tokens
    if share < PADDING or by_tokens is None or by_tokens["padding"] >= share:
        return None
    return (
        f"{share:.0%} of the positions are padding: with training.batch_type=tokens "
        f"training.batch_tokens={by_tokens['batch_tokens']:.0f} it would be {by_tokens['padding']:.0%}"
    )


def _vocabulary(profile: Profile) -> str | None:
    share = profile.parts["vocabulary"].share
    if share < VOCABULARY:
        return None
    return (
        f"vocabulary and loss take {share:.0%} of the time, which grows with the vocabulary: half of "
        f"tokenizer.vocab_size would make an update {1 / (1 - share / 2):.1f} times as fast, "
        "but a text longer in subwords, or more of its words unknown"
    )


def _one_by_one(profile: Profile) -> str | None:
    share = sum(profile.parts[name].share for name in ("recurrence", "attention", "rest") if name in profile.parts)
    if not profile.at_once or share < ONE_BY_ONE:
        return None
    return f"the decoder goes position by position, {share:.0%} of the time: {profile.at_once} takes all at once"


def _data(profile: Profile) -> str | None:
    share = profile.parts["data"].share
    if share < DATA:
        return None
    return f"making batches takes {share:.0%} of the time: see whether the disk is slow or the processor busy elsewhere"


def _threads(profile: Profile) -> str | None:
    threads, cores = profile.threads, profile.cores
    if profile.device != "cpu" or threads == cores:
        return None
    plural = "s" if threads > 1 else ""
    return f"{threads} thread{plural} on {cores} cores: try OMP_NUM_THREADS={cores}, set before the command"


def _small_batches(profile: Profile) -> str | None:
    share = profile.sample_sentence_ms / profile.sample_ms
    if share < ONE_SENTENCE:
        return None
    return (
        f"an update on a single sentence takes {share:.0%} of the time of one on a whole batch: twice the "
        f"{profile.batch_key} would make {2 / (2 - share):.1f} times the tokens a second, in half as many updates"
    )


_RULES: tuple[Callable[[Profile], str | None], ...] = (
    _padding,
    _vocabulary,
    _one_by_one,
    _data,
    _threads,
    _small_batches,
)


# ---------------------------------------------------------------------------------------------------------- report


def report(profile: Profile) -> Iterator[str]:
    """Lines for a terminal."""
    low, middle, high = profile.update_ms
    before, after = (rate / 1e9 for rate in profile.square_rates)
    size = f"{profile.square:,} x {profile.square:,}"
    yield f"{profile.target}: {profile.parameters:,} parameters, {_machine(profile)}"
    yield ""
    yield f"speed       {profile.tokens_per_second:,.0f} target tokens/s, reading data included"
    yield f"update      {middle:.1f} ms, half of them {low:.1f} to {high:.1f} ({profile.updates} updates)"
    yield (
        f"batch       {profile.sentences:.0f} sentences, {profile.tokens:,.0f} target tokens an update; padding "
        f"{profile.padding['src']:.1%} of the source, {profile.padding['tgt']:.1%} of the target"
    )
    yield f"memory      {profile.memory / 2**20:,.0f} MiB at the peak"
    yield (
        f"products    {profile.operations / 1e9:.2f} GFLOP an update, "
        f"{profile.operations / profile.tokens / 1e6:.2f} MFLOP a target token, "
        f"{profile.vocabulary_operations / profile.operations:.0%} of it for the vocabulary"
    )
    yield (
        f"limits      {profile.of_square:.0%} of the rate of a {size} product ({before:.1f} GFLOP/s before, "
        f"{after:.1f} after)"
    )
    alone = f"{profile.sample_products_ms:.1f} of {profile.sample_ms:.1f} ms"
    yield f"            {profile.of_products:.0%} of an update are its own products, each alone: {alone} of one batch"
    yield ""
    yield from _table(profile)
    yield ""
    for line in advice(profile) or ["nothing stands out"]:
        yield textwrap.fill(line, 110, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)


def _machine(profile: Profile) -> str:
    threads = f", {profile.threads} of {profile.cores} cores" if profile.device == "cpu" else ""
    return f"{profile.device}{threads}, {profile.precision}, torch {profile.torch}"


def _table(profile: Profile) -> Iterator[str]:
    """The parts, forward and backward, and their sum."""
    yield f"{'ms under a clock':<24}{'forward':>10}{'backward':>10}{'both':>10}{'share':>9}"
    for name, part in profile.parts.items():
        both = "".join(f"{'' if ms is None else f'{ms:.1f}':>10}" for ms in (part.forward, part.backward))
        yield f"{PARTS[name]:<24}{both}{part.whole:>10.1f}{part.share:>9.1%}"
    whole = sum(part.whole for part in profile.parts.values())
    slower = " (synchronized at each boundary, which slows it)" if profile.device != "cpu" else ""
    yield f"{'all':<24}{'':>20}{whole:>10.1f}{1:>9.1%}{slower}"
