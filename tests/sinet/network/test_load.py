"""`sinet.load()`: the weights that come with the package, or one's own; a light import; the plain model inside."""

import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import sinet
from pipeline.drawing.picture import generator
from pipeline.drawing.picture import portrait as draw_portrait
from sinet.inference.predictor import Predictor
from sinet.network.model import SINet
from sinet.network.weights import WeightsError
from sinet.network.weights import read_weights as load_weights
from tests.sinet.portraits import SMALL, portrait, write_weights


@pytest.fixture
def shipped(tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights where those of the package are looked for."""
    path = write_weights(tmp_path / "sinet.safetensors", predictor.model)
    monkeypatch.setattr(sinet, "SHIPPED", path)
    return path


def test_without_a_path_the_shipped_weights(shipped: Path, predictor: Predictor) -> None:
    image, _ = portrait(1)
    for loaded in (sinet.load(), sinet.load(shipped), sinet.load(str(shipped))):
        assert np.array_equal(loaded.probability(image), predictor.probability(image))
        assert np.array_equal(loaded.mask(image), predictor.mask(image))


def test_the_model_is_the_plain_one(shipped: Path) -> None:
    model = sinet.load().model
    assert type(model) is SINet
    assert not any(module.training for module in model.modules())
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules()) > 10  # not folded away
    image, _ = portrait(1, 96, 64)
    x = SMALL.tensor(torch.from_numpy(image)[None]).repeat(3, 1, 1, 1)
    logits = model(x)
    assert logits.shape == (3, 2, 64, 96)
    assert logits.dtype == torch.float32


def test_where_none_are_shipped_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sinet, "SHIPPED", tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match=r"the installation is incomplete\. Install again, or name a file"):
        sinet.load()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"own\.safetensors, found no such file"):
        sinet.load(tmp_path / "own.safetensors")


def test_importing_it_loads_no_torch() -> None:
    code = "import sinet, sys; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_weights_folder_is_packed_and_holds_one_default_and_its_card(root: Path) -> None:
    beside = {path.name for path in (root / "sinet" / "weights").iterdir() if path.suffix != ".py"}
    assert beside - {"__pycache__"} == {sinet.SHIPPED.name, "README.md"}
    setuptools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "sinet*" in setuptools["packages"]["find"]["include"]
    for name in (sinet.SHIPPED.name, "README.md"):
        assert any(Path("weights", name).match(pattern) for pattern in setuptools["package-data"]["sinet"])
    assert sinet.SHIPPED.parent == root / "sinet" / "weights"


def test_the_shipped_weights_find_drawn_people_and_say_how_they_came_about(root: Path) -> None:
    """Trained on photographs only: a drawn person is one it has never seen the like of."""
    model = sinet.load()
    scores = []
    for index in range(8):
        drawn = draw_portrait(generator(7, "shipped", index))
        found = model.mask(drawn.image)
        scores.append(int((found & drawn.mask).sum()) / int((found | drawn.mask).sum()))
    assert np.median(scores) > 0.8
    _, card = load_weights(sinet.SHIPPED)
    assert card.classes == 2 and card.preprocessing.size == 256
    assert card.dataset[:16] in (root / "sinet" / "weights" / "README.md").read_text()


def test_the_curves_beside_the_card_are_those_of_its_figures(root: Path) -> None:
    drawn = runpy.run_path(str(root / "docs" / "draw_limits.py"))
    assert (root / "docs" / "limits.svg").read_text() == drawn["draw"](), "run `python docs/draw_limits.py`"
    _, card = load_weights(sinet.SHIPPED)
    epochs = pd.read_csv(root / "docs" / "limits_epochs.csv")
    best = epochs["dev_foreground_iou"].max()
    assert best == pytest.approx(card.metrics["dev_foreground_iou"], abs=1e-5)
