"""What every test may use: a tiny encoder, the real one, and no network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when huggingface_hub is first imported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Tiny models gain nothing from threads, and on a busy machine every parallel loop waits for a free core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import ipaddress
import socket

import pytest

# Other test packages run on machines without the models' libraries; only the fixtures that need them import them.


@pytest.fixture(scope="session", autouse=True)
def no_network():
    """Connections leave this machine in no test; one that tries fails with a message that says so."""
    connect = socket.socket.connect

    def refuse(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
            raise AssertionError(f"a test tried to connect to {address}")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A plain BERT folder of 2 layers and 32 dimensions; never changed, so copy it before you damage it."""
    from tests.tiny_models import write_plain

    return write_plain(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="session")
def embedder(tmp_path_factory):
    """A tiny encoder with LLM-Embedder's six instruction pairs: mean pooling, texts that share words are near."""
    from rag_embedder import Embedder
    from tests.tiny_models import make_sentence_transformer, write_plain

    folder = write_plain(tmp_path_factory.mktemp("models") / "tiny")
    make_sentence_transformer(folder, pooling="mean", max_length=128)
    return Embedder.load(folder, device="cpu", instructions="llm-embedder")


@pytest.fixture(scope="session")
def minilm():
    """The encoder that ships with the package."""
    from rag_embedder import Embedder

    return Embedder.load(device="cpu")


def _is_local(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
