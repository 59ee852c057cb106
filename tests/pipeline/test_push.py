"""The import files for Label Studio: complete, always the same bytes, and clear where something does not fit."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from annotations.errors import ReviewError
from annotations.ledger.lock import review_key, unpack_mask
from annotations.masks.brush import regions_to_mask
from annotations.masks.overlap import mask_iou
from annotations.server.import_files import read_tasks
from annotations.tasks.purpose import unseal
from pipeline.core.errors import PipelineError
from pipeline.core.folder import PictureFolder
from pipeline.core.params import LabelStudioParams, QueueParams
from pipeline.core.paths import CACHE
from pipeline.core.records import make_records
from pipeline.core.store import Store
from pipeline.push import queued_items, read_queue
from pipeline.queue import rank, write_queue
from pipeline.review.import_folder import write_import_folder
from pipeline.review.mix import mix
from sinet.images.decode import encode_mask, encode_png, pixel_id, read_image, read_mask
from tests.annotations.drawn import person, write_pseudo
from tests.pipeline.outcomes import entries

ROOT_ADDRESS = "/data/local-files/?d=data/push/images"
PARAMS = LabelStudioParams(url="http://127.0.0.1:8080", send=False, picture_root=ROOT_ADDRESS, clicks=False)

NO_DATASET = make_records([])


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Six drawn pseudo labels in the current folder, number 2 without anybody."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    return write_pseudo(tmp_path, 6, empty=2)


def queue_of(records: pd.DataFrame, dataset: pd.DataFrame = NO_DATASET, **shares: float) -> pd.DataFrame:
    """The queue of these pseudo labels, without second, gold and unmasked tasks, but for the `shares` given."""
    none = {"double_share": 0.0, "gold_share": 0.0, "from_scratch_share": 0.0}
    params = QueueParams(size=10, random_share=0.2, **{**none, **shares})
    return mix(rank(records, set(), params), dataset, params)


def push(records: pd.DataFrame, dataset: pd.DataFrame = NO_DATASET, **shares: float) -> list[dict]:
    items = queued_items(queue_of(records, dataset, **shares), records, dataset)
    write_import_folder(Path("data/push"), items, PARAMS, Store("push"))
    return [
        task
        for path in sorted(Path("data/push").glob("tasks-*.json"))
        for task in json.loads(path.read_bytes())
    ]


def content(folder: str = "data/push") -> dict[str, bytes]:
    root = Path(folder)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_push_that_breaks_off_leaves_no_tasks_of_the_run_before(
    records: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be sent with the outlines of other masks."""
    push(records)
    for path in records["mask"]:
        Path(path).write_bytes(encode_mask(np.ascontiguousarray(read_mask(Path(path))[:, ::-1])))
    wrote: list[str] = []
    real = PictureFolder.put

    def put(out: PictureFolder, name: str, *given: Any) -> Path:
        if len(wrote) == 5:
            raise OSError(28, "No space left on device")
        wrote.append(name)
        return real(out, name, *given)

    monkeypatch.setattr(PictureFolder, "put", put)
    with pytest.raises(OSError, match="No space left"):
        push(records)
    with pytest.raises(ReviewError, match="found none; run `dvc repro push`"):
        list(read_tasks(Path("data/push")))


def test_every_queued_picture_is_one_task_with_its_mask_and_pictures(records: pd.DataFrame):
    queue = queue_of(records)
    tasks = push(records)
    assert [task["data"]["id"] for task in tasks] == list(queue["id"])
    assert [task["predictions"][0]["score"] for task in tasks] == list(queue["score"])
    for task in tasks:
        data = task["data"]
        mask = read_mask(Path(f"data/pseudo/masks/{data['id']}.png"))
        assert np.array_equal(regions_to_mask(task["predictions"][0]["result"], *mask.shape), mask)
        assert data["key"] == review_key(data["parent_sha256"], data["crop_box"])
        for name in ("image", "outline", "cutout"):
            assert data[name] == f"{ROOT_ADDRESS}/{data['key']}-{name}.jpg"
            assert read_image(Path(f"data/push/images/{data['key']}-{name}.jpg")).shape == (*mask.shape, 3)
        assert data["guidelines"] == f"{ROOT_ADDRESS}/guidelines.html"
    assert len(list(Path("data/push/images").iterdir())) == 6 * 3 + 1


def test_the_receipt_says_not_sent_and_hashes_each_file(records: pd.DataFrame):
    push(records)
    receipt = json.loads(Path("data/push/receipt.json").read_bytes())
    assert receipt["state"] == "not sent" and receipt["tasks"] == 6
    assert set(receipt["files"]) == {"tasks-0001.json", "label_config.xml"}
    for name, digest in receipt["files"].items():
        assert hashlib.sha256(Path("data/push", name).read_bytes()).hexdigest() == digest
    assert "http://127.0.0.1:8080" in receipt["hint"] and "data/push/images" in receipt["hint"]


