"""`Embedder`: texts of one scenario and role in, unit vectors out."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

import numpy as np
from tqdm import tqdm

from rag_embedder.batching import plan_batches
from rag_embedder.engine import ENGINES, Engine
from rag_embedder.errors import ConfigError, InvalidTextError, ModelLoadError
from rag_embedder.micro_batch import MicroBatcher
from rag_embedder.model_folder import ModelSettings, check_weights, read_settings, write_folder
from rag_embedder.model_source import locate
from rag_embedder.prompt_form import PromptForm, form_to_json
from rag_embedder.registry import unknown_name
from rag_embedder.scenario import INSTRUCTION_SETS, Role, Scenario
from rag_embedder.texts import check_text, check_texts
from rag_embedder.tokenizer import TextTokenizer, TokenizedText
from rag_embedder.truncation import OnTruncate, Preview, Truncation
from rag_embedder.truncation import TruncationWarning as TruncationWarning
from rag_embedder.types import Vectors
from rag_embedder.watching import tell_watches

_SMALL = 32
"""Calls of at most this many texts are coalesced with those of other threads."""

_PROGRESS_FROM = 512
"""Number of texts from which a terminal gets a progress bar."""

_WINDOW = 16_384
"""Texts that are tokenised and sorted by length together: of more texts, only the vectors take more memory."""


class Embedder:
    """The unified encoder (LLM-Embedder, arXiv 2310.07554): one model, an instruction pair per scenario.

    Safe to share between threads. In float32, vectors do not depend on what else is in a batch beyond 1e-5.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: TextTokenizer,
        settings: ModelSettings,
        *,
        folder: Path,
        tokenizer_folder: Path | None = None,
        on_truncate: OnTruncate = "warn",
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._settings = settings
        self._folder = folder
        self._tokenizer_folder = tokenizer_folder or folder
        self._truncation = Truncation(on_truncate)
        self._model_hash = _hash_model(engine, tokenizer, settings)
        self._small_calls = MicroBatcher(self._encode_small)

    @classmethod
    def load(
        cls,
        path_or_hub_id: str | Path | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        engine: str = "auto",
        instructions: str | Sequence[Scenario] | None = None,
        pooling: str | None = None,
        prompt_form: str | PromptForm | None = None,
        normalize: bool = True,
        on_truncate: OnTruncate = "warn",
        allow_pickle: bool = False,
    ) -> "Embedder":
        """Load the shipped default (no argument), a model folder, or a hub id such as "BAAI/llm-embedder".

        Args:
            path_or_hub_id: a folder in our, Sentence-Transformers or plain Hugging Face layout, a delta folder, a PEFT
                folder with LoRA weights, or a hub id.
            device: "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1", "mps".
            dtype: "float32", "bfloat16" or "float16"; "auto" is bfloat16 where the device computes it fast and the
                engine is the packed one, else float32. Vectors come back as float32 in any case.
            engine: "packed" computes no padding and is several times as fast, for BERT, RoBERTa, Llama, Mistral and
                Qwen; "transformers" is the reference, for every architecture; "auto" takes the first where it can.
            instructions: use a named set ("llm-embedder" or "none"), or these scenarios, instead of what the model's
                files say.
            pooling: "cls", "mean" or "last" instead of what the model's files say.
            prompt_form: of a decoder, what stands around its texts: a name in `PROMPT_FORMS` ("llara", "llara-paper",
                "repllama", "eos") or a form of your own, instead of what the model's files say. Instructions stand
                behind the form's `before` and are read as part of the text.
            normalize: False leaves rows at the length the model gives them, for published models that are scored by
                the inner product of such rows. Retrievers need unit rows and refuse it.
            on_truncate: what a text longer than the model does: "warn" once, or "error".
            allow_pickle: accept pickled weights, read by torch's weights-only loader. Model code is never run.

        Raises:
            ModelLoadError: if it is not found, incomplete or damaged; the message says what was looked for and where.
            UntrustedModelError: if it would need pickled weights or code from the model.
            ConfigError: for an unknown device, dtype, engine, pooling, prompt form or instruction set, or a prompt form
                that does not fit the tokenizer.
        """
        source = locate(path_or_hub_id, allow_pickle=allow_pickle)
        settings = read_settings(source.files, delta=source.delta)
        chosen = source.instructions if instructions is None else instructions
        if chosen is not None:
            settings = replace(settings, scenarios=_scenarios(chosen))
        settings = settings.with_reading(
            pooling=pooling, prompt_form=prompt_form or (source.prompt_form if pooling in (None, "last") else None)
        )
        # Our own folders know their name; elsewhere it is the hub id or the folder's.
        settings = replace(settings, name=settings.name if settings.name != source.files.name else source.name)
        check_weights(source.files, allow_pickle=allow_pickle)
        if source.adapter is not None:
            check_weights(source.adapter, allow_pickle=allow_pickle)
        tokenizer = TextTokenizer.from_folder(
            source.tokenizer,
            max_length=settings.max_length,
            lower_case=settings.lower_case,
            form=settings.prompt_form,
        )
        loaded = ENGINES[engine].load(
            source.files,
            delta=source.delta,
            adapter=source.adapter,
            pooling=settings.pooling,
            num_slots=settings.num_slots,
            normalize=normalize,
            device=device,
            dtype=dtype,
            allow_pickle=allow_pickle,
        )
        _check_vocabulary(tokenizer, loaded, source.tokenizer)
        return cls(
            loaded,
            tokenizer,
            settings,
            folder=source.files,
            tokenizer_folder=source.tokenizer,
            on_truncate=on_truncate,
        )

    @property
    def name(self) -> str:
        """Model name for messages: hub id, folder name, or the name it was saved under."""
        return self._settings.name

    @property
    def training_state(self) -> str:
        """What training the weights have seen, in words."""
        return self._settings.training_state

    @property
    def dim(self) -> int:
        """Length of one vector."""
        return self._engine.dim

    @property
    def max_length(self) -> int:
        """Tokens the model reads of one text, instruction and special tokens included."""
        return self._settings.max_length

    @property
    def is_normalized(self) -> bool:
        """Whether rows are unit vectors, as all retrieval needs them."""
        return self._engine.is_normalized

    @property
    def device(self) -> str:
        """Where the model runs, as torch writes it."""
        return self._engine.device

    @property
    def engine(self) -> str:
        """The engine that computes: "packed" or "transformers"."""
        return self._engine.name

    @property
    def dtype(self) -> str:
        """The number format the model computes in; vectors are float32 in any case."""
        return self._engine.dtype

    @property
    def prompt_form(self) -> PromptForm | None:
        """What a decoder reads around its texts; None for a model that reads them as they are."""
        return self._settings.prompt_form

    @property
    def scenarios(self) -> Mapping[str, Scenario]:
        """The scenarios by name, read-only; `register_scenario` adds one."""
        return MappingProxyType(dict(self._settings.scenarios))

    @property
    def num_truncated(self) -> int:
        """How many texts were cut so far."""
        return self._truncation.num_truncated

    @property
    def fingerprint(self) -> str:
        """32 hex digits over weights, tokenizer, pooling, prompt form, dimension, maximum length and instructions."""
        pairs = sorted((s.name, s.query_instruction, s.document_instruction) for s in self.scenarios.values())
        return _short_hash(self._model_hash, json.dumps(pairs))

    def fingerprint_of(self, scenario: str) -> str:
        """The same for one scenario: what an index stores, so that registering another one does not disturb it."""
        chosen = self._scenario(scenario)
        return _short_hash(
            self._model_hash, json.dumps([chosen.name, chosen.query_instruction, chosen.document_instruction])
        )

    def register_scenario(self, scenario: Scenario) -> None:
        """Add a scenario; it is saved with the model.

        Raises:
            ConfigError: if the name is taken by other instructions (existing indexes would change their meaning).
        """
        known = self._settings.scenarios.get(scenario.name)
        if known is not None and known != scenario:
            raise ConfigError(
                f"scenario {scenario.name!r} exists with other instructions; expected a new name. Nothing was changed."
            )
        scenarios = {**self._settings.scenarios, scenario.name: scenario}
        self._settings = replace(self._settings, scenarios=scenarios)

    def encode_queries(
        self,
        texts: Iterable[str],
        scenario: str = "qa",
        *,
        show_progress: bool | None = None,
        on_truncate: OnTruncate | None = None,
    ) -> Vectors:
        """Unit float32 rows, shape (n, dim), in the order of the texts; no texts give shape (0, dim).

        Raises:
            InvalidTextError: for a bare string, a non-string or a lone surrogate, with its position.
            TextTruncatedError: for a text longer than the model with `on_truncate="error"`.
            ConfigError: for an unknown scenario.
        """
        return self._encode(texts, scenario, "query", show_progress, on_truncate)

    def encode_documents(
        self,
        texts: Iterable[str],
        scenario: str = "qa",
        *,
        show_progress: bool | None = None,
        on_truncate: OnTruncate | None = None,
    ) -> Vectors:
        """As `encode_queries`, with the scenario's document instruction."""
        return self._encode(texts, scenario, "document", show_progress, on_truncate)

    def preview(self, text: str, scenario: str = "qa", role: Role = "query") -> Preview:
        """The exact text that would be encoded, its length in tokens and whether its end would be cut."""
        if role not in ("query", "document"):
            raise ConfigError(f"role: got {role!r}; expected 'query' or 'document'.")
        full = self._scenario(scenario).instruction(role) + check_text(text, field="text")
        (tokenized,) = self._tokenizer.encode([full], role)
        form = self.prompt_form
        return Preview(
            text=full if form is None else form.of(role).around(full),
            num_tokens=tokenized.num_tokens,
            max_length=self.max_length,
        )

    def count_tokens(self, texts: Iterable[str]) -> list[int]:
        """Tokens of every text by this model's tokenizer, without instruction, special tokens or truncation."""
        return self._tokenizer.count(check_texts(texts))

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Character span of every token of `text`, in order, special tokens left out."""
        return self._tokenizer.offsets(check_text(text, field="text"))

    def save(self, folder: str | Path) -> None:
        """Write a folder that `Embedder.load` and plain `SentenceTransformer(folder)` load, prompts included.

        A prompt form that the tokenizer does not put around texts by itself cannot be said in that layout: the folder
        is then for `Embedder.load` alone, without the files by which Sentence-Transformers knows its models. What came
        as base and adapter is written merged, as one whole model.

        Raises:
            ConfigError: if the folder exists and is not empty, the weights are held in half precision, or the rows are
                not normalized, which the layout cannot say.
        """
        if not self.is_normalized:
            raise ConfigError("save: loaded with normalize=False; expected True. Load the model again and save that.")
        self._engine.check_can_save()
        write_folder(
            Path(folder).expanduser(),
            self._settings,
            source=self._folder,
            dim=self.dim,
            write_weights=self._engine.write_weights,
            tokenizer=self._tokenizer_folder,
            tokenizer_adds_form=self._tokenizer.adds_form,
            vocabulary_size=self._engine.vocabulary_size,
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an Embedder cannot be pickled or copied: it holds a model and locks. Share it between threads, and load "
            "it again in another process: Embedder.load(...)."
        )

    def __repr__(self) -> str:
        return (
            f"Embedder({self.name!r}, dim={self.dim}, max_length={self.max_length}, "
            f"pooling={self._settings.pooling!r}, device={self.device!r}, "
            f"engine={self.engine!r}, dtype={self.dtype!r}, scenarios={list(self.scenarios)}, "
            f"state={self.training_state!r})"
        )

    def _scenario(self, name: str) -> Scenario:
        scenario = self._settings.scenarios.get(name) if isinstance(name, str) else None
        if scenario is None:
            raise unknown_name("scenario", name, list(self._settings.scenarios))
        return scenario

    def _encode(
        self,
        texts: Iterable[str],
        scenario: str,
        role: Role,
        show_progress: bool | None,
        on_truncate: OnTruncate | None,
    ) -> Vectors:
        instruction = self._scenario(scenario).instruction(role)
        on_truncate = self._truncation.checked(on_truncate)
        checked = check_texts(texts)
        tell_watches(checked, scenario, role)
        if not checked:
            return np.empty((0, self.dim), dtype=np.float32)
        windows = [range(start, min(start + _WINDOW, len(checked))) for start in range(0, len(checked), _WINDOW)]

        def tokenized(window: range) -> list[TokenizedText]:
            return self._tokenizer.encode([instruction + checked[position] for position in window], role)

        if on_truncate == "error" and len(windows) > 1:  # said before anything is encoded, so they are read twice
            for window in windows:
                self._truncation.report(tokenized(window), self.max_length, on_truncate, first=window.start)
        if len(checked) <= _SMALL:
            return self._small_calls.run(self._token_ids(tokenized(windows[0]), windows[0], on_truncate))
        vectors = np.empty((len(checked), self.dim), dtype=np.float32)
        hidden = None if show_progress is None and len(checked) >= _PROGRESS_FROM else not show_progress
        with tqdm(total=len(checked), desc="encoding", unit="text", disable=hidden, leave=False) as bar:
            for window in windows:
                token_ids = self._token_ids(tokenized(window), window, on_truncate)
                self._encode_batches(token_ids, vectors[window.start : window.stop], bar.update)
        return vectors

    def _token_ids(self, tokenized: list[TokenizedText], window: range, on_truncate: OnTruncate) -> list[list[int]]:
        self._truncation.report(tokenized, self.max_length, on_truncate, first=window.start)
        token_ids = [text.ids for text in tokenized]
        if [] in token_ids:  # only for tokenizers without special tokens
            position = window[token_ids.index([])]
            raise InvalidTextError(f"texts[{position}] has no tokens; expected a text this model can read.")
        return token_ids

    def _encode_small(self, token_ids: Sequence[list[int]]) -> Vectors:
        vectors = np.empty((len(token_ids), self.dim), dtype=np.float32)
        self._encode_batches(token_ids, vectors, lambda _: None)
        return vectors

    def _encode_batches(
        self, token_ids: Sequence[list[int]], into: Vectors, on_encoded: Callable[[int], object]
    ) -> None:
        """Write the vectors of the texts into rows (n, dim); `on_encoded` hears how many more are done."""
        lengths = [len(ids) for ids in token_ids]
        for batch in plan_batches(lengths, max_tokens=self._engine.batch_tokens, pads=self._engine.pads):
            into[batch] = self._engine.encode([token_ids[position] for position in batch])
            on_encoded(len(batch))


def _scenarios(chosen: str | Sequence[Scenario]) -> Mapping[str, Scenario]:
    if not isinstance(chosen, str):
        return {scenario.name: scenario for scenario in chosen}
    if chosen not in INSTRUCTION_SETS:
        raise unknown_name("instruction set", chosen, list(INSTRUCTION_SETS))
    return INSTRUCTION_SETS[chosen]


def _hash_model(engine: Engine, tokenizer: TextTokenizer, settings: ModelSettings) -> str:
    more: list[object] = [] if engine.is_normalized else ["not normalized"]
    if settings.prompt_form is not None:
        more.append({key: value for key, value in form_to_json(settings.prompt_form).items() if key != "name"})
    shape = json.dumps([settings.pooling, engine.dim, settings.max_length, settings.lower_case, *more])
    return _short_hash(engine.weights_hash(), tokenizer.definition(), shape)


def _short_hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _check_vocabulary(tokenizer: TextTokenizer, engine: Engine, folder: Path) -> None:
    size = engine.vocabulary_size
    if tokenizer.vocabulary_size > size:
        raise ModelLoadError(
            f"the tokenizer in {folder} has {tokenizer.vocabulary_size} ids but the model embeds {size}; "
            "expected the tokenizer the model was trained with."
        )
