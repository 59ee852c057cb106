"""The stage report: pictures in the page alone, the same reports/ after another training, plain errors."""

import base64
import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from pipeline import report as stage
from pipeline.core.errors import PipelineError
from pipeline.core.params import ReportParams, load_params
from pipeline.core.paths import (
    DATASET,
    GALLERY,
    METRICS,
    PAGE,
    PICTURE_FACTS,
    PLOTS,
    PSEUDO,
    REJECTED,
    REPORTS,
)
from pipeline.core.records import Rejected, make_records, read_records, write_records, write_rejected
from pipeline.dataset.facts_table import write_facts
from pipeline.dataset.picture_facts import picture_facts
from pipeline.reporting.flow import BY_ROLE
from sinet.images.decode import encode_png, read_image
from tests.pipeline import dataset_inputs as inputs
from tests.pipeline.report_metrics import FIGURES, FILES, MORE_SOURCES, PLOT, metrics
from tests.pipeline.reporting.test_figures import TEACHER, TRAIN

ROOT = Path(__file__).resolve().parents[2]
STAGES = {  # the file of a stage's rejects, and its name as the user knows it
    "ingest/eg1800": "ingest@eg1800",
    "ingest/baidu": "ingest@baidu",
    "ingest/crawl": "ingest@crawl",
    "crop": "crop",
    "split": "split",
    "merge": "merge",
}
# Characters that end a line for some readers: of a Mac's folder icon, of Unicode, of a form feed.
ODD_NAMES = ("Icon\r", "a\u2028b.jpg", "c\x85d.jpg", "e\x0cf.jpg", 'g,"h".jpg', "i\nj.jpg", "<b>|k.jpg", "NA")


def dataset_records(folder: Path) -> list[dict[str, Any]]:
    """Three pictures of each label; the first of them on the dev side."""
    rows = []
    for at, label in enumerate(["human", "crop", "reviewed"] * 3):
        row = inputs.record(folder, *inputs.portrait(at), source="crawl", source_key=f"{label}-{at}.jpg")
        side, review = "dev" if at < 3 else "train", "fix" if label == "reviewed" else None
        rows.append({**row, "label": label, "side": side, "review": review})
    return rows


def pseudo_records(folder: Path, doubts: list[float]) -> list[dict[str, Any]]:
    return [
        inputs.record(
            folder,
            *inputs.portrait(100 + at),
            source="crawl",
            source_key=f"{at}.jpg",
            label="pseudo",
            uncertainty=doubt,
            flags="pieces holes" if doubt > 0.8 else "",
        )
        for at, doubt in enumerate(doubts)
    ]


def write_training(seed: int) -> None:
    """What differs from one training to another: figures, curves, worst cases, export, queue."""
    rng = np.random.default_rng(seed)
    counted = metrics()
    counted["train"] |= {"best_epoch": 1 + seed, "dev_foreground_iou": float(rng.random())}
    counted["teacher"] |= {"best_epoch": 1 + seed, "foreground_iou": float(rng.random())}
    counted["evaluate"] |= {name: float(rng.random()) for name in FIGURES}
    counted["queue"]["queued"] = int(rng.integers(10000))
    counted["export"]["max_difference"] = float(rng.random())
    for stage_name, roles in BY_ROLE.items():
        counted[stage_name] = {role: counted.pop(f"{stage_name}@{role}") for role in roles}
    (METRICS / "ingest").mkdir(parents=True, exist_ok=True)
    for name, content in counted.items():
        (METRICS / f"{FILES.get(name, name)}.json").write_text(json.dumps(content))
    PLOTS.mkdir(exist_ok=True)
    TEACHER.assign(loss=rng.random(3)).to_csv(PLOTS / "teacher.csv", index=False)
    TRAIN.assign(boundary=rng.random(5)).to_csv(PLOTS / "train.csv", index=False)
    scores = pd.DataFrame({"id": [f"{at:016x}" for at in range(20)], "source": "eg1800", "label": "human"})
    scores = scores.assign(foreground_iou=rng.uniform(0.8, 1, 20), boundary_f1=rng.uniform(0.8, 1, 20))
    scores.to_csv(PLOTS / "evaluate.csv", index=False)
    shutil.rmtree(GALLERY, ignore_errors=True)
    GALLERY.mkdir(parents=True)
    entries = []
    for rank in (1, 2):
        image, _ = inputs.portrait(1000 * seed + rank, (400, 160))
        name = f"{rank:02d}-{rank:016x}.png"
        (GALLERY / name).write_bytes(encode_png(image))
        entries.append({"id": f"{rank:016x}", "file": name, **dict.fromkeys(FIGURES, 0.5)})
    (GALLERY / "gallery.json").write_text(json.dumps(entries))


