"""What is encoded can be seen."""

from concurrent.futures import ThreadPoolExecutor

from rag_embedder import watch_encodings
from rag_embedder.watching import Encoding


def test_every_call_is_seen_with_its_texts_scenario_and_role(embedder):
    with watch_encodings() as seen:
        embedder.encode_queries(["rain in oslo", "snow"], scenario="tool")
        embedder.encode_documents(["weather"])
    assert seen == [Encoding(("rain in oslo", "snow"), "tool", "query"), Encoding(("weather",), "qa", "document")]


def test_nothing_is_seen_before_or_after(embedder):
    embedder.encode_queries(["before"])
    with watch_encodings() as seen:
        pass
    embedder.encode_queries(["after"])
    assert seen == []


def test_two_watches_both_see_and_end_on_their_own(embedder):
    with watch_encodings() as outer:
        with watch_encodings() as inner:
            embedder.encode_queries(["rain"])
        embedder.encode_queries(["snow"])
    assert [encoding.texts for encoding in inner] == [("rain",)]
    assert [encoding.texts for encoding in outer] == [("rain",), ("snow",)]


def test_other_threads_are_seen_too(embedder):
    texts = [f"word {number}" for number in range(20)]
    with watch_encodings() as seen, ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda text: embedder.encode_documents([text]), texts))
    assert sorted(encoding.texts[0] for encoding in seen) == sorted(texts)
