"""Search with OpenNMT-py's weights in our model: check that the hypotheses are the same, and time both, in turn.

    python scripts/bench/same_weights.py build/peers/models/opennmt_luong256_step_1500.pt

The model is LUONG-256. OpenNMT-py has no bridge (its decoder starts from the encoder's last h and c), no b_c, and no
`</s>` at the end of a source; so our bridge is an identity, b_c is zero, and our sources have no `</s>`. The command
prints hypotheses that differ and fails. `peers.py table` shows the seconds that each toolkit needs to translate 1,000
sentences, with beam 5, batches of 64 sentences, and the model loaded.
"""

import argparse
import re
import sys
import time
from pathlib import Path

import torch
from peers import Bench
from table import Row, keep, machine_and_commit
from torch import Tensor, nn

from seq2seq.data.batches import make_batch
from seq2seq.decoding.search import Limits, beam_search
from seq2seq.fast.allocator import keep_freed_memory
from seq2seq.fast.precision import choose_precision
from seq2seq.fast.side_by_side import in_batches
from seq2seq.model.attention import Sizes, build_attention
from seq2seq.model.decoder import LuongDecoder
from seq2seq.model.encoder import Encoder
from seq2seq.model.recurrent import Recurrent
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.text.tokenizer import BOS, EOS, PAD, UNK

FLAGS = "-beam_size 5 -batch_size 64 -batch_type sents -max_length 100 -max_length_ratio 0 -length_penalty none"


def convert(checkpoint: dict) -> Seq2Seq:
    """Return our model with OpenNMT-py's weights, whose ids 0 and 1 are `<unk>` and `<blank>`."""

    def ids_as_ours(rows: Tensor) -> Tensor:
        return torch.cat([rows[[1, 0]], rows[2:]])

    # their weights under our names
    theirs, generator, hidden = checkpoint["model"], checkpoint["generator"], 256
    ours = {
        "encoder.embedding.weight": ids_as_ours(theirs["encoder.embeddings.make_embedding.emb_luts.0.weight"]),
        "decoder.embedding.weight": ids_as_ours(theirs["decoder.embeddings.make_embedding.emb_luts.0.weight"]),
        "decoder.W_y.weight": ids_as_ours(generator["weight"]),
        "decoder.W_y.bias": ids_as_ours(generator["bias"]),
        "decoder.attention.W_a.weight": theirs["decoder.attn.linear_in.weight"].t(),  # it projects the query
        "decoder.W_c.weight": theirs["decoder.attn.linear_out.weight"],
        "decoder.W_c.bias": torch.zeros(hidden),
        "decoder.bridge.weight": torch.eye(2 * hidden),
        "decoder.bridge.bias": torch.zeros(2 * hidden),
    }
    for side in ("encoder", "decoder"):
        layer = {key.split(".")[-1]: value for key, value in theirs.items() if key.startswith(f"{side}.rnn.")}
        ours |= {f"{side}.recurrent.layers.0.{name}": value for name, value in layer.items()}

    # our model
    src, tgt = (nn.Embedding(len(ours[f"{side}.embedding.weight"]), hidden) for side in ("encoder", "decoder"))
    encoder = Encoder(src, Recurrent("lstm", hidden, hidden, bidirectional=True))
    attention, W_y = build_attention("general", Sizes(hidden, hidden)), nn.Linear(hidden, tgt.num_embeddings)
    recurrent, size = Recurrent("lstm", hidden, hidden), encoder.summary_size
    model = Seq2Seq(encoder, LuongDecoder(tgt, recurrent, attention, W_y, summary_size=size))
    model.load_state_dict(ours)
    return model.eval()


def translate(model: Seq2Seq, sources: list[list[int]]) -> list[list[int]]:
    """Return the token ids of the best hypothesis of each source; no token is forbidden, as in OpenNMT-py."""

    def search(sources: list[list[int]]) -> list[list[int]]:
        batch = make_batch([(source, [EOS]) for source in sources])
        limits = Limits(BOS, EOS, (), torch.full((len(sources),), 101))
        found = beam_search(model.step, model.encode(batch.src, batch.src_lengths), limits, beam=5)
        return [best[0].tokens for best in found]

    with choose_precision(torch.device("cpu"), "auto", "search.precision").settings():
        return in_batches(search, sources, len, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a checkpoint of OpenNMT-py")
    parser.add_argument("--folder", type=Path, default=Path("build/peers"), help="of peers.py (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="for both toolkits (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="times that both translate (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()  # as our commands do
    bench = Bench(args.folder.absolute(), args.threads)
    sys.path.insert(0, str(bench.folder / "stubs"))

    # the model and the sources
    checkpoint = torch.load(args.model, map_location="cpu", weights_only=False)  # our own file, made by peers.py
    model = convert(checkpoint)
    text = bench.folder / "data" / "test.de"
    known = {word: i for i, word in enumerate(checkpoint["vocab"]["src"])} | {"<unk>": UNK, "<blank>": PAD}
    sources = [
        [known.get(word, UNK) for word in line.split()] for line in text.read_text(encoding="utf-8").splitlines()
    ]
    words = ["<blank>", "<unk>", *checkpoint["vocab"]["tgt"][2:]]

    # both in turn
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    translate(model, sources[:256])
    for _ in range(args.rounds):
        start = time.perf_counter()
        found = translate(model, sources)
        seconds["ours"].append(time.perf_counter() - start)
        output = bench.folder / "same_weights.txt"
        command = f"-model {args.model.absolute()} -src {text} -output {output} {FLAGS} -report_time".split()
        _, log, _ = bench.run("opennmt", bench.folder / "opennmt" / "bin" / "onmt_translate", *command)
        seconds["theirs"].append(float(re.findall(r"Total translation time \(s\): ([\d.]+)", log)[0]))
        theirs = output.read_text(encoding="utf-8").splitlines()
        ours = [" ".join(words[i] for i in tokens) for tokens in found]
        if different := [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]]:
            sys.exit("\n".join(f"ours    {a}\ntheirs  {b}" for a, b in different))

    # the result
    tokens = f"{sum(len(tokens) + 1 for tokens in found):,}, </s> included"
    about = {"rounds": args.rounds, "threads": args.threads, "hypotheses": "all the same", "tokens": tokens}
    row = Row("search with OpenNMT-py's weights, s", {"seq2seq": seconds["ours"], "opennmt": seconds["theirs"]})
    keep(bench.folder, "translate-with-its-weights", about | machine_and_commit(), [row])
    print(f"{len(ours):,} hypotheses, all the same")


if __name__ == "__main__":
    main()
