"""The speed of beam search on a device, operation by operation and with CUDA graphs.

A graph replays a step with fixed shapes. Sentences leave the batch as they end, so there is a graph for each of a few
numbers of sentences, and a smaller batch is padded to the next of these. In an eager step only running hypotheses are
ranked, in a graph all.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import NamedTuple

import torch
from cases import Case, Result, Setup
from torch import Tensor
from training_speed import Size, compared, random_pairs, rates_in_turn, sizes, subject_of, switched

import seq2seq.model.decoder
from seq2seq.data.batches import make_batch
from seq2seq.decoding.search import Limits, beam_search
from seq2seq.fast.side_by_side import in_batches
from seq2seq.model.attention import Memory
from seq2seq.model.decoder import State
from seq2seq.model.seq2seq import Decoding, Seq2Seq, Step
from seq2seq.text.tokenizer import BOS, EOS, PAD, UNK

BEAM = 5
SMALLEST = 16  # sentences of the smallest graph
Ids = list[int]


def search_speed(setup: Setup) -> Iterator[Case]:
    """Yield cases for each model and batch size: float32 beside bf16 (autocast), torch's layers beside own cells."""
    for name, (size, sentences, feeding) in _kinds(setup).items():
        yield Case(f"bf16: {name}", partial(_bf16, setup, size, sentences, feeding))
    for name, (size, sentences, feeding) in _kinds(setup).items():
        yield Case(f"own cells: {name}", partial(_own_cells, setup, size, sentences, feeding))


def search_graphs(setup: Setup) -> Iterator[Case]:
    """Yield cases for the same: operation by operation beside graphs, of torch's layers and of own cells."""
    for own, (name, (size, sentences, feeding)) in product((False, True), _kinds(setup).items()):
        yield Case(f"{'own cells: ' * own}{name}", partial(_graphs, setup, size, sentences, feeding, own))


def _kinds(setup: Setup) -> dict[str, tuple[Size, int, bool]]:
    """Return size, sentences in a batch and input feeding of each kind of search, few because time is short."""
    if setup.tiny:
        few = [("tiny", 8, False), ("tiny", 8, True)]
    else:
        few = [("LUONG-256", 64, False), ("LUONG-256", 256, False), ("512 x 2", 64, True), ("1,024 x 4", 64, False)]
    found = sizes(setup)
    return {
        f"{name}{', input feeding' * feeding}, {sentences} sentences": (found[name], sentences, feeding)
        for name, sentences, feeding in few
    }


class Searched(NamedTuple):
    """A model with lively weights, and the sentences to translate, with the longest length of each translation."""

    model: Seq2Seq
    pairs: list[tuple[Ids, Ids]]
    sentences: int  # in a batch


def _searched(setup: Setup, size: Size, sentences: int, feeding: bool) -> Searched:
    model = subject_of(setup, size, feeding).model.eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)  # an untrained model would find all tokens alike
    pairs = random_pairs(3 * sentences if setup.tiny else max(256, 3 * sentences), *size.vocabularies)
    return Searched(model, pairs, sentences)


def _translate(setup: Setup, searched: Searched, step: Step) -> list[Ids]:
    """Return the best hypothesis of each source; it ends where the target would, or before."""

    def search(pairs: list[tuple[Ids, Ids]]) -> list[Ids]:
        batch = make_batch(pairs).to(setup.device)
        limits = Limits(BOS, EOS, (PAD, UNK, BOS), torch.tensor([len(tgt) for _, tgt in pairs], device=setup.device))
        decoding = searched.model.encode(batch.src, batch.src_lengths)
        return [best[0].tokens for best in beam_search(step, decoding, limits, beam=BEAM)]

    in_turn = setup.device.type != "cpu"
    return in_batches(search, searched.pairs, lambda pair: len(pair[0]), searched.sentences, in_turn=in_turn)


def _bf16(setup: Setup, size: Size, sentences: int, feeding: bool) -> Result:
    searched = _searched(setup, size, sentences, feeding)

    def translate(bf16: bool) -> list[Ids]:
        with torch.autocast(setup.device.type, torch.bfloat16, enabled=bf16):
            return _translate(setup, searched, searched.model.step)

    return _compare(setup, {"fp32": partial(translate, False), "bf16": partial(translate, True)})


def _own_cells(setup: Setup, size: Size, sentences: int, feeding: bool) -> Result:
    searched = _searched(setup, size, sentences, feeding)

    def translate(own: bool) -> list[Ids]:
        with switched(seq2seq.model.decoder, own):
            return _translate(setup, searched, searched.model.step)

    return _compare(setup, {"torch": partial(translate, False), "own": partial(translate, True)})


