"""What the data stages cost again: with 1 % more pictures, with nothing changed, with other gates.

`python -m pipeline benchmark again`: the pictures of the sources in params.yaml, each role's changed a little, round
after round, until there are as many as asked for. CPU seconds of each stage's processes; `start` is what its modules
take to be imported, and the last column leaves that out. The teacher is an untrained one, as its labels cost the same.
DVC's own work is not in it.
"""

import itertools
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import torch
import yaml

from pipeline.core.params import Params, Role, load_params
from pipeline.core.paths import PARAMS, PROFILES, TEACHER
from pipeline.deeplab import network as deeplab
from pipeline.sources.inspection import inspect
from pipeline.sources.layouts import read_layout
from sinet.images.decode import Array, ImageError, decode_image, decode_own_mask, encode_mask, read_bytes

_SOURCES: dict[Role, str] = {
    "labelled": "pairs",
    "bodies": "pairs",
    "crawl": "crawl",
}  # layout by role and name
_STAGES = (
    *(f"ingest {name}" for name in _SOURCES), "crop", "cluster", "split", "pseudo_label", "merge", "queue", "push",
)  # fmt: skip
_GATES: dict[str, dict[str, Any]] = {
    "ingest": {"min_foreground": 0.02},
    "crop": {"min_coverage": 0.3, "other_face": 0.5, "min_on_mask": 0.4},
    "pseudo_label": {"flags": {"min_person": 0.06}},
}


def main(pictures: int) -> None:
    """Run every data stage four times in a project of its own; print the table."""
    params = load_params()
    more = max(1, pictures // 100)
    with tempfile.TemporaryDirectory(prefix="benchmark-again-") as name:
        project = Path(name)
        waiting = {role: enumerate(_pictures(params, role)) for role in _SOURCES}
        for role in _SOURCES:
            add(project / role, itertools.islice(waiting[role], pictures))
        write_params(project, {})
        write_teacher(project / TEACHER)
        _stage_cpu(project, "list_sources")
        start = {stage: _cpu(project, "-c", f"import pipeline.{stage.split()[0]}") for stage in _STAGES}
        full = {stage: _stage_cpu(project, stage) for stage in _STAGES}
        for role in _SOURCES:
            add(project / role, itertools.islice(waiting[role], more))
        added = {stage: _stage_cpu(project, stage) for stage in _STAGES}
        again = {stage: _stage_cpu(project, stage) for stage in _STAGES}
        write_params(project, _GATES)
        gates = {stage: _stage_cpu(project, stage) for stage in _STAGES}
    print(f"{pictures:,} pictures of each role, then {more} more; CPU seconds")
    columns = ("start", "full", "1 % more", "unchanged", "other gates", "1 % / full", "without start")
    print(f"{'':<18}" + "".join(f"{column:>14}" for column in columns))
    for stage in _STAGES:
        seconds = (start[stage], full[stage], added[stage], again[stage], gates[stage])
        beside = max(added[stage] - start[stage], 0) / max(full[stage] - start[stage], 0.01)
        shares = f"{added[stage] / full[stage]:>14.1%}{beside:>14.1%}"
        print(f"{stage:<18}" + "".join(f"{value:>14.2f}" for value in seconds) + shares)


def _pictures(params: Params, role: Role) -> Iterator[tuple[Array, Array | None]]:
    """Pictures of a role, RGB, with their masks {0, 1}, without end: each round cuts off a pixel more at two sides."""
    sources = params.sources.of_role(role).values()
    for cut in itertools.count(1):
        for source in sources:
            classes = params.ingest.mask_levels.classes(source.layout)
            for item in read_layout(source.layout, Path(source.path)).items:
                try:
                    image = item.read()
                    mask = None if item.mask is None else read_bytes(Path(item.mask))
                    found = inspect(
                        image, mask, params.ingest, classes, matlab=str(item.mask).endswith(".mat")
                    )
                except ImageError:
                    continue
                person = None if found.mask is None else decode_own_mask(found.mask, "")[cut:, cut:]
                yield decode_image(image)[cut:, cut:], person


def add(folder: Path, pictures: Iterable[tuple[int, tuple[Array, Array | None]]]) -> None:
    """Write numbered pictures, with masks in the layout `pairs`."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number, (image, mask) in pictures:
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / "images" / f"{number:07d}.jpg"), bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])
        if mask is not None:
            (folder / "masks").mkdir(exist_ok=True)
            (folder / "masks" / f"{number:07d}.png").write_bytes(encode_mask(mask))


def write_params(project: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write params.yaml of three sources in folders named as their roles, with gates that stop no stage."""
    content = yaml.safe_load((PROFILES / "sample.yaml").read_text())
    content["sources"] = {
        role: {"role": role, "layout": layout, "path": role} for role, layout in _SOURCES.items()
    }
    content["ingest"]["max_reject_rate"] = 1.0
    content["crop"] |= {"max_reject_rate": 1.0, "max_reject_rate_crawl": 1.0}
    content["split"]["max_reject_rate"] = 1.0
    content["merge"] |= {"unreviewed": "include", "max_uncertainty": 1.0}
    for section, values in changes.items():
        for key, value in values.items():
            old = content[section][key]
            content[section][key] = {**old, **value} if isinstance(value, dict) else value
    (project / PARAMS).write_text(yaml.safe_dump(content))
    Path(project / content["reviews"]["path"]).mkdir(parents=True, exist_ok=True)


def write_teacher(path: Path) -> None:
    """Write an untrained teacher, always the same."""
    settings = load_params(PROFILES / "sample.yaml").teacher
    card = deeplab.TeacherCard(
        settings.encoder,
        settings.output_stride,
        settings.atrous_rates,
        1,
        deeplab.imagenet_input(settings.size),
    )
    torch.manual_seed(0)
    deeplab.save_teacher(path, deeplab.build(card).state_dict(), card)


def _stage_cpu(project: Path, stage: str) -> float:
    return _cpu(project, "-m", *f"pipeline.{stage}".split())


def _cpu(project: Path, *arguments: str) -> float:
    """CPU seconds of a python process and of those that it starts; what it says is shown where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *arguments], cwd=project, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
