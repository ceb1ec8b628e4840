"""How well the vectors of held-out passages predict their words, and the words that follow."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch

from trainer.pretraining.batches import token_batches
from trainer.pretraining.layout import JointSequence
from trainer.pretraining.model import JointDecoder
from trainer.pretraining.objective import Objective


@torch.no_grad()
def measure(
    decoder: JointDecoder, sequences: Sequence[JointSequence], objective: Objective, *, num_slots: int
) -> dict[str, float]:
    """Means over passages by task, and over tokens of `lm_loss`, which is there where it is trained.

    `self_loss`, `next_loss` are L(e, T) in nats; `self_recall`, `next_recall` the share of target ids among the |T|
    likeliest entries.
    """
    values: dict[str, list[float]] = defaultdict(list)
    nats, num_tokens = 0.0, 0
    for batch in token_batches(sequences, max_tokens=decoder.batch_tokens, num_slots=num_slots):
        terms = decoder.terms(batch, objective, with_recalls=True)
        nats, num_tokens = nats + float(terms.lm), num_tokens + len(batch.read)
        for task, each in terms.each.items():
            values[f"{task}_loss"] += each.tolist()
            values[f"{task}_recall"] += terms.recalls[task].tolist()
    found = {name: sum(each) / len(each) for name, each in values.items()}
    return found | ({"lm_loss": nats / num_tokens} if objective.lm_weight and num_tokens else {})


def table(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """A few lines for people: one per data set."""
    columns = list(dict.fromkeys(name for values in metrics.values() for name in values))
    lines = [f"{'held out':<20}" + "".join(f"{column:>13}" for column in columns)]
    for name, values in metrics.items():
        cells = (f"{values[column]:.4f}" if column in values else "-" for column in columns)
        lines.append(f"{name:<20}" + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(lines)
