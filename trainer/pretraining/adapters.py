"""Low-rank adapters (Hu et al. 2021) on a decoder's layers, with the embeddings of its slots trained beside them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from trainer.pretraining.slots import SlotEmbedding


def add_adapters(model: PreTrainedModel, *, rank: int, alpha: float, slots: Sequence[int], seed: int) -> None:
    """Put adapters inside all linear layers but the head, and train only these and the embeddings of `slots`.

    Without the embeddings, what a new slot says would never be learned: it would stay what it began as.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    # Only the backbone is searched for layers: the head is outside of it.
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear")  # pyright: ignore[reportArgumentType]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model.base_model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            for adapter in (module.lora_A, module.lora_B):
                adapter.float().requires_grad_(True)
    if slots:
        table = model.get_input_embeddings()
        assert isinstance(table, torch.nn.Embedding)
        model.set_input_embeddings(SlotEmbedding(table, slots))


def merged_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """All tensors under the names they had before `add_adapters`, with what it trained added to them."""
    from peft.tuners.lora import LoraLayer

    changes = {
        f"{name}.weight": module.get_delta_weight("default")  # pyright: ignore[reportAttributeAccessIssue]
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }
    embedding = model.get_input_embeddings()
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if ".lora_" in name or name.endswith(".change"):
            continue
        own = name.replace(".base_layer.", ".").replace(".table.", ".")
        whole = tensor + changes[own] if own in changes else tensor
        if isinstance(embedding, SlotEmbedding) and tensor.data_ptr() == embedding.table.weight.data_ptr():
            whole = embedding.whole(tensor)
        found[own] = whole.detach().to(tensor.dtype)
    return found
