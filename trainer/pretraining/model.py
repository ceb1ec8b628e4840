"""The decoder that is pre-trained: joint passes in, the losses' terms out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BertLMHeadModel, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from rag_embedder.errors import ConfigError, ModelLoadError
from rag_embedder.model_folder import check_weights
from rag_embedder.model_source import locate
from rag_embedder.prompt_form import PromptForm
from trainer.adapters import merged, with_adapters
from trainer.language_model.token_loss import token_losses
from trainer.pretraining.attention import JOINT
from trainer.pretraining.bag_of_words import Head, bag_losses, bag_recalls
from trainer.pretraining.layout import JointBatch
from trainer.pretraining.objective import Objective, Task
from trainer.pretraining.settings import PretrainModelSettings
from trainer.pretraining.slots import add_embeddings, slot_ids
from trainer.slot_embeddings import SlotEmbeddings

_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Terms:
    """Sums over a batch, with gradients: of -log p of its text tokens, and of L(e, T) by task; and each of these."""

    lm: Tensor
    bags: Mapping[Task, Tensor]
    each: Mapping[Task, Tensor]


class JointDecoder(nn.Module):
    """Weights that are trained are float32; with dtype="bfloat16" a pass runs under autocast. Dropout is off."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        slots: SlotEmbeddings | None,
        dtype: str,
        gradient_checkpointing: bool,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.model = model
        self.slots = slots
        self.device = device
        self._autocast = _AUTOCAST[dtype]
        self._has_adapters = any(".lora_" in name for name, _ in model.named_parameters())
        model.set_attn_implementation(JOINT)
        self.eval()
        if gradient_checkpointing:
            # Layers look whether they are in training; all dropout is set to 0 as the model is loaded.
            # The second name is that of earlier versions of transformers.
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
            self.train()
        nn.Module.to(self, device=device)

    @property
    def batch_tokens(self) -> int:
        """Tokens that go through the model together: on a CPU few, so that activations stay in its caches."""
        return 4096 if self.device.type == "cpu" else 8192

    def states(self, batch: JointBatch) -> Tensor:
        """The last layer's states (tokens, width), after its norm, in the type of the pass."""
        options: dict[str, Any] = {
            "position_ids": batch.positions.unsqueeze(0).to(self.device),
            "use_cache": False,
            "spans": batch.spans,
        }
        if isinstance(self.model, BertLMHeadModel):
            # Given, because the model's own table of them is only as long as one text.
            options["token_type_ids"] = torch.zeros_like(options["position_ids"])
        ids = batch.ids.unsqueeze(0).to(self.device)
        with self._pass():
            embedded = self.model.get_input_embeddings()(ids)
            options["inputs_embeds"] = embedded if self.slots is None else self.slots(ids, embedded)
            return self.model.base_model(**options).last_hidden_state.squeeze(0)

    def terms(self, batch: JointBatch, objective: Objective) -> Terms:
        """What the loss is made of; the language model's part is 0 where its weight is."""
        with self._pass():
            states, head = self._read(self.states(batch)), self._head()
            bags, each = {}, {}
            for task, part in batch.tasks.items():
                at_slots = slot_states(states, part.slots, objective)
                bags[task], each[task] = bag_losses(at_slots, head, part.targets)
            lm = states.new_zeros((), dtype=torch.float32)
            if objective.lm_weight:
                weights = torch.ones(len(batch.read), device=self.device)
                read, predicted = states[batch.read.to(self.device)], batch.predicted.to(self.device)
                lm = token_losses(read, head.weight, head.bias, predicted, weights)[0]
        return Terms(lm, bags, each)

    @torch.no_grad()
    def recalls(self, batch: JointBatch, objective: Objective) -> dict[Task, Tensor]:
        """Of each vector, the share of its target ids among as many likeliest entries."""
        with self._pass():
            states, head = self._read(self.states(batch)), self._head()
            return {
                task: bag_recalls(slot_states(states, part.slots, objective), head, part.targets)
                for task, part in batch.tasks.items()
            }

    def weights(self) -> dict[str, Tensor] | None:
        """All tensors under the model's own names, adapters and trained slots in them; None if those are its own."""
        if not self._has_adapters:
            return None
        found = merged(self.model)
        for name, weight in self.model.state_dict().items():
            if self.slots is not None and weight.data_ptr() == self._table().data_ptr():
                self.slots.put_into(found[name])
        return found

    def _table(self) -> Tensor:
        layer = self.model.get_input_embeddings()
        assert isinstance(layer, nn.Embedding)
        return layer.weight

    def _pass(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self._autocast, enabled=self._autocast is not None)

    def _read(self, states: Tensor) -> Tensor:
        """What the last matrix multiplies: a BERT has one more layer before it."""
        return self.model.cls.predictions.transform(states) if isinstance(self.model, BertLMHeadModel) else states

    def _head(self) -> Head:
        layer = self.model.get_output_embeddings()
        assert isinstance(layer, nn.Linear)
        if self.slots is not None and layer.weight is self._table():
            # A head that is tied to the embeddings learns with them.
            return Head(layer.weight.index_copy(0, self.slots.ids, self.slots.rows.to(layer.weight.dtype)), layer.bias)
        return Head(layer.weight, layer.bias)


