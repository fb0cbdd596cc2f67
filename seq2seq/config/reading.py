"""Reading a config: a YAML file and the `section.key=value` overrides of a command line become a `Config`.

A mistake is an error of one line that names the file and line, the key, the value and what is allowed.
"""

import os
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from seq2seq.config.dialect import DEEPEST, Loader
from seq2seq.config.explaining import Source, explain, show
from seq2seq.config.keys import Config
from seq2seq.errors import UserError, visible
from seq2seq.files import read_small

LARGEST = 2**20  # bytes of a config
RETIRED = {("training", "r_drop"): 0}  # keys of earlier versions, with the value that changes nothing: old runs have it
OVERRIDE = "override"  # begins the message about an override that is wrong by itself
NOT_HERE = "(not in this file)"  # instead of the path of a corpus
YAML_FIXES = {  # by a part of PyYAML's message
    "'\\t'": "write spaces instead of tabs",
    "cannot start any token": "quote a text that begins with this sign",
    "undefined alias": "quote a text that begins with *",
    "unknown escape": "in double quotes a backslash begins an escape: put a path in single quotes, or write / in it",
    "could not find expected ':'": "a key is followed by a colon and a space, as in `src: en`",
    "mapping values are not allowed": "write one key a line with a space after its colon, indent the keys of a section "
    "alike, and quote a text that has a colon and a space in it",
    "expected <block end>": "indent the keys of a section by equally many spaces, and data, model, ... by none",
    "found another document": "a config is one document: delete the line --- and what follows it",
    "could not determine a constructor": "a config holds texts, numbers, lists and sections alone: delete the tag !...",
    "expected ',' or '}'": "close the braces, and put a comma between two keys",
    "expected ',' or ']'": "close the bracket, and put a comma between two items",
    "the node content": "close the brace or the bracket",
    "unexpected end of stream": "close the quotation mark",
}


def load_config(path: str | Path | None, overrides: Sequence[str] = (), base: Config | None = None) -> Config:
    """Read a config from a YAML file and apply `section.key=value` overrides, whose values are YAML too.

    With a `base`, the keys that the file leaves out have the values of that config instead of the defaults; then there
    may be no file.
    """
    # the file
    try:
        text = read_small(Path(path), LARGEST).decode("utf-8-sig") if path else ""
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give a YAML file that can be read") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: this is not UTF-8 text; convert it, for example with iconv") from None
    data, source = _read_yaml(text, str(path or "--from"))
    if not isinstance(data, dict | None):
        raise UserError(f"{path}: a config is a section of keys (data, model, ...); this is {show(data, None)}")

    # what it leaves out
    if base:
        data = fill_in(data or {}, base)

    # the overrides, each on top of the ones before
    sources = [source]
    for override in overrides:
        key, equals, value_text = override.partition("=")
        keys = tuple(part.strip() for part in key.split("."))
        if not equals or not all(keys) or len(keys) > DEEPEST:
            raise UserError(f"override {override!r:.80}: write section.key=value without spaces, such as search.beam=5")
        value, source = _read_yaml(value_text, OVERRIDE, keys)
        data = _replace(data, keys, value)
        sources.append(source)
    return parse_config(data or {}, str(path or "--from"), sources)


def parse_config(data: dict[str, Any], where: str, sources: Sequence[Source] = ()) -> Config:
    """Make a config from nested dicts; an error begins with `where`, or with the one of `sources` that has the key."""
    for (section, key), value in RETIRED.items():
        if isinstance(keys := data.get(section), dict) and keys.get(key) == value:
            data = {**data, section: {name: keys[name] for name in keys if name != key}}
    try:
        return Config.model_validate(_plain(data))
    except ValidationError as error:
        raise UserError(explain(error, where, sources)) from None


def _plain(value: Any) -> Any:
    """Return nested dicts and lists from Python with text for paths, and Python's numbers for NumPy's."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Real) and not isinstance(value, int | float):
        return int(value) if isinstance(value, Integral) else float(value)
    return value


def fill_in(data: dict[str, Any], base: Config) -> dict[str, Any]:
    """Return nested dicts with the keys of a config that they lack; its test set only with its training data."""

    def merge(old: Any, new: Any) -> Any:
        if not (isinstance(old, dict) and isinstance(new, dict)):
            return new
        return old | {key: merge(old.get(key), value) for key, value in new.items()}

    known, given = base.model_dump(), data.get("data")
    if isinstance(given, dict) and "train" in given:
        known["data"]["test"] = None
    return dict(merge(known, data))


def resolve_paths(config: Config) -> Config:
    """Return a copy with absolute paths, which is valid in every working directory."""
    keys = config.model_dump()
    pretrained, tokenizer = keys["model"]["pretrained_embeddings"] or {}, keys["tokenizer"]
    if models := [os.path.abspath(path) for path in config.tokenizer.models]:
        tokenizer["model"] = models if len(models) > 1 else models[0]
    parts = [*keys["data"]["train"]] if isinstance(keys["data"]["train"], list) else [keys["data"]]
    named = [(part, ("path", "train")) for part in parts]
    for section, names in (*named, (keys["data"], ("dev", "test")), (pretrained, ("src", "tgt"))):
        section |= {name: os.path.abspath(section[name]) for name in names if section.get(name)}
    os.getcwd().encode()  # of a folder whose name is not UTF-8 a config could not tell
    return Config.model_validate(keys)


def without_paths(config: Config) -> Config:
    """Return a copy without the paths of data, embeddings and own vocabularies, which other machines do not have."""
    keys = config.model_dump()
    keys["data"] |= {"train": NOT_HERE, "dev": NOT_HERE, "test": None}
    keys["model"]["pretrained_embeddings"] = keys["tokenizer"]["model"] = None
    return Config.model_validate(keys)


def flatten_keys(section: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key of nested sections as `section.key`, with its value."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from flatten_keys(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _read_yaml(text: str, name: str, keys: tuple[str, ...] = ()) -> tuple[Any, Source]:
    """Return the value of a YAML text and its syntax tree, where errors find the line of a key."""
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        return (None if node is None else loader.construct_document(node)), Source(name, keys, node)
    except yaml.YAMLError as error:
        # the line: that of a key without its colon, not of what follows
        mark, context = getattr(error, "problem_mark", None), getattr(error, "context", None) or ""
        if "simple key" in context or "quoted scalar" in context:
            mark = getattr(error, "context_mark", mark)
        number = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))  # of a forbidden character
        where = f"{name} {'.'.join(keys)}={text:.80}" if keys else f"{name}:{number + 1}"

        # the problem and what to do
        problem = (getattr(error, "problem", None) or str(error).splitlines()[0]).removeprefix("but ")
        fix = next((fix for part, fix in YAML_FIXES.items() if part in problem), "")
        raise UserError(f"{visible(where)}: {visible(problem):.200}{fix and f'; {fix}'}") from None


def _replace(data: Any, keys: Sequence[str], value: Any) -> Any:
    """Return a copy of nested dicts in which the value at a path of keys is replaced; missing dicts are created."""
    if not keys:
        return value
    section = data if isinstance(data, dict) else {}
    return {**section, keys[0]: _replace(section.get(keys[0]), keys[1:], value)}
