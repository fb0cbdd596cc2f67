"""Show on this machine, in under a minute, that all parts are installed and work: a model learns, a training that was
killed ends with the same bits as one that was not, damaged and dangerous checkpoints are refused, and two processes
train as one. No files are left behind. The exit code is 1 if anything fails.
"""

import argparse
from textwrap import wrap

from seq2seq.streams import say

HELP = "show in under a minute that the installation works: it learns, and resumes to the bit"


def run(args: argparse.Namespace) -> None:
    """Run every check and print a line about each."""
    from seq2seq.doctor.selftest import selftest

    seconds, failed = 0.0, []
    for outcome in selftest():
        seconds += outcome.seconds
        if not outcome.passed:
            failed.append(outcome.name)
        line = f"{outcome.name:<11}{'ok' if outcome.passed else 'FAILED':<8}{outcome.shown}"
        say(*wrap(line, 120, subsequent_indent=" " * 19, break_long_words=False, break_on_hyphens=False))
    say(f"{', '.join(failed)} failed, in {seconds:.0f} s" if failed else f"everything works, in {seconds:.0f} s")
    if failed:
        raise SystemExit(1)
