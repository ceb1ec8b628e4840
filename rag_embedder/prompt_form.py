"""How a decoder reads a text: what stands around it, and at which last tokens, the slots, its vector is taken.

ids = [start] + before + text + after, the last ids of `after` being the slots; the vector is the mean of the last-layer
states at the slots. Sources: LLaRA (arXiv 2312.15503) and its released code; RepLLaMA (arXiv 2310.08319).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from rag_embedder.errors import ConfigError
from rag_embedder.registry import unknown_name
from rag_embedder.scenario import Role

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EOS = "{eos}"
"""A slot that is the tokenizer's own end-of-text token, whatever it is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePrompt:
    """The prompt of one role as text; `slots` are token strings, each one token, at the very end.

    `before`, text and `after` are tokenised apart from each other; with `is_joined`, `before` is part of the text.

    Raises:
        ConfigError: if there is no slot, or something is not valid text.
    """

    before: str = ""
    after: str = ""
    slots: tuple[str, ...] = (EOS,)
    is_joined: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.slots, tuple) or not self.slots or "" in self.slots:
            raise ConfigError(f"slots of a prompt: got {self.slots!r}; expected a tuple of one token string or more.")
        for name, text in (("before", self.before), ("after", self.after), *(("slots", slot) for slot in self.slots)):
            if not isinstance(text, str) or re.search("[\ud800-\udfff]", text):
                raise ConfigError(f"{name} of a prompt: got {text!r}; expected str of valid Unicode.")
        if not isinstance(self.is_joined, bool):
            raise ConfigError(f"is_joined of a prompt: got {self.is_joined!r}; expected true or false.")

    def around(self, text: str) -> str:
        """The text as the model reads it; a slot that is the end of the text is written "{eos}"."""
        return f"{self.before}{text}{self.after}{''.join(self.slots)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleIds:
    """The prompt of one role as token ids: the start token belongs to `before`, the slots end `after`.

    `joined` is text that is tokenised together with the document or query behind it.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    num_slots: int
    joined: str = ""

    @property
    def num_tokens(self) -> int:
        """How many tokens are not the text's."""
        return len(self.before) + len(self.after)

    def ids(self, text_ids: Sequence[int], max_length: int) -> list[int]:
        """What the model reads, at most `max_length` tokens: the text is cut on the right, the prompt never."""
        return [*self.before, *text_ids[: max(0, max_length - self.num_tokens)], *self.after]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenisedForm:
    """A prompt form in the ids of one tokenizer."""

    query: RoleIds
    document: RoleIds

    def of(self, role: Role) -> RoleIds:
        """The ids of one role."""
        return self.query if role == "query" else self.document


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptForm:
    """The prompts of both roles.

    Raises:
        ConfigError: if the roles differ in the number of slots, since batches hold texts of both.
    """

    name: str
    query: RolePrompt
    document: RolePrompt

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError(f"name of a prompt form: got {self.name!r}; expected a text.")
        if len(self.query.slots) != len(self.document.slots):
            raise ConfigError(
                f"prompt form {self.name!r} has {len(self.query.slots)} slots for queries and "
                f"{len(self.document.slots)} for documents; expected as many."
            )

    @classmethod
    def named(cls, form: "str | PromptForm") -> "PromptForm":
        """The published form of that name, or the form itself.

        Raises:
            ConfigError: for an unknown name.
        """
        if isinstance(form, PromptForm):
            return form
        if form not in PROMPT_FORMS:
            raise unknown_name("prompt form", form, list(PROMPT_FORMS))
        return PROMPT_FORMS[form]

    @property
    def num_slots(self) -> int:
        """Over how many last states a vector is the mean."""
        return len(self.document.slots)

    def of(self, role: Role) -> RolePrompt:
        """The prompt of one role."""
        return self.query if role == "query" else self.document

    def tokenised(self, tokenizer: "Tokenizer | PreTrainedTokenizerBase", *, end: str | None = None) -> TokenisedForm:
        """The form in this tokenizer's ids; the start token is there where the tokenizer adds one.

        `end` is the end-of-text token, by default the one that a transformers tokenizer states.

        Raises:
            ConfigError: if a slot is not one token of the tokenizer, or the tokenizer is not a fast one.
        """
        end = end or getattr(tokenizer, "eos_token", None)
        fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if not isinstance(fast, Tokenizer):
            raise ConfigError(
                f"prompt form {self.name!r}: got a {type(tokenizer).__name__}; expected a fast tokenizer."
            )
        return TokenisedForm(query=self._ids("query", fast, end), document=self._ids("document", fast, end))

    def own_slots(self, tokenised: TokenisedForm) -> frozenset[int]:
        """The ids of slots that were added for this form, not the end-of-text token."""
        return frozenset(
            number
            for role in ("query", "document")
            for slot, number in zip(self.of(role).slots, tokenised.of(role).after[-self.num_slots :], strict=True)
            if slot != EOS
        )

    def _ids(self, role: Role, tokenizer: Tokenizer, end: str | None) -> RoleIds:
        prompt = self.of(role)
        start, _ = special_tokens_around(tokenizer)
        slots = [self._slot(slot, tokenizer, end) for slot in prompt.slots]
        before = [] if prompt.is_joined else _ids_of(tokenizer, prompt.before)
        return RoleIds(
            before=(*start, *before),
            after=(*_ids_of(tokenizer, prompt.after), *slots),
            num_slots=len(slots),
            joined=prompt.before if prompt.is_joined else "",
        )

    def _slot(self, slot: str, tokenizer: Tokenizer, end: str | None) -> int:
        token = end if slot == EOS else slot
        if token is None:
            raise ConfigError(
                f"prompt form {self.name!r} ends in the end-of-text token, but the tokenizer states none; "
                "set eos_token in its tokenizer_config.json."
            )
        number = tokenizer.token_to_id(token)
        if number is None:
            raise ConfigError(
                f"prompt form {self.name!r}: slot {token!r} is not one token of this tokenizer. Add it as a special "
                "token and train its embedding (pre-training does both), or choose another form: "
                f"{', '.join(PROMPT_FORMS)}."
            )
        return number


