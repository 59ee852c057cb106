"""Whose a changed file in a stage's folder is; with real DVC in tests/test_recipe.py."""

from pathlib import Path

import pytest

from pipeline.commands import look
from pipeline.commands.look import strangers
from pipeline.core.errors import PipelineError

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


def test_a_file_beside_the_sources_of_a_role_is_somebodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is no stage's out, so that DVC would take the file for a change and train anew."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        look, "run_dvc", lambda *words: "{}" if words[0] == "data" else str(tmp_path / "cache")
    )
    Path("dvc.lock").write_text("stages: {}\n")
    role = Path("data/ingest/labelled")
    (role / "eg1800").mkdir(parents=True)
    (role / "sources.csv").write_text("name,layout\neg1800,eg1800\n")
    look.main()
    (role / "IMG_1.jpg").write_bytes(b"mine")
    with pytest.raises(PipelineError, match=r"found 1 .*data/ingest/labelled/IMG_1.jpg"):
        look.main()


def test_what_a_stopped_crawl_has_fetched_is_nobodys_file() -> None:
    lock = {"stages": {"crawl@web": {"outs": [{"path": "data/crawl/web"}]}}}
    assert list(strangers(lock, ["data/crawl/web/images/a.jpg"], [])) == []
