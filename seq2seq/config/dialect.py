"""The YAML that configs are written in, read and written without surprises."""

import re
from typing import Any

import yaml

_EXPONENT = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")


class Loader(yaml.SafeLoader):
    """YAML 1.1 in which `1e-3` is a number, not a string, and a key that stands twice is an error.

    So is a value that its tag does not fit, such as the date 2024-99-99.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Make the value of a node; an error that names the line where its tag does not fit."""
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int):
                str(value)  # one of thousands of digits could not even be shown
        except (ValueError, ArithmeticError, LookupError, AttributeError):
            problem = f"{node.value!r:.40} is no {node.tag.rpartition(':')[2]}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None
        return value

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Read a mapping; an error that names the line of a key that stands twice."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"the key {key.value} stands here twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(str(key.value))
        return node


class Dumper(yaml.SafeDumper):
    """The writer for `Loader`: it quotes a string such as '1e-3'."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """A string; in double quotes where it holds what only they can spell, such as U+0085."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


Dumper.add_representer(str, _text)


for _class in (Loader, Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))