def special_tokens_around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer puts before and behind every text by itself."""
    bare, full = (_ids_of(tokenizer, "a", special=special) for special in (False, True))
    start = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), 0)
    return full[:start], full[start + len(bare) :]


def _ids_of(tokenizer: Tokenizer, text: str, *, special: bool = False) -> list[int]:
    encoding = tokenizer.encode(text, add_special_tokens=special)
    # A tokenizer that was used through transformers may be left padding.
    return [number for number, is_real in zip(encoding.ids, encoding.attention_mask, strict=True) if is_real]


def _llara_slots(first: int) -> tuple[str, ...]:
    return tuple(f"<s{number}>" for number in range(first, first + 8))


PROMPT_FORMS: Mapping[str, PromptForm] = {
    form.name: form
    for form in (
        PromptForm(
            name="llara",  # as released
            document=RolePrompt(
                before='"',
                after='", summarize the above passage within eight words: ',
                slots=_llara_slots(1),
            ),
            query=RolePrompt(
                before='"',
                after='", predict the following passage within eight words: ',
                slots=_llara_slots(9),
            ),
        ),
        PromptForm(
            name="llara-paper",
            document=RolePrompt(after="The input sentence is:"),
            query=RolePrompt(after="The next sentence is:"),
        ),
        PromptForm(name="eos", document=RolePrompt(), query=RolePrompt()),
        PromptForm(
            name="repllama",
            document=RolePrompt(before="passage: ", is_joined=True),
            query=RolePrompt(before="query: ", is_joined=True),
        ),
    )
}
"""Name -> form. "eos" is a bare end-of-text token, the form of a decoder that states none.

Of LLaRA's forms, SELF (the text itself, EBAE) is the prompt of documents, NEXT (what follows it, EBAR) of queries.
"""


def form_to_json(form: PromptForm) -> dict[str, Any]:
    """What a model folder keeps of a form."""
    return {
        "name": form.name,
        **{
            role: {
                "before": prompt.before,
                "after": prompt.after,
                "slots": list(prompt.slots),
                "is_joined": prompt.is_joined,
            }
            for role, prompt in (("query", form.query), ("document", form.document))
        },
    }


def form_from_json(content: Any) -> PromptForm:  # noqa: ANN401  (JSON)
    """The form that `form_to_json` wrote.

    Raises:
        ConfigError: if it is anything else.
    """
    if not isinstance(content, dict) or set(content) != {"name", "query", "document"}:
        raise ConfigError(f"a prompt form is {content!r}; expected an object with name, query and document.")
    return PromptForm(
        name=content["name"], query=_role_prompt(content["query"]), document=_role_prompt(content["document"])
    )


def _role_prompt(content: Any) -> RolePrompt:  # noqa: ANN401  (JSON)
    keys = {"before", "after", "slots", "is_joined"}
    if not isinstance(content, dict) or set(content) != keys or not isinstance(content["slots"], list):
        raise ConfigError(f"a role of a prompt form is {content!r}; expected an object with {', '.join(sorted(keys))}.")
    return RolePrompt(**{**content, "slots": tuple(content["slots"])})
