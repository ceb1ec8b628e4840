"""What the commands ask of a store before the model is loaded: looking creates nothing."""

from pathlib import Path

from rag_embedder.errors import StoreError
from rag_embedder.store import Store


def require_store(store: Path) -> None:
    """Raise StoreError unless there is a store: looking must not create one."""
    if not (store / "STORE").exists():
        raise StoreError(f"no store at {store}; make one with: rag-embedder index PATH --store {store}")


def scenario_of(store: Path, wanted: str | None) -> str:
    """The scenario to search a store with: the wanted one, or the one it was indexed for.

    Raises:
        StoreError: if there is no store, or it holds no documents.
    """
    require_store(store)
    with Store.open(store) as opened:
        scenarios = [space.scenario for space in opened.spaces() if space.kind == "passage"]
        if not scenarios:
            raise StoreError(
                f"{store} holds {_holdings(opened)}; expected documents. Add some with: "
                f"rag-embedder index PATH --store {store}"
            )
    return wanted or scenarios[0]


def require_tools(store: Path) -> None:
    """Raise StoreError unless there is a store that holds tools."""
    require_store(store)
    with Store.open(store) as opened:
        if not opened.count("tool"):
            raise StoreError(
                f"{store} holds {_holdings(opened)}; expected tools. Add some with: "
                f"rag-embedder tools REQUEST --from FILE --store {store}"
            )


def _holdings(store: Store) -> str:
    counts = {kind: store.count(kind) for kind in sorted({space.kind for space in store.spaces()})}
    held = [f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items() if count]
    return ", ".join(held) or "nothing"
