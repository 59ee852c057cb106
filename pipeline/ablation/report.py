"""What each part of the data is worth, as Markdown and as a table of the single runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.ablation.estimates import Estimate, gain_estimate, mean_estimate
from pipeline.ablation.mixes import Mix
from pipeline.reporting.rendering import markdown_cell
from pipeline.versions.paired import FEWEST

_UNEVEN = 1.1  # so many times as many image steps still are about as many
MEASURED = {  # columns of a run's table of scores
    "foreground_iou": "foreground IoU",
    "mean_iou": "mIoU of a picture",
    "boundary_f1": "boundary F1",
    "foreground_iou_native": "at own size",
}


@dataclass(frozen=True)
class MixRuns:
    """One mix, trained once for each seed: how many pictures, and the scores of each run."""

    mix: Mix
    pictures: int  # that train
    image_steps: int
    runs: Mapping[int, pd.DataFrame]  # by seed: id and MEASURED of each dev picture, in one order
    same_as: str = ""  # another mix with just these pictures, which was trained in its place

    def scores(self, metric: str) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
        """(runs, pictures) in 0..1."""
        return np.stack([table[metric].to_numpy(np.float64) for table in self.runs.values()])


@dataclass(frozen=True)
class Worth:
    """What a step from one mix to another brought, by metric; `added` are the pictures that train more."""

    title: str
    old: str
    new: str
    added: int
    estimates: Mapping[str, Estimate]
    of_review: bool


def gains_of(trained: Sequence[MixRuns], photographs: Sequence[str]) -> list[Worth]:
    """The gain of each mix that is a step from another one that was trained too, and holds other pictures."""
    by_name = {one.mix.name: one for one in trained}
    found = []
    for one in trained:
        step = one.mix.step
        other = None if step is None else by_name.get(step.other)
        if (
            step is None
            or other is None
            or (one.same_as or one.mix.name) == (other.same_as or other.mix.name)
        ):
            continue
        new, old = (other, one) if step.lacking else (one, other)
        estimates = {
            metric: gain_estimate(new.scores(metric), old.scores(metric), photographs) for metric in MEASURED
        }
        added = new.pictures - old.pictures
        found.append(Worth(step.title, old.mix.name, new.mix.name, added, estimates, step.of_review))
    return found


def ablation_report(
    runs: Sequence[MixRuns],
    notes: Sequence[str],
    photographs: Sequence[str],
    hours: float | None,
    commit: str,
) -> str:
    """The text; `hours` are those of the reviews, None where nobody measured them; `notes` follow the first table."""
    seeds, pictures = len(runs[0].runs), len(photographs)
    intervals = (
        "in percent, ± half the 95 % interval, which counts both other seeds and other pictures"
        if mean_estimate(runs[0].scores("foreground_iou"), photographs).half is not None
        else f"in percent, without intervals: they need 2 seeds and {FEWEST} photographs, and here are {seeds} and "
        f"{len(set(photographs))}"
    )
    gains = gains_of(runs, photographs)
    parts = [
        "# What each part of the data is worth",
        f"SINet trained on each mix of masks, from commit {commit[:8]}: {seeds} seed{'s' * (seeds > 1)}, each time "
        f"about as many image steps, the last epoch. Measured on the {pictures:,} dev pictures of "
        f"{len(set(photographs)):,} photographs, the same for all; {intervals}. The test side was not looked at.",
        _table(
            ["trained on", "mix", "pictures", "image steps", *MEASURED.values()],
            [_row(one, photographs) for one in runs],
        ),
        *notes,
    ]
    if gains:
        an_hour = bool(hours) and any(one.of_review for one in gains)
        heads = ["step", "from", "more pictures", *MEASURED.values()]
        parts += [
            "## What a step brings",
            "In points; bold where the interval leaves out 0." + _of_hours(gains, hours),
            _table(
                [*heads, "foreground IoU an hour"] if an_hour else heads,
                [[*_gain_row(one), *(_an_hour(one, hours) if an_hour else [])] for one in gains],
            ),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def uneven(runs: Sequence[MixRuns], asked: int) -> list[str]:
    """A warning where trainings had not about as many image steps as were asked for: a phase has one epoch at least."""
    steps = [one.image_steps for one in runs]
    least, most = min(steps), max(steps)
    if most <= _UNEVEN * min(least, asked) and asked <= _UNEVEN * least:
        return []
    return [
        f"**{asked:,} image steps were asked for, and there were {least:,} to {most:,}**, since an epoch shows every "
        "picture: a part of what sets the mixes apart. Ask for more (`--images`)."
    ]


def bars_of(gains: Sequence[Worth]) -> dict[str, dict[str, tuple[float, float | None]]]:
    """Mean and half the interval of each gain by its title and the metric's, for the plot."""
    return {
        one.title: {
            MEASURED[metric]: (estimate.mean, estimate.half) for metric, estimate in one.estimates.items()
        }
        for one in gains
    }


def runs_table(trained: Sequence[MixRuns]) -> pd.DataFrame:
    """A row a run: mix, seed, pictures, image_steps and the mean of each of MEASURED, in 0..1."""
    return pd.DataFrame(
        {
            "mix": one.mix.name,
            "seed": seed,
            "pictures": one.pictures,
            "image_steps": one.image_steps,
            **{metric: table[metric].mean() for metric in MEASURED},
        }
        for one in trained
        if not one.same_as
        for seed, table in one.runs.items()
    )


def _row(one: MixRuns, photographs: Sequence[str]) -> list[str]:
    if one.same_as:
        cells = [f"the pictures of `{one.same_as}`", *[""] * (len(MEASURED) - 1)]
    else:
        cells = [_points(mean_estimate(one.scores(metric), photographs), "") for metric in MEASURED]
    return [one.mix.title, f"`{one.mix.name}`", f"{one.pictures:,}", f"{one.image_steps:,}", *cells]


def _gain_row(one: Worth) -> list[str]:
    cells = []
    for estimate in one.estimates.values():
        text = _points(estimate, "+")
        clear = estimate.half is not None and abs(estimate.mean) > estimate.half
        cells.append(f"**{text}**" if clear else text)
    return [one.title, f"`{one.old}` to `{one.new}`", f"{one.added:+,}", *cells]


def _points(one: Estimate, sign: str) -> str:
    return f"{100 * one.mean:{sign}.2f}" + ("" if one.half is None else f" ± {100 * one.half:.2f}")


def _an_hour(one: Worth, hours: float | None) -> list[str]:
    return [f"{100 * one.estimates['foreground_iou'].mean / hours:+.3f}" if hours and one.of_review else ""]


def _of_hours(gains: Sequence[Worth], hours: float | None) -> str:
    if not any(one.of_review for one in gains):
        return ""
    if hours is None:
        return " What the reviews took was not measured, so that there is no gain an hour."
    return (
        f" The reviews of the queue took about {hours:.1f} hours, those of dev and test pictures included (`minutes` "
        "of metrics/reviews.json: the median time of a judgement times their number)."
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", "---", *["---:"] * (len(heads) - 2)], *rows]
    return "\n".join(f"| {' | '.join(markdown_cell(cell) for cell in line)} |" for line in lines)
