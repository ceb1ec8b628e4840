"""What a run says about itself: one JSON line per event in its folder, curves as PNG, and where it came from."""

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.provenance import provenance
from evals.whole_file import whole_file, write_json, write_text
from rag_embedder.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOG = "log.jsonl"
RUN = "run.json"

Value = float | int | str | None
Curve = tuple[list[float], list[float]]
"""Steps and values."""


class RunLog:
    """Appends events to `folder`/log.jsonl, each handed to the system before the call returns.

    `step` is the step a run continues from, 0 at the start: lines of later steps, which a killed run wrote after its
    last checkpoint, are dropped, so that no step is there twice. One process writes, not all.

    Raises:
        MissingExtraError: if matplotlib, which the curves need, is not installed: better now than after the run.
    """

    def __init__(self, folder: str | Path, *, step: int = 0) -> None:
        if find_spec("matplotlib") is None:
            raise MissingExtraError('the curves need matplotlib; run: pip install "rag-embedder[train]"')
        self.folder = Path(folder)
        path = self.folder / LOG
        kept = [event for event in read_log(path) if event["step"] <= step] if path.exists() and step else []
        write_text("".join(_line(event) for event in kept), path)
        self._file = path.open("a", encoding="utf-8", newline="\n")

    def write(self, kind: str, step: int, values: Mapping[str, Value]) -> None:
        """Append one event: "train" with dataset, loss and learning_rate; "eval" with metrics by name; or another.

        `step` is the number of finished steps. Infinities and NaN, which JSON lacks, are written as text.

        Raises:
            InputError: if a value takes the name of one of the line's own three fields.
        """
        own = {"kind": kind, "step": step, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        taken = sorted(own.keys() & values.keys())
        if taken:
            raise InputError(f"the log's event has a value {taken[0]!r}; expected names other than {', '.join(own)}.")
        self._file.write(_line(own | dict(values)))
        self._file.flush()

    def close(self) -> None:
        """Close the file; a closed log cannot be written to."""
        self._file.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_log(path: str | Path) -> Iterator[dict[str, Any]]:
    """The events of a log file, in order. A last line without its end, from a killed run, is left out.

    Raises:
        InputError: if another line is not an event; the message names file and line.
    """
    with Path(path).open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith("\n"):
                return
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                event = None
            if not isinstance(event, dict) or not isinstance(event.get("step"), int) or "kind" not in event:
                raise InputError(f"{path}, line {number}: not an event; expected a JSON object with kind and step.")
            yield event


def write_run(folder: str | Path, *, seed: int, command: Sequence[str] | None = None) -> Path:
    """Write `folder`/run.json: commit, command, date, seed, versions and machine. A continued run adds to it."""
    path = Path(folder) / RUN
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    words = ["python -m trainer.fit", *sys.argv[1:]] if command is None else command
    return write_json([*before, provenance(seed) | {"command": " ".join(words)}], path)


def draw_curves(folder: str | Path) -> list[Path]:
    """Draw loss.png and learning_rate.png, and metrics.png if something was evaluated, from the folder's log.

    Losses are one line per data set, smoothed by an exponential moving average with what was measured behind it.
    """
    folder = Path(folder)
    events = list(read_log(folder / LOG))
    train = [event for event in events if event["kind"] == "train"]
    losses = _curves((event["dataset"], event["step"], event.get("loss")) for event in train)
    rates = _curves(("learning rate", event["step"], event.get("learning_rate")) for event in train)
    metrics = _curves(
        (name, event["step"], value)
        for event in events
        if event["kind"] == "eval"
        for name, value in event.items()
        if name not in ("kind", "step", "time")
    )
    paths = []
    if losses:
        paths.append(_draw(losses, folder / "loss.png", label="loss", is_smoothed=True))
    if rates:
        paths.append(_draw(rates, folder / "learning_rate.png", label="learning rate"))
    if metrics:
        paths.append(_draw(metrics, folder / "metrics.png", label="metric on dev"))
    return paths


def smoothed(values: Sequence[float], *, decay: float = 0.9) -> list[float]:
    """Exponential moving average, corrected for its start: the first value is the first measured one."""
    average, weight, result = 0.0, 0.0, []
    for value in values:
        average = decay * average + (1 - decay) * value
        weight = decay * weight + (1 - decay)
        result.append(average / weight)
    return result


def _curves(points: Iterator[tuple[str, int, object]]) -> dict[str, Curve]:
    """Steps and values by name, without what is not a number."""
    curves: dict[str, Curve] = defaultdict(lambda: ([], []))
    for name, step, value in points:
        if isinstance(value, int | float) and not isinstance(value, bool):
            curves[name][0].append(step)
            curves[name][1].append(value)
    return dict(curves)


def _draw(curves: Mapping[str, Curve], path: Path, *, label: str, is_smoothed: bool = False) -> Path:
    # Here, because only this function needs it; and without pyplot, whose figures live in global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, curve in curves.items():
        _draw_curve(axes, name, curve, is_smoothed=is_smoothed)
    axes.set_xlabel("step")
    axes.set_ylabel(label)
    axes.grid(visible=True, alpha=0.3)
    if len(curves) > 1:
        axes.legend(fontsize="small")
    with whole_file(path) as file:
        canvas.print_png(file)
    return path


def _draw_curve(axes: "Axes", name: str, curve: Curve, *, is_smoothed: bool) -> None:
    steps, values = curve
    line = axes.plot(steps, smoothed(values) if is_smoothed else values, label=name, marker="." * (len(steps) < 30))[0]
    if is_smoothed:
        axes.plot(steps, values, color=line.get_color(), alpha=0.25, linewidth=0.8)


def _line(event: Mapping[str, object]) -> str:
    finite = {
        name: repr(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in event.items()
    }
    return json.dumps(finite, ensure_ascii=False, allow_nan=False) + "\n"
