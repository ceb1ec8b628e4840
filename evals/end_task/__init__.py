"""What retrieval does for a language model: one protocol per file.

A protocol is a function of a language model, examples and what was retrieved for them; it gives an `EndTaskResult`.
Nothing retrieved is the condition "none".
"""

from rag_embedder.registry import Registry

END_TASKS = Registry(
    "end task",
    {
        "multiple-choice": "evals.end_task.multiple_choice:evaluate",
        "open-answers": "evals.end_task.open_answers:evaluate",
        "dialogue-memory": "evals.end_task.dialogue_memory:evaluate",
        "long-text-memory": "evals.end_task.long_text_memory:evaluate",
        "demonstrations": "evals.end_task.demonstrations:evaluate",
    },
)

__all__ = ["END_TASKS"]