def _graphs(setup: Setup, size: Size, sentences: int, feeding: bool, own: bool) -> Result:
    searched = _searched(setup, size, sentences, feeding)
    longest = max(len(src) for src, _ in searched.pairs)
    graphs = GraphedStep(searched.model, sentences, longest, setup.device)

    def translate(step: Step) -> list[Ids]:
        with switched(seq2seq.model.decoder, own):
            return _translate(setup, searched, step)

    return _compare(setup, {"eager": partial(translate, searched.model.step), "graphs": partial(translate, graphs)})


def _compare(setup: Setup, ways: dict[str, Callable[[], list[Ids]]]) -> Result:
    """Return the sentences a second of two ways, and how many hypotheses differ."""
    found: dict[str, list[Ids]] = {}

    def run(name: str) -> int:
        found[name] = ways[name]()
        return len(found[name])

    result = compared(rates_in_turn(setup, {name: partial(run, name) for name in ways}, rounds=3, warmup=1))
    one, other = found.values()
    return result | {"sentences": len(one), "different": sum(a != b for a, b in zip(one, other, strict=True))}


class _Captured(NamedTuple):
    """A step with fixed shapes: `replay` computes the outputs from what is in the inputs."""

    tokens: Tensor
    inputs: Decoding
    log_probs: Tensor
    state: State
    replay: Callable[[], object]


class GraphedStep:
    """`Seq2Seq.step` of a recurrent decoder from graphs, for up to `sentences` sentences of `longest` tokens.

    On a CPU the same is done without graphs.
    """

    def __init__(self, model: Seq2Seq, sentences: int, longest: int, device: torch.device):
        self._model, self._longest, self._device = model, longest, device
        self._sizes = [sentences]
        while self._sizes[-1] > SMALLEST:
            self._sizes.append(-(-self._sizes[-1] // 2))
        self._captured: dict[int, _Captured] = {}
        self._memory: tuple[int, Memory] | None = None  # the memory that was copied last, and for which size

    def __call__(self, tokens: Tensor, decoding: Decoding, running: Tensor) -> tuple[Tensor, Decoding]:
        """Return what `Seq2Seq.step` returns."""
        # the first step has a hypothesis for each sentence
        sentences = decoding.memory.mask.size(0)
        rows = len(tokens)
        if rows != BEAM * sentences:
            return self._model.step(tokens, decoding, running)

        # the smallest graph that is large enough
        size = min(size for size in self._sizes if size >= sentences)
        if size not in self._captured:
            self._captured[size] = self._capture(size, decoding)
            self._memory = None
        captured = self._captured[size]

        # copy the inputs; the memory only when it has changed
        memory, state = decoding.memory, decoding.state
        assert isinstance(state, State)
        assert isinstance(captured.inputs.state, State)
        if self._memory is None or self._memory[0] != size or self._memory[1] is not memory:
            src = memory.mask.size(-1)
            captured.inputs.memory.mask.fill_(False)
            captured.inputs.memory.mask[:sentences, ..., :src] = memory.mask
            captured.inputs.memory.keys[:sentences, :, :src] = memory.keys
            captured.inputs.memory.values[:sentences, :, :src] = memory.values
            self._memory = size, memory
        captured.tokens[:rows] = tokens
        captured.inputs.state.rnn[:rows] = state.rnn
        captured.inputs.state.attentional[:rows] = state.attentional
        captured.inputs.state.position[:rows] = state.position

        # replay; what is returned is read before the next replay
        captured.replay()
        after = captured.state
        state = State(after.rnn[:rows], after.attentional[:rows], after.position[:rows], None)
        return captured.log_probs.index_select(0, running), Decoding(memory, state)

    def _capture(self, sentences: int, like: Decoding) -> _Captured:
        """Capture a step; `like` shows the sizes of memory and state."""
        # inputs that stay where they are
        memory, state = like.memory, like.state
        assert isinstance(state, State)
        keys, values = (
            part.new_zeros(sentences, part.size(1), self._longest, part.size(3))
            for part in (memory.keys, memory.values)
        )
        mask = memory.mask.new_ones(sentences, 1, 1, self._longest)
        rows = BEAM * sentences
        rnn, attentional, position = (
            part.new_zeros(rows, *part.shape[1:]) for part in (state.rnn, state.attentional, state.position)
        )
        inputs = Decoding(Memory(keys, values, mask), State(rnn, attentional, position, None))
        tokens, everything = position.new_zeros(rows), torch.arange(rows, device=self._device)

        def step() -> tuple[Tensor, Decoding]:
            return self._model.step(tokens, inputs, everything)

        # without a GPU: compute, and copy to where a graph would have written
        log_probs, after = step()
        if self._device.type != "cuda":

            def replay() -> None:
                found, there = step()
                for part, new in zip((log_probs, *after.state[:3]), (found, *there.state[:3]), strict=True):
                    part.copy_(new)

            assert isinstance(after.state, State)
            return _Captured(tokens, inputs, log_probs, after.state, replay)

        # warm up on a stream of its own, then capture
        stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            log_probs, after = step()
        assert isinstance(after.state, State)
        return _Captured(tokens, inputs, log_probs, after.state, graph.replay)
