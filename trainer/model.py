"""The encoder with gradients: the same vectors as `rag_embedder.Embedder`, and no padding computed on the way."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rag_embedder.engine.packing import Packing
from rag_embedder.engine.transformers import TransformersEngine
from rag_embedder.errors import ConfigError, InputError
from rag_embedder.model_folder import ModelSettings, check_weights, read_settings
from rag_embedder.model_folder.modules import POOLING_NAMES
from rag_embedder.model_source import locate
from rag_embedder.pooling import POOLINGS
from rag_embedder.registry import unknown_name
from rag_embedder.scenario import INSTRUCTION_SETS, Role, Scenario
from rag_embedder.tokenizer import TextTokenizer
from trainer.model_settings import training_settings
from trainer.packed_attention import PACKED
from trainer.token_batches import PaddingCount, padded_batches, unpadded_batches

_POSITION_START = {"bert": lambda _: 0, "roberta": lambda pad: pad + 1, "xlm-roberta": lambda pad: pad + 1}
"""Architectures that are packed, by where their positions begin; the others are padded in buckets of like length."""

_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16}


class TrainableEncoder(nn.Module):
    """Texts of one scenario and role in, unit rows with a gradient out.

    Weights are float32; with dtype="bfloat16" the model runs under autocast. Dropout is off: a reward says how good a
    candidate is and not how good a random part of it is, and without noise gradient caching, resuming and many
    processes give the same numbers as one plain run. With `lora_rank` above 0 only low-rank adapters are trained
    (Hu et al. 2021).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: TextTokenizer,
        settings: ModelSettings,
        *,
        folder: Path,
        base_hash: str,
        trained: str = "all",
        lora_rank: int = 0,
        dtype: str = "float32",
    ) -> None:
        super().__init__()
        if dtype not in _AUTOCAST:
            raise ConfigError(f"model.dtype: got {dtype!r}; expected one of: {', '.join(_AUTOCAST)}.")
        if trained not in ("all", "layers"):
            raise ConfigError(f"model.trained: got {trained!r}; expected one of: all, layers.")
        self.settings = settings
        self.folder = folder
        self.tokenizer = tokenizer
        self.base_hash = base_hash
        self.padding = PaddingCount()
        self._autocast = _AUTOCAST[dtype]
        self._pool = POOLINGS[settings.pooling]
        self._pad_id = int(model.config.pad_token_id or 0)
        start_of = _POSITION_START.get(model.config.model_type)
        self._first_position = None if start_of is None else start_of(self._pad_id)
        if self._first_position is not None:
            model.set_attn_implementation(PACKED)
        # Length of one vector.
        self.dim = int(model.config.hidden_size)
        self.model: nn.Module = _with_adapters(model, lora_rank) if lora_rank else model
        for name, weight in self.model.named_parameters():
            # BERT's tanh layer: its output is never used.
            if "pooler." in name or (trained == "layers" and "embeddings." in name):
                weight.requires_grad_(False)
        self.eval()

    @classmethod
    def load(
        cls,
        path_or_hub_id: str | Path | None = None,
        *,
        pooling: str | None = None,
        scenarios: str | Sequence[Scenario] | None = None,
        more_scenarios: Sequence[Scenario] = (),
        max_length: int | None = None,
        trained: str = "all",
        lora_rank: int = 0,
        dtype: str = "float32",
        device: str = "auto",
    ) -> "TrainableEncoder":
        """Load what `Embedder.load` loads, ready to be trained.

        Args:
            path_or_hub_id: a folder, a delta folder, a hub id, or None for the shipped default.
            pooling: "cls", "mean" or "last" instead of what the model's files say.
            scenarios: a named set ("llm-embedder" or "none") or these scenarios instead of what the files say.
            more_scenarios: added to those, or put in the place of one with the same name.
            max_length: tokens read of one text; at most what the model's position table holds.
            trained: "all" weights, or "layers" for all but the embeddings.
            lora_rank: rank of the adapters; 0 trains all weights.
            dtype: "float32", or "bfloat16" for autocast over float32 weights.
            device: "auto" (CUDA when there is one), "cpu", "cuda:1".

        Raises:
            ModelLoadError: if the model is not found, incomplete or damaged.
            ConfigError: for an unknown pooling, instruction set, dtype or device, or a length that does not fit.
        """
        if pooling is not None and pooling not in POOLING_NAMES:
            raise unknown_name("pooling", pooling, list(POOLING_NAMES))
        source = locate(path_or_hub_id)
        chosen = source.instructions if scenarios is None else scenarios
        settings = training_settings(
            read_settings(source.files, delta=source.delta),
            folder=source.files,
            name=source.name,
            scenarios=None if chosen is None else _scenarios(chosen),
            more_scenarios=_scenarios(more_scenarios),
            pooling=pooling,
            max_length=max_length,
        )
        check_weights(source.files, allow_pickle=False)
        tokenizer = TextTokenizer.from_folder(
            source.files, max_length=settings.max_length, lower_case=settings.lower_case
        )
        engine = TransformersEngine.load(source.files, delta=source.delta, pooling=settings.pooling, device=device)
        return cls(
            engine.model,
            tokenizer,
            settings,
            folder=source.files,
            base_hash=engine.weights_hash(),
            trained=trained,
            lora_rank=lora_rank,
            dtype=dtype,
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def batch_tokens(self) -> int:
        """Tokens that go through the model together: on a CPU few, so that activations stay in its caches."""
        return 4096 if self.device.type == "cpu" else 65_536

    def trained_weights(self) -> dict[str, Tensor]:
        """The weights that training changes, by name; not copies."""
        return {name: weight.detach() for name, weight in self.named_parameters() if weight.requires_grad}

    @torch.no_grad()
    def load_trained_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Put back what `trained_weights` gave.

        Raises:
            InputError: if the names or shapes are not those of the weights that are trained here.
        """
        own = self.trained_weights()
        shapes = {name: tuple(weight.shape) for name, weight in own.items()}
        if shapes != {name: tuple(weight.shape) for name, weight in weights.items()}:
            raise InputError(
                f"{len(weights)} trained weights came, with other names or shapes than the {len(own)} expected ones; "
                "use the model settings (base, lora_rank) of the run that wrote them."
            )
        for name, weight in own.items():
            weight.copy_(weights[name])

    def merged_weights(self) -> dict[str, Tensor]:
        """All tensors under the base's own names, on the CPU, adapters added to the weights they adapt."""
        from peft.tuners.lora import LoraLayer

        deltas = {
            f"{name}.base_layer.weight": module.get_delta_weight("default")  # pyright: ignore[reportAttributeAccessIssue]
            for name, module in self.model.named_modules()
            if isinstance(module, LoraLayer)
        }
        return {
            name.replace(".base_layer.", "."): (tensor + deltas.get(name, 0)).detach().cpu().contiguous()
            for name, tensor in self.model.state_dict().items()
            if ".lora_" not in name
        }

    def tokenize(self, texts: Sequence[str], scenario: str, role: Role) -> list[list[int]]:
        """Ids of every text with its instruction in front, cut to `max_length`.

        Raises:
            ConfigError: for a scenario that the model does not have.
        """
        known = self.settings.scenarios
        if scenario not in known:
            raise unknown_name("scenario", scenario, list(known))
        instruction = known[scenario].instruction(role)
        return [text.ids for text in self.tokenizer.encode([instruction + text for text in texts])]

    def encode(self, texts: Sequence[str], scenario: str, role: Role) -> Tensor:
        """Unit rows of shape (n, dim), float32, in the order of the texts."""
        return self(self.tokenize(texts, scenario, role))

    def forward(self, token_ids: Sequence[Sequence[int]]) -> Tensor:
        """Unit rows of shape (n, dim), float32; a text that occurs several times is encoded once."""
        if not token_ids:
            return torch.empty((0, self.dim), device=self.device)
        rows: dict[tuple[int, ...], int] = {}
        places = [rows.setdefault(tuple(ids), len(rows)) for ids in token_ids]
        unique = list(rows)
        lengths = [len(ids) for ids in unique]
        plan = padded_batches if self._first_position is None else unpadded_batches
        batches = plan(lengths, max_tokens=self.batch_tokens)
        run = self._run_padded if self._first_position is None else self._run_packed
        with torch.autocast(self.device.type, dtype=self._autocast, enabled=self._autocast is not None):
            vectors = run([[unique[position] for position in batch] for batch in batches])
        order = torch.empty(len(unique), dtype=torch.long)
        order[torch.tensor([position for batch in batches for position in batch])] = torch.arange(len(unique))
        return torch.cat(vectors)[order[torch.tensor(places)].to(self.device)]

    def _run_packed(self, batches: Sequence[Sequence[Sequence[int]]]) -> list[Tensor]:
        # All tokens are looked up at once: a gradient as large as the table of them, per batch, would cost more.
        flat = torch.tensor([[token for batch in batches for ids in batch for token in ids]], device=self.device)
        embedded = _base_of(self.model).get_input_embeddings()(flat)
        parts = embedded.split([sum(len(ids) for ids in batch) for batch in batches], dim=1)
        return [self._run_row(part, [len(ids) for ids in batch]) for part, batch in zip(parts, batches, strict=True)]

    def _run_row(self, embedded: Tensor, lengths: Sequence[int]) -> Tensor:
        """`embedded` (1, tokens, width): one packed row of texts of these lengths."""
        self.padding.add(real=sum(lengths), computed=sum(lengths))
        first = self._first_position or 0
        positions = torch.cat([torch.arange(first, first + length) for length in lengths]).unsqueeze(0)
        packing = Packing.of(lengths, self.device)
        states = self.model(
            inputs_embeds=embedded,
            position_ids=positions.to(self.device),
            # Given, because the model's own table of them is only as long as one text.
            token_type_ids=torch.zeros_like(positions).to(self.device),
            packing=packing,
        ).last_hidden_state.squeeze(0)
        vectors = []
        # Split and not sliced: the gradient of each slice would be as long as the row.
        sizes = [span.stop - span.start for span in packing.spans]
        for span, texts in zip(packing.spans, states.split(sizes), strict=True):
            part = texts.unflatten(0, (span.count, span.length)).float()
            vectors.append(self._pool(part, part.new_ones(part.shape[:2])))
        return nn.functional.normalize(torch.cat(vectors), dim=-1)

    def _run_padded(self, batches: Sequence[Sequence[Sequence[int]]]) -> list[Tensor]:
        return [self._run_batch(batch) for batch in batches]

    def _run_batch(self, token_ids: Sequence[Sequence[int]]) -> Tensor:
        lengths = torch.tensor([len(ids) for ids in token_ids])
        width = int(lengths.max())
        self.padding.add(real=int(lengths.sum()), computed=width * len(token_ids))
        input_ids = torch.tensor([[*ids, *[self._pad_id] * (width - len(ids))] for ids in token_ids]).to(self.device)
        mask = (torch.arange(width) < lengths.unsqueeze(1)).long().to(self.device)
        states = self.model(input_ids=input_ids, attention_mask=mask).last_hidden_state.float()
        return nn.functional.normalize(self._pool(states, mask), dim=-1)


def _base_of(model: nn.Module) -> PreTrainedModel:
    """Adapters are put inside of a model and leave its class."""
    assert isinstance(model, PreTrainedModel)
    return model


def _with_adapters(model: PreTrainedModel, rank: int) -> nn.Module:
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", exclude_modules=r".*pooler.*"
    )
    return inject_adapter_in_model(config, model)


def _scenarios(chosen: str | Sequence[Scenario]) -> Mapping[str, Scenario]:
    if not isinstance(chosen, str):
        return {scenario.name: scenario for scenario in chosen}
    if chosen not in INSTRUCTION_SETS:
        raise unknown_name("instruction set", chosen, list(INSTRUCTION_SETS))
    return INSTRUCTION_SETS[chosen]