def slot_states(states: Tensor, slots: Tensor, objective: Objective) -> Tensor:
    """(n, slots, width) at the places `slots` (n, slots), or of their mean (n, 1, width)."""
    found = states[slots.to(states.device)]
    return found.mean(1, keepdim=True) if objective.slot_logits == "mean" else found


def load_decoder(
    settings: PretrainModelSettings,
    tokenizer: PreTrainedTokenizerFast,
    form: PromptForm,
    *,
    new_ids: Sequence[int],
    seed: int,
    device: torch.device,
) -> JointDecoder:
    """The base with entries for all tokens of `tokenizer`; those of `new_ids` begin at the mean of the others.

    Raises:
        ModelLoadError: if there is no such model, or it is no decoder.
        ConfigError: if it cannot read `max_length` tokens.
    """
    folder = base_folder(settings)
    dtype = torch.float32 if not settings.lora_rank or settings.dtype == "float32" else torch.bfloat16
    model = _load(folder, dtype)
    _check_base(model, settings.max_length)
    add_embeddings(model, new_ids, num_entries=1 + max(tokenizer.get_vocab().values()), seed=seed)
    slots = None
    if settings.lora_rank:
        # Only the backbone is searched for layers: the head is outside of it.
        backbone = model.base_model
        assert isinstance(backbone, PreTrainedModel)
        torch.manual_seed(seed)
        with_adapters(backbone, rank=settings.lora_rank, alpha=settings.lora_alpha)
        slots = _trained_alone(model, slot_ids(tokenizer, form))
    return JointDecoder(
        model,
        slots=slots,
        dtype=settings.dtype,
        gradient_checkpointing=settings.gradient_checkpointing,
        device=device,
    )


def _trained_alone(model: PreTrainedModel, ids: Sequence[int]) -> SlotEmbeddings | None:
    """The embeddings of these tokens, to be trained while all other weights but adapters are frozen."""
    for name, weight in model.named_parameters():
        weight.requires_grad_(".lora_" in name)
    table = model.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    return SlotEmbeddings(table.weight, ids) if ids else None


def base_folder(settings: PretrainModelSettings) -> Path:
    """The folder of the base, as `Embedder.load` would find it.

    Raises:
        ModelLoadError: if there is none, or it holds differences to another model.
    """
    source = locate(settings.base)
    if source.base is not None:
        raise ModelLoadError(f"model.base: {settings.base} holds differences to a base; expected a whole decoder.")
    check_weights(source.files, allow_pickle=False)
    return source.files


def _load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()  # it warns of tensors that are missing, which is an error below
    transformers_logging.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=dtype, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ModelLoadError(
            f"cannot load a decoder in {folder}: {type(error).__name__}: {str(error)[:200]}"
        ) from error
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelLoadError(
            f"weights in {folder}: {len(missing)} tensors of {type(model).__name__} are missing (first: "
            f"{missing[0]}); expected a whole causal language model, its head included."
        )
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def _check_base(model: PreTrainedModel, length: int) -> None:
    for name in ("max_position_embeddings", "sliding_window"):
        limit = getattr(model.config, name, None)
        if limit is not None and length > limit:
            raise ConfigError(f"model.max_length is {length}; expected at most {limit}, the base's {name}.")
    if not isinstance(model.get_output_embeddings(), nn.Linear):
        raise ModelLoadError(f"{type(model).__name__} has no linear head; expected a causal language model.")
    if isinstance(model, BertLMHeadModel) and not model.config.is_decoder:
        raise ModelLoadError("the base is a BERT that reads both ways; expected a decoder, as fit_lm makes of one.")
