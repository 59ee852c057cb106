"""What Label All Tasks shows next, looked at itself: the server is asked as a curator's browser asks it.

There is a sentence for everything that is wrong with the task it serves.
"""

import re
from collections.abc import Iterable, Mapping

from annotations.masks.brush import fingerprint, regions_to_mask
from annotations.server.client import Client, Project, Served, Serving, TaskHead
from annotations.server.send import SERVING
from annotations.tasks.task import CUTOUT, IMAGE, OUTLINE

_MENDS = "push (`python -m annotations push`, or `make review` for this machine's) mends it"
_KINDS = {IMAGE: "image", OUTLINE: "image", CUTOUT: "image", "guidelines": "text"}  # what a task shows


def look(client: Client, project: Project, heads: Iterable[TaskHead]) -> list[str]:
    """Whether the next task comes, shows its mask and its pictures, and is the first of those that wait."""
    waiting = [head.id for head in heads if head.version and not head.touched]
    serving, scores = client.serving(project), client.scores(project)
    served = client.next_task(project)
    found = hidden(serving, waiting, scores)
    if served is None:
        return found + _none(waiting, client.people())
    found += [*without_mask(served), *out_of_order(served, waiting, scores, client.people())]
    for name, kind in _KINDS.items():
        trouble = client.trouble_with(str(served.data[name]), kind) if name in served.data else ""
        if trouble:
            found.append(
                f"the next task ({served.id}) cannot show its {name}: {plain(served.data[name])} {trouble}"
            )
    return found


def hidden(serving: Serving, waiting: Iterable[int], scores: Mapping[int, float]) -> list[str]:
    """Tasks that open without a mask and come at random."""
    found = (
        []
        if serving == SERVING
        else [f"the project serves its tasks by {serving}, not by {SERVING}; {_MENDS}"]
    )
    lost = [task for task in waiting if task not in scores]
    if lost:
        found.append(f"{len(lost)} waiting tasks show no mask and come at random ({lost[0]} ...); {_MENDS}")
    return found


def without_mask(served: Served) -> list[str]:
    """The next task's mask is not the one that it was sent with."""
    data = served.data
    if "proposed" not in data:  # somebody else's
        return []
    if not served.predictions:
        return [f"the next task ({served.id}) opens without its mask; {_MENDS}"]
    try:
        regions = [region for one in served.predictions for region in one["result"]]
        mask = regions_to_mask(regions, int(data["height"]), int(data["width"]))
    except (ValueError, LookupError, TypeError) as error:
        return [f"the mask of the next task ({served.id}) cannot be read: {error}"]
    same = len(served.predictions) == 1 and fingerprint(mask) == data["proposed"]
    return [] if same else [f"the next task ({served.id}) opens with another mask than it was sent with"]


def out_of_order(
    served: Served, waiting: Iterable[int], scores: Mapping[int, float], people: int
) -> list[str]:
    """The next task is not the first of those that wait; of `people`, each other one may have a task open."""
    if served.held:
        return []
    ranked = sorted((scores[task], task) for task in waiting if task in scores)
    before = [task for score, task in ranked if served.id not in scores or score < scores[served.id]]
    if len(before) < people:
        return []
    return [
        f"the next task is {served.id}, and {len(before)} that are to come before it wait ({before[0]} ...); {_MENDS}"
    ]


def plain(address: object) -> str:
    """An address without what may be secret in one of another server: a user, a password, a signing query."""
    text = str(address)
    return re.sub(r"//.*@", "//", text.partition("?")[0]) if "://" in text else text


def _none(waiting: list[int], people: int) -> list[str]:
    """Every task may be open with somebody else, but no more of them than there are other people."""
    if len(waiting) < people:
        return []
    return [f"{len(waiting)} tasks wait ({waiting[0]} ...), and the server serves none of them"]
