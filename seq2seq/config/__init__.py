"""The configuration: its keys (`keys`), how a file is read (`reading`), how mistakes are explained (`explaining`)."""

from seq2seq.config.explaining import nearest
from seq2seq.config.keys import (
    SCORE_ALIASES,
    AttentionConfig,
    Config,
    DataConfig,
    DecoderConfig,
    EncoderConfig,
    ModelConfig,
    Score,
    SearchConfig,
    Section,
    TokenizerConfig,
    TrainingConfig,
    sections,
)
from seq2seq.config.reading import flatten_keys, load_config, parse_config, resolve_paths

__all__ = [
    "SCORE_ALIASES",
    "AttentionConfig",
    "Config",
    "DataConfig",
    "DecoderConfig",
    "EncoderConfig",
    "ModelConfig",
    "Score",
    "SearchConfig",
    "Section",
    "TokenizerConfig",
    "TrainingConfig",
    "flatten_keys",
    "load_config",
    "nearest",
    "parse_config",
    "resolve_paths",
    "sections",
]
