"""The crop benchmark: what it counts, on drawn pictures with and without masks."""

from pathlib import Path

import pytest

from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError
from pipeline.drawing.camera import jpeg
from pipeline.drawing.picture import body, generator
from pipeline.experiments.crop import Tally, main, photographs
from pipeline.faces.face import Face

ROOT = Path(__file__).parents[3]


def test_faces_are_shared_where_they_overlap_by_more_than_half() -> None:
    one, half, near = Box(0, 0, 10, 10), Box(0, 0, 10, 5), Box(1, 0, 11, 10)
    assert one.iou(half) == 0.5
    assert one.iou(near) == pytest.approx(90 / 110)
    assert one.iou(Box(20, 20, 30, 30)) == 0
    tally = Tally()
    tally.add(0.02, [Face(near, 1.0), Face(Box(50, 50, 60, 60), 1.0)], [Face(one, 1.0), Face(half, 1.0)])
    tally.add(0.04, [], [])
    assert (tally.faces, tally.wanted, tally.shared) == (2, 2, 1)
    assert tally.row("ours").split() == ["ours", "30.0", "30.0", "2", "1", "of", "2", "=", "50.0%"]


def test_the_table_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    with pytest.raises(PipelineError, match="expected photographs in data/sample/baidu, found none"):
        main(None)
    for index in range(2):
        drawn = body(generator(3, "crop", index))
        for kind, name in (("images", f"{index}.jpg"), ("profiles", f"{index}-profile.jpg")):
            path = Path("data/sample/baidu/clean_images", kind, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(drawn.jpeg() if kind == "images" else jpeg(drawn.mask * 255, 90))
    Path("data/sample/baidu/clean_images/images/empty.jpg").write_bytes(b"")
    assert len(photographs(Path("data/sample/baidu"))) == 3
    main(None)
    default, ours, stage = capsys.readouterr().out.splitlines()[2:]
    assert default.startswith("MTCNN, default settings")
    assert ours.endswith("= 100.0%")
    assert stage.endswith("2 of 2 = 100.0%")
    main(Path("data/sample/baidu/clean_images/images"))
    assert len(capsys.readouterr().out.splitlines()) == 4
