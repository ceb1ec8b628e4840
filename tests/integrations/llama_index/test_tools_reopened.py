import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from integrations.conformance.llama_index_tools import make_tools
from integrations.llama_index import RagToolRetriever
from rag_embedder.errors import InputError
from tests.integrations.llama_index.test_tools import FUNCTIONS, names
from tests.retriever_cases import Watched, WordEncoder

ROOT = Path(__file__).parents[3]


@pytest.fixture
def watched():
    return Watched(WordEncoder())


SCRIPT = """
import json, sys
from llama_index.core.objects.tool_node_mapping import convert_tool_to_node
from integrations.conformance.llama_index_tools import make_tools
from integrations.llama_index import RagToolRetriever
from tests.integrations.llama_index.word_embedding import WordEmbedding
from tests.retriever_cases import Watched, WordEncoder

tools, encoder = make_tools(), Watched(WordEncoder())
with RagToolRetriever(tools, encoder, path=sys.argv[1], k=2) as retriever:
    found = [tool.metadata.name for tool in retriever.retrieve("play music by an artist")]
    ids = [retriever.object_node_mapping.to_node(tool).node_id for tool in tools]
    print(json.dumps({
        "found": found, "ids": ids, "stored": len(retriever.registry), "encoded": len(encoder.documents),
        "naive ids": [convert_tool_to_node(tool).node_id for tool in tools],
    }))
"""


def test_a_store_reopened_with_another_hash_seed_has_no_duplicates_and_encodes_nothing(tmp_path):
    one, two = (
        json.loads(
            subprocess.run(
                [sys.executable, "-c", SCRIPT, str(tmp_path / "tools")],
                env={**os.environ, "PYTHONHASHSEED": seed},
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.splitlines()[-1]
        )
        for seed in ("1", "2")
    )
    assert set(one["naive ids"]).isdisjoint(two["naive ids"])  # a persisted index of LlamaIndex would grow
    assert one["ids"] == two["ids"] == names(make_tools())
    assert one["found"] == two["found"]
    assert (one["stored"], two["stored"]) == (6, 6)
    assert (one["encoded"], two["encoded"]) == (6, 0)


def test_a_reopened_store_without_any_object_says_what_to_do(tmp_path, watched):
    RagToolRetriever(FUNCTIONS, watched, path=tmp_path / "tools").close()
    with RagToolRetriever(None, watched, path=tmp_path / "tools", k=2) as reopened:
        for mode in ("dense", "lexical", "hybrid"):
            asked = RagToolRetriever(retriever=reopened.registry, mode=mode)
            with pytest.raises(InputError, match="add them in every process"):
                asked.retrieve("play music by an artist")
        assert reopened.retrieve("") == []
        watched.documents.clear()
        reopened.add(FUNCTIONS)
        assert watched.documents == []
        assert names(reopened.retrieve("play music by an artist"))[0] == "play_music"


def test_stored_tools_without_an_object_leave_their_places_to_the_next_best(tmp_path, watched, caplog):
    RagToolRetriever(make_tools(), watched, path=tmp_path / "tools").close()
    kept = [tool for tool in make_tools() if tool.metadata.name in ("send_email", "book_train")]
    with RagToolRetriever(kept, watched, path=tmp_path / "tools", k=2) as reopened, caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert set(names(reopened.retrieve("play music by an artist"))) == {"send_email", "book_train"}
        assert names(reopened.retrieve("play_music")) != []
        lexical = RagToolRetriever(retriever=reopened.registry, mode="lexical")
        assert lexical.retrieve("artist album") == []
    told = [record.getMessage() for record in caplog.records if record.name == "integrations.llama_index.tool_nodes"]
    assert len([line for line in told if "play_music" in line]) == 2  # once by each of the two retrievers


def test_a_pinned_tool_without_an_object_is_an_error(tmp_path, watched):
    RagToolRetriever(FUNCTIONS, watched, path=tmp_path / "tools").close()
    with (
        RagToolRetriever(FUNCTIONS[1:], watched, path=tmp_path / "tools", pinned=["get_weather"]) as reopened,
        pytest.raises(InputError, match="get_weather"),
    ):
        reopened.retrieve("send an email")
