"""What end tasks gave, as a Markdown table."""

from collections.abc import Sequence

from evals.end_task.result import LOWER_IS_BETTER, EndTaskResult
from evals.significance import compare

HEADLINES = {
    "multiple-choice": ("accuracy", "accuracy"),
    "open-answers": ("substring_match", "substring_match"),
    "dialogue-memory": ("perplexity", "nll"),
    "long-text-memory": ("perplexity", "nll"),
    "demonstrations": ("score", "score"),
}
"""Task -> the figure of its row, and the value per example that is tested."""


def end_task_table(results: Sequence[EndTaskResult], *, seed: int = 0) -> str:
    """One row per data set, one column per condition; * where the difference from "none" has p < 0.05, paired.

    Perplexity falls as the model gets better; shares are in per cent and rise.
    """
    conditions = list(dict.fromkeys(result.condition for result in results))
    lines = [
        f"| set | task | figure | n | {' | '.join(conditions)} |",
        f"|---|---|---|---:|{'---:|' * len(conditions)}",
    ]
    for key in dict.fromkeys(result.key for result in results):
        row = {result.condition: result for result in results if result.key == key}
        first = next(iter(row.values()))
        figure, tested = HEADLINES[first.task]
        direction = "lower is better" if figure in LOWER_IS_BETTER else "higher is better"
        cells = [_cell(row.get(condition), row.get("none"), figure, tested, seed) for condition in conditions]
        count = len(first.values[tested])
        lines.append(f"| {key} | {first.task} | {figure} ({direction}) | {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(result: EndTaskResult | None, none: EndTaskResult | None, figure: str, tested: str, seed: int) -> str:
    if result is None:
        return "-"
    value = result.summary[figure]
    shown = f"{value:.2f}" if figure in LOWER_IS_BETTER else f"{100 * value:.1f}"
    if none is None or result is none:
        return shown
    found = compare(result.values[tested], none.values[tested], seed=seed)
    return f"{shown} *" if found.p_value < 0.05 else shown
