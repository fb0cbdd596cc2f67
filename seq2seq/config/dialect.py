"""The YAML of configs, read and written without surprises."""

import re
from typing import Any, NoReturn

import yaml

_EXPONENT = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")
_MISREAD = re.compile(r"[-+]?(0[0_]*[1-7][0-7_]*|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")  # octal, or in base 60

LARGEST, DEEPEST = 2000, 30  # values in a text, and levels of nesting; a config with every key has 150 and 4
LONGEST_NUMBER = 100  # characters


class Loader(yaml.SafeLoader):
    """A reader of YAML 1.1 in which `1e-3` is a number; a key that appears twice, 010 and 1:30 are errors.

    A few aliases (`*a`) of values with aliases can stand for millions of values. So an alias counts as all the values
    that it stands for, and a text of more than `LARGEST` is refused before any value is made.
    """

    def __init__(self, text: str):
        super().__init__(text)
        self._count = self._depth = 0
        self._sizes: dict[str, int] = {}  # the number of values that each anchor stands for

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Read a value; name the line at which a text is too large or too deep, or an anchor is wrong."""
        event, before = self.peek_event(), self._count
        anchor, is_alias = event.anchor, isinstance(event, yaml.AliasEvent)
        if is_alias and anchor in self.anchors and anchor not in self._sizes:
            _fail(f"*{anchor} stands inside the value that it stands for", event)
        if not is_alias and anchor in self.anchors:
            _fail(f"the anchor &{anchor} appears twice", event)
        if self._depth == DEEPEST:
            _fail("nested too deep; docs/config.md explains every key", event)

        # the value and all that it holds
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1

        # count
        self._count += self._sizes[anchor] if is_alias else 1
        if self._count > LARGEST:
            _fail(f"more than {LARGEST:,} values, if each alias counts as what it stands for", event)
        if anchor and not is_alias:
            self._sizes[anchor] = self._count - before
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Make the value of a node; name the line of one that does not fit its tag, such as the date 2024-99-99."""
        kind = node.tag.rpartition(":")[2]
        is_number = kind in ("int", "float")
        try:
            if is_number and len(node.value) > LONGEST_NUMBER:
                raise ValueError("a long number takes long to read")
            value = super().construct_object(node, deep)
        except (ValueError, ArithmeticError, LookupError, AttributeError):
            _fail(f"{node.value!r:.40} is not a valid {kind}", node)
        if is_number and _MISREAD.fullmatch(node.value):
            fix = f"write {value}, or what you mean; quote it if it is text"
            _fail(f"YAML reads {node.value} as {value}; {fix}", node)
        return value

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Read a mapping; name the line of a key that appears twice."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    _fail(f"the key {key.value:.40} appears twice", key)
                seen.add(key.value)
        return node


def _fail(problem: str, where: Any) -> NoReturn:
    """Raise the error of YAML that names the line of a node or an event."""
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark) from None


class Dumper(yaml.SafeDumper):
    """A writer of YAML for `Loader`: it quotes a string such as '1e-3'."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Write a string, in double quotes if it holds characters that only they can spell, such as U+0085."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


def _list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
    """Write a list on one line, `[char, word]`, unless it holds sections."""
    flow = not any(isinstance(item, dict) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flow)


Dumper.add_representer(str, _text)
Dumper.add_representer(list, _list)
for _class in (Loader, Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))
