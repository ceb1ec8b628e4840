"""The README.md of an exported model: how to use it, what it was trained on, what it scores and what it cannot do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rag_embedder.model_folder import ModelSettings
from rag_embedder.model_source import BASE_HUB_ID
from rag_embedder.registry import unknown_name
from rag_embedder.reranker.folder import RerankerSettings
from trainer.data_report import DATA
from trainer.recipe import recipe_to_toml
from trainer.runlog import RUN
from trainer.settings import Recipe

_NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Licences:
    """What may be done with the weights, and with each data set, by name."""

    model: str = _NOT_STATED
    data: Mapping[str, str] = field(default_factory=dict)


def model_card(
    run: Path,
    recipe: Recipe,
    state: Mapping[str, Any],
    *,
    settings: ModelSettings,
    base: str,
    licences: Licences,
    delta_bits: int | None = None,
) -> str:
    """Markdown from what the run wrote into its folder; `delta_bits` if the weights are quantised differences.

    Raises:
        ConfigError: if a licence names a data set that the run did not have.
    """
    sets = _sets(run, licences)
    parts = [
        _front_matter(licences, settings, is_delta=delta_bits is not None),
        f"# {settings.name}\n\nAn encoder for retrieval by LLM agents, {settings.training_state}. Weights: licence "
        f"{licences.model}. Base: {base}.",
        _usage(settings, delta_bits),
        _data(sets, licences),
        _metrics(state, "whose candidates are the only documents"),
        _limits(settings, sets, recipe),
        _recipe(run, recipe),
    ]
    return "\n\n".join(parts) + "\n"


def reranker_card(
    run: Path,
    recipe: Recipe,
    state: Mapping[str, Any],
    *,
    settings: RerankerSettings,
    base: str,
    licences: Licences,
) -> str:
    """As `model_card`, for a model that scores pairs."""
    sets = _sets(run, licences)
    stated = [] if licences.model == _NOT_STATED else [f"license: {json.dumps(licences.model)}"]
    parts = [
        "\n".join(["---", "library_name: transformers", "pipeline_tag: text-ranking", *stated, "---"]),
        f"# {settings.name}\n\nA reranker, {settings.training_state}. Weights: licence {licences.model}. Base: {base}.",
        f"""## Use

```python
from rag_embedder import Reranker

reranker = Reranker.load("FOLDER")
print(reranker.score("query", ["text", "another text"]))
```

Pairs are read with the template "{settings.template}", at most {settings.max_length} tokens of both together; a text
that is longer is cut at its end.""",
        _data(sets, licences),
        _metrics(state, "each example's own candidates were ordered"),
        f"## Limits\n\n- Trained for {', '.join(sorted({each['scenario'] for each in sets}))}.\n- Scores order the "
        "texts of one query; they are no probabilities."
        + ("\n- Some data is made up to try the machine: this model is of no use." if _is_made_up(sets) else ""),
        _recipe(run, recipe),
    ]
    return "\n\n".join(parts) + "\n"


def _sets(run: Path, licences: Licences) -> list[dict[str, Any]]:
    sets = json.loads((run / DATA).read_text(encoding="utf-8"))
    unknown = sorted(licences.data.keys() - {each["name"] for each in sets})
    if unknown:
        raise unknown_name("data set with a licence:", unknown[0], [each["name"] for each in sets])
    return sets


def _recipe(run: Path, recipe: Recipe) -> str:
    origin = json.loads((run / RUN).read_text(encoding="utf-8"))[-1]
    return (
        f"## Recipe\n\nCommit {origin['commit']}, {origin['date']}, torch {origin['versions']['torch']}.\n\n"
        f"```toml\n{recipe_to_toml(recipe).strip()}\n```"
    )


def _is_made_up(sets: list[dict[str, Any]]) -> bool:
    return any(each["path"].startswith("smoke:") for each in sets)


def _front_matter(licences: Licences, settings: ModelSettings, *, is_delta: bool) -> str:
    library = "sentence-transformers" if settings.prompt_form is None else "rag-embedder"
    whole, delta = [f"library_name: {library}"], ["library_name: rag-embedder", f"base_model: {BASE_HUB_ID}"]
    stated = [] if licences.model == _NOT_STATED else [f"license: {json.dumps(licences.model)}"]
    lines = [*(delta if is_delta else whole), "pipeline_tag: sentence-similarity", *stated]
    return "\n".join(["---", *lines, "---"])


def _usage(settings: ModelSettings, delta_bits: int | None) -> str:
    scenario = next(iter(settings.scenarios))
    folder, layout = "FOLDER", "Or with sentence-transformers: "
    if delta_bits is not None:
        folder = "WHOLE"
        layout = f"""The folder holds the differences to {BASE_HUB_ID}, in {delta_bits} bits, which are added to its
