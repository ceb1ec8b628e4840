"""The decoder that is pre-trained: joint passes in, the losses' terms out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertLMHeadModel, PreTrainedModel

from trainer.adapters import merged
from trainer.language_model.token_loss import token_losses
from trainer.pretraining.attention import JOINT
from trainer.pretraining.bag_of_words import Head, bag_losses, bag_recalls
from trainer.pretraining.layout import JointBatch
from trainer.pretraining.objective import Objective, Task
from trainer.slot_embeddings import SlotEmbeddings

_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Terms:
    """Sums over a batch, with gradients: of -log p of its text tokens, and of L(e, T) by task.

    `each` has every L(e, T) without gradient, `recalls` for each vector the share of its target ids among as many
    likeliest entries, where that was asked for.
    """

    lm: Tensor
    bags: Mapping[Task, Tensor]
    each: Mapping[Task, Tensor]
    recalls: Mapping[Task, Tensor] = field(default_factory=dict)


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

    def terms(self, batch: JointBatch, objective: Objective, *, with_recalls: bool = False) -> Terms:
        """What the loss is made of; the language model's part is 0 where its weight is."""
        with self._pass():
            states, head = self._read(self.states(batch)), self._head()
            bags, each, recalls = {}, {}, {}
            for task, part in batch.tasks.items():
                at_slots = slot_states(states, part.slots, objective)
                bags[task], each[task] = bag_losses(at_slots, head, part.targets)
                if with_recalls:
                    recalls[task] = bag_recalls(at_slots, head, part.targets)
            lm = states.new_zeros((), dtype=torch.float32)
            if objective.lm_weight:
                weights = torch.ones(len(batch.read), device=self.device)
                read, predicted = states[batch.read.to(self.device)], batch.predicted.to(self.device)
                lm = token_losses(read, head.weight, head.bias, predicted, weights)[0]
        return Terms(lm, bags, each, recalls)

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
