"""Sampling: translations drawn at random. The model appears as a `step`, as in search.py."""

import torch

from seq2seq.decoding.search import Hypothesis, Limits, S, Step, forbid, score_dtype
from seq2seq.decoding.translation import Sampling


def sample(
    step: Step[S], state: S, limits: Limits, sampling: Sampling, generator: torch.Generator
) -> list[list[Hypothesis]]:
    """Draw one hypothesis for each sentence, token by token from softmax(logits / temperature).

    Scores are the model's own log-probabilities, before the temperature and the truncation that `Sampling` describes.
    """
    device = limits.max_lengths.device
    finished: list[list[Hypothesis]] = [[] for _ in limits.max_lengths]
    sentence = torch.arange(len(finished), device=device)  # the sentences that are still in the batch
    tokens = torch.full((len(finished), 1), limits.bos, device=device)
    scores = torch.zeros(len(finished), dtype=score_dtype(device), device=device)

    for _ in range(int(limits.max_lengths.max())):
        # score the next tokens, and forbid some
        log_probs, state = step(tokens[:, -1], state, torch.arange(len(tokens), device=device))
        forbid(log_probs, limits, sentence, tokens)

        # the probabilities of the tokens to draw from, 0 for all others; rows need not sum to 1
        probs, ranked = (log_probs / sampling.temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
        keep = probs.cumsum(-1) - probs < sampling.top_p  # the mass of the more probable tokens
        if sampling.top_k > 0:
            keep[:, sampling.top_k :] = False
        probs = torch.zeros_like(probs).scatter(1, ranked, probs * keep)

        # draw a token for each sentence; without numbers there is nothing to draw from
        if probs.isnan().any():
            break
        drawn = torch.multinomial(probs, 1, generator=generator)
        scores = scores + log_probs.gather(1, drawn).squeeze(1)
        tokens = torch.cat([tokens, drawn], dim=1)

        # set finished hypotheses aside
        ended = tokens[:, -1] == limits.eos
        for i in ended.nonzero().flatten().tolist():
            score = scores[i].item()
            finished[int(sentence[i])].append(Hypothesis(tokens[i, 1:-1].tolist(), score, score))

        # drop finished sentences
        if ended.all():
            break
        kept = (~ended).nonzero().flatten()
        state = state.select(kept, kept if ended.any() else None)
        sentence, tokens, scores = sentence[kept], tokens[kept], scores[kept]
    return finished
