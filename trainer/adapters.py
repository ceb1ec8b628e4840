"""Low-rank adapters (Hu et al. 2021) inside of a model, and the whole weights they come to."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def with_adapters(model: PreTrainedModel, *, rank: int, alpha: float | None) -> nn.Module:
    """The model with a trained float32 adapter in every linear layer, scaled by alpha / rank; alpha is 2 rank if None.

    All other weights are frozen, in the number format they have.
    """
    from peft import LoraConfig, inject_adapter_in_model

    # BERT's tanh layer is never used; peft warns of an exclusion that excludes nothing.
    has_pooler = any("pooler" in name for name, _ in model.named_modules())
    config = LoraConfig(
        r=rank,
        # Published alphas are whole numbers; peft divides by the rank, and takes any number.
        lora_alpha=2 * rank if alpha is None else alpha,  # pyright: ignore[reportArgumentType]
        lora_dropout=0.0,
        target_modules="all-linear",
        exclude_modules=r".*pooler.*" if has_pooler else None,
    )
    adapted = inject_adapter_in_model(config, model)
    for name, weight in adapted.named_parameters():
        if ".lora_" in name:
            weight.data = weight.data.float()
    return adapted


@torch.no_grad()
def merged(model: nn.Module) -> dict[str, Tensor]:
    """All tensors under the base's own names, float32 copies on the CPU, adapters added to the weights they adapt."""
    from peft.tuners.lora import LoraLayer

    differences = {
        f"{name}.base_layer.weight": module.get_delta_weight("default")  # pyright: ignore[reportAttributeAccessIssue]
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }
    return {
        name.replace(".base_layer.", "."): _sum(tensor, differences.get(name))
        for name, tensor in model.state_dict().items()
        if ".lora_" not in name
    }


def _sum(tensor: Tensor, difference: Tensor | None) -> Tensor:
    exact = tensor.float() if tensor.is_floating_point() else tensor
    return (exact + (0 if difference is None else difference)).cpu().contiguous()