def write_balance() -> None:
    """Facts of the dataset's pictures, and their plot, as stage balance leaves them; no face was found."""
    facts = picture_facts(read_records(DATASET), load_params().crop)
    write_facts(PICTURE_FACTS, facts)
    (PLOTS / "balance.svg").write_text(PLOT.format("balance"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as all other stages leave it, with photographs in every place where a stage keeps them."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(ROOT / "params.yaml", "params.yaml")
    rejected = [Rejected("crawl", name, "not_an_image", f"it is {name}") for name in ODD_NAMES]
    for stage_file in STAGES:
        write_rejected(stage_file, rejected if stage_file == "ingest/crawl" else [])
    write_records(DATASET, make_records(dataset_records(DATASET)))
    write_records(PSEUDO, make_records(pseudo_records(PSEUDO, [0.1, 0.5, 0.9])))
    write_training(1)
    write_balance()
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*")}


def pictures_in(html: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(data, validate=True))) for data in found]


# The stage, from folder to folder.


def test_git_gets_numbers_and_a_drawing_but_no_picture(world: Path) -> None:
    stage.main()
    written = contents(REPORTS)
    assert set(written) == {"dataset.md", "dataset.csv", "flow.svg"}
    for name, data in written.items():
        text = data.decode("utf-8")  # no picture is
        assert "data:" not in text and "base64" not in text and "\r" not in text, name
        assert not re.search(r"[A-Za-z0-9+/]{65,}", text), name
    tags = {element.tag.split("}")[1] for element in ElementTree.fromstring(written["flow.svg"]).iter()}
    assert tags == {"svg", "title", "style", "path", "rect", "text"}
    assert len(list(csv.DictReader(io.StringIO(written["dataset.csv"].decode())))) > 50


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 420])
def test_a_browser_shows_the_page_whole_with_pictures_in_their_shape(
    world: Path, page: Any, width: int
) -> None:
    stage.main()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else faults.append(request.url),
    )
    page.set_viewport_size({"width": width, "height": 900})
    page.goto((PAGE / "index.html").resolve().as_uri())
    shapes = page.eval_on_selector_all(
        "img", "all => all.map(i => [i.clientWidth / i.clientHeight, i.naturalWidth / i.naturalHeight])"
    )
    assert len(shapes) == 2 + 2 + 3 + 2  # as above: crops, reviewed ones, pseudo labels, the gallery
    for shown, true in shapes:
        assert shown == pytest.approx(true, rel=0.03)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert faults == []


def test_another_training_changes_the_page_and_not_what_git_tracks(world: Path) -> None:
    stage.main()
    before, page = contents(REPORTS), contents(PAGE)
    stage.main()
    assert contents(REPORTS) == before and contents(PAGE) == page
    write_training(2)
    stage.main()
    assert contents(REPORTS) == before
    changed = {name for name, data in contents(PAGE).items() if data != page[name]}
    assert changed == {"index.html", "report.md", "train.svg", "teacher.svg", "iou.svg"}


def test_the_page_holds_the_pictures_themselves(world: Path) -> None:
    stage.main()
    html = (PAGE / "index.html").read_text()
    pictures = pictures_in(html)
    assert len(pictures) == 2 + 2 + 3 + 2  # crops and reviewed ones of train, pseudo labels, the gallery
    assert [picture.height for picture in pictures] == [220] * 7 + [160] * 2
    worst = read_image(GALLERY / f"01-{1:016x}.png")
    assert np.abs(np.asarray(pictures[-2]).astype(int) - worst).mean() < 8
    assert "data/" not in "".join(re.findall(r'src="([^"]{,200})"', html))
    shown = set(re.findall(r"!\[.*?\]\((.*?)\)", (PAGE / "report.md").read_text()))
    assert len(shown) == 7
    assert all((PAGE / name).is_file() for name in shown)


