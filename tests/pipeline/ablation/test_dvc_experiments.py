"""Experiments of the last commit: which count as done, and that they start from what is committed."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.ablation.dvc_experiments import Experiments, with_values
from pipeline.core.errors import PipelineError
from pipeline.versions.revision import Version
from tests.pipeline.versions.conftest import Made
from tests.project import run


def test_only_an_experiment_with_the_same_parameters_counts(versions: Made) -> None:
    """By git alone: a commit whose params.yaml is HEAD's with the values that were asked for."""
    experiments = Experiments()
    values: dict[str, Any] = {"train.seed": 7, "merge.leave_out": ["crop"]}
    scores = Path("plots/evaluate.csv")
    assert experiments.done("one", values, scores) is None
    content = with_values(yaml.safe_load(Path("params.yaml").read_text()), values)
    Path("params.yaml").write_text(yaml.safe_dump(content))
    run(versions.folder, "git", "commit", "--quiet", "--all", "--message", "an experiment")
    made = run(versions.folder, "git", "rev-parse", "HEAD").stdout.strip()
    run(versions.folder, "git", "reset", "--quiet", "--hard", "HEAD~")
    run(
        versions.folder,
        "git",
        "update-ref",
        f"refs/exps/{experiments.head[:2]}/{experiments.head[2:]}/one",
        made,
    )
    found = experiments.done("one", values, scores)
    assert isinstance(found, Version) and found.commit == made
    assert experiments.done("one", {**values, "train.seed": 8}, scores) is None
    assert experiments.done("one", {"train.seed": 7}, scores) is None, "it has another value too"
    assert experiments.done("one", values, Path("models/sinet.safetensors")) is None, "not written"


def test_uncommitted_files_are_named(versions: Made) -> None:
    Path("params.yaml").write_text(Path("params.yaml").read_text() + "\n")
    with pytest.raises(
        PipelineError, match=r"as the last commit has them, found others: params.yaml; .* commit"
    ):
        Experiments()
