"""The configs of the repository, trained through the command line."""

from pathlib import Path

import pytest

from seq2seq.commands.main import main

ROOT = Path(__file__).parent.parent


def trained(tmp_path_factory, config, *overrides):
    """The run folder of a config of the repository, trained from its root."""
    run = tmp_path_factory.mktemp("runs") / config
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(ROOT)
        assert main(["train", f"configs/{config}.yaml", *overrides, "--run", str(run)]) == 0
    return run


def lines(name):
    return (ROOT / "data/toy" / name).read_text(encoding="utf-8").splitlines()
