"""A scenario is one kind of retrieval need: an instruction for its queries and one for its documents."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rag_embedder.errors import ConfigError

Role = Literal["query", "document"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Instructions that are put, by plain concatenation, before the texts of one kind of retrieval.

    Raises:
        ConfigError: if the name is not made of letters, digits, `_` and `-`, or an instruction is not valid text.
    """

    name: str
    query_instruction: str = ""
    document_instruction: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", self.name):
            raise ConfigError(
                f"scenario name {self.name!r} cannot be used; expected 1 to 64 letters, digits, '_' or '-'."
            )

        for role in ("query", "document"):
            _check_instruction(self.name, role, self.instruction(role))

    def instruction(self, role: Role) -> str:
        """The instruction for one role."""
        return self.query_instruction if role == "query" else self.document_instruction


def _check_instruction(name: str, role: Role, instruction: object) -> None:
    if not isinstance(instruction, str):
        raise ConfigError(
            f"scenario {name!r}: the {role} instruction is {type(instruction).__name__}; expected str ('' for none)."
        )
    if re.search("[\ud800-\udfff]", instruction):
        raise ConfigError(f"scenario {name!r}: the {role} instruction holds a lone surrogate; expected valid Unicode.")


# LLM-Embedder (arXiv 2310.07554, table 10). The published checkpoint depends on every byte, trailing spaces included.
_LLM_EMBEDDER = (
    Scenario(
        "qa",
        "Represent this query for retrieving relevant documents: ",
        "Represent this document for retrieval: ",
    ),
    Scenario(
        "convsearch",
        "Encode this query and context for searching relevant passages: ",
        "Encode this passage for retrieval: ",
    ),
    Scenario(
        "chat",
        "Embed this dialogue to find useful historical dialogues: ",
        "Embed this historical dialogue for retrieval: ",
    ),
    Scenario(
        "lrlm",
        "Embed this text chunk for finding useful historical chunks: ",
        "Embed this historical text chunk for retrieval: ",
    ),
    Scenario(
        "icl",
        "Convert this example into vector to look for useful examples: ",
        "Convert this example into vector for retrieval: ",
    ),
    Scenario(
        "tool",
        "Transform this user request for fetching helpful tool descriptions: ",
        "Transform this tool description for retrieval: ",
    ),
)

SCENARIO_NAMES = tuple(scenario.name for scenario in _LLM_EMBEDDER)

INSTRUCTION_SETS: Mapping[str, Mapping[str, Scenario]] = {
    "llm-embedder": {scenario.name: scenario for scenario in _LLM_EMBEDDER},
    "none": {name: Scenario(name) for name in SCENARIO_NAMES},
}
"""Named sets of the six scenarios, for models that do not carry their own instructions."""
