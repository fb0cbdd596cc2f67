"""The export of a run to ONNX, for programs without torch: one graph encodes a sentence, the other decodes a token.

encoder.onnx   src (1, src): token ids, `</s>` at the end -> keys, values, mask, and the first state
step.onnx      token (rows), keys, values, mask, state -> log_probs (rows, vocab), weights (rows, head, src), next state
model.json     the ids of the special tokens, the files of the vocabularies, the names of the parts of the state
tokenizer/     the vocabularies, as in the run folder
card.json      what the model is, as in an exported file; and LICENSE, if a license was given

The step takes one row for each hypothesis, and each row its own memory: repeat keys, values and mask for a beam. The
output `next_X` is the input `X` of the next step. scripts/onnx_translate.py is a greedy search in 30 lines.
"""

import copy
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.config import SearchConfig
from seq2seq.errors import UserError
from seq2seq.files import must_write, replacing_folder, status, write_json
from seq2seq.model.attention import Memory
from seq2seq.model.encoder import Encoded, Encoder
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.runs.exporting import Card, describe_model
from seq2seq.runs.run import Run
from seq2seq.text.tokenizer import BOS, EOS, PAD, UNK, Tokenizers
from seq2seq.text.vocabularies import save_tokenizers, vocabulary_digests

OPSET = 17  # the version of ONNX's operators: of 2022, and known to every runtime since
MEMORY = Memory._fields
NAMES = {"keys": "self_keys", "values": "self_values"}  # of a Transformer's state, beside those of the memory


