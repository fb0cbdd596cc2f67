"""Measurements beside the peers: each command keeps its own as a JSON file, and one table shows them all.

A ratio compares values of the same round, because a machine is busier in some minutes than in others.
"""

import json
import os
import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

NAMES = {"seq2seq": "this project", "opennmt": "OpenNMT-py", "joeynmt": "JoeyNMT"}
HEAD = [NAMES["seq2seq"], *(head for peer in ("opennmt", "joeynmt") for head in (NAMES[peer], "ours is faster"))]


@dataclass(frozen=True)
class Row:
    """One measure, of several toolkits."""

    measure: str
    values: dict[str, list[float]]  # by toolkit, one value for each round
    form: str = ".2f"  # how a value is written
    better: str = "less"  # `less`, `more`, or empty if the values are not compared


def keep(folder: Path, name: str, about: dict[str, Any], rows: list[Row]) -> None:
    """Write rows and how they were measured into a file of the folder."""
    content = {"about": about, "rows": [asdict(row) for row in rows]}
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    (folder / "figures" / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def table(folder: Path) -> str:
    """Return all that was kept in the folder as a table in Markdown."""
    lines = [f"| median (spread) | {' | '.join(HEAD)} |", "|---" * (len(HEAD) + 1) + "|"]
    notes = []
    for file in sorted((folder / "figures").glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        how = file.stem.partition("-speed-")[2]
        lines += [
            _line(Row(**row | {"measure": f"{row['measure']} ({how})" if how else row["measure"]}))
            for row in content["rows"]
        ]
        notes.append(f"{file.stem}: " + "; ".join(f"{key} {value}" for key, value in content["about"].items()))
    return "\n".join([*lines, "", *notes])


def machine_and_commit() -> dict[str, str]:
    """Return the processor and the commit."""
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    describe = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(describe, capture_output=True, text=True).stdout.strip()
    return {"machine": f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} cores", "commit": commit}


def _line(row: Row) -> str:
    ours = row.values["seq2seq"]
    cells = [row.measure, _shown(ours, row.form)]
    for peer in ("opennmt", "joeynmt"):
        theirs = row.values.get(peer, [])
        cells.append(_shown(theirs, row.form))
        ratios = [t / o if row.better == "less" else o / t for o, t in zip(ours, theirs, strict=False)]
        spread = f"**{median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""
        cells.append(spread if row.better else "")
    return f"| {' | '.join(cells)} |"


def _shown(values: list[float], form: str) -> str:
    if len({f"{value:{form}}" for value in values}) < 2:
        return f"{values[0]:{form}}" if values else ""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
