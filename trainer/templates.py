"""How a query, a candidate and an expected output become what a language model reads: one template per scenario.

Templates are data. The defaults are those that LLM-Embedder's rewards were computed with (arXiv 2310.07554 and its
released code); `qa-paper` is the prompt printed in "A Multi-Task Embedder For Retrieval Augmented LLMs" (ACL 2024).
"""

import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from rag_embedder.errors import ConfigError
from rag_embedder.registry import unknown_name
from rag_embedder.scenario import SCENARIO_NAMES
from trainer.examples import Example


def _check_fields(name: str, text: str, *, needed: set[str], allowed: frozenset[str] | set[str] = frozenset()) -> None:
    try:
        pieces = [piece for piece in string.Formatter().parse(text) if piece[1] is not None]
    except ValueError as error:
        raise ConfigError(f"template: {name} cannot be read: {error}; write {{{{ and }}}} for braces.") from error
    found = {field for _, field, _, _ in pieces if field is not None}
    # Formats and attributes could change or reveal more than the text.
    has_formats = any(format_ or conversion for _, _, format_, conversion in pieces)
    if has_formats or not needed <= found <= needed | allowed:
        raise ConfigError(
            f"template: {name} has the fields {sorted(found)}; expected {sorted(needed)}"
            f"{f', and perhaps {sorted(allowed)}' if allowed else ''}, without formats."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What stands before the expected output, with and without a candidate, and the output itself.

    `context` is filled with {candidate}, {continuation} (the text that follows the candidate in its source) and
    {query}; `without_candidate` with {query}; `answer` with {answer}. `strip` takes white space off all of them
    first. Sampled outputs end before the first of the `stop` texts.

    Raises:
        ConfigError: if a text does not name exactly what it can be filled with.
    """

    context: str
    without_candidate: str
    answer: str = " {answer}"
    strip: bool = True
    stop: tuple[str, ...] = ("\n",)

    def __post_init__(self) -> None:
        _check_fields("context", self.context, needed={"candidate", "query"}, allowed={"continuation"})
        _check_fields("without_candidate", self.without_candidate, needed={"query"})
        _check_fields("answer", self.answer, needed={"answer"})

    def with_candidate(self, example: Example, candidate: str, continuation: str = "") -> str:
        """What the model reads before the output, this text retrieved."""
        return self.context.format(
            candidate=self._clean(candidate), continuation=self._clean(continuation), query=self._query(example)
        )

    def alone(self, example: Example) -> str:
        """What the model reads before the output, nothing retrieved."""
        return self.without_candidate.format(query=self._query(example))

    def output(self, text: str) -> str:
        """An expected or sampled output as it follows the context."""
        return self.answer.format(answer=self._clean(text))

    def _query(self, example: Example) -> str:
        return self._clean(example.prompt or example.query)

    def _clean(self, text: str) -> str:
        return text.strip() if self.strip else text


_QUESTION = Template(
    context="Knowledge: {candidate}\n\nQuestion: {query}\n\nAnswer:", without_candidate="Question: {query}\n\nAnswer:"
)

TEMPLATES: Mapping[str, Template] = {
    "qa": _QUESTION,
    "convsearch": _QUESTION,
    "chat": Template(
        context="{candidate}\nSpeaker 1: {query}\nSpeaker 2:", without_candidate="Speaker 1: {query}\nSpeaker 2:"
    ),
    # Pieces of one text: every character counts, and nothing is put between them.
    "lrlm": Template(
        context="{candidate}{continuation}{query}",
        without_candidate="{query}",
        answer="{answer}",
        strip=False,
        stop=(),
    ),
    "icl": Template(context="{candidate}\n{query}\n", without_candidate="{query}\n", answer="{answer}"),
    "tool": Template(
        context="Tool: {candidate}\n\nRequest: {query}\n\nCall:", without_candidate="Request: {query}\n\nCall:"
    ),
    "qa-paper": Template(context="Knowledge:\n{candidate}\n\nQ: {query} A:", without_candidate="Q: {query} A:"),
}
"""By scenario, and others by name. LLM-Embedder has none for `tool`: ours expects the call as text."""


def find_template(scenario: str, choice: str | None = None) -> Template:
    """The template of a scenario, of another name, or in a TOML file (a path that ends in .toml).

    Raises:
        ConfigError: if there is none, or a file holds anything but a template.
    """
    if choice is not None and choice.endswith(".toml"):
        return read_template(Path(choice))
    if choice is not None:
        if choice not in TEMPLATES:
            raise unknown_name("template", choice, [*TEMPLATES])
        return TEMPLATES[choice]
    if scenario not in SCENARIO_NAMES:
        raise unknown_name("scenario", scenario, [*SCENARIO_NAMES])
    return TEMPLATES[scenario]


def read_template(path: Path) -> Template:
    """A template from a TOML file with the keys of `Template`.

    Raises:
        ConfigError: naming the file, and the key that is unknown, missing or of the wrong type.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot read this template: {type(error).__name__}: {error}") from error
    known = {field.name: field for field in fields(Template)}
    for key, value in content.items():
        if key not in known:
            raise ConfigError(f"{path}: {unknown_name('key', key, [*known])}")
        wanted = {"strip": bool, "stop": list}.get(key, str)
        if not isinstance(value, wanted):
            raise ConfigError(f"{path}: {key} is {type(value).__name__}; expected {wanted.__name__}.")
    missing = [key for key in ("context", "without_candidate") if key not in content]
    if missing:
        raise ConfigError(f"{path}: {' and '.join(missing)} missing; expected texts to fill.")
    if not all(isinstance(text, str) and text for text in content.get("stop", [])):
        raise ConfigError(f"{path}: stop holds something else than texts; expected a list of them.")
    try:
        return Template(**{**content, **({"stop": tuple(content["stop"])} if "stop" in content else {})})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
