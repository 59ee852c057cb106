"""Plots of numbers as SVG text: training curves, the spread of the IoU, bias maps. Same numbers, same bytes.

Lines and letters are drawn in INK on BACKGROUND, so that a page can put its own colours there.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

INK = "#1f2a36"
BACKGROUND = "#fefefe"
# Okabe and Ito's palette: told apart with any kind of colour blindness.
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
# The facts whose spread is drawn, each with its title and the ends of its axis.
_SPREAD = {
    "face_height": ("Face, of the height", (0, 1)),
    "brightness": ("Brightness", (0, 1)),
    "sharpness": ("Sharpness", (10, 20_000)),
    "centre_x": ("Person, left to right", (0, 1)),
    "skin_tone": ("Skin tone, degrees (proxy)", (-90, 90)),
}


def teacher_curves(table: pd.DataFrame, best_epoch: int) -> str:
    """Loss and dev IoU of the teacher over its epochs (columns epoch, loss, dev_foreground_iou)."""
    with _figure(2) as (figure, (loss, iou)):
        _line(loss, table["epoch"], table["loss"], "loss", ORANGE)
        _titles(loss, "Loss of the teacher on train", "epoch")
        _line(iou, table["epoch"], table["dev_foreground_iou"], "dev", BLUE)
        _mark(iou, best_epoch, "kept")
        _titles(iou, "Foreground IoU of the teacher on dev, 224×224", "epoch")
        return _svg(figure, "teacher")


def train_curves(table: pd.DataFrame, best_epoch: int) -> str:
    """Loss terms and dev IoU of SINet by epoch (phase, epoch, segmentation, boundary, dev_foreground_iou).

    `epoch` counts through both phases, `best_epoch` in the second; 0 is none of them.
    """
    first = int((table["phase"] == "encoder").sum())
    with _figure(2) as (figure, (loss, iou)):
        for name, colour in (("segmentation", BLUE), ("boundary", ORANGE)):
            _line(loss, table["epoch"], table[name], f"{name} loss", colour)
        _titles(loss, "The two parts of SINet's loss on train", "epoch")
        measured = table.dropna(subset=["dev_foreground_iou"])
        _line(iou, measured["epoch"], measured["dev_foreground_iou"], "dev", BLUE)
        if best_epoch:
            _mark(iou, first + best_epoch, "kept")
        _titles(iou, "Foreground IoU of SINet on dev, 224×224", "epoch")
        if 0 < first < len(table):
            for axes in (loss, iou):
                axes.axvline(first + 0.5, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
                axes.annotate(
                    "encoder | all",
                    (first + 0.5, 1),
                    xycoords=("data", "axes fraction"),
                    xytext=(0, -3),
                    textcoords="offset points",
                    ha="center",
                    va="top",
                    fontsize=8,
                    backgroundcolor=BACKGROUND,
                )
        return _svg(figure, "train")


def precision_curves(table: pd.DataFrame) -> str:
    """Loss and dev IoU by epoch (precision, phase, epoch, loss, dev_foreground_iou), a line a precision.

    Only the phase of the whole network: the encoder's loss is on other labels.
    """
    full = table[table["phase"] == "full"]
    with _figure(2) as (figure, (loss, iou)):
        dashes = ("-", (0, (3, 2)))  # where both agree, the lower one still shows
        for (name, part), colour, dash in zip(
            full.groupby("precision"), (ORANGE, BLUE), dashes, strict=False
        ):
            measured = part.dropna(subset=["dev_foreground_iou"])
            loss.plot(part["epoch"], part["loss"], color=colour, linestyle=dash, label=name)
            iou.plot(
                measured["epoch"], measured["dev_foreground_iou"], color=colour, linestyle=dash, label=name
            )
        _titles(loss, "Loss of SINet on train", "epoch")
        _titles(iou, "Foreground IoU of SINet on dev, 224×224", "epoch")
        loss.legend(frameon=False, fontsize=9)
        return _svg(figure, "precision")


def gain_bars(gains: Mapping[str, Mapping[str, tuple[float, float | None]]]) -> str:
    """What each step is worth, in points: a panel a metric, a line a step; (mean, half the interval), -1..1 each."""
    names, metrics = list(gains), list(next(iter(gains.values())))
    with _figure(len(metrics), 2.9, 0.9 + 0.3 * len(names)) as (figure, panels):
        for axes, metric in zip(panels, metrics, strict=True):
            axes.axvline(0, color=INK, linewidth=0.8)
            for at, one in enumerate(gains.values()):
                mean, half = one[metric]
                if half is not None:
                    axes.hlines(at, 100 * (mean - half), 100 * (mean + half), color=BLUE, linewidth=2)
                axes.plot([100 * mean], [at], color=ORANGE, marker="o", markersize=5)
            axes.set(ylim=(len(names) - 0.4, -0.6))
            axes.set_yticks(range(len(names)), names if axes is panels[0] else [""] * len(names), fontsize=8)
            _titles(axes, metric, "points")
        return _svg(figure, "gains")


def iou_histogram(scores: Mapping[str, Sequence[float]]) -> str:
    """How many test pictures have which foreground IoU (0..1); one colour for each label kind in `scores`."""
    values = [np.asarray(one, np.float64) for one in scores.values()]
    edges = histogram_edges(np.concatenate(values))
    with _figure(1) as (figure, (axes,)):
        colours = [BLUE, ORANGE, GREEN, PURPLE][: len(values)]
        axes.hist(values, bins=edges.tolist(), stacked=True, color=colours, label=list(scores), rwidth=0.92)
        axes.set_xlim(edges[0], edges[-1])
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        _titles(axes, "Test pictures by foreground IoU, 224×224", "foreground IoU of the picture")
        if len(values) > 1:
            axes.legend(frameon=False, fontsize=9)
        return _svg(figure, "iou")


def bias_grids(maps: Mapping[str, NDArray[np.float64]]) -> str:
    """A square for each reviewer: where their masks have too much (orange) or too little (blue), -1..1 a cell.

    `maps` are (rows, columns) with row 0 at the top of the picture; without any the figure says so. The colours of all
    squares have one scale, up to the largest bias.
    """
    with _figure(max(1, len(maps))) as (figure, panels):
        for axes in panels:
            axes.set(xticks=[], yticks=[], aspect="equal")
        if not maps:
            panels[0].text(0.5, 0.5, "not measured", ha="center", va="center", transform=panels[0].transAxes)
            return _svg(figure, "bias")
        largest = max(0.01, *(float(np.abs(one).max()) for one in maps.values()))
        # Cells are paths, and the scale has few enough colours for paths: an image would be a raster picture.
        colours = LinearSegmentedColormap.from_list("bias", [BLUE, BACKGROUND, ORANGE], N=41)
        for axes, (name, one) in zip(panels, maps.items(), strict=True):
            cells = axes.pcolormesh(one, cmap=colours, vmin=-largest, vmax=largest)
            axes.invert_yaxis()
            axes.set_title(
                f"{name}: {100 * one.mean():+.1f} % of the picture",
                fontsize=10,
                loc="left",
                fontweight="bold",
            )
            axes.set_xlabel("too much (orange), too little (blue)", fontsize=8)
        figure.colorbar(cells, ax=list(panels), shrink=0.8)
        return _svg(figure, "bias")


def spread_by_group(groups: Mapping[str, pd.DataFrame]) -> str:
    """How the facts of pictures are spread (`pipeline.dataset.facts_table`): a panel a fact, a line a group.

    A line reaches from the 5th to the 95th percentile, its thick part from the 25th to the 75th, the dot is the median.
    """
    names = list(groups)
    with _figure(len(_SPREAD), 2.7, 0.9 + 0.24 * len(names)) as (figure, panels):
        for axes, (fact, (title, limits)) in zip(panels, _SPREAD.items(), strict=True):
            for at, table in enumerate(groups.values()):
                known = table[fact].dropna()
                if known.empty:
                    continue
                low, quarter, middle, three, high = known.quantile([0.05, 0.25, 0.5, 0.75, 0.95])
                axes.hlines(at, low, high, color=BLUE, linewidth=1)
                axes.hlines(at, quarter, three, color=BLUE, linewidth=5, alpha=0.5)
                axes.plot([middle], [at], color=ORANGE, marker="o", markersize=4)
            axes.set(ylim=(len(names) - 0.4, -0.6), xlim=limits)
            axes.set_yticks(range(len(names)), names if axes is panels[0] else [""] * len(names), fontsize=8)
            if fact == "sharpness":
                axes.set_xscale("log")
                axes.set_xticks([100, 1000, 10_000], ["100", "1,000", "10,000"])
            _titles(axes, title, "")
        return _svg(figure, "balance")


def histogram_edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of bins up to 1 that hold all values (0..1), in round steps, at most 30 of them."""
    lowest = float(values.min())
    for step in (0.005, 0.01, 0.02, 0.05):
        downward: NDArray[np.float64] = np.round(1 - step * np.arange(31), 6)
        if downward[-1] <= lowest:
            break
    bins = max(4, int(np.argmax(downward <= lowest)))
    return downward[bins::-1]


