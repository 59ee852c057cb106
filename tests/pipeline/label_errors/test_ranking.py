"""`python -m pipeline label-errors`: nobody labels what it has seen, the worst come first, nothing is trained twice."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.core.errors import PipelineError
from pipeline.core.paths import INGEST, SPLIT
from pipeline.core.records import make_records, read_records, write_records
from pipeline.label_errors import folds, ranking
from pipeline.label_errors.gallery import gallery_page
from sinet.images.decode import encode_mask, read_mask
from sinet.network.preprocess import squash_mask
from tests.pipeline.dataset_inputs import eg1800, on_sides, write_tiny_params


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> pd.DataFrame:
    """A folder with params.yaml and 40 labelled portraits, the first four of them published as test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SINET_DEVICE", "cpu")
    write_tiny_params(root)
    write_records(SPLIT / "labelled", make_records(on_sides(eg1800(INGEST / "labelled", 40, 4))))
    return read_records(SPLIT / "labelled")


def test_every_mask_is_of_a_teacher_that_never_saw_its_look_alikes() -> None:
    cluster = [f"{number // 3:03d}" for number in range(60)]
    side = ["dev" if number % 12 < 3 else "train" for number in range(60)]
    records = pd.DataFrame({"id": range(60), "cluster": cluster, "side": side})
    unseen = []
    for seen, held_out in folds.folds_of(records, 3):
        assert not set(seen["cluster"]) & set(held_out["cluster"])
        assert len(seen) + len(held_out) == 60
        unseen += list(held_out["id"])
    assert sorted(unseen) == list(range(60))


def test_too_few_pictures_for_the_folds_is_an_error(project: pd.DataFrame) -> None:
    with pytest.raises(PipelineError, match="too few for 40 folds"):
        ranking.main(folds=40, epochs=1, size=64, shown=2, out=Path("out"))


def test_a_run_ranks_all_but_the_test_side_and_a_second_one_trains_only_what_is_missing(
    project: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path("out")
    ranking.main(folds=2, epochs=1, size=64, shown=2, out=out)
    table = pd.read_csv(out / "masks.csv")
    asked = project[project["side"] != "test"]
    assert sorted(table["id"]) == sorted(asked["id"]), "test is measured once, and for nothing else"
    assert table["score"].is_monotonic_decreasing
    assert "36 masks, the most likely wrong first" in capsys.readouterr().out
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(files) == {"masks.csv", "index.html"}

    trained: list[int] = []
    train = folds.train_teacher
    monkeypatch.setattr(
        folds, "train_teacher", lambda seen, *more: trained.append(len(seen)) or train(seen, *more)
    )
    ranking.main(folds=2, epochs=1, size=64, shown=2, out=out)
    assert not trained
    assert {path.name: path.read_bytes() for path in out.iterdir()} == files

    _, (seen, unseen) = folds.folds_of(asked.reset_index(drop=True), 2)
    lost = folds.Store(folds.STORE).forget({str(unseen["id"][0])})
    assert len(lost) == 1  # as where a run was killed in the second fold
    ranking.main(folds=2, epochs=1, size=64, shown=2, out=out)
    assert trained == [len(seen)]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == files


def test_a_wrong_mask_comes_first_and_the_page_shows_it_without_the_web(project: pd.DataFrame) -> None:
    """By a network that is always right."""
    found = {
        str(row.id): np.float32(0.9) * squash_mask(read_mask(Path(str(row.mask))), 64) + np.float32(0.05)
        for row in project.itertuples()
    }
    wrong = project.iloc[7]
    mask = read_mask(Path(wrong["mask"]))
    Path(wrong["mask"]).write_bytes(encode_mask(np.roll(mask, mask.shape[1] // 4, axis=1)))
    table = ranking.rank_masks(project, found)
    assert table["id"][0] == wrong["id"] and table["score"][0] > 0.1 and table["iou"][0] < 0.9
    assert (table["score"][1:] == 0).all() and (table["iou"][1:] == 1).all()

    named = table.head(2).assign(source_key=["<b>&.jpg", "plain.jpg"])
    html = gallery_page(named, found, len(table))
    assert len(re.findall(r'src="data:image/jpeg;base64,', html)) == 4
    assert not re.search(r'(src|href)="(?!data:)', html) and "url(" not in html
    assert "&lt;b&gt;&amp;.jpg" in html and "<b>&" not in html
