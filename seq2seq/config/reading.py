"""The configuration: one YAML file, typed. Each key has its type, its default and its meaning here and nowhere else.

`Config`, below the sections it is made of, is the whole file; a key is named by its path, `model.attention.score`.
`load_config` reads a file and the `section.key=value` overrides of a command line. A config never changes once made. A
mistake is an error of one line that names the file and line, the key, the value and what may stand there.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from seq2seq.config.dialect import Loader
from seq2seq.config.explaining import Source, printable, report, shown
from seq2seq.config.keys import Config, Section
from seq2seq.errors import UserError

# ---------------------------------------------------------------------------------------------------- the sections


# ------------------------------------------------------------------------------------------------------ public API


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The config in a YAML file, with `section.key=value` overrides applied; values are read as YAML too.

    Raises UserError for a file that cannot be read, a syntax error, and a key or a value that is wrong.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give a YAML file that can be read") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: this is not UTF-8 text; convert it, for example with iconv") from None
    data, source = _read_yaml(text, str(path))
    if not isinstance(data, dict | None):
        raise UserError(f"{path}: a config is a section of keys (data, model, ...); this is {shown(data, None)}")
    sources = [source]
    for override in overrides:
        key, equals, value_text = override.partition("=")
        keys = tuple(part.strip() for part in key.split("."))
        if not equals or not all(keys):
            raise UserError(f"override {override!r:.80}: write section.key=value, such as search.beam=5")
        value, source = _read_yaml(value_text, "override", keys)
        data = _replaced(data, keys, value)
        sources.append(source)
    return _validated(data, str(path), sources)


def parse_config(data: dict[str, Any], where: str) -> Config:
    """The config in nested dicts; `where` starts the message of an error. Raises UserError."""
    return _validated(data, where, [])


def resolve_paths(config: Config) -> Config:
    """A copy whose data and embedding paths are absolute, so that it means the same from every directory."""
    model, pretrained = config.model, config.model.pretrained_embeddings
    if pretrained:
        model = model.model_copy(
            update={"pretrained_embeddings": pretrained.model_copy(update=_absolute(pretrained, "src", "tgt"))}
        )
    data = config.data.model_copy(update=_absolute(config.data, "train", "dev", "test"))
    return config.model_copy(update={"data": data, "model": model})


def flatten_keys(section: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key of nested sections as `section.key`, with its value."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from flatten_keys(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


# ------------------------------------------------------------------------------------------------- reading the YAML


def _read_yaml(text: str, name: str, keys: tuple[str, ...] = ()) -> tuple[Any, Source]:
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        return (None if node is None else loader.construct_document(node)), Source(name, keys, node)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark and not keys else ""
        where = f"{name} {'.'.join(keys)}={text:.80}" if keys else name + line
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        if isinstance(error, RecursionError):
            problem = "nested too deep; docs/config.md explains every key"
        raise UserError(f"{printable(where)}: {printable(problem):.200}") from None


def _replaced(data: Any, keys: Sequence[str], value: Any) -> Any:
    """A copy of nested dicts with one value replaced; what is no dict on the way there becomes one."""
    if not keys:
        return value
    section = data if isinstance(data, dict) else {}
    return {**section, keys[0]: _replaced(section.get(keys[0]), keys[1:], value)}


# ------------------------------------------------------------------------------------------------ explaining errors


def _validated(data: dict[str, Any] | None, where: str, sources: Sequence[Source]) -> Config:
    try:
        return Config.model_validate(data or {})
    except ValidationError as error:
        raise UserError(report(error, where, sources)) from None


def _absolute(section: Section, *keys: str) -> dict[str, str]:
    return {key: os.path.abspath(path) for key in keys if (path := getattr(section, key)) is not None}
