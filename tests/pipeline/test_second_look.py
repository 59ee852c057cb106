"""A second look at accepted masks that SINet contradicts: the right ones, once each, as tasks to judge."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from annotations.ledger.judgements import JudgedTask, Opinion, write_judgements
from annotations.ledger.lock import pack_mask, review_key
from annotations.masks.brush import regions_to_mask
from annotations.server.import_files import read_tasks
from annotations.tasks.purpose import unseal
from pipeline.core.params import SecondLookParams
from pipeline.core.paths import DATASET, SINET
from pipeline.core.records import make_records, read_records, write_records
from pipeline.second_look import asked_before, choose, disagreement, items, reviewed_records, summarise
from sinet.images.decode import Array, encode_mask, encode_png, pixel_id
from sinet.inference.predictor import Predictor
from sinet.network.model import SINet
from sinet.network.preprocess import Preprocessing
from sinet.network.weights import WeightsCard, save_weights

SIZE = (90, 120)  # width, height
BOX = "0,0,90,120"
FLIPPED = (0, 0, 8, 30, 60, 120)  # rows from below in which a picture's mask is not what SINet says


def parent(number: int) -> str:
    return hashlib.sha256(f"parent {number}".encode()).hexdigest()


def key(number: int) -> str:
    return review_key(parent(number), BOX)


def scene(number: int) -> Array:
    """Soft blobs, (120, 90, 3) uint8 RGB."""
    small = np.random.default_rng(number).integers(0, 256, (6, 5, 3), np.uint8)
    return np.asarray(cv2.resize(small, SIZE, interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    """A dataset of six reviewed pictures whose masks are SINet's own but for FLIPPED rows; the last is of side test.

    Two more pictures, human and pseudo, are labelled with nonsense, which is not for this stage to find.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SINET_DEVICE", "cpu")
    torch.manual_seed(0)
    shown = Preprocessing(size=64, order="rgb", mean=(128, 128, 128), std=(64, 64, 64), scale=1.0)
    save_weights(SINET, SINet(classes=2), WeightsCard(2, shown, "0123", {}, 0))
    student = Predictor.load(SINET)
    rows = []
    for number, label in enumerate([*["reviewed"] * len(FLIPPED), "human", "pseudo"]):
        image = scene(number)
        mask = student.mask(image)
        flipped = FLIPPED[number] if number < len(FLIPPED) else 120
        mask[120 - flipped :] ^= 1
        id_ = pixel_id(image)
        files = {"image": DATASET / "images" / f"{id_}.png", "mask": DATASET / "masks" / f"{id_}.png"}
        for path, content in zip(files.values(), (encode_png(image), encode_mask(mask)), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        row = {"id": id_, "source": "crawl", "source_key": f"{number}.jpg", "label": label}
        row |= {"parent_sha256": parent(number), "crop_box": BOX, "parent_id": id_, "sha256": parent(number)}
        row |= {"width": 90, "height": 120, "teacher": "7" * 16, "side": "test" if number == 5 else "train"}
        rows.append(row | {name: str(path) for name, path in files.items()})
    write_records(DATASET, make_records(rows))
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["second_look"] = {"size": 2, "min_disagreement": 0.02}
    params["reviews"] = {"path": "reviews"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "reviews").mkdir()
    return tmp_path


def judged(number: int, purpose: str) -> JudgedTask:
    opinion = Opinion(
        reviewer="curator-1",
        at="2025-01-31T12:00:00+00:00",
        said="accept",
        reasons=(),
        seconds=4.0,
        edit=None,
    )
    mask = pack_mask(np.ones((120, 90), np.uint8))
    return JudgedTask.model_validate(
        {
            "key": key(number),
            "version": "v" * 16,
            "purpose": purpose,
            "round": 1,
            "width": 90,
            "height": 120,
            "uncertainty": 0.5,
            "teacher": None,
            "proposed": mask,
            "truth": None,
            "opinions": (opinion,),
        }
    )


def run_stage() -> dict[str, object]:
    """Run the stage as dvc does; its metrics."""
    command = [sys.executable, "-m", "pipeline.second_look"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(Path("metrics/second_look.json").read_text()))


def keys(folder: str = "data/second_look") -> list[str]:
    return [task["data"]["key"] for task in read_tasks(Path(folder))]


def test_the_most_contradicted_masks_are_asked_about_again(project: Path):
    metrics = run_stage()
    assert keys() == [key(4), key(3)]  # number 5 differs more, but is of the test side; size is 2
    assert (metrics["reviewed"], metrics["asked"], metrics["asked_before"]) == (5, 2, 0)
    tasks = list(read_tasks(Path("data/second_look")))
    records = {row.parent_sha256: row for row in reviewed_records(read_records(DATASET)).itertuples()}
    for number, task in zip((4, 3), tasks, strict=True):
        accepted = cv2.imread(str(records[parent(number)].mask), cv2.IMREAD_GRAYSCALE) > 127
        (prediction,) = task["predictions"]
        assert np.array_equal(regions_to_mask(prediction["result"], 120, 90), accepted.astype(np.uint8))
        assert unseal(task["data"]["seal"], 1).purpose == "student"
        assert task["data"]["about"].startswith("second look: SINet's own mask differs by ")
        assert prediction["score"] < 0, "before all that is queued, whose scores are above 0"
        for name in ("image", "outline", "cutout"):
            assert (Path("data/second_look/images") / task["data"][name].rpartition("/")[2]).is_file()
    scores = [task["predictions"][0]["score"] for task in tasks]
    assert scores == sorted(scores)


def test_one_second_look_is_enough(project: Path):
    write_judgements(Path("reviews"), [judged(4, "student"), judged(3, "review")])
    assert asked_before(Path("reviews")) == {key(4)}
    metrics = run_stage()
    assert keys() == [key(3), key(2)]
    assert (metrics["asked"], metrics["asked_before"]) == (2, 1)


def test_the_same_inputs_give_the_same_bytes(project: Path):
    contents = []
    for _ in range(2):
        run_stage()
        files = sorted(path for path in Path("data/second_look").rglob("*") if path.is_file())
        contents.append({str(path): path.read_bytes() for path in files})
    assert contents[0] == contents[1] and len(contents[0]) > 6


def test_disagreement_is_what_the_masks_do_not_share(project: Path):
    student = Predictor.load(SINET)
    reviewed = reviewed_records(read_records(DATASET))
    differs = {
        str(row.parent_sha256): disagreement(Path(str(row.image)), Path(str(row.mask)), student)
        for row in reviewed.itertuples()
    }
    assert [differs[parent(number)] for number in (0, 1)] == [0, 0]
    assert 0 < differs[parent(2)] < differs[parent(3)] < differs[parent(4)] <= 1
    assert parent(5) not in differs


def test_nothing_reviewed_asks_nothing(project: Path):
    write_records(DATASET, make_records([]))
    metrics = run_stage()
    assert (metrics["reviewed"], metrics["asked"], metrics["disagreement"]) == (0, 0, {})
    assert keys() == []


def test_what_is_below_the_limit_stays(project: Path):
    rows = pd.DataFrame(
        {
            "id": list("abc"),
            "key": list("abc"),
            "disagreement": [0.1, 0.3, 0.2],
            "parent_sha256": "p",
            "crop_box": BOX,
        }
    )
    params = SecondLookParams(size=10, min_disagreement=0.2)
    assert list(choose(rows, set(), params)["id"]) == ["b", "c"]
    assert list(choose(rows, {"b"}, params)["id"]) == ["c"]
    assert summarise(rows, {"b"}, choose(rows, {"b"}, params))["asked_before"] == 1
    assert items(rows.head(0)) == []


def test_without_a_trained_network_the_message_says_what_to_do(project: Path):
    SINET.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.second_look"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "models/sinet.safetensors" in done.stderr
    assert "Traceback" not in done.stderr
