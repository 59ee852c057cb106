"""Is it better? On scores whose truth is known, of versions in real git and DVC, and of weights files."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline.commands import compare
from pipeline.core.errors import PipelineError
from pipeline.core.paths import DATASET
from pipeline.core.records import read_records
from pipeline.versions.comparison import (
    Pairs,
    compared_rows,
    comparison_report,
    paired,
    pairs_of_versions,
)
from pipeline.versions.paired import mean_interval
from pipeline.versions.revision import WORKSPACE, NotHereError, open_versions
from pipeline.versions.slices import slice_scores
from tests.pipeline.versions.conftest import TEST, Made, is_grey
from tests.project import commit, run
from tests.sinet.portraits import taught_model, write_weights


def pairs(shift: float, of_grey: float = 0.0, count: int = 400) -> Pairs:
    """Made-up pictures, two of a photograph: the later scores are `shift` higher, those of grey ones `of_grey` more."""
    generator = np.random.default_rng(count)
    ids = [f"{number:016x}" for number in range(count)]
    facts = pd.DataFrame({"id": ids, "grey": [is_grey(one) for one in ids], "faces": 1})
    for name, value in (("face_height", 0.5), ("brightness", 0.5), ("sharpness", 999.0), ("centre_x", 0.5)):
        facts[name] = value
    facts["skin_tone"] = float("nan")
    old = pd.DataFrame({"id": ids, "source": "eg1800", "label": "human"})
    old["cluster"] = [f"{number // 2:016x}" for number in range(count)]
    old["foreground_iou"] = generator.uniform(0.8, 0.95, count)
    old["boundary_f1"] = generator.uniform(0.7, 0.85, count)
    new = old.copy()
    for measure in ("foreground_iou", "boundary_f1"):
        new[measure] += generator.normal(0, 0.01, count) + shift + facts["grey"] * of_grey
    return paired(old, new, facts)


def verdicts(found: Pairs, measure: str = "foreground_iou") -> dict[str, str]:
    return {row.slice: row.verdict for row in compared_rows(found) if row.measure == measure}


def test_no_difference_where_there_is_none() -> None:
    assert set(verdicts(pairs(0.0)).values()) == {"no difference"}


def test_a_shift_is_found_overall_and_in_each_slice() -> None:
    assert set(verdicts(pairs(0.02)).values()) == {"better"}
    assert set(verdicts(pairs(-0.02), "boundary_f1").values()) == {"worse"}


def test_a_shift_of_one_slice_is_found_there() -> None:
    """Three of four pictures are grey."""
    found = verdicts(pairs(-0.02, of_grey=0.04))
    assert (found["grey"], found["all"]) == ("better", "better")
    rows = slice_scores(
        pairs(0.0).pictures.rename(columns=lambda name: name.removesuffix("_new")), pairs(0.0).facts
    )
    assert [row.name for row in rows] == ["all", "grey"]
    assert all(
        0.85 < row.scores["foreground_iou"].low < row.scores["foreground_iou"].high < 0.9 for row in rows
    )


def test_few_pictures_decide_nothing() -> None:
    found = pairs(0.0, count=40)
    assert verdicts(found)["all"] == "not enough pictures (30 photographs at least)", (
        "40 pictures of 20 photographs"
    )


def test_without_facts_there_are_slices_by_source_and_mask_alone() -> None:
    found = pairs(0.0)
    pictures = found.pictures.assign(
        source=["eg1800"] * 300 + ["crawl"] * 100, label=["human"] * 300 + ["reviewed"] * 100
    )
    names = set(verdicts(Pairs(pictures, None)))
    assert names == {
        "all",
        "source crawl",
        "source eg1800",
        "mask drawn by a person",
        "mask reviewed pseudo label",
    }


def test_two_versions_are_compared_on_the_pictures_with_the_same_mask(
    versions: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    """64 test pictures of 32 photographs, of which 2 have another mask; v2 is better on grey ones by two points."""
    compare.main(("v1", "v2"), 0.005, None)
    text = capsys.readouterr().out
    assert re.search(
        r"^# Is v2 \(\w+\) better than v1 \(\w+\)\?\n\nforeground IoU: \*\*better\*\*; boundary",
        text,
    )
    assert f"SINet on {TEST - 2} test pictures of 31 photographs" in text
    assert "Left out: 2 with another mask." in text
    assert re.search(
        r"\| all \| 62 \| [\d.]+ \| [\d.]+ \| \+1\.\d\d \[\+1\.\d\d, \+\d\.\d\d\] \| better \|", text
    )
    assert re.search(r"\| source baidu \| 31 \|", text) and "| grey |" in text
    compare.main(("v2", WORKSPACE), 0.005, None)
    assert capsys.readouterr().out.count("| +0.00 [+0.00, +0.00] | no difference |") == 6, "the same weights"


def test_pictures_without_a_cluster_are_photographs_of_their_own() -> None:
    found = pairs(0.0)
    text = comparison_report(("a", "b"), Pairs(found.pictures.assign(cluster=None), None))
    assert "SINet on 400 test pictures of 400 photographs" in text


def test_other_protocols_or_nothing_in_common_is_an_error(versions: Made) -> None:
    lock = Path("dvc.lock")
    lock.write_text(lock.read_text().replace("boundary_kernel: 15", "boundary_kernel: 5"))
    commit(versions.folder, "another band")
    with pytest.raises(
        PipelineError, match=r"expected one protocol, found evaluate.boundary_kernel 15 in v1 .* and 5"
    ):
        pairs_of_versions(*open_versions("v1", "HEAD"))
    scores = Path("plots/evaluate.csv")
    run(versions.folder, "git", "checkout", "--quiet", "v2")
    table = pd.read_csv(scores, dtype={"id": str})
    table.assign(id=table["id"].str[::-1]).to_csv(scores, index=False)
    with pytest.raises(
        PipelineError, match=r"expected plots/evaluate.csv as dvc.lock has it, found another one"
    ):
        pairs_of_versions(*open_versions("v2", WORKSPACE))
    run(versions.folder, "dvc", "commit", "--force", "--quiet")
    with pytest.raises(PipelineError, match=r"found none \(64 only in v2 .*; 64 only in the working tree\)"):
        pairs_of_versions(*open_versions("v2", WORKSPACE))
    scores.unlink()
    with pytest.raises(
        NotHereError, match=r"expected plots/evaluate.csv here, found no such file; `dvc checkout`"
    ):
        pairs_of_versions(*open_versions("v2", WORKSPACE))


def test_scores_of_other_pictures_than_the_version_holds_are_refused(versions: Made) -> None:
    """As where stage merge ran again, and nobody ran evaluate before the commit."""
    stages = yaml.safe_load(Path("dvc.lock").read_text())
    stages["stages"]["evaluate"]["deps"].append({"path": "data/dataset", "md5": "0" * 32 + ".dir"})
    Path("dvc.lock").write_text(yaml.safe_dump(stages))
    commit(versions.folder, "merged again")
    with pytest.raises(
        PipelineError, match=r"expected scores of what HEAD .* measured another data/dataset: run"
    ):
        pairs_of_versions(*open_versions("v1", "HEAD"))


def test_by_hand_the_interval_is_of_the_mean_over_pictures_drawn_by_photograph() -> None:
    """30 photographs, every third with four pictures that are a point better: 40 of 60 pictures, so the mean is 2/3.

    The linearised standard error of a ratio of sums: the root of the mean of (sum - mean * size) squared, over the mean
    size and the root of 30; 1.96 of them, stretched by t / normal and the root of 30 / 29.
    """
    sizes = np.tile([4, 1, 1], 10)
    values, photographs = (
        np.repeat(np.tile([0.01, 0, 0], 10), sizes),
        np.repeat(np.arange(30).astype(str), sizes),
    )
    found = mean_interval(values, photographs.tolist())
    assert (found.pictures, found.photographs) == (60, 30)
    assert found.mean == pytest.approx(0.01 * 2 / 3)
    rest = np.tile([0.04, 0, 0], 10) - found.mean * sizes
    half = 2.045 * np.sqrt(30 / 29) * np.sqrt(np.mean(rest**2) / 30) / 2
    assert found.half == pytest.approx(half, rel=0.1)
    assert found.half < 1.96 * values.std() / np.sqrt(60) * 2


def test_two_weights_files_are_measured_on_the_test_side_here(
    versions: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, steps in (("taught", 60), ("less", 5)):
        write_weights(Path(f"{name}.safetensors"), taught_model(steps))
    compare.main(("taught.safetensors", "taught.safetensors"), 0.005, None)
    assert "**no difference**; boundary F1: **no difference**" in capsys.readouterr().out
    compare.main(("taught.safetensors", "less.safetensors"), 0.005, Path("out.md"))
    assert "foreground IoU: **worse**" in Path("out.md").read_text()
    with pytest.raises(
        PipelineError, match=r"expected two revisions or two weights files, found v1 and less"
    ):
        compare.main(("v1", "less.safetensors"), 0.005, None)
    with pytest.raises(PipelineError, match=r"expected SINet weights in gone.safetensors"):
        compare.main(("gone.safetensors", "less.safetensors"), 0.005, None)
    records = read_records(DATASET)
    assert (records["side"] == "test").sum() == TEST
