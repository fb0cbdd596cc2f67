"""What `seq2seq bench` measured, the advice that follows from it, and both as text for a terminal."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

PARTS = {  # the names in the table, in its order
    "data": "data",
    "encoder": "encoder",
    "recurrence": "decoder: recurrence",
    "self_attention": "decoder: self-attention",
    "attention": "decoder: attention",
    "rest": "decoder: the rest",
    "vocabulary": "vocabulary and loss",
    "optimizer": "clip and optimizer",
    "other": "other",
}


@dataclass(frozen=True)
class Part:
    """Milliseconds of an update in one part; `forward` and `backward` are None where they cannot be told apart."""

    forward: float | None
    backward: float | None
    whole: float
    share: float  # of an update


def parts_of(seconds: Mapping[tuple[str, str], float], updates: int) -> dict[str, Part]:
    """Return the parts of an update, from the seconds that some updates took by part and by direction."""
    total = sum(seconds.values())
    parts = {}
    for name in PARTS:
        forward, backward, both = (1e3 * seconds.get((name, way), 0.0) for way in ("forward", "backward", "both"))
        if whole := forward + backward + both:
            ways = [None, None] if both else [forward / updates, backward / updates]
            parts[name] = Part(ways[0], ways[1], whole / updates, whole / 1e3 / total)
    return parts


@dataclass(frozen=True)
class Profile:
    """What was measured: means over the updates, except where noted; `ms` means milliseconds."""

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
    batch_key: str  # the key of the batch size
    padding: dict[str, float]  # the share of the positions of `src`, of `tgt`, of `both`
    by_tokens: dict[str, float] | None  # `batch_tokens` and `padding` if batches were cut by tokens; None if they are
    at_once: str | None  # keys that would let the decoder compute all positions at once; None where it does
    tokens_per_second: float
    update_ms: list[float]  # quartiles
    memory: int  # bytes at the peak: of the process without mapped files, or on the GPU
    parts: dict[str, Part]
    operations: float  # of an update, in matrix products, padding included
    vocabulary_operations: float  # those of them that multiply by W_y
    square: int  # rows and columns of a large product
    square_rates: list[float]  # its operations a second, before and after the updates
    sample_ms: float  # median of an update on one batch
    sample_sentence_ms: float  # median of an update on one sentence of this batch

    @property
    def of_square(self) -> float:
        """The operations a second of an update, divided by those of the large product."""
        return self.operations / self.tokens * self.tokens_per_second / mean(self.square_rates)

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers and the advice, for JSON."""
        return {**asdict(self), "of_square": self.of_square, "advice": advice(self)}


# ---------------------------------------------------------------------------------------------------------- advice

# the least share that deserves advice
PADDING = 0.15  # of the positions
VOCABULARY = 0.5  # of the time, as all below
ONE_BY_ONE = 0.3
DATA = 0.05
ONE_SENTENCE = 0.4


def advice(profile: Profile) -> list[str]:
    """Return what to change, each line with its measured reason; empty where nothing stands out."""
    lines = []
    parts = {name: part.share for name, part in profile.parts.items()}

    # padding
    share, by_tokens = profile.padding["both"], profile.by_tokens
    if by_tokens and share >= PADDING and share > by_tokens["padding"]:
        keys = f"training.batch_type=tokens training.batch_tokens={by_tokens['batch_tokens']:.0f}"
        lines.append(f"{share:.0%} of the positions are padding: with {keys} it would be {by_tokens['padding']:.0%}")

    # a large vocabulary
    if (share := parts["vocabulary"]) >= VOCABULARY:
        lines.append(
            f"vocabulary and loss take {share:.0%} of the time, which grows with the size of the vocabulary: half of "
            f"tokenizer.vocab_size would make an update {1 / (1 - share / 2):.1f} times as fast, but sentences would "
            "have more subwords, or more unknown words"
        )

    # a decoder that goes step by step
    share = sum(parts.get(name, 0.0) for name in ("recurrence", "attention", "rest"))
    if profile.at_once and share >= ONE_BY_ONE:
        lines.append(
            f"the decoder computes one position at a time, which takes {share:.0%} of the time: with {profile.at_once} "
            "it would compute all positions at once"
        )

    # slow reading
    if (share := parts["data"]) >= DATA:
        lines.append(
            f"making batches takes {share:.0%} of the time: check whether the disk is slow, or whether other programs "
            "keep the processor busy"
        )

    # threads
    threads, cores = profile.threads, profile.cores
    if profile.device == "cpu" and threads != cores:
        plural = "s" if threads > 1 else ""
        lines.append(
            f"torch uses {threads} thread{plural} on {cores} cores: set OMP_NUM_THREADS={cores} for the command"
        )

    # small batches
    if (share := profile.sample_sentence_ms / profile.sample_ms) >= ONE_SENTENCE:
        lines.append(
            f"an update on a single sentence takes {share:.0%} of the time of an update on a whole batch: twice the "
            f"{profile.batch_key} would train on {2 / (2 - share):.1f} times as many tokens a second, with half as "
            "many updates an epoch"
        )
    return lines


# ---------------------------------------------------------------------------------------------------------- report


def report(profile: Profile) -> Iterator[str]:
    """Yield the lines for a terminal."""
    # the machine
    threads = f", {profile.threads} of {profile.cores} cores" if profile.device == "cpu" else ""
    machine = f"{profile.device}{threads}, {profile.precision}, torch {profile.torch}"
    yield f"{profile.target}: {profile.parameters:,} parameters, {machine}"
    yield ""

    # speed, memory, operations
    low, middle, high = profile.update_ms
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
    before, after = (rate / 1e9 for rate in profile.square_rates)
    size = f"{profile.square:,} x {profile.square:,}"
    yield (
        f"limit       {profile.of_square:.0%} of the rate of a {size} product ({before:.1f} GFLOP/s before, "
        f"{after:.1f} after)"
    )
    yield ""

    # time by part
    yield f"{'ms under the profiler':<24}{'forward':>10}{'backward':>10}{'both':>10}{'share':>9}"
    for name, part in profile.parts.items():
        ways = "".join(f"{'' if ms is None else f'{ms:.1f}':>10}" for ms in (part.forward, part.backward))
        yield f"{PARTS[name]:<24}{ways}{part.whole:>10.1f}{part.share:>9.1%}"
    note = {"cpu": "", "cuda": " (time of kernels; in `other` the GPU waits)"}
    whole = sum(part.whole for part in profile.parts.values())
    yield f"{'all':<24}{'':>20}{whole:>10.1f}{1:>9.1%}{note.get(profile.device, ' (time of the processor alone)')}"
    yield ""

    # advice
    for line in advice(profile) or ["nothing stands out"]:
        yield textwrap.fill(line, 110, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
