"""The configuration: its keys (`keys`), how a file is read (`reading`), how mistakes are explained (`explaining`)."""

from seq2seq.config.keys import Config, ModelConfig, SearchConfig, TrainingConfig
from seq2seq.config.reading import (
    NOT_HERE,
    fill_in,
    flatten_keys,
    load_config,
    parse_config,
    resolve_paths,
    without_paths,
)

__all__ = ["Config", "ModelConfig", "SearchConfig", "TrainingConfig"]
__all__ += ["NOT_HERE", "fill_in", "flatten_keys", "load_config", "parse_config", "resolve_paths", "without_paths"]
