"""Tool retrieval for langgraph-bigtool: an agent that asks for tools by itself."""

from collections.abc import Awaitable, Callable

from integrations.asking import above
from rag_embedder import Hit, Tool, ToolRetriever
from rag_embedder.errors import ConfigError
from rag_embedder.search import Mode, check_k, check_mode


def make_retrieve_tools(
    retriever: ToolRetriever, *, k: int = 5, score_threshold: float | None = None, mode: Mode | None = None
) -> tuple[Callable[[str], list[str]], Callable[[str], Awaitable[list[str]]]]:
    """The functions that langgraph-bigtool's `create_agent` takes as `retrieve_tools_function` and `..._coroutine`.

        function, coroutine = make_retrieve_tools(retriever)
        builder = create_agent(
            model,
            {tool.name: tool for tool in tools},  # the same tools that were added to the retriever
            retrieve_tools_function=function,
            retrieve_tools_coroutine=coroutine,
        )

    They return names of tools, best first, so the registry of the agent must have the tools' names as its ids. The
    model sees them as one tool, `retrieve_tools`, with one argument. What the retriever holds may change at any time.

    Release 0.0.3 of langgraph-bigtool does not work with LangGraph 1.2 (its tool node lost `inject_tool_args`): the
    main branch does. `RagToolSelectorMiddleware` needs neither, and no call of the model to find tools.

    Args:
        retriever: holds the tools.
        k: how many tools one request finds at most; pinned ones do not count.
        score_threshold: leave out tools that score less; pinned ones stay.
        mode: overrides the retriever's.

    Raises:
        ConfigError: if `retriever` is no ToolRetriever.
        InputError: if k is not an int from 1 to 10,000.
    """
    if not isinstance(retriever, ToolRetriever):
        raise ConfigError(f"retriever: got {type(retriever).__name__}; expected a ToolRetriever.")
    check_k(k)
    if mode is not None:
        check_mode(mode)

    def names(hits: list[Hit[Tool]]) -> list[str]:
        kept = {hit.id for hit in above(hits, score_threshold)} | set(retriever.pinned)
        return [hit.id for hit in hits if hit.id in kept]

    def retrieve_tools(query: str) -> list[str]:
        """Find tools for a task. Call this before saying that something cannot be done.

        Args:
            query: what the tool should do, in a few words.
        """
        return names(retriever.retrieve(query, k, mode=mode))

    async def aretrieve_tools(query: str) -> list[str]:
        return names(await retriever.aretrieve(query, k, mode=mode))

    # The name and docstring of either may become those of the tool that the model sees.
    aretrieve_tools.__name__ = retrieve_tools.__name__
    aretrieve_tools.__doc__ = retrieve_tools.__doc__
    return retrieve_tools, aretrieve_tools
