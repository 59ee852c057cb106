"""A person asks to have a picture taken out: write its hashes to annotations/takedowns, and clear what no stage clears.

The request goes into the list first, then reviews leave the lock, tasks the server and results the store; whatever
breaks off, the same command goes on. The outputs of the stages follow at the next `dvc repro`.

`python -m pipeline takedown ID|FILE|URL...`
"""

import shutil
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from annotations.errors import ReviewError
from annotations.ledger.judgements import read_judgements, write_judgements
from annotations.ledger.lock import read_lock, write_lock
from annotations.ledger.shards import LockError
from annotations.ledger.takedowns import TAKEDOWNS, Takedowns, TakenDown, write_takedowns
from annotations.server.client import TaskHead
from annotations.server.exports import clear_copies, read_export_file, write_export_file
from annotations.server.installation import Installation
from annotations.server.session import alone, open_session, withdraw
from annotations.settings import REVIEW_DATA
from pipeline.commands.relatives import Made, in_one_cluster, named_by, read_made, request_for
from pipeline.commands.traces import find_traces, purge, what_is_left
from pipeline.core.errors import PipelineError
from pipeline.core.params import ClusterParams, Params, load_params
from pipeline.core.paths import LABEL_ERRORS
from pipeline.core.store import Store
from pipeline.dataset.takedown_list import read_requests
from pipeline.review.judged import read_locked_reviews

# Results that hold pictures, masks or places of faces; the other stores hold hashes and checkpoints.
_STORES = ("ingest", "faces", "look_alikes", "pseudo_label", "push", "merge", "label_errors")


def main(names: Sequence[str], reason: str = "", remove: bool = False) -> None:
    """Add requests for `names`, carry out all of the list, and say what is left; `remove` purges here what is left."""
    params = load_params()
    lock = Path(params.reviews.path)
    installation = Installation(REVIEW_DATA)
    clear_copies(installation.database)
    exports = sorted(installation.exports.glob("*.json.gz"))
    before = read_requests()
    made = read_made(read_locked_reviews(lock), exports)
    takedowns = with_requests(before, names, made, params.cluster, reason)
    if not takedowns.requests:
        print(f"{TAKEDOWNS} holds no request; name a picture: its id, a file or an address")
        return
    write_takedowns(takedowns.requests)
    for request in takedowns.requests:
        if request not in before.requests:
            tell(request, made, params)
    takedowns = with_stored_crops(with_tasks(takedowns, _withdraw(takedowns)))
    write_takedowns(takedowns.requests)
    reviews, judged = clear_lock(lock, takedowns)
    print(f"{reviews} reviews and {judged} judged tasks left {lock}")
    print(
        f"{clear_stores(takedowns)} results left .cache (those of older code, which name no picture, among them)"
    )
    holding = [path for path in exports if _names(path, takedowns)]
    traces = find_traces(takedowns, lock)
    if remove:
        print(f"{purge(traces)} files were removed from DVC's cache here")
        for path in holding:
            clear_export(path, takedowns)
        print(f"{len(holding)} exports here were written anew, without its tasks")
        traces.objects, holding = [], []
    print("\n".join(["What is left:", *(f"- {line}" for line in what_is_left(traces, holding))]))


def with_requests(
    before: Takedowns, names: Sequence[str], made: Made, params: ClusterParams, reason: str
) -> Takedowns:
    """The requests with one for each of `names`; a picture that was named before keeps its line, with what is new."""
    requests = {request.key: request for request in before.requests}
    for name in names:
        new = request_for(named_by(name, made), made, params, date.today().isoformat(), reason)
        requests[new.key] = requests[new.key].joined(new) if new.key in requests else new
    return Takedowns(requests.values())


def with_tasks(takedowns: Takedowns, tasks: Sequence[TaskHead]) -> Takedowns:
    """The requests with the keys of the server's tasks of their files: only those tell gold tasks of long ago."""
    found: dict[str, list[str]] = {}
    for task in tasks:
        key = takedowns.of_task(task.key, task.parent_sha256)
        if key is not None:
            found.setdefault(key, []).append(task.key)
    return Takedowns(
        one.joined(TakenDown(key=one.key, date=one.date, reviews=tuple(found.get(one.key, ()))))
        for one in takedowns.requests
    )


