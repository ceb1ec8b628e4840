"""How LangGraph's stores are audited: in a namespace of our own. Imports nothing of LangGraph."""

from collections.abc import Sequence
from typing import Any

from integrations.audit.methods import Asked
from integrations.audit.probe import PREFIX, Probe

_FIELD = "text"


class StoreProbe(Probe):
    """`BaseStore` with an index; the embedded field is named with each item, whatever the store's own fields are."""

    kind = "LangGraph store"
    cache_advice = "Use RagEmbeddings(cache=...), whose keys tell roles apart."

    def __init__(self, component: Any, tag: str) -> None:  # noqa: ANN401
        super().__init__(component, tag)
        self._namespace = (PREFIX.strip("-"), tag)
        self._keys: list[str] = []
        self.role_advice = f"Wrap the class: role_aware({type(component).__name__})."

    def advice(self, asked: Sequence[Asked]) -> str:  # noqa: D102
        if any(call.owner == "EmbeddingsLambda" for call in asked):
            return (
                "index['embed'] is a function, which cannot tell them apart; give it an object such as RagEmbeddings."
            )
        return super().advice(asked)

    def why_not_ask(self) -> str:  # noqa: D102
        return "" if self._has_index() else "the store has no index, so it embeds nothing"

    def why_not_write(self) -> str:  # noqa: D102
        return self.why_not_ask()

    def home_loop(self) -> object | None:  # noqa: D102
        # Stores that work through a background task have the loop of that task; other stores have none.
        return getattr(self.component, "_loop", None)

    def ask(self, text: str) -> None:  # noqa: D102
        self.component.search(self._namespace, query=text, limit=1)

    async def aask(self, text: str) -> None:  # noqa: D102
        await self.component.asearch(self._namespace, query=text, limit=1)

    def write(self, text: str) -> None:  # noqa: D102
        self.component.put(self._namespace, self._next_key(), {_FIELD: text}, index=[_FIELD])

    async def awrite(self, text: str) -> None:  # noqa: D102
        await self.component.aput(self._namespace, self._next_key(), {_FIELD: text}, index=[_FIELD])

    def remove(self) -> None:  # noqa: D102
        for key in self._keys:
            self.component.delete(self._namespace, key)
        self._keys.clear()
        # The in-memory store goes on listing a namespace that it has nothing in any more.
        for name in ("_data", "_vectors"):
            table = getattr(self.component, name, None)
            if isinstance(table, dict) and not table.get(self._namespace):
                table.pop(self._namespace, None)

    def _next_key(self) -> str:
        self._keys.append(self.new_id())  # before the call, which may fail half-way
        return self._keys[-1]

    def _has_index(self) -> bool:
        return getattr(self.component, "embeddings", self) is not None
