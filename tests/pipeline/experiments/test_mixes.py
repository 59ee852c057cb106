"""`python -m pipeline benchmark mixes`: which mixes there are, their equal budget, and a real tiny run."""

from pathlib import Path

import pytest

from pipeline.core.errors import PipelineError
from pipeline.core.paths import DATASET
from pipeline.core.records import read_records
from pipeline.experiments import mixes, runs
from tests.pipeline.dataset_inputs import enter_project, write_dataset
from tests.sinet.tiny_training import tiny_recipe

SIDES = [*["train"] * 6, *["dev"] * 3, *["test"] * 2]
LABELS = ["human", "human", "human", "crop", "pseudo", "pseudo", "human", "human", "pseudo", "human", "human"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    """A folder with params.yaml and a dataset of 6 train, 3 dev and 2 test pictures of three kinds."""
    return enter_project(tmp_path, monkeypatch, root, SIDES, LABELS)


def test_mixes_grow_by_one_kind_and_share_dev(project: Path) -> None:
    found = list(mixes.mixes(read_records(DATASET)))
    assert [name for name, _ in found] == ["human", "human + crop", "human + crop + pseudo"]
    assert [int((chosen["side"] == "train").sum()) for _, chosen in found] == [3, 4, 6]
    devs = [chosen.loc[chosen["side"] == "dev", "id"].tolist() for _, chosen in found]
    assert devs[0] == devs[1] == devs[2] and len(devs[0]) == 2, "the doubtful masks of dev judge nothing"
    assert all("test" not in set(chosen["side"]) for _, chosen in found)


def test_every_mix_gets_the_same_number_of_image_steps() -> None:
    for pictures in (100, 200, 400):
        recipe = runs.budgeted(tiny_recipe(), images=4000, size=64, seed=3, pictures=pictures)
        assert recipe.phases.full.epochs * pictures == 4000
        assert recipe.phases.encoder.epochs == 0
        assert recipe.seed == 3


def test_a_run_prints_a_row_a_mix(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mixes.main(images=6, size=64, seeds=2)
    head, columns, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("6 image steps at 64 pixels, 2 seeds; on 2 test pictures")
    assert columns.split()[-4:] == list(runs.FOUR_METRICS)
    assert [line.split("  ")[0] for line in rows] == ["human", "human + crop", "human + crop + pseudo"]
    for line in rows:
        means = [float(cell.split(" ± ")[0]) for cell in line[43:].split("  ") if cell.strip()]
        assert len(means) == 4 and all(0 <= mean <= 100 for mean in means)


def test_a_dataset_without_a_test_side_is_refused(project: Path) -> None:
    write_dataset(["train", "train", "dev"], ["human"] * 3)
    with pytest.raises(PipelineError, match="expected a test side"):
        mixes.main(images=6, size=64, seeds=1)
