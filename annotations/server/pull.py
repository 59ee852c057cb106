"""Bring the reviews home: the server's export is saved, then settled into the lock that `dvc repro` reads.

Writes review-data/exports/TIME.json.gz, the lock with every judgement beside it, and review-data/second-round for the
next push.
"""

import hashlib
import json
import logging
import re
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from annotations.errors import ReviewError
from annotations.ledger.collect import collect
from annotations.ledger.exported import Reading, Subject, read_export
from annotations.ledger.judgements import JudgedTask, read_judgements, write_judgements
from annotations.ledger.lock import LockEntry, LockError, read_lock, write_lock
from annotations.ledger.settle import Conflict, Drift, Settled, settle, to_do, update
from annotations.ledger.voices import with_voices
from annotations.masks.brush import BrushError, regions_to_mask
from annotations.server.client import Client
from annotations.server.exports import pack_export
from annotations.server.import_files import TaskContent, parse_task
from annotations.server.installation import Installation
from annotations.server.session import Session, alone, fetch_export, the_project, withdraw
from annotations.server.withdraw import read_requested
from annotations.tasks.task import MODEL_VERSION
from sinet.core.atomic import write_atomic
from sinet.images.decode import Array

log = logging.getLogger("annotations")


def pull(session: Session, keep: bool = False, forget: Sequence[str] = ()) -> Drift:
    """Fetch, save, settle, write; ReviewError before anything is written if a review would be lost.

    Alone from the export on: a pull that wrote meanwhile would have its reviews deleted by this one's older reading.
    Pictures that people asked to have taken out leave the server first.
    """
    with alone(session.installation.folder):
        withdraw(session, read_requested())
        return _pull(session, keep, forget)


def _pull(session: Session, keep: bool, forget: Sequence[str]) -> Drift:
    content = fetch_export(session, the_project(session))
    saved = save_export(session.installation.exports, content, datetime.now(UTC))
    log.info("saved the server's export as %s", saved)
    lock = session.settings.lock
    locked, before = read_locked(lock), read_judged(lock)
    _refuse_unknown(forget, {entry.key for entry in locked} | {judged.key for judged in before}, lock)
    reading = with_voices(read_export(content), before, forget)
    settled = settle(reading, [entry for entry in locked if entry.key not in forget])
    drift = update(locked, reading, settled, keep, forget)
    judged = collect(before, reading, partial(proposal, session.client), forget)
    if drift.lost:
        raise ReviewError(_loss(drift.lost, saved))
    write_second_round(session.client, session.installation, settled.conflicts.values())
    write_lock(lock, drift.entries)
    write_judgements(lock, judged)
    for line in _report(drift, reading, settled):
        log.info("%s", line)
    return drift


def _refuse_unknown(forget: Iterable[str], known: Collection[str], lock: Path) -> None:
    unknown = sorted(set(forget) - set(known))
    if unknown:
        raise ReviewError(
            f"nothing was written: expected keys of {lock} to forget, found {', '.join(unknown)}; pull names "
            "keys that it cannot settle, and each line there holds its own"
        )


def read_locked(folder: Path) -> list[LockEntry]:
    """The lock as it is; a folder that is not there yet is an empty one."""
    if not folder.exists():
        return []
    try:
        return read_lock(folder)
    except LockError as error:
        raise ReviewError(f"the lock cannot be read: {error}") from error


def read_judged(lock: Path) -> list[JudgedTask]:
    """The judgements beside the lock, of which an older lock has none."""
    try:
        return read_judgements(lock)
    except LockError as error:
        raise ReviewError(f"the judgements cannot be read: {error}") from error


def proposal(client: Client, subject: Subject) -> Array | None:
    """The mask (H, W) uint8 {0, 1} that a task shows, asked of the server; None where it can show none any more."""
    try:
        (prediction,) = client.task(subject.task)["predictions"]
        return regions_to_mask(prediction["result"], subject.height, subject.width)
    except (ValueError, BrushError):
        return None