def test_a_rejected_file_may_be_called_anything(world: Path) -> None:
    stage.main()
    html = (PAGE / "index.html").read_bytes().decode()
    for name in ODD_NAMES:
        escaped = name.replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;")
        assert f"crawl <code>{escaped}</code>" in html
        assert f"<td>it is {escaped}</td>" in html
    assert contents(REPORTS)["dataset.md"].count(b"\r") == 0


def test_the_rejects_of_crop_stand_with_their_source(world: Path) -> None:
    items = [Rejected("baidu", "body.jpg", "no_face", "a"), Rejected("crawl", "walk.jpg", "no_face", "b")]
    write_rejected("crop", items)
    stage.main()
    html = (PAGE / "index.html").read_text()
    bodies, crawl = (html.index(f"<summary>crop {role}: ") for role in ("bodies", "crawl"))
    assert bodies < html.index("<code>body.jpg</code>") < crawl < html.index("<code>walk.jpg</code>")


def test_what_an_earlier_run_left_goes_but_not_what_lies_beside_the_card(world: Path) -> None:
    for folder in (REPORTS, PAGE):
        folder.mkdir(parents=True)
        (folder / "portrait.png").write_bytes(b"left over, or somebody's")
    stage.main()
    assert list(Path().glob("**/portrait.png")) == [REPORTS / "portrait.png"]
    assert not list(Path().glob("**/*.tmp"))


def test_the_page_names_params_and_versions(world: Path) -> None:
    stage.main()
    html = (PAGE / "index.html").read_text()
    assert "best_from: 0.6" in html and "parity_pictures: 4" in html
    assert "<tr><td>torch</td><td><code>2." in html
    versions = stage.versions()
    assert set(versions) == {"Python", *stage.PACKAGES}
    assert "not installed" not in versions.values()


def test_sources_of_any_name_and_number_are_on_the_card_and_the_page(world: Path) -> None:
    """Two labelled sources and two crawls, which have a picture in common."""
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["sources"] |= {
        "mine": {"role": "labelled", "layout": "pairs", "path": "mine"},
        "web_1": {"role": "crawl", "layout": "crawl", "path": "web_1"},
    }
    Path("params.yaml").write_text(yaml.safe_dump(content))
    for name in ("mine", "web_1"):
        (METRICS / f"ingest/{name}.json").write_text(json.dumps(MORE_SOURCES[f"ingest@{name}"]))
        write_rejected(f"ingest/{name}", [Rejected(name, "odd.jpg", "truncated", f"of {name}")])
    twin = Rejected("web_1", "web_1-2.jpg", "duplicate_pixels", "the same pixels as crawl crawl-2.jpg")
    write_rejected("crop", [twin])
    stage.main()
    card, html = (REPORTS / "dataset.md").read_text(), (PAGE / "index.html").read_text()
    assert "| ingest mine (labelled) | 310 | 307 | 3 | two_masks 3 |" in card
    assert "| ingest web_1 (crawl) | 811 | 802 | 9 | truncated 9 |" in card
    assert "web_1 <code>web_1-2.jpg</code>" in html and "the same pixels as crawl crawl-2.jpg" in html
    assert "mine <code>odd.jpg</code>" in html and ">web_1</text>" in html
    (METRICS / "ingest/mine.json").unlink()
    with pytest.raises(
        PipelineError, match=r"metrics/ingest/mine.json of stage ingest@mine, found no such file"
    ):
        stage.main()