def with_stored_crops(takedowns: Takedowns) -> Takedowns:
    """The requests with the ids of all crops in .cache: those of earlier parameters name files in DVC's cache."""
    found: dict[str, list[str]] = {}
    for store in ("crop", "merge"):
        for of, crop in Store(store).results_of({*takedowns.pixels, *takedowns.files}):
            if "id" in crop.meta:
                key = takedowns.pixels.get(of) or takedowns.files[of]
                found.setdefault(key, []).append(str(crop.meta["id"]))
    return Takedowns(
        one.joined(TakenDown(key=one.key, date=one.date, pixels=tuple(found.get(one.key, ()))))
        for one in takedowns.requests
    )


def clear_lock(lock: Path, takedowns: Takedowns) -> tuple[int, int]:
    """Remove the requests' reviews and judged tasks from the lock; how many of each went."""
    try:
        entries, tasks = read_lock(lock), read_judgements(lock)
    except LockError as error:
        raise PipelineError(f"the reviews cannot be read: {error}") from error
    kept = [one for one in entries if not takedowns.of_task(one.key, one.parent_sha256)]
    judged = [one for one in tasks if one.key not in takedowns.reviews]
    write_lock(lock, kept)
    if len(judged) < len(tasks):
        write_judgements(lock, judged)
    return len(entries) - len(kept), len(tasks) - len(judged)


def clear_stores(takedowns: Takedowns) -> int:
    """Remove the requests' results from .cache, whatever parameters they were made with; how many went.

    The page of likely label errors goes too: it shows pictures, and no stage makes it anew.
    """
    shutil.rmtree(LABEL_ERRORS, ignore_errors=True)
    names = {*takedowns.pixels, *takedowns.files}
    crops = Store("crop").forget(names)
    names |= {str(crop.meta["id"]) for crop in crops if "id" in crop.meta}  # of other boxes than today's
    return len(crops) + sum(len(Store(name).forget(names)) for name in _STORES)


def clear_export(path: Path, takedowns: Takedowns) -> None:
    """Write an export of the server anew without the requests' tasks; everybody's other reviews stay."""
    write_export_file(path, [task for task in read_export_file(path) if not _is_of(task, takedowns)])


def _withdraw(takedowns: Takedowns) -> list[TaskHead]:
    """Delete the tasks on the server, if one answers; its tasks that went."""
    try:
        session = open_session()
        with alone(session.installation.folder):
            tasks = withdraw(session, takedowns)
    except ReviewError as error:
        print(
            f"no server was asked ({error}). The next `make review`, `python -m annotations push` or `pull` deletes "
            "the tasks there"
        )
        return []
    print(f"{len(tasks)} tasks were deleted at {session.client.url}, with all that was said of them")
    return tasks


def tell(request: TakenDown, made: Made, params: Params) -> None:
    """Say what a request names, and where its originals lie."""
    rows = made.photographs[made.photographs["id"].isin(request.pixels)]
    print(
        f"request {request.key}: {len(request.pixels)} pictures and crops, {len(request.files)} files, "
        f"{len(request.urls)} addresses, {len(request.reviews)} tasks and reviews"
    )
    if rows.empty:
        print("  no picture here has these hashes; ingest rejects what comes with them")
    for row in rows.itertuples():
        print(
            f"  {row.id} {row.source} {row.source_key}{_original(str(row.source), str(row.source_key), params)}"
        )
    others = in_one_cluster(rows["id"], made) - set(rows["id"])
    for row in made.photographs[made.photographs["id"].isin(others)].itertuples():
        print(
            f"  {row.id} {row.source} {row.source_key}: in the same cluster, not taken out; name it to take it out too"
        )


def _original(source: str, source_key: str, params: Params) -> str:
    """What to do about the file that a picture came in, where it is still there; its source may be named no more."""
    if source not in params.sources.names():
        return ""
    original = Path(params.sources[source].path) / source_key
    if original.exists():
        return f": delete {original} too"
    shard = Path(f"{original.parent}.tar")
    inside = params.sources[source].layout == "img2dataset" and shard.is_file()
    return f": delete {original.name} from {shard} too" if inside else ""


def _names(export: Path, takedowns: Takedowns) -> bool:
    """Whether an export of the server has tasks of a picture taken out."""
    return any(_is_of(task, takedowns) for task in read_export_file(export))


def _is_of(task: Mapping[str, Any], takedowns: Takedowns) -> bool:
    data = task["data"]
    return takedowns.of_task(str(data.get("key")), str(data.get("parent_sha256"))) is not None
