"""A tiny parallel corpus and run, small enough to train inside a unit test."""

import random
from pathlib import Path

import yaml

WORDS = {"cat": "Katze", "dog": "Hund", "sees": "sieht", "likes": "mag", "the": "die", "old": "alte", "네": "ja"}


def write_corpus(folder: Path, name: str, lines: int, seed: int) -> Path:
    """Word by word translations, three to seven words a line: `name.en` and `name.de`."""
    rng = random.Random(seed)
    src = [rng.choices(list(WORDS), k=rng.randint(3, 7)) for _ in range(lines)]
    (folder / f"{name}.en").write_text("".join(" ".join(line) + "\n" for line in src), encoding="utf-8")
    (folder / f"{name}.de").write_text(
        "".join(" ".join(WORDS[word] for word in line) + "\n" for line in src), encoding="utf-8"
    )
    return folder / name


def write_config(folder: Path, **sections: dict) -> Path:
    """A config of a tiny model on a tiny corpus, both written to `folder`; `sections` replace keys."""
    config = {
        "seed": 3,
        "data": {
            "train": str(write_corpus(folder, "train", 120, 1)),
            "dev": str(write_corpus(folder, "dev", 12, 2)),
            "test": str(write_corpus(folder, "test", 12, 3)),
            "src": "en",
            "tgt": "de",
        },
        "tokenizer": {"type": "word", "vocab_size": 50},
        "model": {
            "embedding_size": 24,
            "dropout": 0.1,
            "encoder": {"cell": "gru", "hidden_size": 24},
            "decoder": {"cell": "gru", "hidden_size": 24},
        },
        "training": {"batch_tokens": 128, "max_updates": 30, "validate_every": 10, "learning_rate": 0.01},
        "search": {"beam": 3},
    }
    for section, keys in sections.items():
        config[section] = {**config.get(section, {}), **keys}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return path
