"""Before `seq2seq` is imported: every shape in a signature of these modules is checked in every test."""

import os
import signal

import torch
from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook(
    [
        "seq2seq.model",
        "seq2seq.decoding",
        "seq2seq.training.update",
        "seq2seq.data.batch",
        "seq2seq.data.batches",
        "seq2seq.data.flat",
        "seq2seq.data.store",
        "seq2seq.text.vectors",
    ],
    "beartype.beartype",
)
# every run draws the same examples, so that a change passes or fails by itself; HYPOTHESIS_PROFILE=default draws others
settings.register_profile("same", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    signal.signal(number, handler)  # where a shell's & or nohup had them ignored, tests of signals would wait for ever
torch.set_num_threads(1)  # small tensors: more threads only wait for each other