@contextmanager
def _figure(panels: int, width: float = 4.6, height: float = 2.9) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """A figure of `panels` beside each other, each of `width` x `height` inches."""
    with mpl.rc_context(
        {
            "svg.fonttype": "none",  # letters stay text: sharp, small, and found by a search
            "font.family": ["DejaVu Sans", "sans-serif"],  # the first comes with matplotlib
            "font.size": 10,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.titlecolor": INK,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "figure.facecolor": BACKGROUND,
            "axes.facecolor": BACKGROUND,
        }
    ):
        figure = Figure(figsize=(width * panels, height), layout="constrained")
        yield figure, figure.subplots(1, panels, squeeze=False)[0]


def _line(axes: Axes, x: "pd.Series[Any]", y: "pd.Series[Any]", label: str, colour: str) -> None:
    axes.plot(x, y, color=colour, linewidth=1.8, marker="o", markersize=3 if len(x) <= 40 else 0)
    if len(x):
        axes.annotate(
            label,
            (x.iloc[-1], y.iloc[-1]),
            xytext=(6, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=9,
            annotation_clip=False,
        )


def _mark(axes: Axes, epoch: int, text: str) -> None:
    axes.axvline(epoch, color=GREEN, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        f"{text}: epoch {epoch}",
        (epoch, 0),
        xycoords=("data", "axes fraction"),
        xytext=(-4, 4),
        textcoords="offset points",
        rotation=90,
        ha="right",
        va="bottom",
        color=GREEN,
        fontsize=8,
    )


def _titles(axes: Axes, title: str, x: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", fontweight="bold")
    axes.set_xlabel(x)
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.8)
    axes.set_axisbelow(True)
    if x == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _svg(figure: Figure, salt: str) -> str:
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()
