"""One training step of a tiny encoder: `python gloo_step.py RANK WORLD_SIZE STORE_FILE OUT_FILE`.

Each of WORLD_SIZE processes takes its share of the same 4 queries with 3 candidates and writes, for every loss, the
mean loss over processes and the mean gradients over processes, which data-parallel training applies.
"""

import sys

import torch
from torch import distributed
from torch.nn.functional import normalize

from trainer.distributed import gather_with_gradient, mean_over_ranks, own_columns, rank, world_size
from trainer.losses import LOSSES, LossSettings
from trainer.losses.batch_scores import student_scores
from trainer.losses.weighted_sum import weighted_loss
from trainer.masking import document_hashes, negatives_mask

QUERIES, GROUP, DIM = 4, 3, 5
WEIGHTS = [{name: 1.0} for name in LOSSES] + [{"contrastive": 0.2, "kl_distillation": 1.0}]
# The last query's positive is also a candidate of the first: a copy that lies in another process.
TEXTS = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "b", "k", "k"]


def make_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(DIM, 8), torch.nn.Tanh(), torch.nn.Linear(8, DIM)).double()


def run_step(model, weights):
    generator = torch.Generator().manual_seed(1)
    queries = torch.randn(QUERIES, DIM, generator=generator, dtype=torch.float64)
    documents = torch.randn(QUERIES, GROUP, DIM, generator=generator, dtype=torch.float64)
    rewards = torch.randint(0, 3, (QUERIES, GROUP), generator=generator).double()
    share = QUERIES // world_size()
    mine = slice(rank() * share, (rank() + 1) * share)
    texts = TEXTS[mine.start * GROUP : mine.stop * GROUP]

    vectors = normalize(model(torch.cat([queries[mine], documents[mine].flatten(0, 1)])), dim=1)
    all_documents = gather_with_gradient(vectors[share:])
    scores = student_scores(vectors[:share], all_documents, temperature=0.1)
    own = own_columns(share, GROUP)
    mask = negatives_mask(gather_with_gradient(document_hashes(texts)), own)
    loss = weighted_loss(scores, own, rewards[mine], mask, options=LossSettings(weights=weights)).loss
    loss.backward()
    gradients = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    return mean_over_ranks(loss), mean_over_ranks(gradients), mask.sum()


def main(out):
    torch.save([run_step(make_model(), weights) for weights in WEIGHTS], out)


if __name__ == "__main__":
    this_rank, size, store, out_file = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=this_rank, world_size=size)
    main(out_file)
    distributed.destroy_process_group()
