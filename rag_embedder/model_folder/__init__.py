"""The on-disk format of a model: Sentence-Transformers layout plus `rag_embedder.json`; also reads plain layouts.

rag_embedder.json                 format, name, training state, scenarios, sha256 of what decides the vectors
                                  of a decoder also its prompt form and max_length; then the next four may be missing
modules.json                      Transformer, Pooling, Normalize
sentence_bert_config.json         max_seq_length
config_sentence_transformers.json prompts: query, document, <scenario>_query, <scenario>_document
1_Pooling/config.json             how token states become one vector
config.json, model.safetensors, tokenizer.json ...

A delta folder holds instead what training changed of a base model:

delta.json                        format, base and its sha256, bits, name, training state, pooling, length, scenarios
delta.safetensors                 quantised differences to the base's weights

A folder of PEFT (adapter_config.json, adapter_model.safetensors) holds low-rank differences to a base it names.
"""

from rag_embedder.model_folder.adapter_config import is_adapter, read_adapter_config
from rag_embedder.model_folder.delta_folder import write_delta
from rag_embedder.model_folder.delta_header import is_delta, read_delta_header
from rag_embedder.model_folder.delta_weights import merge_delta
from rag_embedder.model_folder.saving import write_folder
from rag_embedder.model_folder.settings import ModelSettings, read_settings
from rag_embedder.model_folder.weights import check_weights

__all__ = [
    "ModelSettings",
    "check_weights",
    "is_adapter",
    "is_delta",
    "merge_delta",
    "read_adapter_config",
    "read_delta_header",
    "read_settings",
    "write_delta",
    "write_folder",
]
