"""Write what came out: reports/ (in git: counts and a drawing) and data/report/ (a page with pictures).

Reads the metrics and plots of every stage, the gallery and the records. reports/ holds only what the data
stages decide, so that its bytes do not depend on the machine that trained.
"""

import json
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version_tuple
from typing import Any

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.core.params import Params, ReportParams, load_params
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
from pipeline.core.records import read_records, read_rejected
from pipeline.core.stage import run, write_text
from pipeline.dataset.facts_table import read_facts
from pipeline.reporting.figures import iou_histogram, teacher_curves, train_curves
from pipeline.reporting.flow import BY_ROLE, KINDS, Metrics
from pipeline.reporting.groups import balance_rows, groups_of
from pipeline.reporting.page import (
    Page,
    ShownPicture,
    ShownPictures,
    dataset_card,
    dataset_table,
    flow_svg,
    page_html,
    page_markdown,
)
from pipeline.reporting.thumbnails import data_uri, outlined
from pipeline.versions.slices import slice_scores
from sinet.images.decode import read_image, read_mask

PACKAGES = (
    "torch",
    "torchvision",
    "segmentation-models-pytorch",
    "facenet-pytorch",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "pandas",
    "imagehash",
    "onnx",
    "onnxruntime",
    "dvc",
)


def card_files(metrics: Metrics) -> dict[str, str]:
    """The files of reports/ by name: text only, the same wherever the same data was counted."""
    return {
        "dataset.md": dataset_card(metrics),
        "dataset.csv": dataset_table(metrics),
        "flow.svg": flow_svg(metrics),
    }


def page_files(metrics: Metrics, page: Page) -> dict[str, str]:
    """The files of data/report by name."""
    plots = {f"{name}.svg": text for name, text in page.plots.items()}
    texts = {"report.md": page_markdown(metrics, page), "index.html": page_html(metrics, page)}
    return {**texts, **plots, "flow.svg": flow_svg(metrics)}


