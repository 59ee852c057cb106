"""Whose a changed file in a stage's folder is; with real DVC in tests/test_recipe.py."""

import pytest

from pipeline.commands.look import strangers

LOCK = {
    "stages": {
        "crop": {"outs": [{"path": "data/crop"}, {"path": "metrics/crop.json"}]},
        "train": {"outs": [{"path": "models/sinet.safetensors"}, {"path": "plots/train.csv"}]},
        "agreement": {"deps": []},
    }
}


@pytest.mark.parametrize(
    ("changed", "deleted", "found"),
    [
        (["data/crop/", "data/crop/images/IMG_1.jpg"], [], ["data/crop/images/IMG_1.jpg"]),
        (["models/sinet.safetensors"], [], ["models/sinet.safetensors"]),
        (["metrics/crop.json", "plots/train.csv"], [], []),
        (["data/crop/images/a.jpg"], ["metrics/crop.json"], []),  # the stage was stopped before its metrics
        (["data/crop/images/a.jpg"], ["data/crop/images/b.jpg"], []),
        (["data/crop/images/a.jpg"], ["models/sinet.safetensors", "data/crops/"], ["data/crop/images/a.jpg"]),
        (["data/crop-mine/a.jpg"], [], []),
    ],
)
def test_strangers(changed: list[str], deleted: list[str], found: list[str]) -> None:
    assert list(strangers(LOCK, changed, deleted)) == found