def test_same_bytes_with_a_full_empty_or_damaged_cache_and_after_a_kill(records: pd.DataFrame):
    push(records)
    before = content()
    Path("data/push/images/left.jpg.tmp").write_text("")
    Path("data/push/tasks-0009.json").write_text("[]")
    push(records)
    assert content() == before
    for path in Path(".cache").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:50])
    push(records)
    assert content() == before


def test_pictures_are_drawn_again_only_for_a_new_mask(records: pd.DataFrame):
    push(records)
    stored = entries(CACHE)["push"]
    mask = Path(str(records["mask"].iloc[0]))
    other = next(
        path for path in Path("data/pseudo/masks").iterdir() if path != mask and read_mask(path).any()
    )
    mask.write_bytes(other.read_bytes())
    push(records)
    assert entries(CACHE)["push"][:-1] == stored


def test_known_tasks_at_other_places_are_written_as_new_ones_would_be(
    records: pd.DataFrame, dataset: pd.DataFrame
) -> None:
    """The store has their text without the score; what is written is what a plain json.dumps of all of it gives."""
    push(records, dataset, gold_share=0.4, double_share=0.4, from_scratch_share=0.4)
    stored = entries(CACHE)["push"]
    queue = queue_of(records, dataset, gold_share=0.4, double_share=0.4, from_scratch_share=0.4)
    moved = queue.assign(score=queue["score"] / 3 - 1e-7).iloc[::-1]
    items = queued_items(moved, records, dataset)
    write_import_folder(Path("data/push"), items, PARAMS, Store("push"))
    assert entries(CACHE)["push"] == stored
    write_import_folder(Path("anew"), items, PARAMS, Store("push", Path("another_cache")))
    assert {name: data for name, data in content().items() if name != "receipt.json"} == {
        name: data for name, data in content("anew").items() if name != "receipt.json"
    }
    written = Path("data/push/tasks-0001.json").read_bytes()
    tasks = json.loads(written)
    assert [task["predictions"][0]["score"] for task in tasks] == list(moved["score"])
    plain = [json.dumps(task, sort_keys=True, separators=(",", ":")) for task in tasks]
    assert written.decode() == "[" + ",\n".join(plain) + "]\n"
    receipts = [json.loads(Path(folder, "receipt.json").read_bytes()) for folder in ("data/push", "anew")]
    assert receipts[0]["files"] == receipts[1]["files"]
    assert receipts[0]["files"]["tasks-0001.json"] == hashlib.sha256(written).hexdigest()


def test_nothing_to_review_writes_no_task_file(records: pd.DataFrame):
    assert push(records.iloc[:0]) == []
    assert json.loads(Path("data/push/receipt.json").read_bytes())["tasks"] == 0


def test_a_queue_of_another_run_is_refused(records: pd.DataFrame):
    queue = queue_of(records)
    with pytest.raises(PipelineError, match=r"found 1 ids that are not there .*run `dvc repro queue` first"):
        queued_items(queue, records[records["id"] != queue["id"][0]], NO_DATASET)


def test_a_missing_queue_is_refused(tmp_path: Path):
    with pytest.raises(PipelineError, match=r"queue\.csv, found no such file; run `dvc repro queue`"):
        read_queue(tmp_path)


def test_the_queue_comes_back_from_its_file_as_it_was(records: pd.DataFrame):
    queue = queue_of(records)
    write_queue(Path("data/queue"), queue)
    back = read_queue(Path("data/queue"))
    assert back.to_dict("records") == queue.to_dict("records")


@pytest.mark.parametrize("name", ["image", "mask"])
def test_a_damaged_or_unfitting_file_is_named(records: pd.DataFrame, name: str):
    path = Path(str(records[name].iloc[0]))
    path.write_bytes(b"nothing")
    with pytest.raises(
        PipelineError, match=r"a pseudo label cannot be shown: .*dvc repro --force pseudo_label"
    ):
        push(records)


def test_a_mask_of_another_size_is_named(records: pd.DataFrame):
    write_pseudo(Path("other"), 1, width=50, height=70)
    mask = next(Path("other/data/pseudo/masks").iterdir())
    Path(str(records["mask"].iloc[0])).write_bytes(mask.read_bytes())
    with pytest.raises(PipelineError, match=r"is 120x160 pixels, its mask 50x70; run"):
        push(records)


