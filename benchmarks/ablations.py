"""What each idea of the papers buys: one run per idea, of the same data, budget and seed, compared on dev queries.

    python benchmarks/ablations.py [--out runs/ablations] [--only kl,self-paced] [--into docs/results.md]

Every run is `trainer/recipes/ablation.toml` with a few settings changed (`RUNS` below). A run that is finished is not
made again, one that was interrupted goes on. The table is that of `python -m trainer.compare`: nDCG@10, each data set
counting the same, 95 % intervals over queries, against the contrastive run. The rewards come from
`python -m trainer.score` and lie beside the mined files, in `ablation/likelihood/` and `ablation/rank_aware/`;
docs/unified.md has the commands.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from evals.report.insertion import fill_blocks
from trainer.compare import block, compared, table
from trainer.examples import Candidate, Example
from trainer.fit import fit_recipe
from trainer.reading import read_examples, write_examples
from trainer.recipe import load_recipe
from trainer.recipe_file import recipe_path
from trainer.settings import DataSettings, Recipe

RECIPE = recipe_path("ablation")
MINED = Path("ablation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a run has of its own: `loss` and `rewards` are for all data sets, `mixed` makes one set of them."""

    overrides: Sequence[str] = ()
    loss: Mapping[str, float] = field(default_factory=lambda: {"contrastive": 1.0})
    rewards: str | None = None
    mixed: bool = False


RUNS = {
    "contrastive": Changes(),
    "kl": Changes(loss={"kl_distillation": 1.0}, rewards="likelihood"),
    "stabilised": Changes(loss={"stabilized_distillation": 1.0}, rewards="likelihood"),
    "graded, likelihood": Changes(loss={"graded_distillation": 1.0}, rewards="likelihood"),
    "graded, rank-aware": Changes(loss={"graded_distillation": 1.0}, rewards="rank_aware"),
    "contrastive + 0.2 kl": Changes(loss={"contrastive": 1.0, "kl_distillation": 0.2}, rewards="likelihood"),
    "with instructions": Changes(overrides=["model.instructions=llm-embedder"]),
    "mixed batches": Changes(mixed=True),
    "self-paced rate": Changes(overrides=["train.self_paced=true", "train.self_paced_every=28"]),
    "LoRA rank 16": Changes(overrides=["model.lora_rank=16", "train.learning_rate=5e-4"]),
    "questions only": Changes(overrides=['train.scenarios=["qa"]']),
    "conversations only": Changes(overrides=['train.scenarios=["convsearch"]']),
    "memory only": Changes(overrides=['train.scenarios=["chat", "lrlm"]']),
    "demonstrations only": Changes(overrides=['train.scenarios=["icl"]']),
    "tools only": Changes(overrides=['train.scenarios=["tool"]']),
}

TEMPERATURES = {"likelihood": None, "rank_aware": 1.0}
"""Of the rewards: None is what the recipe has for each set, a third of the median spread of its likelihoods."""

LABELS_ONLY = ("scifact",)
"""Sets that keep their labels: the language model tells their positives from mined negatives no better than chance."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--only", help="names, separated by commas; a name that itself has one is written without it")
    parser.add_argument("--into", type=Path, help="Markdown file with a block `<!-- results: runs -->`")
    arguments = parser.parse_args()
    asked = None if arguments.only is None else set(arguments.only.split(","))
    names = [name for name in RUNS if asked is None or name.replace(",", "") in asked]
    for name in names:
        out = arguments.out / name
        if not is_finished(out):
            recipe = recipe_of(RUNS[name], out)
            fit_recipe(recipe, resume=out.exists())
    finished = [arguments.out / name for name in RUNS if is_finished(arguments.out / name)]
    rows = compared(finished)
    print(table(rows))
    if arguments.into:
        fill_blocks(arguments.into, {"runs": block(rows)})


def is_finished(out: Path) -> bool:
    return any((out / "dev").glob("step-[1-9]*.json"))


def recipe_of(changes: Changes, out: Path) -> Recipe:
    """The common recipe with the changes of one run."""
    recipe = load_recipe(RECIPE, [*changes.overrides, f"train.out={out}"])
    recipe = replace(recipe, data=tuple(taught(settings, changes) for settings in recipe.data))
    return in_one_set(recipe) if changes.mixed else recipe


def taught(settings: DataSettings, changes: Changes) -> DataSettings:
    """One data set with the loss of a run and the rewards for it."""
    if not settings.is_trained or settings.name in LABELS_ONLY or changes.rewards is None:
        return settings
    return replace(
        settings,
        loss=changes.loss,
        path=str(MINED / changes.rewards / settings.name),
        reward_temperature=TEMPERATURES[changes.rewards] or settings.reward_temperature,
    )


def in_one_set(recipe: Recipe) -> Recipe:
    """All training sets as one, so that a batch has queries of several: possible because there are no instructions."""
    path = MINED / "mixed.jsonl.gz"
    trained = [settings for settings in recipe.data if settings.is_trained]
    write_examples(
        [renamed(example, settings.name) for settings in trained for example in read_examples(settings.path)], path
    )
    measured = [replace(settings, weight=0.0) for settings in recipe.data if settings.dev]
    one = replace(trained[0], name="all", path=str(path), dev=None)
    return replace(recipe, data=(one, *measured))


def renamed(example: Example, name: str) -> Example:
    """Ids of several data sets kept apart."""
    candidates: list[Candidate] = [replace(each, id=f"{name}/{each.id}") for each in example.candidates]
    return replace(example, id=f"{name}/{example.id}", candidates=tuple(candidates))


if __name__ == "__main__":
    main()
