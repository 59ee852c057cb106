"""The figures of the review in words, for the page: what a review costs, and how far each reviewer can be trusted."""

from collections.abc import Mapping
from typing import Any


def review_rows(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each figure of metrics/reviews.json that is about the whole review."""
    double, gold = figures["double"], figures["gold"]
    return [
        ("judgements", f"{figures['judgements']:,} of {figures['reviewers']} reviewers{_nameless(figures)}"),
        ("masks accepted as proposed", _percent(figures["accept_rate"])),
        ("size of a fix, 1 − IoU", _percent(figures["edit_size"])),
        ("median time", _number(figures["seconds"], "{:.0f} s")),
        ("saved against drawing from scratch", _number(figures["minutes_saved"], "{:.0f} minutes")),
        ("masks judged by two", f"{double['crops']:,}"),
        ("their mask IoU", _percent(double["mask_iou"])),
        ("their boundary IoU", _percent(double["boundary_iou"])),
        ("Krippendorff’s alpha of their answers", _number(double["alpha"], "{:.2f}")),
        ("in conflict", _percent(double["conflicts"])),
        ("damaged gold masks that were noticed", _percent(gold["caught"])),
    ]


def reviewer_rows(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Reviewer, judgements, accepted, median time, damage noticed, and how much too wide their masks are.

    The last is measured by gold tasks, else by the other reviewers' masks.
    """
    rows: list[tuple[str, ...]] = []
    for name, one in figures["by_reviewer"].items():
        reference = one["gold"] if one["gold"]["masks"] else one["others"]
        rows.append(
            (
                name,
                f"{one['judgements']:,}",
                _percent(one["accept_rate"]),
                _number(one["seconds"], "{:.0f} s"),
                _percent(one["gold"]["caught"]),
                _number(reference["signed_area"], "{:+.1%}"),
            )
        )
    return rows


def _nameless(figures: Mapping[str, Any]) -> str:
    """How many judgements have no reviewer, as the account is gone; older figures do not say."""
    return f" and {figures['nameless']:,} of accounts that are gone" if figures.get("nameless") else ""


def _percent(value: float | str) -> str:
    return _number(value, "{:.1%}")


def _number(value: float | str, form: str) -> str:
    """The figure, or the words that stand for it where nobody measured it."""
    return value if isinstance(value, str) else form.format(value)
