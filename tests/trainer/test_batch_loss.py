"""From rows of a data set to a loss: the batch is what the sampler asked for, the loss what a plain loop gives."""

import pytest
import torch

from tests.trainer.fit_cases import make_recipe, make_stepper
from trainer.batch_loss import batch_loss
from trainer.collate import collate
from trainer.losses import LossSettings
from trainer.sampler import Batch


@pytest.fixture
def stepper(tmp_path):
    stepper = make_stepper(make_recipe(tmp_path))
    yield stepper
    stepper.close()


def make_batch(stepper, dataset="tool", rows=(0, 1, 2)):
    batch = Batch(dataset=dataset, epoch=0, rows=rows)
    return collate(stepper.kind, stepper.training_sets[dataset], batch, group_size=3, seed=7)


def contrastive_loop(queries, documents, batch):
    """Every other text that is no known positive is a negative, once per column that is not a copy of an own one."""
    rows = []
    for place, group in enumerate(batch.groups):
        known = {group.documents[0]}
        texts = [text for other in batch.groups for text in other.documents]
        scores = documents @ queries[place] / 0.05
        own = range(3 * place, 3 * place + 3)
        kept = [
            column for column, text in enumerate(texts) if column in own or text not in known | set(group.documents)
        ]
        rows.append(torch.logsumexp(scores[kept], 0) - scores[3 * place])
    return torch.stack(rows).mean()


def test_collated_batch_has_instructions_queries_first_and_all_positives(stepper):
    batch = make_batch(stepper)
    queries = stepper.encoder.tokenize([group.query for group in batch.groups], "tool", "query")
    documents = stepper.encoder.tokenize(
        [text for group in batch.groups for text in group.documents], "tool", "document"
    )
    assert batch.token_ids == [*queries, *documents]
    assert (batch.num_queries, batch.group_size) == (3, 3)
    assert batch.rewards is None  # contrastive reads none
    assert batch.documents.shape == (9, 2)
    # the positives of a query are its own slot 0
    assert torch.equal(batch.positives[:, 0], batch.documents[::3])


def test_rewards_go_with_their_documents(stepper):
    batch = make_batch(stepper, "qa")
    assert batch.rewards is not None
    for row, group in zip(batch.rewards.tolist(), batch.groups, strict=True):
        example = next(e for e in stepper.training_sets["qa"].examples if e.id == group.query_id)
        known = {each.text: reward for each, reward in zip(example.candidates, example.rewards, strict=True)}
        assert row == [known[text] for text in group.documents]


def test_same_rows_give_the_same_batch_and_another_epoch_another(stepper):
    one, same = make_batch(stepper), make_batch(stepper)
    assert one.token_ids == same.token_ids
    other = collate(
        stepper.kind,
        stepper.training_sets["tool"],
        Batch(dataset="tool", epoch=1, rows=(0, 1, 2)),
        group_size=3,
        seed=7,
    )
    assert one.token_ids != other.token_ids


@pytest.mark.parametrize("dims", [(), (4,), (4, 16)])
def test_loss_is_that_of_a_loop_and_the_mean_over_dimensions(stepper, dims):
    batch = make_batch(stepper)
    generator = torch.Generator().manual_seed(3)
    vectors = torch.nn.functional.normalize(torch.randn(12, 32, generator=generator), dim=-1)
    options = LossSettings(student_temperature=0.05)
    found = batch_loss(vectors, batch, options, dims=dims)
    expected = []
    for dim in (*dims, 32):
        cut = torch.nn.functional.normalize(vectors[:, :dim], dim=-1)
        expected.append(contrastive_loop(cut[:3], cut[3:], batch))
    torch.testing.assert_close(found.loss, torch.stack(expected).mean(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.rows.mean(), found.loss)
    torch.testing.assert_close(found.parts["contrastive"], found.loss)
