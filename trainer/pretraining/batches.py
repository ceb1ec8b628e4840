"""Joint sequences to the batches that go through a model together."""

from collections.abc import Iterator, Sequence

from trainer.pretraining.layout import JointBatch, JointSequence


def token_batches(sequences: Sequence[JointSequence], *, max_tokens: int, num_slots: int) -> Iterator[JointBatch]:
    """Batches of at most `max_tokens` tokens, or of one sequence; those of one shape come together."""
    part: list[JointSequence] = []
    num_tokens = 0
    for sequence in sorted(sequences, key=lambda sequence: sequence.shape):
        if part and num_tokens + sequence.shape.length > max_tokens:
            yield JointBatch.of(part, num_slots=num_slots)
            part, num_tokens = [], 0
        part.append(sequence)
        num_tokens += sequence.shape.length
    if part:
        yield JointBatch.of(part, num_slots=num_slots)
