"""The search for the translations of texts under what a user asks of them: a prefix, words that they must not hold."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from seq2seq.decoding.constraints import Ban, Constraint, begin, sentences_of
from seq2seq.decoding.engine import Engine, Outcome
from seq2seq.decoding.translation import Options, per_text
from seq2seq.text.sentences import Part

Item = TypeVar("Item")


def search_texts(engine: Engine, texts: list[list[Part]], options: Options) -> list[list[Outcome]]:
    """Search for the translations of the sentences of each text, under the constraints that the options ask for."""
    sources = engine.encode([part.text for text in texts for part in text])
    prefixes = per_text(options.prefix, len(texts), str, "prefix")
    pieces = per_text(options.prefix_tokens, len(texts), list, "prefix_tokens")
    config = engine.search
    if not any((options.ban, config.no_repeat_ngram, config.min_length, *prefixes, *pieces)):
        return grouped(engine.hypothesize(sources, options), texts)

    # what each sentence obeys, as far as that is known before the search
    spelling, encoded = engine.spelling, grouped(sources, texts)
    ban = Ban(spelling, options.ban) if options.ban else None
    shared = Constraint(spelling, (), None, ban, config.no_repeat_ngram, config.min_length)
    rules, begun = list[Constraint](), []
    for number, (text, source) in enumerate(zip(texts, encoded, strict=True)):
        of_text, full = [shared] * len(text), [i for i, ids in enumerate(source) if ids]
        for i, ids in zip(full, sentences_of(spelling, pieces[number] or [], len(full)), strict=False):
            of_text[i] = replace(shared, tokens=ids)
        rest = begin(spelling, text, source, prefixes[number] or "")
        for i, prefix in islice(rest, 1):  # the first sentence, if there is a prefix
            of_text[i] = replace(shared, prefix=prefix)
            begun.append((number, i, rest))
        rules += of_text
    outcomes = grouped(engine.hypothesize(sources, options, rules), texts)

    # where a sentence ends within the prefix, the next one begins with the rest
    decode = engine.tokenizers.tgt.decode
    for number, i, rest in begun:
        found = outcomes[number]
        with suppress(StopIteration):
            while True:
                written = decode(found[i].hypotheses[0].tokens)
                following, prefix = rest.send(written)
                alike = [h for h in found[i].hypotheses if decode(h.tokens) == written]
                found[i], i = found[i]._replace(hypotheses=alike), following
                rule = replace(shared, prefix=prefix)
                (found[i],) = engine.hypothesize([encoded[number][i]], options, [rule])
    return outcomes


def grouped(items: Iterable[Item], texts: Sequence[Sequence[Part]]) -> list[list[Item]]:
    """Return the items of each text, of which there is one for each part."""
    each = iter(items)
    return [list(islice(each, len(text))) for text in texts]
