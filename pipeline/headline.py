"""Write the figures by which versions are compared into headline.json, which is in git: no cache is needed to read it.

Reads the metrics of split, teacher, agreement, merge and evaluate. Their other figures stay in metrics/, beside these.
"""

from typing import Any

from pipeline.core.paths import HEADLINE, METRICS
from pipeline.core.records import SIDES
from pipeline.core.stage import run, write_json
from pipeline.versions.figures import read_figures


def headline(
    split: dict[str, Any],
    teacher: dict[str, Any],
    reviews: dict[str, Any],
    merged: dict[str, Any],
    evaluated: dict[str, Any],
) -> dict[str, float | None]:
    """The figures by name, from five stages' metrics; None where nobody measured one.

    The names are short, so that `dvc metrics show` has them on a line of 120 characters.
    """
    accepted = reviews["accept_rate"]
    return {
        "iou": evaluated["foreground_iou"],
        "mean_iou": evaluated["mean_iou"],
        "f1": evaluated["boundary_f1"],
        "native": evaluated["foreground_iou_native"],
        "teacher": teacher["foreground_iou"],
        **{side: merged["sides"].get(side, 0) for side in SIDES},
        "leaks": split["labelled"]["leaks"] + merged["leaks"],  # merge counts those of the crawl
        "moved": sum(role["moved"] for role in split.values()),
        "accepted": None if isinstance(accepted, str) else accepted,
    }


def main() -> None:
    """Run the stage."""
    files = (
        METRICS / "split.json",
        METRICS / "teacher.json",
        METRICS / "reviews.json",
        METRICS / "merge.json",
        METRICS / "evaluate.json",
    )
    write_json(HEADLINE, headline(*map(read_figures, files)))


if __name__ == "__main__":
    run("headline", main)
