"""`python -m pipeline release VERSION`: hold a version against the gates, write its cards, commit and tag it.

Nothing is pushed. A release that broke off is taken up by the same command.
"""

import hashlib
import json
from collections.abc import Collection, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.core.licences import licence_name
from pipeline.core.params import ABSENT, Params, load_params
from pipeline.core.paths import DATASET, METRICS, SAMPLE, SINET, SINET_ONNX
from pipeline.core.reasons import meaning
from pipeline.core.records import SIDES, dataset_hash, read_records, read_rejected
from pipeline.core.stage import write_text
from pipeline.handing_over.export_dataset import hub_licences, size_category
from pipeline.releasing.croissant import croissant
from pipeline.releasing.data_tests import data_faults
from pipeline.releasing.gates import (
    artifact_tags,
    headline_faults,
    licence_faults,
    pipeline_faults,
    tree_faults,
    version_faults,
)
from pipeline.reporting.flow import KINDS
from pipeline.reporting.rendering import template
from pipeline.versions.git_commands import git
from sinet.evaluation.slices import SLICES

RELEASE = Path("docs/release")  # in git: the cards of the last release; those of each one are at its tag


def main(version: str, unlicensed: Collection[str] = ()) -> None:
    """Release the version, or raise PipelineError with a sentence for each gate that does not hold."""
    early = [*version_faults(version), *tree_faults(RELEASE), *pipeline_faults(), *headline_faults()]
    # What follows takes minutes, and tells nothing of files that are not those of the commit.
    _stop_for(version, early)
    records = read_records(DATASET)
    _stop_for(version, [*licence_faults(records, unlicensed), *data_faults(records)])
    facts = _facts(version, records, unlicensed, load_params())
    for name, text in _files(facts, date.today()):
        write_text(RELEASE / name, text)
    git("add", "--", str(RELEASE))
    if git("status", "--porcelain"):
        git("commit", "--quiet", "-m", f"Release {version}")
    message = f"Release {version}\n\ndataset {facts['dataset_hash']}\nweights {facts['weights_hash']}"
    tags = artifact_tags(version)
    for tag in (*tags, f"v{version}"):  # the one that ends a release comes last
        if not git("tag", "--list", tag):
            git("tag", "--annotate", tag, "-m", message)
    print(f"v{version} is tagged here: {len(records):,} pictures, dataset {facts['dataset_hash'][:16]}")
    print(f"Its cards are in {RELEASE}/. Nothing was pushed. To hand it on:")
    print(f"  dvc push\n  git push origin {' '.join(['HEAD', f'v{version}', *tags])}")


def _stop_for(version: str, faults: list[str]) -> None:
    if faults:
        listed = "\n".join(f"- {fault}" for fault in faults)
        raise PipelineError(f"{version} is not released, and nothing was written or tagged:\n{listed}")


def _facts(
    version: str, records: pd.DataFrame, unlicensed: Collection[str], params: Params
) -> dict[str, Any]:
    """All that the cards say."""
    licences = records["licence"].map(licence_name).value_counts().sort_index()
    kinds = {kind: name for kind, name in KINDS.items() if kind in set(records["label"])}
    sources = {str(name): int(count) for name, count in records["source"].value_counts().sort_index().items()}
    known = params.sources.root
    evaluated = _metrics("evaluate")
    return {
        "version": version,
        "count": len(records),
        "sides": SIDES,
        "kinds": kinds,
        "by_side": {
            side: records.loc[records["side"] == side, "label"].value_counts().to_dict() for side in SIDES
        },
        "licences": licences.to_dict(),
        "unlicensed": sorted(unlicensed),
        "sources": {
            name: (known[name].role, known[name].layout, count) if name in known else ("", "", count)
            for name, count in sources.items()
        },
        "drawn": all(Path(one.path).is_relative_to(SAMPLE) for one in known.values() if one.layout != ABSENT),
        "clusters": int(records["cluster"].nunique()),
        "no_author": int(records["author"].isna().sum()),
        "small": [int(records[name].min()) for name in ("width", "height")],
        "large": [int(records[name].max()) for name in ("width", "height")],
        "left_out": _left_out(read_rejected("merge")),
        "unreviewed": int((records["label"] == "pseudo").sum()),
        "dataset_hash": dataset_hash(records),
        "weights_hash": hashlib.sha256(SINET.read_bytes()).hexdigest(),
        "onnx_hash": hashlib.sha256(SINET_ONNX.read_bytes()).hexdigest() if SINET_ONNX.is_file() else "",
        "slices": SLICES,
        "start": params.train.weights,
        "width": params.train.width,
        **{name: _metrics(name) for name in ("merge", "balance", "train")},
        "evaluate": evaluated,
        "by_slice": {
            **{name: evaluated["by_slice"][name] for name in ("worst_tenth", *SLICES)},
            **{f"source {name}": one for name, one in evaluated.get("by_source", {}).items()},
        },
        "head": {
            "pretty_name": "Portraits with masks",
            "version": version,
            "license": hub_licences(licences.index),
            "task_categories": ["image-segmentation"],
            "tags": ["portrait-segmentation", "person", "croissant"],
            "size_categories": [size_category(len(records))],
        },
    }


def _left_out(rejected: pd.DataFrame) -> dict[str, int]:
    """Counts of pictures and masks by the reason in words, without reviews and without what a review replaces."""
    pictures = rejected[(rejected["source"] != "reviews") & (rejected["reason"] != "reviewed")]
    return {
        meaning(str(reason)): int(count)
        for reason, count in pictures["reason"].value_counts().sort_index().items()
    }


def _files(facts: dict[str, Any], today: date) -> Iterator[tuple[str, str]]:
    """The files of a release by name."""
    described = (
        f"{facts['count']:,} portraits with masks, on three sides. Paths are from the dataset's folder."
    )
    metadata = croissant(DATASET, facts["version"], described, list(facts["licences"]), today)
    yield "dataset.md", template("release_dataset.md.j2").render(facts, today=today.isoformat())
    yield "model.md", template("release_model.md.j2").render(facts, today=today.isoformat())
    yield "croissant.json", json.dumps(metadata, indent=2, ensure_ascii=False, default=str) + "\n"
    yield "ATTRIBUTION.md", (DATASET / "ATTRIBUTION.md").read_text(encoding="utf-8")


def _metrics(stage: str) -> Any:
    return json.loads((METRICS / f"{stage}.json").read_text(encoding="utf-8"))
