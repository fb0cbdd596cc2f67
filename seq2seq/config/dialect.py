"""The YAML of configs, read and written without surprises."""

import re
from typing import Any

import yaml

_EXPONENT = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")


class Loader(yaml.SafeLoader):
    """A reader of YAML 1.1 in which `1e-3` is a number, and a key that appears twice is an error."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Make the value of a node; name the line of one that does not fit its tag, such as the date 2024-99-99."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, ArithmeticError, LookupError, AttributeError):
            problem = f"{node.value!r:.40} is not a valid {node.tag.rpartition(':')[2]}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Read a mapping; name the line of a key that appears twice."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"the key {key.value} appears twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(str(key.value))
        return node


class Dumper(yaml.SafeDumper):
    """A writer of YAML for `Loader`: it quotes a string such as '1e-3'."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Write a string, in double quotes if it holds characters that only they can spell, such as U+0085."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


Dumper.add_representer(str, _text)
for _class in (Loader, Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))
