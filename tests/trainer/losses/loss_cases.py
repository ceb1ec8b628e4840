"""Batches for the tests of the losses, and each loss as a plain loop over queries and candidates."""

import math

import torch

from trainer.losses.batch_scores import student_scores


def vector_batch(dtype=torch.float64):
    """Two queries with three candidates each, at temperature 0.1: scores, own, rewards, mask."""
    queries = torch.tensor([[1.0, 0, 0], [0, 1, 0]], dtype=dtype)
    documents = torch.tensor(
        [[0.9, 0.1, 0.2], [0.5, 0.5, 0.1], [0.1, 0.2, 0.9], [0.2, 0.8, 0.1], [0.4, 0.6, 0.3], [0.9, 0.1, 0.1]],
        dtype=dtype,
    )
    documents = documents / documents.norm(dim=1, keepdim=True)
    rewards = torch.tensor([[2.0, 1.0, -1.0], [0.5, 0.4, 0.3]], dtype=dtype)
    scores = student_scores(queries, documents, temperature=0.1)
    return scores, torch.arange(6).reshape(2, 3), rewards, torch.ones(2, 6, dtype=torch.bool)


def random_batch(seed, *, queries=3, group=4, others=5, integer_rewards=False, masked=0.2):
    """A batch with own columns anywhere, some documents masked; double precision."""
    generator = torch.Generator().manual_seed(seed)
    num_documents = queries * group + others
    scores = 4 * torch.randn(queries, num_documents, generator=generator, dtype=torch.float64)
    own = torch.stack([torch.randperm(num_documents, generator=generator)[:group] for _ in range(queries)])
    rewards = torch.randn(queries, group, generator=generator, dtype=torch.float64)
    if integer_rewards:
        rewards = torch.randint(-1, 2, (queries, group), generator=generator).double()
    mask = torch.rand(queries, num_documents, generator=generator) > masked
    mask[torch.arange(queries), own[:, 0]] = True
    return scores, own, rewards, mask


def logsumexp(values):
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


def softmax(values):
    return [math.exp(value - logsumexp(values)) for value in values]


def slots_kept(own, mask, b):
    return [i for i in range(own.shape[1]) if mask[b, own[b, i]]]


def contrastive_loop(scores, own, rewards, mask):
    rows = []
    for b, row in enumerate(scores.tolist()):
        positive = own[b, 0].item()
        compared = [score for j, score in enumerate(row) if mask[b, j] or j == positive]
        rows.append(logsumexp(compared) - row[positive])
    return rows


def cross_entropy_loop(scores, own, rewards, mask):
    rows = []
    for b, row in enumerate(scores.tolist()):
        kept = {0, *slots_kept(own, mask, b)}
        rows.append(logsumexp([row[own[b, i]] for i in kept]) - row[own[b, 0]])
    return rows


def kl_loop(scores, own, rewards, mask, *, temperature=1.0):
    rows = []
    for b in range(len(own)):
        kept = slots_kept(own, mask, b)
        teacher = softmax([rewards[b, i].item() / temperature for i in kept])
        student = softmax([scores[b, own[b, i]].item() for i in kept])
        rows.append(sum(p * math.log(p / q) for p, q in zip(teacher, student, strict=True)))
    return rows


def distillation_loop(scores, own, rewards, mask, *, temperature=1.0, is_below):
    """`is_below(reward_i, slot_i, reward_j, slot_j)` says whether candidate j is a negative of candidate i."""
    rows = []
    for b in range(len(own)):
        row, columns, reward = scores[b].tolist(), own[b].tolist(), rewards[b].tolist()
        kept = slots_kept(own, mask, b)
        weights = softmax([reward[i] / temperature for i in kept])
        in_batch = [score for j, score in enumerate(row) if mask[b, j] and j not in columns]
        total = 0.0
        for weight, i in zip(weights, kept, strict=True):
            lower = [row[columns[j]] for j in kept if is_below(reward[i], i, reward[j], j)]
            total += weight * (logsumexp([row[columns[i]], *lower, *in_batch]) - row[columns[i]])
        rows.append(total)
    return rows


def by_order(reward_i, i, reward_j, j):
    return reward_j < reward_i or (reward_j == reward_i and j > i)


def by_reward(reward_i, i, reward_j, j):
    return reward_j < reward_i


def by_order_after_the_positive(reward_i, i, reward_j, j):
    return j != 0 and (i == 0 or by_order(reward_i, i, reward_j, j))


LOOPS = {
    "contrastive": lambda *batch, **_: contrastive_loop(*batch),
    "cross_entropy": lambda *batch, **_: cross_entropy_loop(*batch),
    "kl_distillation": kl_loop,
    "stabilized_distillation": lambda *batch, **kw: distillation_loop(*batch, is_below=by_order, **kw),
    "graded_distillation": lambda *batch, **kw: distillation_loop(*batch, is_below=by_reward, **kw),
}
