"""What is plain to see of a picture: figures worked out by hand, faces searched for once, the table's file."""

import math
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.records import make_records
from pipeline.dataset import picture_facts as module
from pipeline.dataset.facts_table import FACTS, read_facts, slices_of, write_facts
from pipeline.dataset.picture_facts import facts_of, picture_facts, skin_tone
from pipeline.faces.detector import FaceFinder
from pipeline.faces.face import Face
from sinet.evaluation.slices import SLICES
from sinet.images.decode import Array
from tests.conftest import ROOT
from tests.pipeline.dataset_inputs import portrait, record

PARAMS = load_params(ROOT / "params.yaml").crop


def plain(colour: tuple[int, int, int]) -> tuple[Array, Array]:
    """A picture of 100 x 200 pixels of one colour; its lower left quarter is person."""
    mask = np.zeros((200, 100), np.uint8)
    mask[100:, :50] = 1
    return np.full((200, 100, 3), colour, np.uint8), mask


def test_light_colour_and_the_place_of_the_person() -> None:
    found = facts_of(*plain((51, 51, 51)), [], PARAMS)
    assert tuple(found) == FACTS
    assert found["brightness"] == pytest.approx(0.2)
    assert found["sharpness"] == 0
    assert found["grey"]
    assert (found["person_share"], found["centre_x"], found["centre_y"]) == (0.25, 0.25, 0.75)
    assert found["faces"] == 0
    assert math.isnan(found["face_height"]) and math.isnan(found["skin_tone"])


def test_a_grey_picture_stays_grey_as_a_jpeg_and_one_of_little_colour_is_none() -> None:
    image, mask = portrait(1)
    grey = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    _, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 60])
    again = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    assert facts_of(again, mask, [], PARAMS)["grey"]
    again[:20, :20] += np.array([40, 0, 0], np.uint8)  # 4 % of it
    assert not facts_of(again, mask, [], PARAMS)["grey"]


def test_a_blurred_picture_is_less_sharp() -> None:
    image, mask = (
        np.random.default_rng(1).integers(0, 256, (300, 200, 3), np.uint8),
        np.ones((300, 200), np.uint8),
    )
    soft = np.asarray(cv2.GaussianBlur(image, (0, 0), 4), np.uint8)
    assert facts_of(soft, mask, [], PARAMS)["sharpness"] < facts_of(image, mask, [], PARAMS)["sharpness"] / 10


@pytest.mark.parametrize(
    ("faces", "height", "count"),
    [
        ([(80, 0.99)], 0.4, 1),
        ([(80, 0.99), (60, 0.95)], 0.4, 2),
        ([(80, 0.99), (20, 0.99)], 0.4, 1),  # someone far behind
        ([(80, 0.50), (20, 0.99)], 0.1, 1),  # a pattern like a face
    ],
)
def test_faces_of_a_size_with_the_largest_sure_one_count(
    faces: list[tuple[int, float]], height: float, count: int
) -> None:
    found = [Face(Box(0, 0, tall, tall), sure) for tall, sure in faces]
    facts = facts_of(*plain((200, 100, 50)), found, PARAMS)
    assert (facts["face_height"], facts["faces"]) == (height, count)


def test_the_skin_tone_is_the_angle_of_the_person_inside_the_face() -> None:
    """Of L = 70 and b = 20 the angle is 45 degrees."""
    colour = cv2.cvtColor(np.array([[[70, 15, 20]]], np.float32), cv2.COLOR_LAB2RGB)[0, 0] * 255
    image, mask = np.zeros((100, 100, 3), np.uint8), np.zeros((100, 100), np.uint8)
    image[40:60, 40:50], mask[40:60, 40:50] = np.rint(colour), 1
    assert skin_tone(image, mask, Box(30, 30, 70, 70)) == pytest.approx(45, abs=1.5)
    assert math.isnan(skin_tone(image, mask, Box(60, 60, 100, 100)))  # a face that the mask leaves out


def test_slices_leave_open_what_a_picture_cannot_tell() -> None:
    table = pd.DataFrame([facts_of(*plain((51, 51, 51)), [], PARAMS)])
    row = slices_of(table).iloc[0]
    assert list(row.index) == list(SLICES)
    assert row[["no_face", "dark", "blurred", "grey", "off_centre"]].all()
    assert not row["several_people"]
    assert row[["small_face", "dark_skin", "light_skin"]].isna().all()


def test_a_second_run_opens_no_picture_and_another_mask_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        record(tmp_path, *portrait(seed), source="drawn", source_key=str(seed), label="human")
        for seed in (1, 2)
    ]
    records, cache = make_records(rows), tmp_path / "cache"
    first = picture_facts(records, PARAMS, cache)
    assert first["id"].tolist() == sorted(row["id"] for row in rows)

    for row in rows:
        Path(row["image"]).rename(row["image"] + ".away")
    given: list[int] = []  # to workers, who take longer to start than to be told what is known
    real = module.map_images
    monkeypatch.setattr(
        module, "map_images", lambda do, todo, **how: given.append(len(todo)) or real(do, todo, **how)
    )
    assert picture_facts(records[::-1], PARAMS, cache).equals(first)
    assert given == [0]

    for row in rows:
        Path(row["image"] + ".away").rename(row["image"])
    Path(rows[0]["mask"]).write_bytes(Path(rows[1]["mask"]).read_bytes())
    monkeypatch.setattr(FaceFinder, "find", None)  # what is known of its faces stays
    again = picture_facts(records, PARAMS, cache).set_index("id")
    changed = again["person_share"] != first.set_index("id")["person_share"]
    assert changed[changed].index.tolist() == [rows[0]["id"]]


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="run `dvc repro balance`"):
        read_facts(tmp_path)
    table = pd.DataFrame([facts_of(*plain((51, 51, 51)), [], PARAMS)])
    table.insert(0, "id", ["a" * 16])
    write_facts(tmp_path, table)
    assert read_facts(tmp_path).equals(table)
    write_facts(tmp_path, table.drop(columns="grey"))
    with pytest.raises(PipelineError, match="expected the columns id, brightness"):
        read_facts(tmp_path)