def test_the_stage_sends_where_params_say_so_and_an_unreachable_server_is_a_warning(
    records: pd.DataFrame, root: Path
):
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["label_studio"]["url"] = "http://127.0.0.1:9"  # nothing listens on the discard port
    write_queue(Path("data/queue"), queue_of(records))
    environment = {**os.environ, "LABEL_STUDIO_API_KEY": "the-secret"}
    states = {}
    for send in (False, True):
        params["label_studio"]["send"] = send
        Path("params.yaml").write_text(yaml.safe_dump(params))
        command = [sys.executable, "-m", "pipeline.push"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        assert len(json.loads(Path("data/push/tasks-0001.json").read_bytes())) == 6
        assert ("not sent; `python -m annotations push`" in done.stderr) == send
        assert "the-secret" not in done.stdout + done.stderr
        states[send] = json.loads(Path("data/push/receipt.json").read_bytes())["state"]
    assert states == {False: "not sent", True: "not sent"}


@pytest.mark.parametrize("root", ["", "pictures", "/data/local-files/?d=pictures/", "ftp://host/pictures"])
def test_a_picture_root_that_no_server_understands_is_refused(root: str):
    with pytest.raises(ValueError, match="picture_root"):
        LabelStudioParams(url="http://127.0.0.1:8080", send=False, picture_root=root, clicks=False)


@pytest.fixture
def dataset(records: pd.DataFrame) -> pd.DataFrame:
    """Two labelled dev pictures in data/dataset."""
    rows = []
    for number in (6, 7):
        image, mask = person(number)
        identity = pixel_id(image)
        paths = {"image": f"data/dataset/images/{identity}.png", "mask": f"data/dataset/masks/{identity}.png"}
        for path, data in ((paths["image"], encode_png(image)), (paths["mask"], encode_mask(mask))):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(data)
        sha256 = hashlib.sha256(f"labelled {number}".encode()).hexdigest()
        origin = {"source": "eg1800", "source_key": f"{number}.jpg", "label": "human", "side": "dev"}
        rows.append({**paths, **origin, "id": identity, "width": 120, "height": 160, "sha256": sha256})
    return make_records(rows)


def test_a_second_task_is_the_first_once_more(records: pd.DataFrame):
    tasks = push(records, double_share=1.0)
    assert len(tasks) == 12 and len({task["data"]["version"] for task in tasks}) == 12
    for first in [task for task in tasks if purpose_of(task) == "review"]:
        (second,) = [
            task
            for task in tasks
            if purpose_of(task) == "second" and task["data"]["key"] == first["data"]["key"]
        ]
        assert second["predictions"][0]["result"] == first["predictions"][0]["result"]
        different = {name for name in first["data"] if first["data"][name] != second["data"][name]}
        assert different == {"version", "seal"}
    # What was sent before these purposes existed is recognised.
    assert {task["data"]["version"] for task in push(records)} < {task["data"]["version"] for task in tasks}


def test_a_task_from_scratch_shows_no_mask_and_names_no_teacher(records: pd.DataFrame):
    for task in push(records, from_scratch_share=1.0):
        data = task["data"]
        assert purpose_of(task) == "scratch" and task["predictions"][0]["result"] == []
        assert data["teacher"] == "" and data["about"] == "no mask is proposed: draw it, then F"
        cutout = read_image(Path(f"data/push/images/{data['key']}-cutout.jpg"))
        assert (np.abs(cutout.astype(int) - cutout[0, 0]) < 8).all()


def test_a_gold_task_proposes_a_damaged_mask_and_looks_like_the_others(
    records: pd.DataFrame, dataset: pd.DataFrame
):
    tasks = push(records, dataset, gold_share=0.4)
    gold = [task for task in tasks if purpose_of(task) == "gold"]
    other = next(task for task in tasks if purpose_of(task) == "review")
    assert len(tasks) == 8 and len(gold) == 2
    for task in gold:
        data = task["data"]
        row = dataset.set_index("id").loc[data["id"]]
        assert (
            data["key"]
            == review_key(row["sha256"], "0,0,120,160")
            == review_key(data["parent_sha256"], data["crop_box"])
        )
        assert data.keys() == other["data"].keys() and data["teacher"] == other["data"]["teacher"]
        truth = unpack_mask(unseal(data["seal"], 1).truth)
        assert np.array_equal(truth, read_mask(Path(row["mask"])))
        shown = regions_to_mask(task["predictions"][0]["result"], 160, 120)
        assert 0.5 <= mask_iou(shown, truth) <= 0.9
        assert (Path("data/push/images") / f"{data['key']}-outline.jpg").is_file()
    receipt = json.loads(Path("data/push/receipt.json").read_bytes())
    assert receipt["tasks"] == 8


def test_a_gold_picture_that_left_the_dataset_is_named(records: pd.DataFrame, dataset: pd.DataFrame):
    queue = queue_of(records, dataset, gold_share=0.4)
    with pytest.raises(
        PipelineError, match=r"data/dataset, found 2 ids that are not there .*dvc repro queue"
    ):
        queued_items(queue, records, NO_DATASET)


def purpose_of(task: dict) -> str:
    return unseal(task["data"]["seal"], 1).purpose