def read_metrics(files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """The parsed metrics by stage; PipelineError names the first that is missing or damaged."""
    return {stage: _json(path, stage) for stage, path in files.items()}


def draw_plots(metrics: Metrics, tables: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """SVG text of the training curves and the IoU histogram, from plots/*.csv by stage."""
    evaluated = tables["evaluate"]
    scores = {
        KINDS.get(str(label), str(label)): group["foreground_iou"].tolist()
        for label, group in evaluated.groupby("label")
    }
    return {
        "train": train_curves(tables["train"], metrics["train"]["best_epoch"]),
        "teacher": teacher_curves(tables["teacher"], metrics["teacher"]["best_epoch"]),
        "iou": iou_histogram(scores),
    }


def choose_samples(records: pd.DataFrame, pseudo: pd.DataFrame, params: ReportParams) -> list[ShownPictures]:
    """Some of each kind of mask: the first by id, which is a hash; pseudo labels from certain to doubtful."""
    groups = []
    for label, name in (("crop", "Portrait crops"), ("reviewed", "Reviewed pseudo labels")):
        of_kind = records[(records["label"] == label) & (records["side"] == "train")]
        groups.append((name, of_kind.sort_values("id").head(params.pictures)))
    doubt = pseudo.sort_values(["uncertainty", "id"])
    count = min(params.pictures, len(doubt))
    at = [round(step * (len(doubt) - 1) / max(1, count - 1)) for step in range(count)]
    groups.append(("Pseudo labels", doubt.iloc[at]))
    return [
        ShownPictures(name, [_sample(row, params.picture_height) for _, row in table.iterrows()])
        for name, table in groups
        if len(table)
    ]


def read_gallery(folder: Path) -> list[dict[str, Any]]:
    """The worst cases of the gallery: its entries, each with the picture as a data URI."""
    entries = _json(folder / "gallery.json", "evaluate")
    found = []
    for entry in entries:
        image = read_image(folder / entry["file"])
        size = {"width": image.shape[1], "height": image.shape[0]}
        found.append({**entry, **size, "uri": data_uri(image)})
    return found


def versions() -> dict[str, str]:
    """Versions of Python (3.11, whatever the patch) and of the packages that decide what comes out."""
    found = {"Python": ".".join(python_version_tuple()[:2])}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write these text files into the folder."""
    for name, text in files.items():
        write_text(folder / name, text)


def _sample(row: "pd.Series[Any]", height: int) -> ShownPicture:
    image = outlined(read_image(Path(row["image"])), read_mask(Path(row["mask"])), height)
    caption = str(row["source_key"])
    if row["label"] == "pseudo":
        caption = f"uncertainty {row['uncertainty']:.2f}" + (f", {row['flags']}" if row["flags"] else "")
    elif row["label"] == "reviewed":
        caption = str(row["review"])
    return ShownPicture(str(row["id"]), data_uri(image), image.shape[1], image.shape[0], caption)


def _rejected(path: Path, stage: str) -> list[dict[str, str]]:
    """The rows of a stage's rejects."""
    _expect(path, stage)
    table = read_rejected(path.stem, path.parent)
    return [{str(name): str(field) for name, field in row.items()} for row in table.to_dict("records")]


def _table(path: Path) -> pd.DataFrame:
    _expect(path, path.stem)
    try:
        return pd.read_csv(path, dtype={"id": str})
    except ValueError as error:
        raise _damaged(path, path.stem, "a table", error) from error


def _text(path: Path) -> str:
    _expect(path, path.stem)
    return path.read_text(encoding="utf-8")


def _json(path: Path, stage: str) -> Any:
    _expect(path, stage)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path, stage, "JSON", error) from error


def _damaged(path: Path, stage: str, wanted: str, error: Exception) -> PipelineError:
    return PipelineError(f"report: {path} is not {wanted} ({error}); run `dvc repro --force {stage}`")


def _expect(path: Path, stage: str) -> None:
    """PipelineError where a stage's file is missing."""
    if not path.is_file():
        raise PipelineError(f"report: expected {path} of stage {stage}, found no such file; run `dvc repro`")


def _shown(params: Params) -> dict[str, Any]:
    """The sections of params.yaml that decide what the page shows."""
    sections = {
        "sources": params.sources,
        "ingest": params.ingest,
        "crop": params.crop,
        "licences": params.licences,
        "cluster": params.cluster,
        "split": params.split,
        "teacher": params.teacher,
        "pseudo_label": params.pseudo_label,
        "queue": params.queue,
        "merge": params.merge,
        "train": params.train,
        "evaluate": params.evaluate,
        "export": params.export,
    }
    return {name: section.model_dump(mode="json") for name, section in sections.items()}


def main() -> None:
    params = load_params()
    sources = params.sources.names()
    metrics = read_metrics(
        {
            **{f"ingest@{name}": METRICS / "ingest" / f"{name}.json" for name in sources},
            "crop": METRICS / "crop.json",
            "split": METRICS / "split.json",
            "teacher": METRICS / "teacher.json",
            "queue": METRICS / "queue.json",
            "agreement": METRICS / "reviews.json",
            "merge": METRICS / "merge.json",
            "train": METRICS / "train.json",
            "evaluate": METRICS / "evaluate.json",
            "export": METRICS / "export.json",
        }
    )
    for stage in BY_ROLE:
        metrics |= {f"{stage}@{role}": counts for role, counts in metrics.pop(stage).items()}
    tables = {
        "teacher": _table(PLOTS / "teacher.csv"),
        "train": _table(PLOTS / "train.csv"),
        "evaluate": _table(PLOTS / "evaluate.csv"),
    }
    both = {
        "crop": _rejected(REJECTED / "crop.csv", "crop"),
        "split": _rejected(REJECTED / "split.csv", "split"),
    }
    crawled = params.sources.of_role("crawl")
    rejected = {
        **{
            f"ingest@{name}": _rejected(REJECTED / "ingest" / f"{name}.csv", f"ingest@{name}")
            for name in sources
        },
        **{
            f"{stage}@{role}": [row for row in both[stage] if (row["source"] in crawled) == (role == "crawl")]
            for stage, roles in BY_ROLE.items()
            for role in roles
        },
        "merge": _rejected(REJECTED / "merge.csv", "merge"),
    }
    records, facts = read_records(DATASET), read_facts(PICTURE_FACTS)
    tested = tables["evaluate"].merge(records[["id", "cluster"]], on="id", how="left")
    page = Page(
        plots={**draw_plots(metrics, tables), "balance": _text(PLOTS / "balance.svg")},
        balance=balance_rows(groups_of(records, facts)),
        slice_scores=slice_scores(tested, facts),
        rejected=rejected,
        samples=choose_samples(records, read_records(PSEUDO), params.report),
        gallery=read_gallery(GALLERY),
        label=str(tables["evaluate"]["label"].iloc[0]),
        params=_shown(params),
        versions=versions(),
        picture_height=params.report.picture_height,
    )
    write_files(REPORTS, card_files(metrics))  # in git, beside what people keep there
    shutil.rmtree(PAGE, ignore_errors=True)
    write_files(PAGE, page_files(metrics, page))


if __name__ == "__main__":
    run("report", main)
