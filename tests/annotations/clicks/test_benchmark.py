"""The protocol that the figures of clicks are measured by, on masks whose answer is seen at once."""

from pathlib import Path

import numpy as np
import pytest

from annotations.clicks.benchmark import (
    Repaired,
    describe_clicks,
    next_click,
    outline_f1,
    read_wrong,
    repaired,
    report_clicks,
)
from annotations.clicks.repair import Click
from annotations.errors import ReviewError
from sinet.images.decode import encode_mask, encode_png
from tests.annotations.drawn import person


def folder(root: Path, count: int = 3) -> Path:
    """Drawn people, of whose masks a shoulder is missing; the last one is right."""
    for seed in range(count):
        rgb, right = person(seed, 240, 320)
        wrong = right.copy()
        if seed < count - 1:
            wrong[240:, 150:] = 0
        files = {"images": encode_png(rgb), "masks": encode_mask(right), "proposed": encode_mask(wrong)}
        for part, content in files.items():
            (root / part).mkdir(parents=True, exist_ok=True)
            (root / part / f"{seed}.png").write_bytes(content)
    return root


def test_the_next_click_is_in_the_middle_of_the_largest_piece_whichever_way_it_is_wrong():
    right = np.zeros((60, 80), np.uint8)
    right[20:41, 10:31] = 1
    wrong = np.zeros_like(right)
    wrong[0:3, 0:80] = 1
    assert next_click(wrong, right) == Click(30, 20)
    assert next_click(right, right) is None


def test_a_piece_at_the_border_is_clicked_in_its_middle():
    right = np.zeros((40, 40), np.uint8)
    wrong = right.copy()
    wrong[:, :9] = 1
    click = next_click(wrong, right)
    assert click is not None and click.column == 4


def test_a_repair_is_followed_from_click_to_click(tmp_path: Path):
    (one, _) = read_wrong([folder(tmp_path)])
    row = repaired(one, 0.0)
    assert len(row.iou) == len(row.outline) == 6 and len(row.milliseconds) <= 5
    assert row.iou[1] > row.iou[0] and max(row.iou) > 0.97
    assert repaired(one, 0.05).iou == repaired(one, 0.05).iou != row.iou


def test_the_outline_is_judged_in_its_band_alone():
    right = np.zeros((224, 224), np.uint8)
    right[:, :112] = 1
    hole = right.copy()
    hole[100:120, 20:40] = 0  # far from the outline
    assert outline_f1(right, right) == outline_f1(hole, right) == 1.0
    assert outline_f1(1 - right, right) == 0.0
    assert outline_f1(np.zeros_like(right), np.zeros_like(right)) == 1.0


def test_the_shares_are_those_of_the_best_mask_so_far():
    there = Repaired((0.9, 0.96, 0.94, 0.98, 0.98, 0.98), (0.5, 0.95, 0.5, 0.5, 0.5, 0.5), (10.0,) * 3)
    never = Repaired((0.9,) * 6, (0.5,) * 6, (20.0,) * 5)
    lines = describe_clicks([there, never])
    assert "50% / 50%" in lines[0] and "50% / 50%" in lines[1] and "50% / 50%" in lines[2]
    assert "16 ms" in lines[3] and "16.7%" in lines[4]


def test_what_is_printed_says_how_many_masks_there_were(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    report_clicks([folder(tmp_path)])
    said = capsys.readouterr().out
    assert said.startswith("2 masks, in the mean of IoU 0.") and "off by 5% of the width" in said


def test_a_folder_without_masks_or_with_right_ones_alone_is_refused(tmp_path: Path):
    with pytest.raises(ReviewError, match="expected images/, masks/ and proposed/"):
        report_clicks([tmp_path])
    with pytest.raises(ReviewError, match="found none"):
        report_clicks([folder(tmp_path, 1)])
