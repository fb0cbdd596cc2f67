"""The measurements of `seq2seq bench`, the advice that follows from them, and both as text for a terminal."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from seq2seq.profiling.operations import SQUARE

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
    """Milliseconds of an update in one part; `forward` and `backward` are 0 where they cannot be told apart."""

    forward: float
    backward: float
    whole: float
    share: float  # of an update


def parts_of(seconds: Mapping[tuple[str, str], float], updates: int) -> dict[str, Part]:
    """Return the parts of an update, from the seconds that some updates took by part and by direction."""
    total = 1e3 * sum(seconds.values()) / updates
    parts = {}
    for name in PARTS:
        ways = [1e3 * seconds.get((name, way), 0.0) / updates for way in ("forward", "backward", "both")]
        if whole := sum(ways):
            parts[name] = Part(ways[0], ways[1], whole, whole / total)
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
    src_padding: float  # the share of the source positions
    tgt_padding: float
    at_once: str | None  # keys that would let the decoder compute all positions at once; None where it does
    tokens_per_second: float
    update_ms: list[float]  # quartiles
    single_ms: float  # the median, where each batch is a single sentence
    memory: int  # bytes at the peak: of the process, or on the GPU
    parts: dict[str, Part]
    operations: float  # of an update, in matrix products, padding included
    square_rate: float  # the operations a second of a large product

    @property
    def of_square(self) -> float:
        """The operations a second of an update, divided by those of the large product."""
        return self.operations / self.tokens * self.tokens_per_second / self.square_rate

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers and the advice, for JSON."""
        return {**asdict(self), "of_square": self.of_square, "advice": advice(self)}


def advice(profile: Profile) -> list[str]:
    """Return what to change, each line with its measured reason; empty where nothing stands out."""
    lines = []
    parts = {name: part.share for name, part in profile.parts.items()}

    # a large vocabulary
    if (share := parts["vocabulary"]) >= 0.5:
        lines.append(
            f"vocabulary and loss take {share:.0%} of the time, which grows with the size of the vocabulary: half of "
            f"tokenizer.vocab_size would make an update {1 / (1 - share / 2):.1f} times as fast, but sentences would "
            "have more subwords, or more unknown words"
        )

    # a decoder that goes step by step
    share = sum(parts.get(name, 0.0) for name in ("recurrence", "attention", "rest"))
    if profile.at_once and share >= 0.3:
        lines.append(
            f"the decoder computes one position at a time, which takes {share:.0%} of the time: with {profile.at_once} "
            "it would compute all positions at once"
        )

    # threads
    threads, cores = profile.threads, profile.cores
    if profile.device == "cpu" and threads != cores:
        lines.append(f"the number of threads is {threads}, that of cores {cores}: set OMP_NUM_THREADS={cores}")

    # small batches
    if (share := profile.single_ms / profile.update_ms[1]) >= 0.4:
        lines.append(
            f"an update on batches of a single sentence takes {share:.0%} of the time of one on whole batches: twice "
            f"the {profile.batch_key} would train on {2 / (2 - share):.1f} times as many tokens a second, with half as "
            "many updates an epoch"
        )
    return lines


def report(profile: Profile) -> Iterator[str]:
    """Yield the lines for a terminal."""
    # the machine
    threads = f", {profile.threads} of {profile.cores} cores" if profile.device == "cpu" else ""
    machine = f"{profile.device}{threads}, {profile.precision}, torch {profile.torch}"
    yield f"{profile.target}: {profile.parameters:,} parameters, {machine}\n"

    # speed, memory, operations
    low, middle, high = profile.update_ms
    yield f"speed       {profile.tokens_per_second:,.0f} target tokens/s, reading data included"
    yield f"update      {middle:.1f} ms, half of them {low:.1f} to {high:.1f} ({profile.updates} updates)"
    yield (
        f"batch       {profile.sentences:.0f} sentences, {profile.tokens:,.0f} target tokens an update; padding "
        f"{profile.src_padding:.1%} of the source, {profile.tgt_padding:.1%} of the target"
    )
    yield f"memory      {profile.memory / 2**20:,.0f} MiB at the peak"
    of_token = profile.operations / profile.tokens
    yield f"products    {profile.operations / 1e9:.2f} GFLOP an update, {of_token / 1e6:.2f} MFLOP a target token"
    product = f"{SQUARE:,} x {SQUARE:,} product ({profile.square_rate / 1e9:.1f} GFLOP/s)"
    yield f"limit       {profile.of_square:.0%} of the rate of a {product}\n"

    # time by part
    yield f"{'ms under the profiler':<24}{'forward':>10}{'backward':>10}{'both':>10}{'share':>9}"
    for name, part in profile.parts.items():
        ways = "".join(f"{f'{ms:.1f}' if ms else '':>10}" for ms in (part.forward, part.backward))
        yield f"{PARTS[name]:<24}{ways}{part.whole:>10.1f}{part.share:>9.1%}"
    note = " (time of kernels; in `other` the GPU waits)" if profile.device == "cuda" else ""
    yield f"{'all':<24}{'':>20}{sum(part.whole for part in profile.parts.values()):>10.1f}{1:>9.1%}{note}\n"

    # advice
    for line in advice(profile) or ["nothing stands out"]:
        yield textwrap.fill(line, 110, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