def test_a_missing_file_says_which_and_whose(world: Path) -> None:
    needed = {
        **{
            METRICS / f"{FILES.get(name, name)}.json": name.partition("@")[0]
            if name.startswith(("crop", "split"))
            else name
            for name in metrics()
        },
        **{REJECTED / f"{file}.csv": name for file, name in STAGES.items()},
        **{PLOTS / f"{name}.csv": name for name in ("teacher", "train", "evaluate")},
        GALLERY / "gallery.json": "evaluate",
    }
    for path, name in needed.items():
        away = path.rename(path.with_suffix(".away"))
        expected = f"report: expected {path} of stage {name}, found no such file; run `dvc repro`"
        with pytest.raises(PipelineError, match=f"^{re.escape(expected)}$"):
            stage.main()
        away.rename(path)
    assert not REPORTS.exists() and not PAGE.exists()
    stage.main()


@pytest.mark.parametrize("damaged", [b"", b'{"in": 5', b"\xff\xfe"])
@pytest.mark.parametrize("name", ["merge", "ingest@baidu"])
def test_a_damaged_metrics_file_says_what_to_run(tmp_path: Path, damaged: bytes, name: str) -> None:
    path = tmp_path / f"{name}.json"
    path.write_bytes(damaged)
    expected = rf"^report: {re.escape(str(path))} is not JSON \(.+\); run `dvc repro --force {name}`$"
    with pytest.raises(PipelineError, match=expected):
        stage.read_metrics({name: path})


@pytest.mark.parametrize(
    ("path", "wanted"), [(GALLERY / "gallery.json", "JSON"), (PLOTS / "train.csv", "a table")]
)
def test_a_damaged_gallery_or_table_says_what_to_run(world: Path, path: Path, wanted: str) -> None:
    path.write_bytes(b"\xff\xfe")
    expected = (
        rf"^report: {re.escape(str(path))} is not {wanted} \(.+\); run `dvc repro --force (evaluate|train)`$"
    )
    with pytest.raises(PipelineError, match=expected):
        stage.main()


# Which masks are shown.


def chosen(dataset: list[dict[str, Any]], pseudo: list[dict[str, Any]], count: int) -> dict[str, list[Any]]:
    params = ReportParams(pictures=count, picture_height=40)
    groups = stage.choose_samples(make_records(dataset), make_records(pseudo), params)
    return {group.name: list(group.pictures) for group in groups}


def test_the_first_of_train_by_id_are_shown(tmp_path: Path) -> None:
    rows = dataset_records(tmp_path)
    groups = chosen(rows[::-1], [], 1)
    assert set(groups) == {"Portrait crops", "Reviewed pseudo labels"}
    for label, name in (("crop", "Portrait crops"), ("reviewed", "Reviewed pseudo labels")):
        first = min(row["id"] for row in rows if row["label"] == label and row["side"] == "train")
        assert [picture.id for picture in groups[name]] == [first]
    assert groups["Reviewed pseudo labels"][0].caption == "fix"
    assert re.fullmatch(r"crop-\d\.jpg", groups["Portrait crops"][0].caption)


@pytest.mark.parametrize(
    ("count", "doubts"),
    [
        (0, []),
        (1, ["0.10"]),
        (2, ["0.10", "0.90, pieces holes"]),
        (3, ["0.10", "0.50", "0.90, pieces holes"]),
        (5, ["0.10", "0.30", "0.50", "0.70", "0.90, pieces holes"]),
        (8, ["0.10", "0.30", "0.50", "0.70", "0.90, pieces holes"]),
    ],
)
def test_pseudo_labels_go_from_certain_to_doubtful(tmp_path: Path, count: int, doubts: list[str]) -> None:
    groups = chosen([], pseudo_records(tmp_path, [0.5, 0.9, 0.1, 0.7, 0.3]), count)
    captions = [picture.caption for picture in groups.get("Pseudo labels", [])]
    assert captions == [f"uncertainty {doubt}" for doubt in doubts]


def test_shown_pictures_have_the_height_asked_for(tmp_path: Path) -> None:
    image, mask = inputs.portrait(5, (90, 60))
    row = inputs.record(tmp_path, image, mask, source="crawl", source_key="a.jpg", label="crop", side="train")
    (picture,) = chosen([row], [], 8)["Portrait crops"]
    assert (picture.width, picture.height) == (60, 40)
    assert pictures_in(f'src="{picture.uri}"')[0].size == (60, 40)
