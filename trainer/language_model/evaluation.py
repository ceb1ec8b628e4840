"""How good the model is on documents it never saw: texts by bits per byte, examples by what retrieval changes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from rag_embedder.batching import plan_batches
from trainer.examples import Example
from trainer.language_model.decoder import Decoder
from trainer.language_model.documents import encode, generator, start_and_end
from trainer.language_model.packing import pack
from trainer.language_model.texts import text_ids, text_sequence
from trainer.templates import Template


class HeldOut(Protocol):
    """Documents of one data set that are evaluated."""

    def measure(self, decoder: Decoder) -> Mapping[str, float]:
        """Values by name."""
        ...


class HeldOutTexts:
    """Texts, packed as in training.

    `perplexity` is per token, end tokens included, and depends on the tokenizer; `bits_per_byte` of UTF-8 does not.
    """

    def __init__(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, *, max_length: int) -> None:
        sequences = [text_sequence(ids) for ids in text_ids(texts, tokenizer)]
        self._rows = pack(sequences, length=max_length, may_be_cut=True, pad_id=start_and_end(tokenizer)[1])
        self._num_bytes = sum(len(text.encode("utf-8", errors="replace")) for text in texts)

    @torch.no_grad()
    def measure(self, decoder: Decoder) -> Mapping[str, float]:
        """Loss (nats per token), perplexity, bits per byte."""
        size = max(1, decoder.batch_tokens // self._rows.ids.shape[1])
        nats = 0.0
        for start in range(0, len(self._rows), size):
            part = slice(start, start + size)
            ids = torch.from_numpy(self._rows.ids[part]).long()
            nats += float(decoder.losses(ids, torch.from_numpy(self._rows.weights[part]))[0])
        loss = nats / float(self._rows.weights[:, 1:].sum())
        return {
            "loss": loss,
            "perplexity": math.exp(min(loss, 700.0)),
            "bits_per_byte": nats / math.log(2) / self._num_bytes,
        }


@dataclass(frozen=True, slots=True)
class _Prompt:
    """Ids from the start token to the end of the output, and how many of them are the output."""

    ids: tuple[int, ...]
    num_output: int


class HeldOutExamples:
    """Examples, each read with a relevant candidate, with one of another example, and with none.

    The values are log-likelihoods of the first expected output, in nats, mean over its tokens and then over examples:
    `positive`, `random`, `none`. `auc` is the chance that the output is likelier with a relevant candidate than with
    the random one of the same example, ties counting half: 0.5 is a model that retrieval tells nothing.
    """

    def __init__(
        self,
        name: str,
        examples: Sequence[Example],
        template: Template,
        tokenizer: PreTrainedTokenizerFast,
        *,
        seed: int,
        max_length: int,
    ) -> None:
        draw = generator(seed, name, 0)
        contexts: list[str] = []
        outputs: list[str] = []
        for number, example in enumerate(examples):
            relevant = next((each for each in example.candidates if each.label > 0), example.candidates[0])
            # Any example but this one; alone, it is its own.
            other = examples[(number + int(draw.integers(1, max(2, len(examples))))) % len(examples)]
            foreign = other.candidates[int(draw.integers(len(other.candidates)))]
            contexts += [
                template.with_candidate(example, relevant.text, relevant.continuation),
                template.with_candidate(example, foreign.text, foreign.continuation),
                template.alone(example),
            ]
            outputs += [template.output(example.answers[0])] * 3
        start, _ = start_and_end(tokenizer)
        self._prompts = []
        for context, output in zip(encode(tokenizer, contexts), encode(tokenizer, outputs), strict=True):
            kept = context[max(0, len(context) - (max_length - len(output) - 1)) :]
            self._prompts.append(_Prompt((start, *kept, *output), len(output)))

    def measure(self, decoder: Decoder) -> Mapping[str, float]:
        """Log-likelihoods per token by context, and the AUC."""
        values = self.log_likelihoods(decoder)
        positive, foreign, alone = values[0::3], values[1::3], values[2::3]
        wins = [
            1.0 if one > other else 0.5 if one == other else 0.0 for one, other in zip(positive, foreign, strict=True)
        ]
        return {"positive": fmean(positive), "random": fmean(foreign), "none": fmean(alone), "auc": fmean(wins)}

    @torch.no_grad()
    def log_likelihoods(self, decoder: Decoder) -> list[float]:
        """Mean log p of each output's tokens: relevant, random and no candidate of the first example, and so on."""
        found = [0.0] * len(self._prompts)
        for batch in plan_batches([len(prompt.ids) for prompt in self._prompts], max_tokens=decoder.batch_tokens):
            width = max(len(self._prompts[number].ids) for number in batch)
            ids = np.zeros((len(batch), width), dtype=np.int64)
            weights = np.zeros((len(batch), width), dtype=np.float32)
            for row, number in enumerate(batch):
                prompt = self._prompts[number]
                ids[row, : len(prompt.ids)] = prompt.ids
                weights[row, len(prompt.ids) - prompt.num_output : len(prompt.ids)] = 1.0
            losses = decoder.losses(torch.from_numpy(ids), torch.from_numpy(weights))[1].sum(1)
            for number, loss in zip(batch, losses.tolist(), strict=True):
                found[number] = -loss / self._prompts[number].num_output
        return found


def table(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """A few lines for people: one per data set."""
    texts = {name: values for name, values in metrics.items() if "auc" not in values}
    examples = {name: values for name, values in metrics.items() if "auc" in values}
    lines: list[str] = []
    for part, columns in (
        (texts, ("loss", "perplexity", "bits_per_byte")),
        (examples, ("positive", "random", "none", "auc")),
    ):
        if part:
            lines.append(f"{'held out':<20}" + "".join(f"{column:>15}" for column in columns))
        for name, values in part.items():
            lines.append(f"{name:<20}" + "".join(f"{values[column]:>15.4f}" for column in columns))
    return "\n".join(lines)