weights at load; the figures below are of the weights before they were rounded. For sentence-transformers write
the whole model first, `embedder.save("WHOLE")`: """
    usage = f"""{layout}`SentenceTransformer("{folder}").encode(texts, prompt_name="{scenario}_query")`, and
`"{scenario}_document"` for documents."""
    if settings.prompt_form is not None:
        usage = f"A decoder: the query is read as `{settings.prompt_form.query.around('QUERY')}`, a document as\n" + (
            f"`{settings.prompt_form.document.around('DOCUMENT')}`. Other libraries must put the same around texts."
        )
    return f"""## Use

```python
from rag_embedder import Embedder

embedder = Embedder.load("FOLDER")
queries = embedder.encode_queries(["..."], scenario="{scenario}")
documents = embedder.encode_documents(["..."], scenario="{scenario}")
```

{usage} Scenarios: {", ".join(settings.scenarios)}. At most {settings.max_length} tokens
of a text are read, its instruction included."""


def _data(sets: list[dict[str, Any]], licences: Licences) -> str:
    rows = ["| data set | scenario | examples | losses | licence | SHA-256 |", "|---|---|---|---|---|---|"]
    for each in sets:
        losses = " + ".join(f"{weight:g} {name}" for name, weight in each["loss"].items())
        licence = licences.data.get(each["name"], _NOT_STATED)
        cells = [each["name"], each["scenario"], str(each["examples"]), losses, licence, f"`{each['sha256'][:16]}`"]
        rows.append(f"| {' | '.join(cells)} |")
    return "## Training data\n\n" + "\n".join(rows)


def _metrics(state: Mapping[str, Any], how: str) -> str:
    progress = state["progress"]
    if not progress["metrics"]:
        return "## Metrics\n\nNothing was evaluated during training."
    rows = ["| scenario | base | this model |", "|---|---|---|"]
    for name, value in progress["metrics"].items():
        base = progress["base_metrics"].get(name)
        rows.append(f"| {name} | {'' if base is None else f'{base:.4f}'} | {value:.4f} |")
    return (
        f"## Metrics\n\nnDCG@10 on the dev splits, {how}; they also chose this "
        f"checkpoint, step {state['step']}. Not comparable with test figures over whole corpora.\n\n" + "\n".join(rows)
    )


def _limits(settings: ModelSettings, sets: list[dict[str, Any]], recipe: Recipe) -> str:
    trained = sorted({each["scenario"] for each in sets})
    others = [name for name in settings.scenarios if name not in trained]
    lines = [f"- Trained for {', '.join(trained)}" + (f"; not for {', '.join(others)}." if others else ".")]
    if recipe.train.matryoshka_dims:
        dims = ", ".join(map(str, recipe.train.matryoshka_dims))
        lines.append(f"- Vectors may be cut to their first {dims} components and normalised again.")
    else:
        lines.append("- Vectors are not meant to be cut to fewer components.")
    if _is_made_up(sets):
        lines.append("- Some data is made up to try the machine: this model is of no use.")
    lines.append("- A text longer than the model reads is cut at its end.")
    return "## Limits\n\n" + "\n".join(lines)
