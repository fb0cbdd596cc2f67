"""Before `seq2seq` is imported: every shape in its signatures is checked in every test."""

import torch
from jaxtyping import install_import_hook

install_import_hook("seq2seq", "beartype.beartype")
torch.set_num_threads(1)  # small tensors: more threads only wait for each other
