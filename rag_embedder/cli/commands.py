"""The commands and their options. Heavy imports wait until a command runs, so that --help answers at once."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_embedder import __version__
from rag_embedder.errors import FilterError

if TYPE_CHECKING:
    from rag_embedder.reranker.reranker import Reranker

app = typer.Typer(
    name="rag-embedder",
    help="One encoder for every retrieval an LLM agent does: knowledge, memory, demonstrations, tools, conversations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

StoreOption = Annotated[Path, typer.Option("--store", "-s", metavar="DIR", help="Folder of the durable store.")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="MODEL", help="Folder or hub id; default: the shipped encoder."),
]
IndexOption = Annotated[str, typer.Option("--index", help="Index back-end: flat, faiss or chroma.")]
KOption = Annotated[int, typer.Option("-k", help="How many hits.")]
ModeOption = Annotated[str, typer.Option("--mode", help="dense, lexical (BM25) or hybrid.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

DEFAULT_STORE = Path("rag-store")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rag-embedder {__version__}")
        raise typer.Exit


@app.callback()
def program(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the full traceback of an error; may stand anywhere.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options that belong to every command; `--debug` is taken out of the arguments before they come here."""
    del debug, version


@app.command()
def quickstart(
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where the stores are kept.")] = Path(
        "quickstart-data"
    ),
    model: ModelOption = None,
    beside_base: Annotated[
        bool, typer.Option("--base/--no-base", help="Put the requests to the untrained base too, side by side.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Try all five scenarios on the Python standard library."""
    from rag_embedder.cli.display import print_json, print_quickstart, print_side_by_side
    from rag_embedder.cli.next_steps import print_next_steps
    from rag_embedder.encoder import Embedder
    from rag_embedder.model_source import BASE_HUB_ID
    from rag_embedder.quickstart.run import run_quickstart
    from rag_embedder.quickstart.side_by_side import side_by_side

    embedder = Embedder.load(model)
    sections = run_quickstart(embedder, folder)
    if not as_json:
        print_quickstart(sections)
    rows = side_by_side(embedder, Embedder.load(BASE_HUB_ID), folder) if beside_base else []
    if as_json:
        compared = {"side_by_side": [asdict(row) for row in rows]} if rows else {}
        print_json({"sections": [section.as_dict() for section in sections], **compared})
    else:
        if rows:
            print_side_by_side(rows)
        print_next_steps(folder, model)


@app.command()
def index(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="Files and folders: .txt .md .jsonl .json .csv .tsv .py .html"),
    ],
    store: StoreOption = DEFAULT_STORE,
    scenario: Annotated[str, typer.Option(metavar="NAME", help="Instructions to encode with.")] = "qa",
    chunk_tokens: Annotated[int, typer.Option(help="Split longer documents; 0 never splits.")] = 200,
    model: ModelOption = None,
    index: IndexOption = "faiss",
    as_json: JsonOption = False,
) -> None:
    """Add documents to a store; run it again to follow changes.

    Unreadable files and rows are listed and skipped. Documents that a file no longer holds are removed.

    So are those of files that are gone from a folder that is indexed again.
    """
    from rag_embedder.cli.display import print_index_report, print_json
    from rag_embedder.cli.indexing import index_paths
    from rag_embedder.encoder import Embedder
    from rag_embedder.reading import read_documents

    read_documents(paths)  # reads nothing yet, but refuses a path that does not exist before the model is loaded
    report = index_paths(
        Embedder.load(model), paths, store=store, scenario=scenario, chunk_tokens=chunk_tokens or None, index=index
    )
    if as_json:
        print_json(report.as_dict())
    else:
        print_index_report(report)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    store: StoreOption = DEFAULT_STORE,
    k: KOption = 5,
    mode: ModeOption = "dense",
    where: Annotated[
        str | None, typer.Option("--filter", metavar="JSON", help='On metadata, such as \'{"year": {"gte": 2020}}\'.')
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Default: the one the store was indexed for. Another one encodes all documents again, and keeps "
            "those vectors in the store too.",
        ),
    ] = None,
    model: ModelOption = None,
    index: IndexOption = "faiss",
    rerank: Annotated[
        str | None,
        typer.Option("--rerank", metavar="MODEL", help="Folder or hub id of a reranker: orders the best 50 anew."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find documents in a store."""
    from rag_embedder.cli.display import print_hits, print_json, to_dict
    from rag_embedder.cli.opened_stores import scenario_of
    from rag_embedder.encoder import Embedder
    from rag_embedder.retrievers.knowledge import KnowledgeRetriever

    metadata_filter = _parsed_filter(where)
    chosen = scenario_of(store, scenario)
    reranker = _reranker(rerank)
    with KnowledgeRetriever(
        Embedder.load(model), path=store, scenario=chosen, index=index, reranker=reranker
    ) as knowledge:
        hits = knowledge.retrieve(query, k, filter=metadata_filter, mode=mode)  # pyright: ignore[reportArgumentType]
    if as_json:
        print_json([to_dict(hit) for hit in hits])
    else:
        print_hits(hits, title=query)


@app.command()
def tools(
    request: Annotated[str, typer.Argument(help="What the user of an agent wants.")],
    source: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="FILE", help=".json or .jsonl of function schemas (OpenAI, MCP, ...)."),
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", "-s", metavar="DIR", help="Keep the tools in this folder.")
    ] = None,
    k: KOption = 5,
    mode: ModeOption = "dense",
    model: ModelOption = None,
    index: IndexOption = "faiss",
    as_json: JsonOption = False,
) -> None:
    """Choose the tools that a request needs.

    Also prints how many tokens of the prompt that saves.
    """
    from rag_embedder.cli.display import print_hits, print_json, print_schema_tokens, to_dict
    from rag_embedder.cli.opened_stores import require_tools
    from rag_embedder.cli.tool_files import read_tools
    from rag_embedder.encoder import Embedder
    from rag_embedder.errors import ConfigError
    from rag_embedder.index import resolve_index
    from rag_embedder.retrievers.tools import ToolRetriever

    if source is None and store is None:
        raise ConfigError("no tools given; expected --from FILE with function schemas, or --store DIR with tools.")
    schemas = read_tools(source or [])
    if source is None and store is not None:
        require_tools(store)
    resolve_index(index)  # a mistake must not create a store
    with ToolRetriever(Embedder.load(model), path=store, index=index) as retriever:
        retriever.add(schemas)
        hits = retriever.retrieve(request, k, mode=mode)  # pyright: ignore[reportArgumentType]
        tokens = retriever.schema_tokens(hits)
    if as_json:
        print_json({"hits": [to_dict(hit) for hit in hits], "schema_tokens": to_dict(tokens)})
    else:
        print_hits(hits, title=request)
        if hits:
            print_schema_tokens(tokens)


@app.command()
def preview(
    text: Annotated[str, typer.Argument(help="A query or a document.")],
    scenario: Annotated[
        str, typer.Option(metavar="NAME", help="qa, convsearch, chat, lrlm, icl, tool, or the model's own.")
    ] = "qa",
    role: Annotated[str, typer.Option(help="query or document.")] = "query",
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the exact text that is encoded, and its tokens.

    Also prints whether its end would be cut.
    """
    from rag_embedder.cli.display import print_json, print_preview, to_dict
    from rag_embedder.encoder import Embedder

    shown = Embedder.load(model).preview(text, scenario, role)  # pyright: ignore[reportArgumentType]
    if as_json:
        print_json({**to_dict(shown), "is_truncated": shown.is_truncated})
    else:
        print_preview(shown)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the encoder as a sentence-transformers folder.

    Every program that is built on sentence-transformers loads it.
    """
    from rag_embedder.cli.display import print_exported, print_json
    from rag_embedder.encoder import Embedder

    embedder = Embedder.load(model)
    embedder.save(folder)
    if as_json:
        print_json({"folder": str(folder), "fingerprint": embedder.fingerprint, "scenarios": list(embedder.scenarios)})
    else:
        print_exported(folder, list(embedder.scenarios))


@app.command()
def doctor(
    store: Annotated[
        Path | None, typer.Option("--store", "-s", metavar="DIR", help="Also check every byte of this store.")
    ] = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the installation, the model and a store."""
    from rag_embedder.cli.display import print_checks, print_json, to_dict
    from rag_embedder.cli.examination import examine

    checks = examine(model, store)
    if as_json:
        print_json([to_dict(check) for check in checks])
    else:
        print_checks(checks)
    if not all(check.is_fine for check in checks):
        raise typer.Exit(1)


def _reranker(model: str | None) -> "Reranker | None":
    if model is None:
        return None
    from rag_embedder.reranker.reranker import Reranker

    return Reranker.load(model)


def _parsed_filter(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise FilterError(f"--filter is not JSON: {error}. Expected something like '{{\"year\": 2020}}'.") from error
    if not isinstance(parsed, dict):
        raise FilterError(f"--filter: got a JSON {type(parsed).__name__}; expected an object.")
    return parsed
