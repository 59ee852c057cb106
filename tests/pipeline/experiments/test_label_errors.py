"""`python -m pipeline benchmark label-errors`: what is damaged, and figures worked out by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from annotations.masks.overlap import mask_iou
from pipeline.core.records import make_records
from pipeline.experiments.label_errors import DAMAGES, area_under_curve, damage, scored, spoil
from sinet.images.decode import read_mask
from sinet.network.preprocess import squash_mask
from tests.pipeline.dataset_inputs import eg1800, on_sides, portrait


@pytest.mark.parametrize("kind", DAMAGES)
def test_each_damage_shows_and_leaves_somebody(kind: str) -> None:
    mask, other = portrait(1)[1], portrait(2, (60, 80))[1]
    hurt = damage(mask, kind, other)
    assert hurt.shape == mask.shape and hurt.dtype == np.uint8 and set(np.unique(hurt)) == {0, 1}
    assert mask_iou(hurt, mask) < 0.93


def test_only_the_named_masks_are_damaged_and_a_perfect_network_finds_them_all(tmp_path: Path) -> None:
    records = make_records(on_sides(eg1800(tmp_path, 40, 0)))
    right = {
        str(row.id): 0.05 + 0.9 * squash_mask(read_mask(Path(str(row.mask))), 96).astype(np.float32)
        for row in records.itertuples()
    }
    spoiled, kinds = spoil(records, 0.3, tmp_path / "spoiled")
    changed = spoiled["mask"] != records["mask"]
    assert set(records["id"][changed]) == set(kinds) and 4 <= len(kinds) <= 20
    table = scored(spoiled, kinds, right)
    bad = table["damage"].notna()
    for name in ("score", "disagrees", "softmin"):
        assert area_under_curve(table[name], bad) == 1, name


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    scores, bad = pd.Series([0.9, 0.5, 0.5, 0.1]), pd.Series([True, True, False, False])
    assert area_under_curve(scores, bad) == (1 + 1 + 0.5 + 1) / 4
