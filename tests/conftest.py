"""Before `seq2seq` is imported: every shape in a signature of these modules is checked in every test."""

import torch
from jaxtyping import install_import_hook

install_import_hook(
    [
        "seq2seq.model",
        "seq2seq.decoding",
        "seq2seq.training.update",
        "seq2seq.text.batches",
        "seq2seq.text.store",
        "seq2seq.text.vectors",
    ],
    "beartype.beartype",
)
torch.set_num_threads(1)  # small tensors: more threads only wait for each other
