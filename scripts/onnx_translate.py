"""Translate lines of standard input with the folder that `seq2seq export --onnx DIR RUN` writes, by greedy search.

    python scripts/onnx_translate.py DIR < lines

Needs onnxruntime, sentencepiece and numpy alone. Models of subwords or characters.
"""

import json
import sys
import unicodedata
from pathlib import Path

import numpy as np
import onnxruntime
from sentencepiece import SentencePieceProcessor

folder = Path(sys.argv[1])
model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
source, target = (SentencePieceProcessor(model_file=str(folder / model[side])) for side in ("source", "target"))
encoder, step = (onnxruntime.InferenceSession(folder / f"{name}.onnx") for name in ("encoder", "step"))


def run(graph: onnxruntime.InferenceSession, given: dict) -> dict:
    """Run a graph on those of the given arrays that it reads, and return its outputs by their names."""
    names = [output.name for output in graph.get_outputs()]
    return dict(zip(names, graph.run(names, {each.name: given[each.name] for each in graph.get_inputs()}), strict=True))


def translate(line: str) -> str:
    """Translate a line with the likeliest token at each step."""
    text = unicodedata.normalize("NFC", " ".join(line.split()))
    src = [*source.encode(text.lower() if model["lowercase"] else text), model["eos"]]
    known, tokens = run(encoder, {"src": np.array([src])}), [model["bos"]]
    while len(src) > 1 and len(tokens) < (model["max_length"] or 3 * len(src) + 20):
        found = run(step, known | {"token": np.array(tokens[-1:])})
        found["log_probs"][0, model["never"]] = -np.inf
        tokens.append(int(found["log_probs"][0].argmax()))
        if tokens[-1] == model["eos"]:
            break
        known |= {name: found[f"next_{name}"] for name in model["state"]}
    return target.decode([token for token in tokens if token > model["eos"]])


for line in sys.stdin:
    print(translate(line), flush=True)
