"""The command `seq2seq`, also as `python -m seq2seq`."""

import gc
import os
import signal
from types import FrameType


def program() -> None:
    """Run `main` in a process that starts and ends quickly, and that a signal ends at any time.

    Importing torch creates a million objects that stay. The garbage collector would search them again and again: 0.2 s
    (training and search create no cycles). `os._exit` skips the teardown of torch, 0.3 s. It also skips
    whatever else runs at exit, such as a profiler's report: to profile a command, call `seq2seq.commands.main.main`.
    """
    # signals that the process was started to ignore (nohup, a shell's `&`) stay ignored
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):  # Windows lacks SIGHUP
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)

    code: object
    try:
        gc.set_threshold(100_000)
        from seq2seq.commands.main import main
        from seq2seq.streams import open_streams

        open_streams()
        code = main()
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    os._exit(code if isinstance(code, int) else bool(code))


def leave(number: int, frame: FrameType | None) -> None:
    """Handle a signal while no training handles it: leave all blocks, which deletes temporary folders, and exit.

    During an import the process ends at once: libraries that are being loaded swallow exceptions, or abort.
    """
    while frame:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            os._exit(128 + number)
        frame = frame.f_back
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    raise SystemExit(128 + number)


if __name__ == "__main__":
    program()