def save_export(folder: Path, content: bytes, now: datetime) -> Path:
    """Keep what the server said, whatever becomes of it; the path."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    path = folder / f"{now:%Y%m%dT%H%M%S%f}Z.json.gz"
    pack_export(path, content)
    return path


def _report(drift: Drift, reading: Reading, settled: Settled) -> list[str]:
    """What changed since the lock, and what is left to do, a line each."""
    left = to_do(reading, settled)
    lines = [
        f"{len(drift.added)} new, {len(drift.updated)} changed, {len(drift.unchanged)} as before, "
        f"{len(drift.elsewhere)} not on this server (kept)"
    ]
    lines += _first(reading.notes)
    lines += [f"changed since the lock: {key}" for key in drift.updated]
    lines += [f"forgotten: {key}" for key in drift.forgotten]
    lines += [
        f"in conflict, second round at the next push{' (the earlier review stays)' if key in drift.held else ''}: "
        f"{key}: {conflict.why}"
        for key, conflict in settled.conflicts.items()
    ]
    lines.append(
        f"{left.waiting} wait for a review, {left.skipped} of them skipped and {left.begun} begun but not submitted"
    )
    return lines


def _first(notes: Sequence[str], shown: int = 10) -> list[str]:
    rest = len(notes) - shown
    return [*notes[:shown], f"... and {rest} more like these"] if rest > 0 else list(notes)


def write_second_round(client: Client, installation: Installation, conflicts: Iterable[Conflict]) -> None:
    """Make second-round/ hold one task for each conflict, served first; those of settled ones go."""
    folder = installation.second_round
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {}
    for conflict in conflicts:
        version = round_version(conflict)
        path = folder / f"{version}.json"
        wanted[path] = _written(path) or _second_task(client, conflict, version)
    for path, content in wanted.items():
        write_atomic(path, content)
    for path in set(folder.glob("*.json")) - wanted.keys():
        path.unlink()


def round_version(conflict: Conflict) -> str:
    """16 hex digits of the reviews in conflict: the same ones make the same task, a further one another."""
    said = sorted((review.annotation, review.at.isoformat()) for review in conflict.reviews)
    return hashlib.sha256(repr((conflict.key, said)).encode()).hexdigest()[:16]


def second_round_task(task: dict[str, Any], version: str, conflict: Conflict) -> TaskContent:
    """The task once more, as the newest version of its crop was sent, without what people said about it."""
    data = {**task["data"], "version": version, "round": 2}
    about = re.sub(r"^second round, .*? reviews · ", "", str(task["data"].get("about", "")))
    data["about"] = f"second round, {len(conflict.reviews)} reviews · {about}"
    predictions = [
        {"model_version": MODEL_VERSION, "score": 0.0, "result": one["result"]} for one in task["predictions"]
    ]
    return {"data": data, "predictions": predictions}


def _written(path: Path) -> bytes | None:
    """A second round's task as it was written before; None where it is not there, damaged, or without a mask."""
    try:
        content = path.read_bytes()
        return content if parse_task(content)["predictions"] else None
    except (FileNotFoundError, ValueError):
        return None


def _second_task(client: Client, conflict: Conflict, version: str) -> bytes:
    """The newest task of the conflict that has its mask; an earlier second round may have been sent without."""
    numbers = sorted({review.subject.task for review in conflict.reviews}, reverse=True)
    tasks = [client.task(number) for number in numbers]
    chosen = next((task for task in tasks if task["predictions"]), tasks[0])
    return json.dumps(second_round_task(chosen, version, conflict), sort_keys=True).encode()


def _loss(keys: Sequence[str], saved: Path) -> str:
    named = ", ".join(list(keys[:10]) + ["..."] * (len(keys) > 10))
    return (
        f"nothing was written: {len(keys)} reviews of the lock have their task on this server but no review any "
        f"more of who gave them: {named}. They were deleted there, or written over by somebody else, or this is "
        f"another server (its export is {saved}). Pull with --keep to keep the locked ones, or with --forget KEY to "
        "drop one for good"
    )
