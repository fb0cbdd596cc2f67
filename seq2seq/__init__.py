"""seq2seq: attention-based sequence-to-sequence translation, from raw parallel text.

    import seq2seq
    seq2seq.train("configs/toy.yaml", run="runs/toy")
    translator = seq2seq.load("runs/toy")
    translator.translate(["The cat ate the fish because it was hungry."])[0].text

`__all__` names what is public. Every mistake of a user is a `UserError`, whose text says what to do. Torch is imported
when it is first needed, so that `import seq2seq` and `seq2seq --help` answer at once. This module imports nothing but
`sys`, so that the command handles signals from its first milliseconds.
"""

import sys

if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    del sys.path[0]  # python -m seq2seq: modules are not looked for in the working folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from seq2seq.config import Config
    from seq2seq.decoding.translation import Alternative, Sampling, Translation
    from seq2seq.decoding.translator import Translator
    from seq2seq.errors import UserError
    from seq2seq.runs.run import Run

__all__ = ["Alternative", "Config", "Run", "Sampling", "Translation", "Translator", "UserError", "load", "train"]
__version__ = "0.1.0"

_HOMES = {
    "Alternative": "seq2seq.decoding.translation",
    "Config": "seq2seq.config",
    "Run": "seq2seq.runs.run",
    "Sampling": "seq2seq.decoding.translation",
    "Translation": "seq2seq.decoding.translation",
    "Translator": "seq2seq.decoding.translator",
    "UserError": "seq2seq.errors",
}


def __getattr__(name: str) -> "Any":
    """Import a public class when it is first asked for."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'seq2seq' has no attribute {name!r}")


def load(
    run: "str | Path",
    *others: "str | Path",
    device: str | None = None,
    shortlist: bool | None = None,
    precision: str | None = None,
) -> "Translator":
    """Load the best checkpoint of a run folder as a translator; with other runs, their models translate together.

    By default the model is on the device of the run's config, or on the CPU if this machine lacks it, and searches only
    among the tokens of the run's shortlist if `search.shortlist` is set; `precision` is by default `search.precision`.

    Raises:
        UserError: a run is no path, is not there, has no checkpoint yet, lacks the shortlist or has other vocabularies.
    """
    from pathlib import Path

    from seq2seq.decoding.translator import Translator
    from seq2seq.errors import UserError

    for each in (run, *others):
        if not isinstance(each, (str, Path)):
            raise UserError(f"run is {each!r:.40}; write the path of a run folder")
    return Translator.load(run, *others, device=device, shortlist=shortlist, precision=precision)


def train(
    config: "str | Path | dict[str, Any] | Config | None" = None,
    *,
    run: "str | Path | None" = None,
    from_run: "str | Path | None" = None,
    resume: bool = False,
    allow_changes: bool = False,
) -> "Run":
    """Train a model as `seq2seq train` does, but without the evaluation on the test set, and return its run.

    Unless the program has configured logging, the lines of the log and the progress bar are shown as the command shows
    them. Otherwise they go to the logger `seq2seq`.

    Args:
        config: a YAML file, its content as nested dicts, or a `Config`. With `from_run` a file or dicts may leave out
            what does not differ from the old run; None: nothing differs.
        run: the run folder; for a YAML file by default `runs/` and the file's name.
        from_run: start from the weights and vocabularies of a run (its best checkpoint) or of a checkpoint's folder.
        resume: continue the run in that folder, if there is one.
        allow_changes: continue even if the config, the data or the vocabularies have changed.

    Raises:
        UserError: the config or the data are wrong, or the folder already holds a run.
        KeyboardInterrupt: after Ctrl-C or SIGTERM; what was trained until then is saved.
    """
    import logging
    from collections.abc import Mapping
    from contextlib import nullcontext
    from pathlib import Path

    from seq2seq.commands.console import log_beside_progress_bar
    from seq2seq.config import Config, fill_in, load_config, parse_config
    from seq2seq.errors import UserError
    from seq2seq.runs.run import Run
    from seq2seq.training.source import open_source
    from seq2seq.training.train import train as loop

    if not isinstance(config, (str, Path, Mapping, Config)) and config is not None:
        raise UserError(f"config is {config!r:.40}; write the name of a YAML file, a dict or a Config")
    for name, value in (("resume", resume), ("allow_changes", allow_changes)):
        if not isinstance(value, bool):
            raise UserError(f"{name} is {value!r:.40}; write True or False")
    if run is not None and (not isinstance(run, (str, Path)) or not str(run)):
        raise UserError(f"run is {run!r:.40}; write the name of a folder")

    # the config, on top of that of the old run if there is one
    source = open_source(from_run) if from_run is not None else None
    base = source.run.config() if source else None
    if config is None and base is None:
        raise UserError("config is None: give a config, or from_run to start from the config of a run")
    if isinstance(config, (str, Path)):
        run = run or Run.default_path(Path(config))
        config = load_config(config, base=base)
    elif not isinstance(config, Config):
        config = parse_config(fill_in(config or {}, base) if base else config or {}, "config")

    # train
    if run is None:
        raise UserError("run is None: name the run folder, as in train(config, run='runs/mine')")
    with nullcontext() if logging.getLogger("seq2seq").hasHandlers() else log_beside_progress_bar():
        return loop(config, Path(run), resume=resume, allow_changes=allow_changes, source=source)
