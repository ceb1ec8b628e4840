"""The papers' baselines by name: where the weights are, and how the model was meant to be used.

Sources: the models' own cards, and the evaluation of LLM-Embedder (arXiv 2310.07554, appendix) for the settings that
its table was made with. Nothing is downloaded before a preset is asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rag_embedder.scenario import SCENARIO_NAMES, Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Hub id and settings of one published encoder; None leaves a setting to the model's own files.

    `normalize` False scores by the inner product of the rows as they are. `library` "sentence-transformers" is for
    models with modules of their own, such as a dense layer, that `rag_embedder` does not load. `engine`, `dtype` and
    `prompt_form` are as for `Embedder.load`; published decoders know their form by their hub id.
    """

    model: str
    pooling: str | None = None
    instructions: str | Sequence[Scenario] | None = "none"
    normalize: bool = True
    library: str = "rag_embedder"
    engine: str = "auto"
    dtype: str = "auto"
    prompt_form: str | None = None


def _same(query: str, document: str = "") -> tuple[Scenario, ...]:
    return tuple(Scenario(name, query, document) for name in SCENARIO_NAMES)


_INSTRUCTOR = (
    Scenario(
        "qa",
        "Represent the query for retrieving supporting documents: ",
        "Represent the document for retrieval: ",
    ),
    Scenario(
        "convsearch",
        "Represent the query and context for retrieving supporting passages: ",
        "Represent the passage for retrieval: ",
    ),
    Scenario(
        "chat",
        "Represent the dialogue for retrieving useful historical dialogues: ",
        "Represent the historical dialogue for retrieval: ",
    ),
    Scenario(
        "lrlm",
        "Represent the text chunk for retrieving useful historical chunks: ",
        "Represent the historical text chunk for retrieval: ",
    ),
    Scenario(
        "icl",
        "Represent the example for retrieving duplicate examples: ",
        "Represent the example for retrieval: ",
    ),
    Scenario(
        "tool",
        "Represent the user request for retrieving duplicate examples: ",
        "Represent the tool description for retrieval: ",
    ),
)

PRESETS: Mapping[str, Preset] = {
    "minilm": Preset(model="sentence-transformers/all-MiniLM-L6-v2"),
    "llm-embedder": Preset(model="BAAI/llm-embedder", pooling="cls", instructions="llm-embedder"),
    "bge-base": Preset(
        model="BAAI/bge-base-en-v1.5",
        pooling="cls",
        instructions=_same("Represent this sentence for searching relevant passages: "),
    ),
    "e5-base": Preset(model="intfloat/e5-base-v2", pooling="mean", instructions=_same("query: ", "passage: ")),
    "contriever": Preset(model="facebook/contriever-msmarco", pooling="mean", normalize=False),
    "retromae": Preset(model="Shitao/RetroMAE_BEIR", pooling="cls", normalize=False),
    "llm-r": Preset(model="intfloat/llm-retriever-base", pooling="mean"),
    "api-retriever": Preset(model="ToolBench/ToolBench_IR_bert_based_uncased", pooling="mean", normalize=False),
    "aar": Preset(model="OpenMatch/AAR-ANCE", pooling="cls", normalize=False),
    "instructor-base": Preset(
        model="hkunlp/instructor-base", instructions=_INSTRUCTOR, library="sentence-transformers"
    ),
    "llara-passage": Preset(model="BAAI/LLARA-passage"),
    "llara-document": Preset(model="BAAI/LLARA-document"),
    "llara-beir": Preset(model="BAAI/LLARA-beir"),
    "repllama": Preset(model="castorini/repllama-v1-7b-lora-passage"),
}
"""Name -> preset. `minilm` is the base of the shipped encoder as published, without instructions."""
