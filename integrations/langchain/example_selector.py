"""`RagExampleSelector`: the worked examples, out of many, that help with an input."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from langchain_core.example_selectors import BaseExampleSelector
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from integrations.asking import above
from integrations.langchain.examples import ExampleKeys, KeptExamples, plain_copy
from integrations.model_loading import load_shared
from rag_embedder import Demonstration, DemonstrationRetriever, Embedder, Hit
from rag_embedder.errors import ConfigError
from rag_embedder.index import IndexSettings
from rag_embedder.retrievers.base import in_thread
from rag_embedder.retrievers.demonstrations import Diversity, Order
from rag_embedder.retrievers.entries import content_id
from rag_embedder.search import MetadataFilter, Mode
from rag_embedder.texts import check_texts


class RagExampleSelector(BaseExampleSelector, BaseModel):
    """Selects examples for `FewShotPromptTemplate` and `FewShotChatMessagePromptTemplate`, the best one last.

    An example is a dict; it is encoded as its input, newline, its output, and searched with an input alone
    (LLM-Embedder). Examples come back as they were given, nested values included. Those of a selector in memory may
    hold any Python object besides; one with a `path` keeps JSON values only and says so of others. Safe to share
    between threads.

    Attributes:
        retriever: where the examples are; see `from_examples` for the short way. Demonstrations that were added to it
            directly are found too, as dicts of the first input key and the first output key.
        input_keys: the keys that a query has. Their values, a line each, are the input.
        output_keys: the keys whose values, a line each, are the output; None for all others.
        k: most examples selected.
        order: "best_last" puts the best next to the question that follows; "best_first" is LangChain's.
        max_tokens: most tokens of all inputs and outputs selected, by the encoder's tokenizer.
        diversity: "mmr" for novelty, "label" to take labels in turn.
        label_key: with "label": the key whose value is the label. It is then the output.
        exclude_self: leave out examples of the very input that is asked.
        score_threshold: leave out examples that score less.
        filter: only examples with these values, such as {"language": "de"}; the keys are those of the examples.
        mode: "dense", "hybrid" or "lexical"; None for the retriever's.
        task: kept with the examples that are added; where it is set, only those of the same task are selected.

    Raises:
        ConfigError: for options that do not go together (inside pydantic's ValidationError, which is a ValueError).
    """

    retriever: DemonstrationRetriever
    input_keys: list[str]
    output_keys: list[str] | None = None
    k: int = 4
    order: Order = "best_last"
    max_tokens: int | None = None
    diversity: Diversity | None = None
    label_key: str | None = None
    exclude_self: bool = True
    score_threshold: float | None = Field(default=None, allow_inf_nan=False)
    filter: dict[str, Any] | None = None
    mode: Mode | None = None
    task: str = ""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    _kept: KeptExamples = PrivateAttr(default_factory=KeptExamples)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.label_key is not None:
            if self.diversity != "label":
                raise ConfigError(f"label_key needs diversity='label'; got diversity={self.diversity!r}.")
            if self.output_keys not in (None, [self.label_key]):
                raise ConfigError(
                    f"label_key={self.label_key!r} is the output, but output_keys={self.output_keys}; expected one."
                )
        self._keys()
        return self

    @classmethod
    def from_examples(  # noqa: PLR0913  (flat options, as in the framework)
        cls,
        examples: Sequence[Mapping[str, Any]],
        embedder: Embedder | None = None,
        *,
        input_keys: Sequence[str],
        output_keys: Sequence[str] | None = None,
        k: int = 4,
        order: Order = "best_last",
        max_tokens: int | None = None,
        diversity: Diversity | None = None,
        label_key: str | None = None,
        exclude_self: bool = True,
        score_threshold: float | None = None,
        filter: dict[str, Any] | None = None,
        path: str | Path | None = None,
        index: str | IndexSettings = "faiss",
        mode: Mode = "dense",
        task: str = "",
    ) -> Self:
        """A selector over these examples; `examples` may be empty, and more can be added.

        With a `path` the examples are on disk: those that are there already are neither encoded nor added again, so
        that a program may build its selector each time it starts. `retriever.close()` writes the index's cache.

        Args:
            examples: dicts, each with all input keys and at least one other.
            embedder: the encoder; None loads the shipped default.
            input_keys: see the class, as for all other options.
            output_keys: see the class.
            k: see the class.
            order: see the class.
            max_tokens: see the class.
            diversity: see the class.
            label_key: see the class.
            exclude_self: see the class.
            score_threshold: see the class.
            filter: see the class.
            path: folder of a durable store, opened or created; None keeps all in memory.
            index: "faiss", "flat", "chroma", or the settings object of one of them.
            mode: see the class.
            task: see the class.

        Raises:
            InputError: for an example without an input key or without output, with its position.
        """
        retriever = DemonstrationRetriever(embedder or load_shared(), path=path, index=index, mode=mode)
        try:
            selector = cls(
                retriever=retriever,
                input_keys=check_texts(input_keys, field="input_keys"),
                output_keys=None if output_keys is None else check_texts(output_keys, field="output_keys"),
                k=k,
                order=order,
                max_tokens=max_tokens,
                diversity=diversity,
                label_key=label_key,
                exclude_self=exclude_self,
                score_threshold=score_threshold,
                filter=filter,
                task=task,
            )
            selector.add_examples(examples)
        except BaseException:
            retriever.close()
            raise
        return selector

    @classmethod
    async def afrom_examples(
        cls,
        examples: Sequence[Mapping[str, Any]],
        embedder: Embedder | None = None,
        *,
        input_keys: Sequence[str],
        **options: Any,  # noqa: ANN401  (those of from_examples, which refuses others)
    ) -> Self:
        """`from_examples` off the event loop."""
        return await in_thread(lambda: cls.from_examples(examples, embedder, input_keys=input_keys, **options))

    def add_example(self, example: Mapping[str, Any]) -> str:
        """Add one example, or nothing if its input and output are there; returns its id."""
        return self.add_examples([example])[0]

    async def aadd_example(self, example: Mapping[str, Any]) -> str:
        """`add_example` off the event loop."""
        return await in_thread(lambda: self.add_example(example))

    def add_examples(self, examples: Sequence[Mapping[str, Any]]) -> list[str]:
        """Add examples; returns their ids, in order. All or none.

        Raises:
            InputError: for an example without an input key or without output, or that cannot be kept on disk, with
                its position.
        """
        keys = self._keys()
        is_durable = self.retriever.path is not None
        demonstrations = [
            keys.demonstration(example, f"examples[{position}]", self.task, is_durable=is_durable)
            for position, example in enumerate(examples)
        ]
        if not is_durable:
            # Before they can be found; their ids are made of the content, as the retriever makes them.
            ids = [content_id(shown.task, shown.input, shown.output) for shown in demonstrations]
            self._kept.update(zip(ids, map(plain_copy, examples), strict=True))
        return self.retriever.add(demonstrations)

    async def aadd_examples(self, examples: Sequence[Mapping[str, Any]]) -> list[str]:
        """`add_examples` off the event loop."""
        return await in_thread(lambda: self.add_examples(examples))

    def select_examples(self, input_variables: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The examples for an input, in `order`; none for an empty one. Keys besides `input_keys` are not looked at.

        Raises:
            InputError: if an input key is missing, or its value is None.
        """
        return [example for example, _ in self.select_with_scores(input_variables)]

    async def aselect_examples(self, input_variables: Mapping[str, Any]) -> list[dict[str, Any]]:
        """`select_examples` off the event loop; concurrent ones are encoded together."""
        return await in_thread(lambda: self.select_examples(input_variables))

    def select_with_scores(self, input_variables: Mapping[str, Any]) -> list[tuple[dict[str, Any], float]]:
        """As `select_examples`, each with its score: higher is better, cosines in [-1, 1] where the mode is dense."""
        keys = self._keys()
        hits = self.retriever.retrieve(
            keys.input_text(input_variables, "input_variables"),
            self.k,
            order=self.order,
            max_tokens=self.max_tokens,
            exclude_self=self.exclude_self,
            diversity=self.diversity,
            filter=self._filter(),
            mode=self.mode,
        )
        return [(self._example(hit, keys), hit.score) for hit in above(hits, self.score_threshold)]

    async def aselect_with_scores(self, input_variables: Mapping[str, Any]) -> list[tuple[dict[str, Any], float]]:
        """`select_with_scores` off the event loop."""
        return await in_thread(lambda: self.select_with_scores(input_variables))

    def _keys(self) -> ExampleKeys:
        output_keys = self.output_keys if self.label_key is None else [self.label_key]
        return ExampleKeys(tuple(self.input_keys), None if output_keys is None else tuple(output_keys))

    def _filter(self) -> MetadataFilter | None:
        wanted = [part for part in (self.filter, {"task": self.task} if self.task else None) if part]
        return {"and": wanted} if wanted else None

    def _example(self, hit: Hit[Demonstration], keys: ExampleKeys) -> dict[str, Any]:
        kept = self._kept.get(hit.id)
        return keys.example(hit.item) if kept is None else plain_copy(kept)
