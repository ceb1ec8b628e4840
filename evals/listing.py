"""What can be asked for."""

from pathlib import Path
from typing import Any

from evals.datasets.known_sets import KNOWN_SETS
from evals.datasets.suites import SUITES, find_sets
from evals.metrics import METRICS
from evals.systems import WITHOUT_ENCODER
from evals.systems.presets import PRESETS


def choices(data: Path | None = None) -> dict[str, Any]:
    """Suites with their sets, systems and metrics; with `data`, also the keys of the sets that lie there."""
    found: dict[str, Any] = {
        "suites": {suite: [spec.name for spec in KNOWN_SETS if spec.suite == suite] for suite in SUITES},
        "systems": [*WITHOUT_ENCODER, "default", *PRESETS],
        "metrics": list(METRICS),
    }
    if data is not None:
        found["found"] = [source.key for source in find_sets(data)]
    return found


def choices_text(found: dict[str, Any]) -> str:
    """The same for a person."""
    lines = ["suites"]
    lines += [f"  {suite:15}{', '.join(sets)}" for suite, sets in found["suites"].items()]
    lines += ["", "systems", f"  {', '.join(found['systems'])}"]
    lines += ["  any folder or hub id, SPEC?pooling=mean&instructions=none, LABEL=SPEC, hybrid:SPEC"]
    lines += ["", "metrics", f"  {', '.join(found['metrics'])}"]
    if "found" in found:
        lines += ["", "found", *(f"  {key}" for key in found["found"])]
    return "\n".join(lines)
