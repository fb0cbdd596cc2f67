"""seq2seq: attention-based sequence-to-sequence translation, from raw parallel text.

    import seq2seq
    seq2seq.train("configs/toy.yaml", run="runs/toy")
    translator = seq2seq.load("runs/toy")
    translator.translate(["The cat ate the fish because it was hungry."])[0].text

Torch is imported when one of these is first called, so that `import seq2seq` and `seq2seq --help` answer at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seq2seq.config import Config
    from seq2seq.decoding.translator import Translator
    from seq2seq.runs.run import Run


def load(run: str | Path, *, device: str | None = None, shortlist: bool | None = None) -> "Translator":
    """The translator that a run folder holds: its best checkpoint.

    Args:
        run: the folder.
        device: by default the one that the run's config names.
        shortlist: search among the tokens of the run's shortlist alone; by default what `search.shortlist` says.

    Raises:
        seq2seq.errors.UserError: no run there, nothing trained in it yet, or no shortlist where one is wanted.
    """
    from seq2seq.decoding.translator import Translator

    return Translator.load(run, device=device, shortlist=shortlist)


def train(
    config: "str | Path | dict[str, Any] | Config",
    *,
    run: str | Path | None = None,
    resume: bool = False,
    allow_changes: bool = False,
) -> "Run":
    """Train: the same loop as `seq2seq train`, without the evaluation on the test set at its end.

    Args:
        config: a YAML file, its content as nested dicts, or a `Config`.
        run: the run folder; for a YAML file by default `runs/` and the file's name.
        resume: go on with the run in that folder.
        allow_changes: go on though the config, the data or the vocabularies are not what they were.

    Raises:
        seq2seq.errors.UserError: a wrong config, bad data, or a folder that holds a run already.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when what was done until then is saved.
    """
    from seq2seq.config import Config, load_config, parse_config
    from seq2seq.errors import UserError
    from seq2seq.training.train import train as loop

    if isinstance(config, (str, Path)):
        run = run or Path("runs") / Path(config).stem
        config = load_config(config)
    elif not isinstance(config, Config):
        config = parse_config(config, "config")
    if run is None:
        raise UserError("run is None: name the run folder, as in train(config, run='runs/mine')")
    return loop(config, Path(run), resume=resume, allow_changes=allow_changes)
