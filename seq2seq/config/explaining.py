"""A mistake in a config, explained in one line: the file and line, the key, the value, and what may stand there."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from seq2seq.config.keys import sections

FOREIGN_KEYS = {  # what JoeyNMT and OpenNMT-py call our keys, where the nearest name would not find ours
    "accum_count": "training.accumulate",
    "alpha": "search.length_penalty",
    "batch_multiplier": "training.accumulate",
    "batch_size": "training.batch_tokens, or training.batch_sentences with training.batch_type sentences",
    "beam_size": "search.beam",
    "early_stopping": "training.patience",
    "embedding_dim": "model.embedding_size",
    "epochs": "training.max_updates",
    "fp16": "training.precision",
    "global_attention": "model.attention.score",
    "keep_last_ckpts": "training.keep",
    "layers": "model.encoder.num_layers and model.decoder.num_layers",
    "level": "tokenizer.type",
    "lr": "training.learning_rate",
    "max_sent_length": "data.max_length",
    "rnn_size": "model.encoder.hidden_size and model.decoder.hidden_size",
    "rnn_type": "model.encoder.cell and model.decoder.cell",
    "share_embeddings": "model.tie_embeddings all",
    "share_vocab": "tokenizer.joint",
    "src_seq_length": "data.max_length",
    "src_vocab": "tokenizer.vocab_size",
    "testing": "search",
    "tgt_vocab": "tokenizer.vocab_size",
    "tied_embeddings": "model.tie_embeddings all",
    "tied_softmax": "model.tie_embeddings decoder",
    "train_steps": "training.max_updates",
    "trg": "data.tgt",
    "trg_vocab": "tokenizer.vocab_size",
    "use_cuda": "training.device",
    "valid": "data.dev",
    "valid_steps": "training.validate_every",
    "validation_freq": "training.validate_every",
    "voc_limit": "tokenizer.vocab_size",
    "word_vec_size": "model.embedding_size",
}


_SHOWN = 80  # characters of what someone wrote


_UNKNOWN_KEY = ("extra_forbidden", "invalid_key")  # pydantic's names of the error


_PLAIN_WORDS = {  # for those in pydantic's messages
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "a string",
    "a valid boolean": "true or false",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "False": "false",
}


@dataclass(frozen=True)
class Source:
    """A YAML text: what to call it, the path of keys at which its value stands in the config, and its syntax tree."""

    name: str
    keys: tuple[str, ...]
    node: yaml.Node | None

    def find(self, path: Sequence[str | int]) -> tuple[yaml.Node | None, yaml.Node | None]:
        """The node that spells the last key of a path known here, and the node of its value, None if it has none."""
        spelled, node = self.node, self.node
        for key in path[len(self.keys) :]:
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            match = [pair for pair in pairs if pair[0].value == str(key)]
            if not match:
                return spelled, None
            spelled, node = match[-1]
        return spelled, node


def report(errors: ValidationError, where: str, sources: Sequence[Source]) -> str:
    """The line on one of the errors: an unknown key first, as it may be why another key is missing."""
    error = min(errors.errors(include_url=False), key=lambda error: error["type"] not in _UNKNOWN_KEY)
    path = [str(key) for key in error["loc"]]
    written = None
    for source in reversed(sources):
        if all(ours == theirs for ours, theirs in zip(source.keys, path, strict=False)) and (path or not source.keys):
            spelled, node = source.find(path)
            written = node.value if isinstance(node, yaml.ScalarNode) and len(node.value) <= _SHOWN else None
            line = f":{spelled.start_mark.line + 1}" if spelled and path and not source.keys else ""
            where = source.name + line
            break
    return f"{where}: {printable(_explained(error, path, written))}"


def _explained(error: Any, path: Sequence[str], written: str | None) -> str:
    """One error of pydantic in our words; `written` is the value as the YAML spells it."""
    key, value, kind = ".".join(path)[:_SHOWN], error["input"], error["type"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "missing":
        return f"{key} is missing"
    if kind in _UNKNOWN_KEY:
        return f"{key} is not a key; {_hint(path)}"
    if kind == "model_type":
        keys = ", ".join(sections()[key].model_fields)
        return f"{key} is {shown(value, written)}; it must be a section with keys of {keys}"
    if kind == "string_type" and written:
        return f'{key} is {shown(value, written)}; it must be a string, so quote it: "{written}"'
    rule = re.sub(r"^(Input|String|Value) should", "it must", error["msg"])
    for theirs, ours in _PLAIN_WORDS.items():
        rule = rule.replace(theirs, ours)
    if kind == "literal_error" and (guess := nearest(str(value), re.findall(r"'([^']*)'", rule))):
        rule += f"; did you mean {guess}?"
    return f"{key} is {shown(value, written)}; {rule}"


def shown(value: Any, written: str | None) -> str:
    """A value as its writer would recognize it, with what YAML made of it where that surprises."""
    if isinstance(value, dict | list):
        return "a section" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        return f"{value!r:.{_SHOWN}}"
    read = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    if value is None and not written:
        return "empty"
    return f"{written}, which YAML reads as {read}" if written and written != read else read


def printable(text: str) -> str:
    """Text that stays in its line and does nothing to a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _hint(path: Sequence[str]) -> str:
    """What a reader who wrote this unknown key may have meant."""
    *parents, name = path
    section = ".".join(parents)
    keys = {path: list(kind.model_fields) for path, kind in sections().items()}
    if name in FOREIGN_KEYS:
        return f"here it is {FOREIGN_KEYS[name]}"
    if elsewhere := [f"{other}.{name}".lstrip(".") for other in keys if name in keys[other]]:
        return f"did you mean {' or '.join(elsewhere)}?"
    if guess := nearest(name, keys[section]):
        return f"did you mean {guess}?"
    return f"the keys of {section or 'a config'} are {', '.join(keys[section])}"


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name most like this one, whatever its case, or None when none is close."""
    folded = {other.lower(): other for other in allowed}
    close = difflib.get_close_matches(name.lower(), folded, n=1)
    return folded[close[0]] if close else None
