"""`seq2seq check`: what a training would read, build and drop, without writing anything that stays."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from seq2seq.build import build_model, choose_device, count_parameters, start_from_vectors
from seq2seq.config import Config
from seq2seq.decoding.translator import Translator
from seq2seq.text.corpus import Pair
from seq2seq.text.store import Store
from seq2seq.training.data import Corpora, learn_tokenizers, make_batches, prepare_store, training_text
from seq2seq.training.update import autocast, loss_sum
from seq2seq.training.validation import Validation


def check(config: Config) -> Iterator[str]:
    """Lines about the data, the vocabularies, the model and one step forward.

    Raises:
        UserError: whatever would stop a training before its first update.
    """
    corpora = Corpora.read(config)
    device = choose_device(config.training.device)
    autocast(device, config.training.precision)
    train = (Pair.normalized(*row) for row in training_text(config))
    for name, pairs in (("train", train), ("dev", corpora.dev), ("test", corpora.test)):
        if pairs is not None:
            yield f"{name:<12}{_counted(pairs)}"

    tokenizers = learn_tokenizers(config)
    sizes = {config.data.src: len(tokenizers.src), config.data.tgt: len(tokenizers.tgt)}
    shown = f"{len(tokenizers.src):,} tokens, joint" if tokenizers.joint else _listed(sizes)
    yield f"vocabulary  {shown} ({config.tokenizer.type})"
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tokenizers.save(Path(folder) / "tokenizer")
        store = prepare_store(config, Path(folder) / "store", Path(folder) / "tokenizer", digests={})
        batches = make_batches(config, store)
        yield f"training    {store.report}"
        for language, side in ((config.data.src, 0), (config.data.tgt, 1)):
            yield f"{'length ' + language:<11} {_lengths(store, side)}"
        share = f"{batches.padding_share():.1%} of their positions padding"
        yield f"batches     {batches.len_of_epoch(0):,} an epoch, {share}"
        batch = next(batches.iterate(epoch=0)).to(device)

    torch.manual_seed(config.seed)
    model = build_model(config, tokenizers)
    for line in start_from_vectors(model, config, tokenizers):
        yield f"vectors     {line}"
    Validation(corpora.dev, Translator(model, tokenizers, config.search))
    parts = {"encoder": 0, "attention": 0, "decoder": 0}
    for name, parameter in model.named_parameters():
        parts["attention" if ".attention." in name else name.split(".")[0]] += parameter.numel()
    yield f"parameters  {count_parameters(model):,}, in all; {_listed(parts)}"
    with torch.no_grad():
        loss = loss_sum(model.to(device), batch).item() / batch.tokens
    uniform = float(np.log(len(tokenizers.tgt)))
    yield f"one step    on {device}: loss {loss:.2f} nats a token, where a uniform guess has {uniform:.2f}"


def _listed(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items())


def _counted(pairs: Iterable[Pair]) -> str:
    total = blank = 0
    for pair in pairs:
        total += 1
        blank += not (pair.src and pair.tgt)
    return f"{total:,} sentence pairs" + f", {blank:,} of them blank" * bool(blank)


def _lengths(store: Store, side: int) -> str:
    lengths = np.concatenate([store.lengths(chunk)[:, side] - 1 for chunk in range(len(store.begins))])
    median, long, longest = (int(n) for n in np.percentile(lengths, [50, 95, 100], method="higher"))
    return f"mean {lengths.mean():.1f} tokens, median {median}, 95 % up to {long}, longest {longest}"
