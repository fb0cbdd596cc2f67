"""The explanation of a step as the page of a textbook: equations on the left, their numbers on the right."""

from itertools import zip_longest
from math import sqrt
from typing import Any

from wcwidth import ljust, wcswidth, wrap

from seq2seq.decoding.attention_map import readable
from seq2seq.decoding.explaining import Explanation, Line

LEFT = 43  # columns of the equations
WIDE = 96  # columns of the line of steps
SHOWN = 3  # numbers of a vector
BAR = 20  # columns of the bar of a weight of 1


def textbook_page(explanation: Explanation) -> str:
    """Return the page: the translation with its steps, then each section with its equations."""
    steps = [
        f"[{i} {readable(token)}]" if i == explanation.step else f"{i} {readable(token)}"
        for i, token in enumerate(explanation.tokens, 1)
    ]
    lines = [explanation.text, explanation.translation, "", *wrap("  ".join(steps), WIDE)]
    for title, equations in explanation.sections:
        lines += ["", readable(title), "=" * wcswidth(title)]
        for equation in equations:
            left = [*wrap(equation.equation, LEFT - 2, subsequent_indent="  "), f"  {equation.place}"]
            width = max(LEFT, *(wcswidth(each) + 1 for each in left))
            rows = zip_longest(left, _numbers(equation), fillvalue="")
            lines += ["", *(f"{ljust(each, width)}{numbers}".rstrip() for each, numbers in rows)]
    return "\n".join(lines)


def _numbers(line: Line) -> list[str]:
    """Return the numbers of an equation: one line, or one for each token."""
    if line.tokens is None:
        return [_shown(line.values)]
    tokens = [readable(token) for token in line.tokens]
    width, is_share = max(map(wcswidth, tokens)) + 2, line.name in ("a_t", "a", "p(y_t)")
    bars = ["  " + "█" * round(BAR * value) if is_share else "" for value in line.values]
    rows = zip(tokens, line.values, bars, strict=True)
    return [f"{ljust(token, width)}{_shown(value)}{bar}" for token, value, bar in rows]


def _shown(value: Any) -> str:
    """Return a number, or the first numbers of a vector; if it has more, how many there are and its norm."""
    if isinstance(value, float):
        return f"{value:9.4f}"
    rest = f"  ... {len(value)} numbers, norm {sqrt(sum(number**2 for number in value)):.4g}"
    return "".join(f"{number:9.4f}" for number in value[:SHOWN]) + (rest if len(value) > SHOWN else "")
