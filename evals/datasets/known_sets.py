"""The table of known data sets: where each lies, its splits, and whether training may see its source."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSpec:
    """One known data set. `name` is its folder below the data folder.

    `test` are the splits to report, `dev` those to choose by. A source with one evaluation split that is trained on has
    it under both: what was chosen by it is no longer new to it.
    `is_zero_shot` says that training never sees the source; `unless_trained_on` names the folder whose `train` split
    would make it untrue.
    """

    name: str
    suite: str
    scenario: str
    licence: str
    test: tuple[str, ...] = ()
    dev: tuple[str, ...] = ()
    reader: str = "beir"
    is_zero_shot: bool = False
    unless_trained_on: str | None = None


KNOWN_SETS = (
    SetSpec(
        name="tool_retrieval/toole",
        suite="tools",
        scenario="tool",
        licence="MIT",
        test=("test_unseen", "test_multi"),
        dev=("dev",),
    ),
    SetSpec(
        name="tool_retrieval/sgd_intents",
        suite="tools",
        scenario="tool",
        licence="CC-BY-SA-4.0",
        test=("test",),
        dev=("dev",),
    ),
    SetSpec(
        name="tool_retrieval/tldr", suite="tools", scenario="tool", licence="CC-BY-4.0", test=("test",), dev=("dev",)
    ),
    SetSpec(
        name="tool_retrieval/sealtools",
        suite="tools",
        scenario="tool",
        licence="Apache-2.0",
        test=("test_in_domain", "test_out_domain"),
        dev=("dev",),
        is_zero_shot=True,
    ),
    SetSpec(
        name="tool_retrieval/stabletoolbench",
        suite="tools",
        scenario="tool",
        licence="Apache-2.0",
        test=("test",),
    ),
    SetSpec(
        name="conversational_search/doc2dial",
        suite="convsearch",
        scenario="convsearch",
        licence="CC-BY-3.0",
        test=("dev",),
        dev=("dev",),
    ),
    SetSpec(
        name="conversational_search/canard",
        suite="convsearch",
        scenario="convsearch",
        licence="CC-BY-SA-4.0",
        test=("dev",),
        dev=("dev",),
    ),
    SetSpec(
        name="conversational_search/sgd_entities",
        suite="convsearch",
        scenario="convsearch",
        licence="CC-BY-SA-4.0",
        test=("dev",),
        dev=("dev",),
    ),
    SetSpec(
        name="conversational_search/sgd_entities_new",
        suite="convsearch",
        scenario="convsearch",
        licence="CC-BY-SA-4.0",
        test=("test",),
    ),
    SetSpec(
        name="conversational_search/dstc11_t5",
        suite="convsearch",
        scenario="convsearch",
        licence="CDLA-Sharing-1.0",
        test=("test",),
        is_zero_shot=True,
        unless_trained_on="conversational_search/dstc11_t5",
    ),
    SetSpec(
        name="conversational_search/orsharc",
        suite="convsearch",
        scenario="convsearch",
        licence="CC-BY-SA-3.0",
        test=("test",),
        dev=("dev",),
        is_zero_shot=True,
    ),
    SetSpec(
        name="conversational_search/pacific",
        suite="convsearch",
        scenario="convsearch",
        licence="MIT",
        test=("dev",),
        is_zero_shot=True,
    ),
    SetSpec(
        name="knowledge/squad",
        suite="knowledge",
        scenario="qa",
        licence="CC-BY-SA-4.0",
        test=("test",),
        dev=("dev",),
    ),
    SetSpec(
        name="knowledge/tydiqa_en",
        suite="knowledge",
        scenario="qa",
        licence="Apache-2.0",
        test=("test",),
        dev=("dev",),
    ),
    SetSpec(name="knowledge/medquad", suite="knowledge", scenario="qa", licence="CC-BY-4.0", test=("test",)),
    SetSpec(
        name="knowledge/hotpotqa",
        suite="knowledge",
        scenario="qa",
        licence="CC-BY-SA-4.0",
        test=("test",),
        is_zero_shot=True,
    ),
    SetSpec(
        name="knowledge/scifact",
        suite="knowledge",
        scenario="qa",
        licence="CC-BY-4.0 (claims), ODC-By-1.0 (abstracts)",
        test=("test",),
    ),
    SetSpec(
        name="knowledge/pubmedqa",
        suite="knowledge",
        scenario="qa",
        licence="MIT",
        test=("test",),
        is_zero_shot=True,
    ),
    SetSpec(
        name="memory/memorybank_chat",
        suite="memory",
        scenario="chat",
        licence="MIT",
        reader="memory",
        test=("test",),
        is_zero_shot=True,
    ),
    SetSpec(
        name="memory/qmsum",
        suite="memory",
        scenario="lrlm",
        licence="MIT",
        reader="memory",
        test=("test",),
        dev=("val",),
    ),
    SetSpec(
        name="memory/crd3",
        suite="memory",
        scenario="lrlm",
        licence="CC-BY-SA-4.0",
        reader="memory",
        test=("test",),
        dev=("val",),
    ),
    SetSpec(
        name="demos/multitask",
        suite="demonstrations",
        scenario="icl",
        licence="differs by task, see tasks.json",
        reader="same_task",
        test=("seen",),
    ),
    SetSpec(
        name="demos/multitask",
        suite="demonstrations",
        scenario="icl",
        licence="differs by task, see tasks.json",
        reader="same_task",
        test=("new_task", "new_category"),
        is_zero_shot=True,
    ),
)