class UnpaddedEncoder(nn.Module):
    """A recurrent encoder for one sentence without padding, which is not packed: ONNX knows no packed sequences."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, src: Tensor, lengths: Tensor) -> Encoded:
        """Return what the encoder returns."""
        states, last = self.encoder.recurrent(self.encoder.embedding(src))
        return Encoded(states, last[:, -1].flatten(1), states.new_zeros(1, 0, src.size(1), src.size(1)))


class EncoderGraph(nn.Module):
    """The graph from token ids to the memory and the first state."""

    def __init__(self, model: Seq2Seq):
        super().__init__()
        self.model = model

    def forward(self, src: Tensor) -> tuple[Tensor, ...]:
        """Return keys, values, mask and the parts of the state."""
        memory, state = self.model.encode(src, torch.ones_like(src).sum(1))
        return *memory, *(part for part in state if part is not None)


class StepGraph(nn.Module):
    """The graph of one step of the decoder; `kind` is the class of its state, and `fields` those that are not None."""

    def __init__(self, model: Seq2Seq, kind: Any, fields: list[str]):
        super().__init__()
        self.model, self.kind, self.fields = model, kind, fields

    def forward(self, token: Tensor, keys: Tensor, values: Tensor, mask: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
        """Return the log-probabilities of the next token, the attention weights, and the parts of the next state."""
        state = self.kind(**dict.fromkeys(self.kind._fields) | dict(zip(self.fields, parts, strict=True)))
        s, weights, state = self.model.decoder(token[:, None], Memory(keys, values, mask), state)
        log_probs = self.model.logits(s[:, 0]).log_softmax(-1)
        return log_probs, weights[:, :, 0], *(part for part in state if part is not None)


def export_onnx(run: Run, folder: Path, license: str | None = None) -> Card:
    """Write the best checkpoint of a run as two ONNX graphs into a new folder, and return its card.

    Raises:
        UserError: the folder exists, or cannot be written; or the run has no good checkpoint.
        ModuleNotFoundError: onnx is not installed.
    """
    import onnx  # noqa: F401 (so that its absence is known before the work)

    if status(folder) or folder.is_symlink():
        raise UserError(f"{folder}: exists, and nothing is overwritten; give another name, or delete it")
    _, model, tokenizers, card = describe_model(run, license)
    with must_write(folder, "give another name, or make room"), replacing_folder(folder) as new:
        state = write_graphs(model, new)
        save_tokenizers(tokenizers, new / "tokenizer")
        write_json(new / "model.json", _describe(tokenizers, new, run.config().search, state))
        write_json(new / "card.json", card.model_dump())
        if card.license:
            (new / "LICENSE").write_text(f"{card.license}\n", encoding="utf-8")
    return card


def write_graphs(model: Seq2Seq, folder: Path) -> list[str]:
    """Write `encoder.onnx` and `step.onnx`, and return the names of the parts of the state."""
    _teach_exporter()
    model = copy.deepcopy(model).eval()
    if isinstance(model.encoder, Encoder):
        model.encoder = UnpaddedEncoder(model.encoder)  # type: ignore[assignment]
    elif model.encoder.below is not None:
        model.encoder.below = UnpaddedEncoder(model.encoder.below)  # type: ignore[assignment]

    # an example of every input: a sentence, and two hypotheses after a step
    with torch.no_grad():
        src = torch.tensor([[UNK, UNK, UNK, EOS]])
        memory, state = model.encode(src, torch.tensor([src.size(1)]))
        after = model.decoder(torch.tensor([[BOS]]), memory, state).state
    fields = [field for field, part in zip(state._fields, state, strict=True) if part is not None]
    parts = [part for part in after if part is not None]
    names = [NAMES.get(field, field) for field in fields]
    rows = [torch.cat([each, each]) for each in (*memory, *parts)]

    # the axes whose size is free: rows, and source or earlier target positions
    axes = {name: {0: "rows"} for name in (*MEMORY, *names)}
    for name, example in zip((*MEMORY, *names), (*memory, *parts), strict=True):
        if name in MEMORY or name in NAMES.values():
            axes[name][example.dim() - (1 if name == "mask" else 2)] = "before" if name in NAMES.values() else "src"
        elif name == "past":
            axes[name][2] = "src"
    following = {f"next_{name}": axes[name] for name in names}
    outputs: dict[str, dict[int, str]] = {"log_probs": {0: "rows"}, "weights": {0: "rows", 2: "src"}, **following}

    # the graphs; torch warns that this exporter is the older one: the newer one fixes the length of a recurrent layer
    export: Any = partial(torch.onnx.export, dynamo=False, opset_version=OPSET)
    first, step = EncoderGraph(model), StepGraph(model, type(state), fields)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        export(
            first,
            (src,),
            str(folder / "encoder.onnx"),
            input_names=["src"],
            output_names=[*MEMORY, *names],
            dynamic_axes={"src": {1: "src"}, **axes},
        )
        export(
            step,
            (torch.tensor([BOS, UNK]), *rows),
            str(folder / "step.onnx"),
            input_names=["token", *MEMORY, *names],
            output_names=[*outputs],
            dynamic_axes={"token": {0: "rows"}, **axes, **outputs},
        )
    return names


def _teach_exporter() -> None:
    """Teach torch's exporter two operations that it does not know, or not with negative axes."""
    from torch.onnx import register_custom_op_symbolic, symbolic_helper

    def transpose(graph: Any, x: Any) -> Any:
        first = range(x.type().dim() - 2)
        return graph.op("Transpose", x, perm_i=[*first, len(first) + 1, len(first)])

    @symbolic_helper.parse_args("v", "i", "i")
    def movedim(graph: Any, x: Any, source: int, destination: int) -> Any:
        rank = x.type().dim()
        order = [axis for axis in range(rank) if axis != source % rank]
        order.insert(destination % rank, source % rank)
        return graph.op("Transpose", x, perm_i=order)

    register_custom_op_symbolic("aten::mT", transpose, OPSET)
    register_custom_op_symbolic("aten::movedim", movedim, OPSET)


def _describe(tokenizers: Tokenizers, folder: Path, search: SearchConfig, state: list[str]) -> dict[str, Any]:
    """Return the content of `model.json`."""
    *files, _ = vocabulary_digests(folder / "tokenizer")
    return {
        "format": 1,
        "pad": PAD,
        "unk": UNK,
        "bos": BOS,
        "eos": EOS,
        "never": [PAD, UNK, BOS],  # tokens that a search never chooses
        "max_length": search.max_length,  # of a translation, `</s>` included; null: 3 times the source's, and 20
        "source": f"tokenizer/{files[0]}",
        "target": f"tokenizer/{files[-1]}",
        "tokenizer": list(tokenizers.types),  # of the source and of the target
        "lowercase": tokenizers.lowercase,
        "state": state,
    }
