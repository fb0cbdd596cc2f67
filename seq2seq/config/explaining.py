"""The explanation of a mistake in a config: one line with the file and line, the key, the value and what is allowed."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from seq2seq.config.keys import sections
from seq2seq.errors import nearest, visible

_FOREIGN_NAMES = {  # our keys, and their names in JoeyNMT and OpenNMT-py if the nearest name would be another key
    "data.dev": "valid",
    "data.max_length": "max_sent_length src_seq_length",
    "data.tgt": "trg",
    "tokenizer.joint": "share_vocab",
    "tokenizer.type": "level",
    "tokenizer.vocab_size": "src_vocab tgt_vocab trg_vocab voc_limit",
    "model.attention.score": "global_attention",
    "model.embedding_size": "embedding_dim word_vec_size",
    "model.encoder.cell and model.decoder.cell": "rnn_type",
    "model.encoder.hidden_size and model.decoder.hidden_size": "rnn_size",
    "model.encoder.num_layers and model.decoder.num_layers": "layers",
    "model.tie_embeddings all": "share_embeddings tied_embeddings",
    "model.tie_embeddings decoder": "tied_softmax",
    "training.accumulate": "accum_count batch_multiplier",
    "training.batch_tokens, or training.batch_sentences with training.batch_type sentences": "batch_size",
    "training.device": "use_cuda",
    "training.keep": "keep_last_ckpts",
    "training.learning_rate": "lr",
    "training.max_updates": "epochs train_steps",
    "training.patience": "early_stopping",
    "training.precision": "fp16",
    "training.validate_every": "valid_steps validation_freq",
    "search": "testing",
    "search.beam": "beam_size",
    "search.length_penalty": "alpha",
}
FOREIGN_KEYS = {theirs: ours for ours, names in _FOREIGN_NAMES.items() for theirs in names.split()}
PLAIN_WORDS = {  # for some words of pydantic's messages
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "a string",
    "a valid boolean": "true or false",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "False": "false",
}
UNKNOWN_KEY = ("extra_forbidden", "invalid_key")  # pydantic's names of this error
LONGEST = 80  # characters of a key or a value in a message


class Source(NamedTuple):
    """A YAML text that a config was made of."""

    name: str  # of the file, or `override`
    keys: tuple[str, ...]  # the path at which its value stands in the config; empty for a file
    node: yaml.Node | None  # its syntax tree; None for an empty text

    def find(self, path: Sequence[str | int]) -> tuple[yaml.Node | None, yaml.Node | None]:
        """Return the node that spells the last key of a path that is in this text, and the node of its value."""
        spelled, node = self.node, self.node
        for key in path[len(self.keys) :]:
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            match = [pair for pair in pairs if pair[0].value == str(key)]
            if not match:
                return spelled, None
            spelled, node = match[-1]
        return spelled, node


def explain(errors: ValidationError, where: str, sources: Sequence[Source]) -> str:
    """Explain one of pydantic's errors in a line; `where` names the config if none of the sources has the key."""

    # an unknown key first: it may be a misspelling of another key that is missing; of a list what is wrong in it
    def rank(error: Any) -> tuple[bool, bool]:
        return error["type"] not in UNKNOWN_KEY, error["type"] == "string_type" and isinstance(error["input"], list)

    # its key, without pydantic's names of the types in a union
    error = min(errors.errors(include_url=False), key=rank)
    path = [key for key in map(str, error["loc"]) if not re.match(r"constrained-str$|list\[", key)]

    # the last text that sets this key, and the value in it
    written = None
    for source in reversed(sources):
        if all(ours == theirs for ours, theirs in zip(source.keys, path, strict=False)) and (path or not source.keys):
            spelled, node = source.find(path)
            written = node.value if isinstance(node, yaml.ScalarNode) and len(node.value) <= LONGEST else None
            where = source.name + (f":{spelled.start_mark.line + 1}" if spelled and path and not source.keys else "")
            break
    return f"{where}: {visible(_describe(error, path, written))}"


def _describe(error: Any, path: Sequence[str], written: str | None) -> str:
    """Describe an error of pydantic in our words; `written` is the value as the YAML spells it."""
    key, value, kind = ".".join(path)[:LONGEST], error["input"], error["type"]
    # rules of our own, missing and unknown keys, sections
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "missing":
        split = "; `seq2seq split FILE` makes train, dev and test of one file" if key == "data.dev" else ""
        return f"{key} is missing{split}"
    if kind in UNKNOWN_KEY:
        return f"{key} is not a key; {_suggest(path)}"
    if kind == "model_type":
        keys = ", ".join(sections()[key].model_fields)
        return f"{key} is {show(value, written)}; it must be a section with keys of {keys}"

    # values
    if kind == "string_type" and written:
        return f'{key} is {show(value, written)}; it must be a string, so quote it: "{written}"'
    rule = re.sub(r"^(Input|String|Value|List) should", "it must", error["msg"])
    for theirs, ours in PLAIN_WORDS.items():
        rule = rule.replace(theirs, ours)
    if kind in ("int_type", "int_parsing", "int_from_float", "float_type", "float_parsing"):
        rule += _as_number(written or str(value), "int" in kind)
    if kind == "literal_error" and (guess := nearest(str(value), re.findall(r"'([^']*)'", rule))):
        rule += f"; did you mean {guess}?"
    return f"{key} is {show(value, written)}; {rule}"


def _as_number(written: str, whole: bool) -> str:
    """Say how YAML writes a number that was written with a comma, or a whole one with an exponent; else nothing."""
    has_thousands = re.fullmatch(r"[1-9]\d{0,2}(,\d{3})+", written)
    plain = written.replace(",", "" if whole or has_thousands else ".")
    try:
        number = float(plain)
    except ValueError:
        return ""
    is_whole = number.is_integer() and abs(number) < 2**32
    if plain == written and not (whole and is_whole):
        return ""
    return f"; write {int(number) if whole and is_whole else plain}"


def _suggest(path: Sequence[str]) -> str:
    """Suggest the key that the user may have meant by this unknown key."""
    *parents, name = path
    section = ".".join(parents)
    keys = {path: list(kind.model_fields) for path, kind in sections().items()}
    if re.fullmatch(r"[0-9.]+", name):
        return "in braces a comma separates keys: write 0.3 for 0,3, and 1000 for 1,000"
    above, dot, key = name.rpartition(".")
    if dot and not parents and key in keys.get(above, []):
        indented = " {".join(f"{part}:" for part in above.split(".")) + f" {{{key}: ...}}" + "}" * above.count(".")
        return f"a file has it in a section: {indented}; only the command line writes {name}=..."
    if name in FOREIGN_KEYS:
        return f"here it is {FOREIGN_KEYS[name]}"
    if elsewhere := [f"{other}.{name}".lstrip(".") for other in keys if name in keys[other]]:
        return f"did you mean {' or '.join(elsewhere)}?"
    if guess := nearest(name, keys[section]):
        return f"did you mean {guess}?"
    return f"the keys of {section or 'a config'} are {', '.join(keys[section])}"


def show(value: Any, written: str | None) -> str:
    """Return a value as the user wrote it; add what YAML reads if this differs."""
    if isinstance(value, dict | list):
        return "a section" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        return f"{value!r:.{LONGEST}}"
    if value is None and not written:
        return "empty"
    read = "null" if value is None else str(value).lower() if isinstance(value, bool) else f"{value!s:.{LONGEST}}"
    return f"{written}, which YAML reads as {read}" if written and written != read else read
