"""What `Embedder.load()` gives: a small delta over the public base, trained for every scenario."""

import numpy as np

from rag_embedder import Embedder
from rag_embedder.model_source import BASE_HUB_ID, SHIPPED
from rag_embedder.scenario import SCENARIO_NAMES

REQUESTS = {
    "Show which processes use the most memory": "top: Display running processes, sorted by memory or CPU. Uses: htop",
    "Rename many files with a pattern": "rename: Change the names of files by a regular expression.",
    "What will the sky be like in Bergen tomorrow?": "weather_forecast(city, day): Temperature, rain and wind.",
    "I need a table for four on Friday": "reserve_restaurant(time, people): Book seats at a restaurant.",
    "Turn my photo into a pencil drawing": "sketchify: Convert pictures into line art.",
    "Is the train to Oslo delayed?": "rail_status(station): Departures, platforms and disruptions.",
    "Pay the electricity bill": "make_payment(payee, amount): Transfer money from an account.",
    "Who wrote this melody?": "identify_song: Recognise music from a recording.",
}


def test_it_is_a_small_delta_over_the_base_without_instructions():
    files = {path.name: path.stat().st_size for path in SHIPPED.iterdir()}
    assert {"delta.json", "delta.safetensors", "README.md"} <= set(files)
    assert sum(files.values()) < 6e6
    embedder = Embedder.load()
    assert embedder.name == "rag-embedder-unified"
    assert embedder.training_state.startswith(f"fitted from {BASE_HUB_ID}")
    assert (embedder.dim, embedder.max_length) == (384, 256)
    assert list(embedder.scenarios) == list(SCENARIO_NAMES)
    assert all(not (pair.query_instruction or pair.document_instruction) for pair in embedder.scenarios.values())


def test_it_finds_the_tool_for_every_request():
    embedder = Embedder.load()
    queries = embedder.encode_queries(list(REQUESTS), "tool")
    scores = queries @ embedder.encode_documents(list(REQUESTS.values()), "tool").T
    np.testing.assert_array_equal(scores.argmax(axis=1), np.arange(len(REQUESTS)))


def test_it_is_another_encoder_than_its_base():
    trained, base = Embedder.load(), Embedder.load(BASE_HUB_ID)
    texts = list(REQUESTS)
    cosines = (trained.encode_queries(texts, "tool") * base.encode_queries(texts, "tool")).sum(axis=1)
    assert cosines.max() < 0.99
    assert trained.fingerprint != base.fingerprint
