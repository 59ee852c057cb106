"""The labelling interface: sound by the SDK's own check, and it fits the tasks that are written for it."""

import copy
import re
import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from label_studio_sdk.label_interface import LabelInterface

from annotations.ledger.lock import VERDICTS
from annotations.server.send import INSTRUCTION
from annotations.tasks.guidelines import EXAMPLES, TEXT, page
from annotations.tasks.task import (
    CUTOUT,
    IMAGE,
    LABEL_CONFIG,
    MASK,
    OUTLINE,
    REASONS,
    VERDICT,
    Proposal,
    TaskPictures,
    build_task,
)

CANDIDATE = Proposal("ab" * 8, "cd" * 32, "0,0,8,6", "ef" * 8, "5ec0de", 0.4, "", 0.1)


@pytest.fixture(scope="module")
def interface() -> LabelInterface:
    return LabelInterface(LABEL_CONFIG.read_text())


@pytest.fixture(scope="module")
def tree() -> ElementTree.Element:
    return ElementTree.parse(LABEL_CONFIG).getroot()


@pytest.fixture
def task() -> dict[str, Any]:
    return build_task(CANDIDATE, np.eye(6, 8, dtype=np.uint8), TaskPictures("/i", "/o", "/c", "/g"), "v" * 16)


def choices(tree: ElementTree.Element, name: str) -> list[str]:
    return [str(choice.get("value")) for choice in tree.findall(f".//Choices[@name='{name}']/Choice")]


def test_the_sdk_accepts_the_config(interface: LabelInterface):
    interface.validate()


def test_tasks_and_predictions_fit_the_config(
    interface: LabelInterface, tree: ElementTree.Element, task: dict[str, Any]
):
    assert interface.validate_task({"data": task["data"]})
    assert interface.validate_prediction(task["predictions"][0])
    names = {name for one in tree.iter() for name in re.findall(r"\$(\w+)", one.get("value", ""))}
    assert {"image", "outline", "cutout", "about", "guidelines"} == names <= set(task["data"])


def test_the_editor_links_to_the_guidelines_and_the_list_of_tasks_shows_no_markup(
    tree: ElementTree.Element, task: dict[str, Any]
):
    (about,) = tree.iterfind(".//HyperText[@name='about']")
    assert '<a href="$guidelines" target="_blank">guidelines</a>' in about.get("value", "")
    assert not [name for name, value in task["data"].items() if "<" in str(value)]


@pytest.mark.parametrize(
    ("name", "value"),
    [("from_name", "nobody"), ("to_name", "nothing"), ("type", "choices")],
)
def test_the_check_notices_a_prediction_that_does_not_fit(
    interface: LabelInterface, task, name: str, value: str
):
    broken = copy.deepcopy(task["predictions"][0])
    broken["result"][0][name] = value
    assert not interface.validate_prediction(broken)


def test_verdicts_are_those_of_the_lock_each_with_its_own_key(tree: ElementTree.Element):
    assert choices(tree, VERDICT) == list(VERDICTS)
    keys = [choice.get("hotkey") for choice in tree.findall(f".//Choices[@name='{VERDICT}']/Choice")]
    assert keys == ["a", "f", "r", "u"]
    block = tree.find(f".//Choices[@name='{VERDICT}']")
    assert block is not None and block.get("required") == "true" and block.get("choice") == "single-radio"


def test_reasons_are_asked_for_only_where_nothing_is_kept(tree: ElementTree.Element):
    parents = {child: parent for parent in tree.iter() for child in parent}
    block = tree.find(f".//Choices[@name='{REASONS}']")
    assert block is not None and block.get("required") == "true"
    shown = parents[block]
    assert shown.get("whenTagName") == VERDICT and shown.get("visibleWhen") == "choice-selected"
    assert str(shown.get("whenChoiceValue")).split(",") == ["reject", "unsure"]


def test_controls_stand_beside_the_pictures(tree: ElementTree.Element):
    side, outlined, edited = tree.findall("View")
    assert {one.get("name") for one in side.iter() if one.tag in ("Choices", "BrushLabels")} == {
        VERDICT,
        REASONS,
        MASK,
    }
    assert [one.get("name") for part in (side, outlined, edited) for one in part.iter("Image")] == [
        CUTOUT,
        OUTLINE,
        IMAGE,
    ]
    assert all(picture.get("zoom") == "true" for picture in tree.iter("Image"))


def test_one_region_is_all_there_can_be(tree: ElementTree.Element):
    """What is drawn while the mask is not selected would else be a second one."""
    (label,) = tree.findall(f".//BrushLabels[@name='{MASK}']/Label")
    assert (
        label.get("value") == "person" and label.get("maxUsages") == "1" and label.get("selected") == "true"
    )


@pytest.mark.parametrize(
    "key",
    ["B", "E", "Alt+.", "[", "]", "Ctrl+Z", "Ctrl+H", "Ctrl+wheel", "Shift+drag", "Ctrl+Enter", "Ctrl+Space"],
)
def test_task_guidelines_and_instruction_name_the_keys(tree: ElementTree.Element, key: str):
    (keys,) = tree.iterfind(".//HyperText[@name='keys']")
    for text in (keys.get("value", "").replace("[ ]", "[, ]"), TEXT.read_text(), INSTRUCTION):
        assert re.search(rf"(?<![\w+]){re.escape(key)}(?![\w+])", text), text


def test_the_guidelines_explain_every_answer_and_reason(tree: ElementTree.Element):
    text = TEXT.read_text()
    for name in choices(tree, VERDICT) + choices(tree, REASONS):
        assert re.search(rf"^\| {name} \|", text, re.MULTILINE), name


def test_the_guidelines_page_holds_text_and_drawings_and_fetches_nothing(root: Path):
    shown = page().decode()
    drawn = runpy.run_path(str(root / "docs" / "draw_guidelines.py"))
    assert EXAMPLES.read_text() == drawn["draw"](), (
        "run `python docs/draw_guidelines.py` after a change of it"
    )
    for title in ("hair", "hands", "held objects", "glasses", "second people", "motion blur"):
        assert f">{title}</text>" in shown, title
    assert "<h2>What is person</h2>" in shown and "<td>hidden_edge</td>" in shown and "![" not in shown
    ElementTree.parse(EXAMPLES)
    addresses = re.findall(r"https?://[^'\"]+", shown)
    assert "<script" not in shown and addresses == ["http://www.w3.org/2000/svg"], (
        "the name of SVG, which nobody opens"
    )
