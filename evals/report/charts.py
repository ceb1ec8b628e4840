"""Charts as inline SVG: plain markup, coloured by the page's style sheet, readable without any script.

Units are those of the view box, about one CSS pixel on a phone. Every chart carries a title and a text that says the
same as the picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH = 340.0
_ROW = 38.0
_BAR = 11.0
_MARGIN = 6.0

_PLOT_HEIGHT = 236.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 34.0, 12.0, 12.0, 40.0
_NICE = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
_NAME_LENGTH = 34


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar; values in [0, 1]. `note` is printed behind the value."""

    name: str
    value: float
    low: float
    high: float
    is_baseline: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One system in a plot: `x` is positive, `y` in [0, 1]; `number` is what the marker shows."""

    number: int
    name: str
    x: float
    y: float


def top_of(values: Sequence[float]) -> float:
    """The end of an axis from 0: the smallest round share that no value exceeds, or 1."""
    largest = max(values, default=0.0)
    return next((end for end in _NICE if 0 < largest <= end), 1.0)


def decades(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """(start, end, ticks) of a logarithmic axis: the powers of ten around all values, with 2 and 5 if that is one."""
    low = math.floor(math.log10(min(values)))
    high = max(low + 1, math.ceil(math.log10(max(values))))
    ticks = [10.0**power for power in range(low, high + 1)]
    if high - low == 1:
        ticks = [ticks[0], 2 * ticks[0], 5 * ticks[0], ticks[1]]
    elif len(ticks) > 5:
        ticks = ticks[:: math.ceil(len(ticks) / 5)]
    return 10.0**low, 10.0**high, ticks


def bar_chart(bars: Sequence[Bar], *, name: str, title: str, end: float) -> Markup:
    """Horizontal bars from 0 to `end` with 95 % intervals; `name` makes the ids of the chart."""
    height = _ROW * len(bars) + 24
    scale = (WIDTH - 2 * _MARGIN) / end
    parts = [_percent_grid(end, scale, height)]
    for row, bar in enumerate(bars):
        parts.append(_bar(bar, _ROW * row, scale))
    told = "; ".join(f"{bar.name} {_interval_text(bar)}" for bar in bars)
    return _svg(Markup("").join(parts), height, name=name, title=title, description=f"{told}.", kind="bars")


def plot(points: Sequence[Point], *, name: str, title: str, x_label: str, end: float) -> Markup:
    """Numbered points over a logarithmic axis; `end` is the top of the upright axis, in [0, 1]."""
    start, stop, ticks = decades([point.x for point in points])
    parts = [_plot_frame(start, stop, ticks, x_label, end)]
    for point in points:
        x, y = _across(point.x, start, stop), _up(point.y, end)
        parts.append(
            Markup(
                '<g class="point"><circle cx="{:.1f}" cy="{:.1f}" r="9"/><text x="{:.1f}" y="{:.1f}">{}</text></g>'
            ).format(x, y, x, y + 4, point.number)
        )
    told = "; ".join(f"{point.name}: {point.x:.4g}, quality {100 * point.y:.1f}" for point in points)
    return _svg(Markup("").join(parts), _PLOT_HEIGHT, name=name, title=title, description=f"{told}.", kind="plot")


def short_number(value: float) -> str:
    """20000 as "20k", 0.5 as "0.5"."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def shortened(name: str) -> str:
    """Both ends: names that begin the same way often differ in how they end."""
    half = _NAME_LENGTH // 2
    return name if len(name) <= _NAME_LENGTH else f"{name[: half - 1]}…{name[-half:]}"


def _bar(bar: Bar, top: float, scale: float) -> Markup:
    baseline = top + 14
    low, high, middle = _MARGIN + scale * bar.low, _MARGIN + scale * bar.high, top + 20 + _BAR / 2
    return Markup(
        '<g><text class="name" x="{margin}" y="{baseline:.1f}">{name}</text>'
        '<text class="value" x="{right}" y="{baseline:.1f}">{value}</text>'
        '<rect class="{kind}" x="{margin}" y="{bar_top:.1f}" width="{width:.1f}" height="{height}"/>'
        '<path class="whisker" d="M{low:.1f} {middle:.1f}H{high:.1f}'
        'M{low:.1f} {from_y:.1f}v8M{high:.1f} {from_y:.1f}v8"/></g>'
    ).format(
        margin=_MARGIN,
        right=WIDTH - _MARGIN,
        baseline=baseline,
        name=shortened(bar.name),
        value=f"{100 * bar.value:.1f}{f' {bar.note}' if bar.note else ''}",
        kind="baseline" if bar.is_baseline else "bar",
        bar_top=top + 20,
        width=scale * bar.value,
        height=_BAR,
        low=low,
        high=high,
        middle=middle,
        from_y=middle - 4,
    )


def _percent_grid(end: float, scale: float, height: float) -> Markup:
    line = Markup(
        '<path class="grid" d="M{x:.1f} 18V{bottom:.1f}"/>'
        '<text class="tick {place}" x="{x:.1f}" y="{y:.1f}">{label:g}</text>'
    )
    shares = [0.0, 0.25, 0.5, 0.75, 1.0]
    places = {0.0: "first", 1.0: "last"}
    return Markup("").join(
        line.format(
            x=_MARGIN + scale * end * share,
            bottom=height - 18,
            y=height - 4,
            label=round(100 * end * share, 2),
            place=places.get(share, ""),
        )
        for share in shares
    )


def _plot_frame(start: float, stop: float, ticks: Sequence[float], x_label: str, end: float) -> Markup:
    bottom = _PLOT_HEIGHT - _BOTTOM
    across = Markup('<path class="grid" d="M{0:.1f} {1}V{2}"/><text class="tick" x="{0:.1f}" y="{3}">{4}</text>')
    up = Markup('<path class="grid" d="M{0} {2:.1f}H{1}"/><text class="tick last" x="{3}" y="{4:.1f}">{5:g}</text>')
    vertical = [
        across.format(_across(tick, start, stop), _TOP, bottom, bottom + 15, short_number(tick)) for tick in ticks
    ]
    horizontal = [
        up.format(
            _LEFT,
            WIDTH - _RIGHT,
            _up(share * end, end),
            _LEFT - 6,
            _up(share * end, end) + 4,
            round(100 * share * end, 2),
        )
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    label = Markup('<text class="axis" x="{}" y="{}">{}</text>').format(
        (_LEFT + WIDTH - _RIGHT) / 2, _PLOT_HEIGHT - 6, x_label
    )
    return Markup("").join([*vertical, *horizontal, label])


def _across(x: float, start: float, stop: float) -> float:
    share = math.log10(x / start) / math.log10(stop / start)
    return _LEFT + share * (WIDTH - _RIGHT - _LEFT)


def _up(y: float, end: float) -> float:
    bottom = _PLOT_HEIGHT - _BOTTOM
    return bottom - y / end * (bottom - _TOP)


def _interval_text(bar: Bar) -> str:
    note = f" {bar.note}" if bar.note else ""
    return f"{100 * bar.value:.1f}{note}, interval {100 * bar.low:.1f} to {100 * bar.high:.1f}"


def _svg(content: Markup, height: float, *, name: str, title: str, description: str, kind: str) -> Markup:
    return Markup(
        '<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="{name}-title {name}-text">'
        '<title id="{name}-title">{title}</title><desc id="{name}-text">{description}</desc>{content}</svg>'
    ).format(kind=kind, width=WIDTH, height=height, name=name, title=title, description=description, content=content)
