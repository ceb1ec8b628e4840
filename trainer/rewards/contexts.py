"""What stands before an expected output, cut so that the model can read it: the candidate gives way first."""

from collections.abc import Sequence
from dataclasses import dataclass

from evals.end_task.prompts import START_TOKENS, first_tokens, fit_knowledge
from evals.language_model.protocol import LanguageModel
from trainer.examples import Candidate, Example
from trainer.templates import Template


@dataclass(frozen=True, slots=True)
class ContextBuilder:
    """Contexts of one template for one model; candidates keep at most their first `candidate_tokens`."""

    lm: LanguageModel
    template: Template
    candidate_tokens: int

    def with_candidates(self, pairs: Sequence[tuple[Example, Candidate]], rooms: Sequence[int]) -> list[str]:
        """One context per pair, each at most `room` tokens long where the query alone is not longer."""
        texts = self._shortened([candidate.text for _, candidate in pairs])
        built = [
            self.template.with_candidate(example, text, candidate.continuation)
            for (example, candidate), text in zip(pairs, texts, strict=True)
        ]
        counts = self.lm.count_tokens(built)
        rows = zip(pairs, texts, built, counts, rooms, strict=True)
        return [
            context if count + START_TOKENS <= room else self._fitted(pair, text, room)
            for pair, text, context, count, room in rows
        ]

    def _shortened(self, texts: Sequence[str]) -> list[str]:
        counts = self.lm.count_tokens(texts)
        return [
            text if count <= self.candidate_tokens else first_tokens(self.lm, text, self.candidate_tokens)
            for text, count in zip(texts, counts, strict=True)
        ]

    def _fitted(self, pair: tuple[Example, Candidate], text: str, room: int) -> str:
        example, candidate = pair

        def build(kept: str) -> str:
            # What follows the candidate in its source makes no sense after a gap.
            return self.template.with_candidate(example, kept, candidate.continuation if kept == text else "")

        return fit_knowledge(self.lm, [text], build, room=room)
