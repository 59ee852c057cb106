"""A small dataset as stage merge leaves it: drawn ellipses as JPEG and PNG, three sides, several licences and kinds."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import pandas as pd

from pipeline.core.folder import PictureFolder
from pipeline.core.paths import CROP, DATASET, HEADLINE, PSEUDO, SINET
from pipeline.core.records import Rejected, make_records, write_records, write_rejected
from pipeline.core.stage import write_json, write_metrics
from pipeline.merge import summarise, write_dataset
from sinet.evaluation.slices import SLICES
from sinet.images.decode import encode_mask, encode_png, pixel_id, read_image
from tests.pipeline.dataset_inputs import portrait
from tests.project import commit, run

SIDES = ("train", "train", "test", "dev", "train", "train", "test", "dev", "train", "train")
LICENCES = ("CC BY 4.0", None, "CC0-1.0", "for research, only", "CC BY 4.0")


def finished_row(folder: Path, number: int, **more: Any) -> dict[str, Any]:
    """Write picture and mask `number` under `folder`, odd ones as JPEG; their row, whose terms turn with the number."""
    image, mask = portrait(number, (60 + number, 80))
    path = folder / f"{number}.{'jpg' if number % 2 else 'png'}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(image))
    if number % 2:
        cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    path.with_suffix(".mask.png").write_bytes(encode_mask(mask))
    one = pixel_id(read_image(path))
    return {
        "id": one,
        "source": "web" if number % 3 else "eg1800",
        "source_key": f"a, {number}|é.jpg",
        "label": "pseudo" if number == 8 else "human",  # the one that nobody looked at
        "image": str(path),
        "mask": str(path.with_suffix(".mask.png")),
        "width": image.shape[1],
        "height": image.shape[0],
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence": LICENCES[number % len(LICENCES)],
        "author": 'Ann "A" O\'Neil' if number % 2 else None,
        "url": f"https://example.org/{number}?a=1&b=2" if number % 2 else None,
        "retrieved_at": "2025-01-31T12:00:00+00:00" if number % 2 else None,
        "published_side": "test" if SIDES[number % len(SIDES)] == "test" else None,
        "cluster": one,
        "side": SIDES[number % len(SIDES)],
        **more,
    }


def write_finished(folder: Path, scratch: Path, count: int = len(SIDES)) -> pd.DataFrame:
    """Write a dataset of `count` pictures to `folder`; its records."""
    rows = [finished_row(scratch, number) for number in range(count)]
    return write_dataset(PictureFolder(folder), make_records(rows))


DVC_YAML = """
stages:
  pseudo_label:
    cmd: echo pseudo_label
    outs: [{data/pseudo: {persist: true}}, {data/crop: {persist: true}}]
  merge:
    cmd: echo merge
    deps: [data/pseudo]
    params: [merge]
    outs: [{data/dataset: {persist: true}}, {data/rejected/merge.csv: {persist: true}}]
    metrics: [{metrics/merge.json: {persist: true}}, {metrics/split.json: {persist: true}},
      {metrics/balance.json: {persist: true}}]
  train:
    cmd: echo train
    deps: [data/dataset]
    outs: [{models/sinet.safetensors: {persist: true}}]
    metrics: [{metrics/train.json: {persist: true}}, {metrics/evaluate.json: {persist: true}}]
artifacts:
  sinet: {path: models/sinet.safetensors, type: model}
  dataset: {path: data/dataset, type: dataset}
"""


def write_project(folder: Path, root: Path) -> None:
    """A project in real git and DVC with such a dataset, beside it two pseudo labels, one of them rejected; tag v1.

    Nothing of it was trained: models/sinet.safetensors is a file of that name.
    """
    shutil.copyfile(root / "params.yaml", folder / "params.yaml")
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / ".gitignore").write_text("/data/\n/metrics/\n/models/\n/page/\n")
    scratch = folder.with_name("scratch")
    rows = [finished_row(scratch, number) for number in range(len(SIDES))]
    doubts = {8: (0.25, ""), 10: (0.5, "several_pieces"), 11: (0.75, "several_pieces touches_every_border")}
    common: dict[str, Any] = {"label": "pseudo", "source": "web", "side": None, "cluster": None}
    rows[8].update(label="reviewed", review="fix", teacher="t" * 64)
    (folder / "data").mkdir()
    here = Path.cwd()
    os.chdir(folder)
    try:
        pseudo = [
            finished_row(CROP, number, uncertainty=doubt, flags=flags, **common)
            for number, (doubt, flags) in doubts.items()
        ]
        records = write_dataset(PictureFolder(DATASET), make_records(rows))
        write_records(PSEUDO, make_records(pseudo))
        rejected = [
            Rejected("web", str(one["source_key"]), reason, "...")
            for one, reason in zip(pseudo, ("reviewed", "review_rejected", "not_reviewed"), strict=True)
        ]
        rejected.append(Rejected("reviews", "a-key", "review_reject", "its verdict is reject"))
        write_rejected("merge", rejected)
        reviews = {"accept": 0, "fix": 1, "reject": 1, "unsure": 0}
        counts = {"in": 14, "out": 10, "rejected": 4, "reasons": {}, "inputs": {}, "reviews": reviews}
        write_metrics("merge", {**counts, **summarise(records, rejected)})
        write_metrics("balance", {"no_face": 1.0, "grey": 0.25})
        write_metrics("split", {role: {"leaks": 0, "moved": 0} for role in ("labelled", "crawl")})
        figures = {
            "foreground_iou": 0.9,
            "mean_iou": 0.91,
            "boundary_f1": 0.8,
            "foreground_iou_native": 0.9,
            "count": 2,
        }
        by_slice = {**dict.fromkeys(SLICES), "worst_tenth": figures, "dark": {"count": 0}}
        write_metrics("evaluate", {**figures, "unreviewed_pseudo_labels": 0, "by_slice": by_slice})
        write_metrics("train", {"dev_foreground_iou": 0.92, "parameters": 86_910})
        write_json(HEADLINE, {"leaks": 0, "moved": 0})
        SINET.parent.mkdir()
        SINET.write_bytes(b"weights")
    finally:
        os.chdir(here)
    run(folder, "git", "init", "--quiet")
    run(folder, "git", "config", "user.name", "tester")
    run(folder, "git", "config", "user.email", "tester@example.org")
    run(folder, "dvc", "init", "--quiet")
    run(folder, "dvc", "commit", "--force", "--quiet")
    commit(folder, "v1")
    run(folder, "git", "tag", "v1")
