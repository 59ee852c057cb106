"""The mixes of masks that `ablate` trains on, each one step from another one, and what that step is worth."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """What sets a mix apart from the mix `other`, and is worth the difference of their scores."""

    title: str
    other: str
    of_review: bool = False  # people spent hours on it
    lacking: bool = False  # the mix is the one that lacks it


@dataclass(frozen=True)
class Mix:
    """What trains: all that the recipe has (`merge.unreviewed: include`) but what is left out."""

    name: str
    title: str
    leave_out: tuple[str, ...]  # kinds of masks and sources, as merge.leave_out
    step: Step | None = None


_BY_KIND = (
    Mix("labelled", "labelled portraits", ("crop", "reviewed", "pseudo")),
    Mix("crops", "and portrait crops", ("reviewed", "pseudo"), Step("portrait crops", "labelled")),
    Mix(
        "unreviewed",
        "and pseudo labels as the teacher made them",
        ("reviewed",),
        Step("pseudo labels without review", "crops"),
    ),
    Mix(
        "reviewed",
        "or the reviewed pseudo labels alone",
        ("pseudo",),
        Step("reviewed pseudo labels", "crops", of_review=True),
    ),
    Mix(
        "all",
        "or both: reviewed, and the others as they are",
        (),
        Step("review of pseudo labels that train anyway", "unreviewed", of_review=True),
    ),
)


def mixes_of(sources: Mapping[str, str]) -> list[Mix]:
    """The mixes by kind of mask, then one without each source (a name and its layout) that holds something."""
    names = sorted(name for name, layout in sources.items() if layout != "absent")
    return [
        *_BY_KIND,
        *(
            Mix(
                f"without-{name}", f"all without {name}", (name,), Step(f"source {name}", "all", lacking=True)
            )
            for name in names
        ),
    ]
