import pytest

from rag_embedder import Scenario
from rag_embedder.errors import ConfigError
from rag_embedder.scenario import INSTRUCTION_SETS, SCENARIO_NAMES

# LLM-Embedder (arXiv 2310.07554, table 10), written out here a second time on purpose.
PUBLISHED = {
    "qa": ("Represent this query for retrieving relevant documents: ", "Represent this document for retrieval: "),
    "convsearch": (
        "Encode this query and context for searching relevant passages: ",
        "Encode this passage for retrieval: ",
    ),
    "chat": (
        "Embed this dialogue to find useful historical dialogues: ",
        "Embed this historical dialogue for retrieval: ",
    ),
    "lrlm": (
        "Embed this text chunk for finding useful historical chunks: ",
        "Embed this historical text chunk for retrieval: ",
    ),
    "icl": (
        "Convert this example into vector to look for useful examples: ",
        "Convert this example into vector for retrieval: ",
    ),
    "tool": (
        "Transform this user request for fetching helpful tool descriptions: ",
        "Transform this tool description for retrieval: ",
    ),
}


def test_the_six_instruction_pairs_are_those_of_the_paper_byte_for_byte():
    ours = INSTRUCTION_SETS["llm-embedder"]
    pairs = {name: (each.query_instruction, each.document_instruction) for name, each in ours.items()}
    assert pairs == PUBLISHED
    assert tuple(PUBLISHED) == SCENARIO_NAMES


def test_the_empty_set_has_the_same_names_and_no_instructions():
    pairs = {(each.query_instruction, each.document_instruction) for each in INSTRUCTION_SETS["none"].values()}
    assert pairs == {("", "")}
    assert tuple(INSTRUCTION_SETS["none"]) == SCENARIO_NAMES


def test_instruction_is_chosen_by_role():
    scenario = Scenario("mine", "q: ", "d: ")
    assert (scenario.instruction("query"), scenario.instruction("document")) == ("q: ", "d: ")


@pytest.mark.parametrize("name", ["", "a b", "_x", "a/b", "x" * 65, "é", "qa\n", None, 3])
def test_a_name_that_could_not_be_a_file_or_prompt_name_is_refused(name):
    with pytest.raises(ConfigError, match=r"scenario name"):
        Scenario(name)


@pytest.mark.parametrize("instruction", [None, 3, ["q: "]])
def test_an_instruction_that_is_not_text_is_refused(instruction):
    with pytest.raises(ConfigError, match=r"scenario 'x': the document instruction is .*expected str"):
        Scenario("x", "", instruction)


def test_an_instruction_with_a_lone_surrogate_is_refused():
    with pytest.raises(ConfigError, match=r"the query instruction holds a lone surrogate"):
        Scenario("x", "\ud800")
