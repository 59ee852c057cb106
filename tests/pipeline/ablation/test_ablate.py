"""`python -m pipeline ablate`: its mixes and budget, and what it says.

tests/test_recipe.py runs it by real DVC.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline.ablation import ablate
from pipeline.ablation.ablate import check_same_inputs, chosen_mixes, common_dev, epochs_of, image_steps
from pipeline.ablation.dvc_experiments import with_values
from pipeline.ablation.mixes import Mix, mixes_of
from pipeline.ablation.report import MEASURED, MixRuns, ablation_report, bars_of, gains_of, runs_table, uneven
from pipeline.core.errors import PipelineError
from pipeline.core.params import MASK_KINDS, load_params
from pipeline.core.stage import only_one
from pipeline.reporting.figures import gain_bars

SOURCES = {"eg1800": "eg1800", "baidu": "baidu", "crawl": "crawl"}
PICTURES = [f"{number:016x}" for number in range(60)]


def mix(name: str) -> Mix:
    return next(one for one in mixes_of(SOURCES) if one.name == name)


def trained(name: str, score: float, pictures: int, same_as: str = "") -> MixRuns:
    generator = np.random.default_rng(len(name))
    runs = {
        seed: pd.DataFrame(
            {"id": PICTURES, **{metric: score + generator.normal(0, 0.002, 60) for metric in MEASURED}}
        )
        for seed in (1, 2, 3)
    }
    return MixRuns(mix(name), pictures, 6000, runs, same_as)


def test_each_mix_is_one_step_from_another_and_the_last_ones_lack_a_source() -> None:
    mixes = mixes_of({**SOURCES, "none": "absent"})
    names = [one.name for one in mixes]
    assert names == [
        "labelled", "crops", "unreviewed", "reviewed", "all", "without-baidu", "without-crawl", "without-eg1800",
    ]  # fmt: skip
    trains = {one.name: {*MASK_KINDS, *SOURCES} - set(one.leave_out) for one in mixes}
    for one in mixes[1:]:
        assert one.step is not None and one.step.other in names
        new, old = trains[one.name], trains[one.step.other]
        assert len(new ^ old) == 1, "one thing more or less"
        assert (new < old) == one.step.lacking


def test_a_mix_that_is_not_known_is_told_with_those_that_are(root: Path) -> None:
    params = load_params(root / "params.yaml")
    assert [one.name for one in chosen_mixes(params, ["crops", "labelled"])] == ["labelled", "crops"]
    with pytest.raises(
        PipelineError, match=r"expected mixes of labelled, .*without-eg1800, one --mix each, found pseudo"
    ):
        chosen_mixes(params, ["labelled", "pseudo"])


def test_a_file_is_no_folder_to_write_into(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((root / "params.yaml").read_bytes())
    with pytest.raises(PipelineError, match=r"expected a folder as --out, found the file params\.yaml"):
        ablate.main((), 1, None, Path("params.yaml"))


@pytest.mark.parametrize("pictures", [40, 100, 505, 3000])
def test_every_mix_gets_about_the_same_number_of_image_steps(root: Path, pictures: int) -> None:
    params = load_params(root / "params.yaml")
    steps = image_steps(params, 505)
    epochs = epochs_of(params, steps, pictures)
    assert sum(epochs.values()) * pictures == pytest.approx(steps, rel=0.02, abs=pictures)
    changed = with_values(yaml.safe_load((root / "params.yaml").read_text()), epochs)
    assert changed["train"]["phases"]["full"]["epochs"] == epochs["train.phases.full.epochs"]


def test_a_phase_that_is_left_out_stays_out_and_a_warm_up_ends(root: Path) -> None:
    params = load_params(root / "params.yaml")
    epochs = epochs_of(params, 1, 10_000)
    assert epochs == {"train.phases.encoder.epochs": 1, "train.phases.full.epochs": 1}
    phases = params.train.phases
    encoder = phases.encoder.model_copy(update={"epochs": 0})
    slow = phases.full.model_copy(
        update={"schedule": phases.full.schedule.model_copy(update={"warmup": 2.5})}
    )
    train = params.train.model_copy(
        update={"phases": phases.model_copy(update={"encoder": encoder, "full": slow})}
    )
    epochs = epochs_of(params.model_copy(update={"train": train}), 1, 10_000)
    assert epochs == {"train.phases.encoder.epochs": 0, "train.phases.full.epochs": 3}


def test_the_report_says_what_each_step_brings(root: Path) -> None:
    found = [
        trained("labelled", 0.90, 300),
        trained("crops", 0.93, 400),
        trained("unreviewed", 0.93, 400, same_as="crops"),
        trained("reviewed", 0.95, 450),
        trained("all", 0.96, 500),
        trained("without-baidu", 0.93, 400),
    ]
    gains = gains_of(found, PICTURES)
    assert [(one.old, one.new, one.added) for one in gains] == [
        ("labelled", "crops", 100),
        ("crops", "reviewed", 50),
        ("unreviewed", "all", 100),
        ("without-baidu", "all", 100),
    ], "nothing sets `unreviewed` apart from `crops`"
    text = ablation_report(found, ["`x` has no picture to train on."], PICTURES, 2.0, "0123456789abcdef")
    assert "from commit 01234567: 3 seeds, each" in text and "60 dev pictures of 60 photographs" in text
    assert "| the pictures of `crops` |" in text and "`x` has no picture to train on." in text
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("|")}
    assert "| +100 | **+2.98 ± 0.0" in lines["portrait crops"] and lines["portrait crops"].endswith("|  |")
    assert lines["reviewed pseudo labels"].rstrip("| ").endswith("+1.012"), "two points in two hours"
    assert "reviews of the queue took about 2.0 hours" in text
    assert "hour" not in ablation_report(found[:2], [], PICTURES, 2.0, "0" * 40), "no step of review"
    assert "without intervals" in ablation_report(found, [], PICTURES[:20] * 3, 2.0, "0" * 40), (
        "20 photographs"
    )
    assert "was not measured" in ablation_report(found, [], PICTURES, None, "0" * 40)
    table = runs_table(found)
    assert len(table) == 15 and set(table["mix"]) == {"labelled", "crops", "reviewed", "all", "without-baidu"}
    svg = gain_bars(bars_of(gains))
    assert "portrait crops" in svg and "foreground IoU" in svg and "<image" not in svg
    assert uneven(found, 6000) == []
    more = MixRuns(mix("crops"), 400, 9000, found[1].runs)
    for runs, asked in (([found[0], more], 6000), ([found[0]], 600), ([found[0]], 60_000)):
        [warning] = uneven(runs, asked)
        assert f"**{asked:,} image steps were asked for, and there were 6,000 to" in warning


def test_two_at_once_would_run_each_others_experiments(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        only_one("pipeline ablate"),
        pytest.raises(PipelineError, match="another `python -m pipeline ablate` is run"),
    ):
        ablate.main((), 1, None, None)


def test_other_inputs_are_told() -> None:
    read = {
        "labelled": {"data/split": "1", "data/pseudo": "2"},
        "crops": {"data/split": "1", "data/pseudo": "3"},
    }
    with pytest.raises(
        PipelineError, match=r"other ones \(data/pseudo\) in ablate-labelled and ablate-crops"
    ):
        check_same_inputs(read)
    check_same_inputs({"labelled": read["labelled"], "crops": dict(read["labelled"])})


def test_other_dev_pictures_are_no_common_ground() -> None:
    table = pd.DataFrame({"id": ["a", "b"], "side": ["dev", "train"], "mask_md5": ["1", "2"]})
    assert common_dev([table, table])["id"].tolist() == ["a"]
    with pytest.raises(PipelineError, match="expected the same dev pictures and masks"):
        common_dev([table, table.assign(mask_md5=["3", "2"])])
    with pytest.raises(PipelineError, match=r"expected a dev side .* raise split.dev_share"):
        common_dev([table.assign(side="train")])
