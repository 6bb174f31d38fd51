"""The results as a picture: python -m bench.chart RESULTS.json CHART.png"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from .errors import BenchError
from .report import number

COLOURS = {
    "ours": "#0b7a75",
    "s5cmd": "#c8553d",
    "obstore": "#d9a441",
    "aws": "#8d8d8d",
    "old": "#5c6b8a",
}
BETTER = {
    "objects/s": "objects per second",
    "MB/s": "MB per second",
    "wall s": "seconds, less is better",
    "peak PSS MB": "MB of memory, less is better",
}
COLUMNS = 2
PANEL_WIDTH, BAR_HEIGHT, PANEL_FRAME = 4.7, 0.3, 0.85
"""In inches."""


def require() -> None:
    """Raises ``BenchError`` when there is nothing to draw with."""
    try:
        import matplotlib  # noqa: F401  (only when a chart is wanted: it takes a second)
    except ImportError:
        raise BenchError("matplotlib is not installed: pip install '.[bench]'") from None


def draw(results: dict[str, Any], path: Path) -> None:
    """Draws one panel for each scenario: a bar for each client's median, with its range."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    scenarios = [each for each in results["scenarios"] if _bars(each)]
    if not scenarios:
        return
    columns = min(COLUMNS, max(1, len(scenarios)))
    rows = max(1, math.ceil(len(scenarios) / columns))
    # As high as its bars need: bars are equally thick in all panels.
    bars = [
        max(len(_bars(each)) for each in scenarios[start : start + columns])
        for start in range(0, len(scenarios), columns)
    ]
    heights = [PANEL_FRAME + BAR_HEIGHT * count for count in bars]
    size = (PANEL_WIDTH * columns, sum(heights) + 0.3)
    figure = Figure(figsize=size, dpi=150, layout=ConstrainedLayoutEngine(h_pad=0.1))
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, (axes, scenario) in enumerate(zip(grid.flat, scenarios, strict=False)):
        axes.set_axis_on()
        _panel(axes, scenario, bars[place // columns])
    machine = results["machine"]
    figure.supxlabel(
        f"medians and ranges; client and server on {machine['cpus']} x {machine['cpu']}, "
        f"Linux {machine['kernel'].partition('-')[0]}, Python {machine['python']}",
        fontsize=8,
        color="#555555",
    )
    figure.savefig(path)


def _bars(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    shown = scenario["shown"]
    return [
        client
        for client in scenario["clients"]
        if not client["problem"] and client["medians"][shown] is not None
    ]


def _panel(axes: Any, scenario: dict[str, Any], room: int) -> None:
    shown = scenario["shown"]
    bars = _bars(scenario)
    values = [client["medians"][shown] for client in bars]
    colours = [COLOURS.get(client["client"], "#999999") for client in bars]
    axes.barh(range(len(bars)), values, color=colours, height=0.68)
    axes.set_yticks(range(len(bars)), [client["title"] for client in bars], fontsize=8.5)
    ours = values[0]
    axes.set_ylim(room - 0.5, -0.5)
    for place, (client, value) in enumerate(zip(bars, values, strict=True)):
        least, most = _range(client, shown)
        axes.plot([least, most], [place, place], color="#222222", linewidth=1.2)
        if client["client"] == bars[0]["client"]:
            ours, ratio = value, ""
        else:
            ratio = _ratio(ours, value, shown)
        axes.annotate(
            f"{number(value)}{ratio}",
            (max(value, most), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            fontweight="bold" if place == 0 else "normal",
        )
    axes.set_xlim(0, max(_range(client, shown)[1] for client in bars) * 1.5)
    axes.set_title(scenario["short"], fontsize=9.5, loc="left", fontweight="bold")
    axes.set_xlabel(BETTER.get(shown, shown), fontsize=8)
    axes.tick_params(axis="x", labelsize=7.5)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.locator_params(axis="x", nbins=5)


def _range(client: dict[str, Any], shown: str) -> tuple[float, float]:
    figures = client["figures"][shown]
    return min(figures), max(figures)


def _ratio(ours: float, theirs: float, shown: str) -> str:
    """How many times better our bar above is."""
    if shown == "peak PSS MB" or not ours or not theirs:
        return ""
    times = theirs / ours if shown == "wall s" else ours / theirs
    return f"   (ours: {times:.1f}x)"


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    draw(json.loads(source.read_text()), target)
