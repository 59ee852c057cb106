"""`python docs/draw_limits.py` writes docs/limits.svg: what limits the packaged weights, from the figures of their run.

docs/limits_epochs.csv has a row an epoch, as plots/train.csv; docs/limits_distance.csv says, for each number of pixels
of the protocol's 224, what share of the wrong pixels of dev lies no further from the true outline (in squares, as the
metric's band; `python -m pipeline benchmark limits --out` writes it). The last part of the epochs, at 288 pixels, is no
part of these weights: it showed that dev rises no longer. A test compares.
"""

import io
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

HERE = Path(__file__).parent
BLUE, ORANGE, GREEN, INK = "#0072b2", "#d55e00", "#009e73", "#1f2a36"
TEACHER, BAND = (
    0.957,
    7,
)  # dev IoU of the teacher of its pseudo labels; the 15x15 band reaches 7 pixels to each side


def draw() -> str:
    """The SVG's text; the same numbers give the same text."""
    epochs, distance = (pd.read_csv(HERE / f"limits_{name}.csv") for name in ("epochs", "distance"))
    number = pd.Series(range(1, len(epochs) + 1))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "limits", "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(13, 3.2), layout="constrained")
        loss, iou, share = figure.subplots(1, 3)
        loss.plot(number, epochs["segmentation"], color=BLUE, label="whole picture")
        loss.plot(number, epochs["boundary"], color=ORANGE, label="band of the outline")
        _titles(loss, "Cross-entropy on train", "epoch")
        measured = epochs["dev_foreground_iou"].where(epochs["phase"] == "full")
        iou.plot(number, measured, color=BLUE, label="dev")
        iou.axhline(TEACHER, color=GREEN, linestyle=(0, (4, 3)), label="teacher of its pseudo labels")
        iou.set_ylim(0.9, 0.97)
        iou.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _titles(iou, "Foreground IoU on dev, 224×224", "epoch")
        starts = number[epochs["part"] != epochs["part"].shift()][1:]
        for start in starts:
            for axes in (loss, iou):
                axes.axvline(start - 0.5, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
            iou.annotate(
                epochs["part"][start - 1], (start + 0.5, 0.918), rotation=90, va="bottom", fontsize=8
            )
        share.plot(distance["pixels"], distance["share"], color=BLUE)
        share.axvline(BAND, color=ORANGE, linestyle=(0, (4, 3)), label="the metric's band")
        share.set(ylim=(0, 1), xlim=(0, 30))
        share.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _titles(share, "Wrong pixels of dev, how near the outline", "pixels of 224")
        return _svg(figure)


def _titles(axes: Axes, title: str, x: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", fontweight="bold")
    axes.set_xlabel(x)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.15)
    axes.legend(frameon=False, fontsize=9)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


if __name__ == "__main__":
    (HERE / "limits.svg").write_text(draw())
