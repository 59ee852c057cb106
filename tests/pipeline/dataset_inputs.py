"""Made-up inputs of cluster, split and merge: drawn ellipses as people, and files as earlier stages leave them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from annotations.ledger.lock import LockEntry
from pipeline.core.boxes import Box
from pipeline.core.paths import DATASET
from pipeline.core.records import make_records, write_records
from pipeline.faces.portrait import cut
from sinet.images.decode import Array, encode_mask, encode_png, pixel_id
from tests.sinet.tiny_training import tiny_recipe, write_portraits

SIZE = (96, 120)  # width, height


def portrait(seed: int, size: tuple[int, int] = SIZE) -> tuple[Array, Array]:
    """A picture (H, W, 3) of an ellipse on soft blobs, and its mask (H, W) in {0, 1}; no two seeds alike."""
    rng = np.random.default_rng(seed)
    width, height = size
    image = cv2.resize(rng.integers(0, 255, (6, 5, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((height, width), np.uint8)
    centre = (int(width * rng.uniform(0.4, 0.6)), int(height * rng.uniform(0.4, 0.6)))
    axes = (int(width * rng.uniform(0.2, 0.3)), int(height * rng.uniform(0.2, 0.35)))
    cv2.ellipse(mask, centre, axes, 0, 0, 360, 1, -1)
    image[mask == 1] = rng.integers(0, 255, 3)
    return np.asarray(image, np.uint8), mask


def record(folder: Path, image: Array, mask: Array | None, **more: Any) -> dict[str, Any]:
    """Write the files of a picture under `folder` and return its row."""
    one = pixel_id(image)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    data = encode_png(image)
    path = folder / "images" / f"{one}.png"
    path.write_bytes(data)
    row = {
        "id": one,
        "image": str(path),
        "width": image.shape[1],
        "height": image.shape[0],
        "sha256": hashlib.sha256(data).hexdigest(),
        **more,
    }
    if mask is not None:
        row["mask"] = str(folder / "masks" / f"{one}.png")
        Path(row["mask"]).write_bytes(encode_mask(mask))
    return row


def eg1800(folder: Path, count: int, test: int, start: int = 0) -> list[dict[str, Any]]:
    """`count` labelled portraits, the first `test` of them published as test."""
    rows = []
    for one in range(count):
        image, mask = portrait(start + one)
        side = "test" if one < test else "train"
        common = {"source": "eg1800", "source_key": f"{one:05d}", "label": "human", "published_side": side}
        rows.append(record(folder, image, mask, licence="research only", **common))
    return rows


def crawl(folder: Path, count: int, start: int = 5000) -> list[dict[str, Any]]:
    """`count` crawled pictures without masks."""
    return [
        record(
            folder, portrait(start + one)[0], None, source="crawl", source_key=f"{one}.jpg", author="someone"
        )
        for one in range(count)
    ]


def cut_from(folder: Path, parent: dict[str, Any], seed: int, box: str, **more: Any) -> dict[str, Any]:
    """The record of a portrait cut out of `parent`, drawn by `portrait(seed)`."""
    image, mask = (cut(one, Box.parse(box), fill) for one, fill in zip(portrait(seed), (128, 0), strict=True))
    of = {
        "parent_id": parent["id"],
        "parent_sha256": parent["sha256"],
        "crop_box": box,
        "sha256": parent["sha256"],
    }
    return record(
        folder, image, mask, **{**of, "source": parent["source"], "source_key": parent["source_key"], **more}
    )


def review(parent: dict[str, Any], box: str, verdict: str, mask: Array | None) -> LockEntry:
    """A lock entry for the box of a crawled picture."""
    of = Box.parse(box)
    return LockEntry.of(
        parent_sha256=parent["sha256"],
        crop_box=box,
        shape=(of.height, of.width),
        verdict=verdict,
        mask=mask,
        reasons=["wrong_edge"] if verdict in ("reject", "unsure") else [],
        reviewer="curator-1",
        reviewed_at="2025-01-31T12:00:00+00:00",
        teacher="t" * 64,
    )


def row_of(id_: str, **more: Any) -> dict[str, Any]:
    """A row of which no file is looked at."""
    return {"id": id_, "image": "i", "width": 96, "height": 120, "sha256": id_ * 4, "label": "none", **more}


def on_sides(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Labelled rows as stage split leaves them: each in its own cluster; of three on train one is on dev."""
    placed = []
    for at, row in enumerate(rows):
        side = "test" if row.get("published_side") == "test" else "train" if at % 3 else "dev"
        placed.append({**row, "cluster": row["id"], "side": side})
    return placed


def write(folder: Path, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Records from rows, written to FOLDER as a stage does."""
    records = make_records(rows)
    write_records(folder, records)
    return records


def write_source(folder: Path, records: pd.DataFrame) -> None:
    """data/ingest/ROLE/NAME, `folder`, as stage ingest leaves it, and its line in the list of the role's sources."""
    write_records(folder, records)
    listed = folder.parent / "sources.csv"
    lines = listed.read_text().splitlines()[1:] if listed.is_file() else []
    lines = sorted({*lines, f"{folder.name},pairs"})
    listed.write_text("\n".join(["name,layout", *lines]) + "\n")


def write_tiny_params(root: Path) -> None:
    """params.yaml of the repository at `root`, with a training of seconds."""
    content = YAML().load(root / "params.yaml")
    content["train"] = tiny_recipe().model_dump(mode="json")
    YAML().dump(content, Path("params.yaml"))


def enter_project(
    folder: Path, monkeypatch: pytest.MonkeyPatch, root: Path, sides: Sequence[str], labels: Sequence[str]
) -> Path:
    """Go to `folder`, on the CPU, with a params.yaml whose training takes seconds and the dataset of write_dataset."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SINET_DEVICE", "cpu")
    write_tiny_params(root)
    write_dataset(sides, labels)
    return folder


def write_dataset(sides: Sequence[str], labels: Sequence[str]) -> None:
    """data/dataset as stage merge leaves it: crude portraits of 90x120 pixels with these sides and kinds of masks."""
    samples = write_portraits(DATASET, len(sides))
    rows = [
        {
            "id": sample.id,
            "source": "drawn",
            "source_key": sample.id,
            "label": label,
            "image": str(sample.image),
            "mask": str(sample.mask),
            "width": 90,
            "height": 120,
            "sha256": "0" * 64,
            "side": side,
        }
        for sample, side, label in zip(samples, sides, labels, strict=True)
    ]
    write_records(DATASET, make_records(rows))
