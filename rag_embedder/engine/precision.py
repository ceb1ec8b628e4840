"""The number formats an engine may compute in, and which one a device is fastest in."""

import torch

from rag_embedder.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def dtype_named(name: str, *, more: tuple[str, ...] = ()) -> torch.dtype:
    """The torch dtype of a name; `more` are other names that the caller understands, for the message.

    Raises:
        ConfigError: for an unknown name.
    """
    if name not in DTYPES:
        raise ConfigError(f"unknown dtype {name!r}; expected one of: {', '.join((*more, *DTYPES))}.")
    return DTYPES[name]


def name_of(dtype: torch.dtype) -> str:
    """As `Embedder.load` takes it: "float32"."""
    return str(dtype).removeprefix("torch.")


def fastest_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device has instructions for its products, float32 elsewhere.

    float16 is never chosen: on the CPU it was measured on (AVX512-FP16 without AMX-FP16) it took three times as long
    as bfloat16, and activations of some encoders do not fit its range.
    """
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_bfloat16 = device.type == "cpu" and cpu_has_bfloat16()
    return torch.bfloat16 if has_bfloat16 else torch.float32


def cpu_has_bfloat16() -> bool:
    """Whether this is an x86 CPU with AVX512-BF16 or AMX, and torch was not told to use less (ATEN_CPU_CAPABILITY)."""
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def check_exact(dtype: torch.dtype) -> None:
    """Raise ConfigError unless weights held as `dtype` can be saved without loss."""
    if dtype != torch.float32:
        raise ConfigError(
            f"save: the weights are held as {dtype}, which has lost digits; expected float32. "
            "Load the model with dtype='float32' and save that. Nothing was written."
        )
