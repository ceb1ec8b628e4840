"""The names a user may rely on."""

import pkgutil

import pytest

import rag_embedder

CONTRACT = {
    "ConversationRetriever",
    "Demonstration",
    "DemonstrationRetriever",
    "Document",
    "Embedder",
    "Hit",
    "KnowledgeRetriever",
    "MemoryRetriever",
    "RagEmbedderError",
    "Scenario",
    "Tool",
    "ToolRetriever",
    "Turn",
}


def test_public_names_are_sorted_and_none_is_missing():
    assert list(rag_embedder.__all__) == sorted(rag_embedder.__all__)
    assert set(rag_embedder.__all__) >= CONTRACT
    assert dir(rag_embedder) == list(rag_embedder.__all__)


@pytest.mark.parametrize("name", rag_embedder.__all__)
def test_every_public_name_can_be_imported(name):
    value = getattr(rag_embedder, name)
    assert isinstance(value, str) or value.__name__ == name


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'Embeder'; it has: .*Embedder"):
        _ = rag_embedder.Embeder


def test_every_error_is_a_rag_embedder_error():
    module = pkgutil.resolve_name("rag_embedder.errors")
    errors = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(errors) > 15
    assert all(issubclass(error, rag_embedder.RagEmbedderError) for error in errors)


def test_value_errors_and_import_errors_are_also_pythons_own():
    errors = pkgutil.resolve_name("rag_embedder.errors")
    assert issubclass(errors.InvalidTextError, ValueError)
    assert issubclass(errors.ConfigError, ValueError)
    assert issubclass(errors.MissingExtraError, ImportError)
    assert issubclass(errors.UntrustedModelError, errors.ModelLoadError)
