"""Write the pages on the configuration from seq2seq/config/keys.py; with `--check`, say whether they are current.

The pages are docs/config.md, docs/config.schema.json, and the table of combinations in docs/attention.md and its
translation.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, get_args

from seq2seq.config import Config, parse_config
from seq2seq.config.keys import SCORE_ALIASES, DataConfig, DecoderConfig, Section, sections
from seq2seq.errors import UserError
from seq2seq.model.attention import SCORES

DOCS = Path(__file__).resolve().parent.parent / "docs"

INTRO = """\
# Configuration

<!-- Written by scripts/make_config_docs.py from seq2seq/config/keys.py: change it there. -->

An experiment is one YAML file. `data` must be given; every other key has a default. A key is named by its path:
`model.attention.score` is the key `score` in the section `attention` in the section `model`.

- **Overrides.** Any key can be set on the command line, after the file, as often as you like; the last one wins:
  `seq2seq train configs/toy.yaml model.attention.score=concat training.max_updates=300`. A value is read as YAML:
  `search.max_length=null`, `'model.encoder={cell: gru, num_layers: 2}'` (which replaces the whole section).
- **Paths** are relative to the directory you start in. The config in a run folder has absolute ones.
- **Numbers.** `0.001`, `1e-3` and `1E-3` are the same number; `1e5` is not a whole number, `100000` and `100_000` are.
  `010` (8 to YAML) and `1:30` (90) are errors.
- **Words that YAML takes for something else** need quotes: Norwegian is `src: "no"`, since a bare `no` means false.
- **Mistakes.** An unknown key, a key that appears twice or a value that is not allowed is an error. It names the file,
  the line, the key and what is allowed.
- **Editors** with the YAML language server complete and check keys if a file in `configs/` begins with this line:
  `# yaml-language-server: $schema=../docs/config.schema.json`.
