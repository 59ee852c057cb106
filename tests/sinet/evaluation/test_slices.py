"""Slices of what pictures show: by hand, by the command with and without tables of facts, and what is not known."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from sinet.__main__ import app
from sinet.evaluation.plain_facts import mask_alone, picture_alone
from sinet.evaluation.protocol import slice_table
from sinet.evaluation.slices import FACTS_OF_SLICES, SLICES, in_slices
from tests.sinet.evaluation.test_evaluation_rows import EVALUATION
from tests.sinet.portraits import taught_model, write_portraits, write_weights

NAN = float("nan")


@pytest.mark.parametrize(
    ("fact", "values", "inside"),
    [
        ("faces", [0, 1, 2], {"no_face": [1, 0, 0], "several_people": [0, 0, 1]}),
        ("face_height", [0.24, 0.25, NAN], {"small_face": [1, 0, NAN]}),
        ("brightness", [0.24, 0.25], {"dark": [1, 0]}),
        ("sharpness", [99, 100], {"blurred": [1, 0]}),
        ("grey", [True, False], {"grey": [1, 0]}),
        ("centre_x", [0.39, 0.41, 0.61, NAN], {"off_centre": [1, 0, 1, NAN]}),
        (
            "skin_tone",
            [10, 11, 41, 42, NAN],
            {"dark_skin": [1, 0, 0, 0, NAN], "light_skin": [0, 0, 0, 1, NAN]},
        ),
    ],
)
def test_a_fact_tells_its_slices(fact: str, values: list[float], inside: dict[str, list[float]]) -> None:
    found = in_slices({fact: np.array(values, np.float64), "unasked": np.zeros(len(values))})
    assert found.keys() == inside.keys()
    for name, wanted in inside.items():
        assert np.array_equal(found[name], wanted, equal_nan=True)


def test_each_slice_has_a_rule() -> None:
    assert list(in_slices({fact: np.zeros(1) for fact in FACTS_OF_SLICES})) == list(SLICES)


def test_figures_by_slice_by_hand() -> None:
    """Of IoU 0.5, 0.5, 1 and 0 the last one is the worst tenth of four, rounded up."""
    seen = replace(EVALUATION, facts={"brightness": np.array([0.1, 0.9, 0.1, 0.9]), "grey": np.zeros(4)})
    found = seen.by_slice({"faces": np.array([1, 2, NAN, 2]), "face_height": np.full(4, NAN)})
    assert list(found) == ["worst_tenth", *SLICES]
    assert found["worst_tenth"] == EVALUATION.select([False, False, False, True]).figures()
    assert found["dark"] == EVALUATION.select([True, False, True, False]).figures()
    assert found["several_people"] == EVALUATION.select([False, True, False, True]).figures()
    assert found["grey"] == found["no_face"] == {"count": 0}
    assert [name for name, one in found.items() if one is None] == [
        "small_face",
        "blurred",
        "off_centre",
        "dark_skin",
        "light_skin",
    ]
    assert seen.select([False, True, True, False]).by_slice({})["dark"]["count"] == 1


def test_the_table_by_hand() -> None:
    rows = {"worst_tenth": {"count": 1234, "foreground_iou": 0.5, "boundary_f1": 0.25}, "dark": {"count": 0}}
    assert slice_table({**rows, "small_face": None, "source": None}).splitlines() == [
        "             pictures  foreground IoU  boundary F1",
        "worst tenth     1,234          0.5000       0.2500",
        "dark                0",
        "not known of these pictures: small face, source",
    ]


def test_nobody_has_no_centre() -> None:
    nobody = mask_alone(np.zeros((4, 6), np.uint8))
    assert nobody["person_share"] == 0 and np.isnan([nobody["centre_x"], nobody["centre_y"]]).all()
    assert picture_alone(np.full((4, 6, 3), 51, np.uint8)) == {
        "brightness": 0.2,
        "sharpness": 0,
        "grey": True,
    }


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("portraits")
    write_portraits(folder, 4)
    write_weights(folder / "w.safetensors", taught_model())
    return folder


def measured(portraits: Path, *more: object) -> Result:
    inputs = ("--masks", portraits / "masks", "--out", portraits / "o.json", *more)
    return CliRunner().invoke(app, ["evaluate", *map(str, inputs)])


def own(portraits: Path) -> tuple[object, ...]:
    return ("--images", portraits / "images", "--weights", portraits / "w.safetensors")


def test_the_command_says_what_it_sees_and_names_the_rest(portraits: Path) -> None:
    done = measured(portraits, *own(portraits))
    assert done.exit_code == 0, done.output
    content = json.loads((portraits / "o.json").read_text())
    worst = min(one["foreground_iou"] for one in content["images"])
    assert content["by_slice"]["worst_tenth"]["foreground_iou"] == worst
    assert content["by_slice"]["grey"] == {"count": 0}
    assert content["by_slice"]["small_face"] is None and content["by_source"] is None
    assert re.search(rf"\nworst tenth +1 +{worst:.4f} ", done.stdout)
    unknown = "no face, several people, small face, dark skin, light skin, source"
    assert done.stdout.endswith(f"not known of these pictures: {unknown}\n")


def test_tables_of_facts_tell_the_rest(portraits: Path, tmp_path: Path) -> None:
    ids = ["00001", "00002", "00003", "elsewhere"]
    facts = pd.DataFrame(
        {"id": ids, "faces": [1, 2, 0, 9], "face_height": [0.1, 0.5, NAN, 0.1], "licence": "x"}
    )
    facts.to_parquet(tmp_path / "facts.parquet")
    pd.DataFrame({"id": ids, "source": ["a", "b", "a", "c"]}).to_parquet(tmp_path / "records.parquet")
    tables = ("--facts", tmp_path / "facts.parquet", "--facts", tmp_path / "records.parquet")
    done = measured(portraits, *own(portraits), *tables)
    assert done.exit_code == 0, done.output
    content = json.loads((portraits / "o.json").read_text())
    counts = {name: one["count"] for name, one in content["by_slice"].items() if one is not None}
    assert [counts[name] for name in ("no_face", "several_people", "small_face")] == [1, 1, 1]
    assert {name: one["count"] for name, one in content["by_source"].items()} == {
        "a": 2,
        "b": 1,
        "not known": 1,
    }
    assert content["by_slice"]["small_face"]["boundary_f1"] == content["images"][0]["boundary_f1"]
    assert "\nsource a" in done.stdout
    assert done.stdout.endswith("not known of these pictures: dark skin, light skin\n")


def test_masks_of_another_tool_have_the_same_slices_where_they_are_known(portraits: Path) -> None:
    done = measured(portraits, "--predicted", portraits / "masks")
    assert done.exit_code == 0, done.output
    assert re.search(r"\nworst tenth +1 +0\.9\d+ .*\noff centre +0\n", done.stdout)
    assert (
        "not known of these pictures: no face, several people, small face, dark, blurred, grey" in done.stdout
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.parquet", "expected a Parquet table of facts, .*nothing.parquet cannot be read"),
        ("text.parquet", "expected a Parquet table of facts, .*text.parquet cannot be read"),
        (
            "other.parquet",
            "expected ids in .*other.parquet that are stems of pictures, found x1 there and 00001 here",
        ),
        ("empty.parquet", "expected the column id and one of source, .* found id"),
        ("words.parquet", "expected numbers in the column brightness of .*words.parquet, found 'dark'"),
    ],
)
def test_a_table_that_says_nothing_of_the_pictures_is_refused(
    portraits: Path, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "text.parquet").write_text("id,faces")
    pd.DataFrame({"id": ["x1"], "faces": [1]}).to_parquet(tmp_path / "other.parquet")
    pd.DataFrame({"id": ["00001"], "licence": ["x"]}).to_parquet(tmp_path / "empty.parquet")
    pd.DataFrame({"id": ["00001"], "brightness": ["dark"]}).to_parquet(tmp_path / "words.parquet")
    done = measured(portraits, *own(portraits), "--facts", tmp_path / name)
    assert done.exit_code == 1
    assert re.search(message, done.stderr), done.stderr