"""


def schema() -> dict[str, Any]:
    """Return the JSON schema of the YAML, for editors; it lists the aliases of the scores too."""
    schema = Config.model_json_schema()
    schema["$defs"]["AttentionConfig"]["properties"]["score"]["enum"] += SCORE_ALIASES
    return schema


def allowed(key: dict[str, Any]) -> str:
    """Describe the values of a key by its JSON schema: the names of a choice, or a type and its limits."""
    if "anyOf" in key:
        return " or ".join(allowed(kind) for kind in key["anyOf"])
    if "enum" in key or "const" in key:
        return ", ".join(f"`{literal(name)}`" for name in key.get("enum", [key.get("const")]))
    if "pattern" in key:
        return "`auto`, `cpu`, `mps`, `cuda`, `cuda:N`"
    if key["type"] == "array" and "$ref" in key["items"]:
        return "list of `{path, weight}`"
    if key["type"] == "array":
        return f"list of {key.get('minItems', 'any number')}, each a {allowed(key['items'])}"
    kind = {
        "integer": "whole number",
        "number": "number",
        "string": "string",
        "boolean": "`true`, `false`",
        "null": "`null`",
    }
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return ", ".join(
        [kind[key["type"]], *(f"{sign} {key[limit]:.10g}" for limit, sign in signs.items() if limit in key)]
    )


def literal(value: Any) -> str:
    """Return a value as YAML spells it."""
    return value if isinstance(value, str) else json.dumps(value)


def table(section: type[Section]) -> str:
    """Return the table of the keys of a section that are not sections themselves; empty if there are none."""
    schema = section.model_json_schema()
    rows = []
    for name, key in schema["properties"].items():
        if "$ref" in key or {"$ref"} in [kind.keys() for kind in key.get("anyOf", ())]:
            continue
        default = f"`{literal(key['default'])}`" if "default" in key else "must be given"
        rows.append(f"| `{name}` | {allowed(key)} | {default} | {' '.join(key['description'].split())} |\n")
    return "| key | value | default | meaning |\n|---|---|---|---|\n" + "".join(rows) if rows else ""


def page() -> str:
    """Return the text of docs/config.md."""
    parts = [INTRO]
    for path, section in sections().items():
        if path:
            note = "\n\nThe section is `null` unless it is given." if path == "model.pretrained_embeddings" else ""
            parts.append(f"## {path}\n\n{section.__doc__}{note}\n\n{table(section)}")
        else:
            parts.append(f"## The whole file\n\n{table(section)}")
        if path == "model.attention":
            aliases = ", ".join(f"`{alias}` for `{name}`" for alias, name in SCORE_ALIASES.items())
            parts.append(f"A score has other names too: {aliases}. Capitals do not matter, and `-` counts as `_`.\n")
    data = DataConfig(train="data/toy/train", dev="data/toy/dev", src="en", tgt="de")
    parts.append(f"## Example: every key, with its default\n\n```yaml\n{Config(data=data).to_yaml()}```\n")
    return "\n".join(parts)


BEGIN, END = "<!-- combinations: written by scripts/make_config_docs.py -->", "<!-- end of combinations -->"
OPTIONS: dict[str, dict[str, Any]] = {
    "`window: local_m`": {"attention": {"window": "local_m"}},
    "`window: local_p`": {"attention": {"window": "local_p"}},
    "`coverage`": {"attention": {"coverage": True}},
    "`convolution`": {"attention": {"convolution": True}},
    "`input_feeding`": {"decoder": {"input_feeding": True}},
}
DECODERS = {  # with two layers, as `gnmt` needs them
    f"decoder `{kind}`": {"decoder": {"type": kind, "num_layers": 2}}
    for kind in get_args(DecoderConfig.model_fields["type"].annotation)
}
SCORE_KEYS = {f"`{score}`": {"attention": {"score": score}} for score in SCORES}
HEADS = {"attention": {"score": "multi_head"}}


def combinations() -> str:
    """Return two tables of what works together: a tick, or the number of the reason why not."""
    reasons: list[str] = []
    tables = [
        _combined("score", SCORE_KEYS, DECODERS | OPTIONS, reasons),
        _combined(
            "with `multi_head`", OPTIONS, {name: _merged(HEADS, kind) for name, kind in DECODERS.items()}, reasons
        ),
    ]
    notes = "\n".join(f"{i}. {reason}" for i, reason in enumerate(reasons, start=1))
    return "\n\n".join([BEGIN, *tables, notes, END])


def _combined(
    corner: str, rows: dict[str, dict[str, Any]], columns: dict[str, dict[str, Any]], reasons: list[str]
) -> str:
    lines = [f"| {corner} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        marks = [_mark(_merged(row, column), reasons) for column in columns.values()]
        lines.append(f"| {name} | {' | '.join(marks)} |")
    return "\n".join(lines)


def _mark(model: dict[str, Any], reasons: list[str]) -> str:
    """Return a tick if a config may have this model, otherwise the number of the reason, added to `reasons` if new."""
    data = {"train": "train", "dev": "dev", "src": "en", "tgt": "de"}
    try:
        parse_config({"data": data, "model": model}, "")
        return "✓"
    except UserError as error:
        what, _, why = str(error).removeprefix(": ").rpartition(";")[0].partition(": ")
        score = model.get("attention", {}).get("score")
        reason = f"`{score}`: {why}" if why else what
        if reason not in reasons:
            reasons.append(reason)
        return f"({reasons.index(reason) + 1})"


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Merge two models, section by section."""
    return {section: {**one.get(section, {}), **other.get(section, {})} for section in one | other}


def with_combinations(file: Path) -> str:
    """Return a page with the table of combinations between its marks."""
    text = file.read_text(encoding="utf-8")
    return text[: text.index(BEGIN)] + combinations() + text[text.index(END) + len(END) :]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is not current")
    check = parser.parse_args().check
    texts = {"config.md": page(), "config.schema.json": json.dumps(schema(), indent=2) + "\n"}
    texts |= {name: with_combinations(DOCS / name) for name in ("attention.md", "attention.ko.md")}
    for name, text in texts.items():
        file = DOCS / name
        if check:
            if not file.exists() or file.read_text(encoding="utf-8") != text:
                print(f"docs/{name} is not current: run python scripts/make_config_docs.py", file=sys.stderr)
                return 1
        else:
            file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
