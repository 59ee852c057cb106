"""`python -m pipeline ablate`: what portraits, crops, pseudo labels, their review and each source are worth.

Each mix is merged and trained by DVC experiments of the last commit, `ablate-MIX` and `ablate-MIX-SEED`, in temporary
folders: the files here stay as they are, what was done is not done again, and dev alone is measured.
"""

import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.ablation.dvc_experiments import Experiments, Values, inputs_of
from pipeline.ablation.mixes import Mix, mixes_of
from pipeline.ablation.report import MixRuns, ablation_report, bars_of, gains_of, runs_table, uneven
from pipeline.core.errors import PipelineError
from pipeline.core.params import Params, load_params
from pipeline.core.paths import DATASET, METRICS, SINET
from pipeline.core.stage import only_one, write_text
from pipeline.reporting.figures import gain_bars
from pipeline.versions.figures import parse_figures
from pipeline.versions.measured import measured
from pipeline.versions.revision import NotHereError, Version
from pipeline.versions.tables import RECORDS, dataset_of
from sinet.core.recipe import NONE, EvaluateRecipe

_FEWEST = 2  # pictures that can be trained on
# What stands in a row is learned in it, and dev judges the last epoch: of many epochs of few pictures it would choose
# the best more often than of few epochs of many.
_LAST: Values = {"train.weights": NONE, "train.best_from": 1.0}


@dataclass(frozen=True)
class _Merged:
    """A mix's dataset: the values that make it, its experiment, and its table of pictures."""

    mix: Mix
    values: Values
    version: Version
    table: pd.DataFrame

    @property
    def pictures(self) -> int:
        """How many train."""
        return _on_train(self.table)

    @property
    def content(self) -> str:
        """The hash of all that the dataset holds."""
        return self.version.outputs[str(DATASET)].md5


def main(names: Sequence[str], seeds: int, images: int | None, out: Path | None) -> None:
    """Train what has not been trained, print the Markdown, and write it, the runs and a plot into `out`.

    `names` are the mixes, all of them where there is none; `images` is the number of image steps of a training, where
    None that of params.yaml on the dataset of the last commit.
    """
    with only_one("pipeline ablate"):  # of two, each would run what the other has just handed to DVC
        try:
            _ablate(names, seeds, images, out)
        except KeyboardInterrupt:
            _say("stopped; the same command goes on")
            raise


def _ablate(names: Sequence[str], seeds: int, images: int | None, out: Path | None) -> None:
    params = load_params()
    mixes = chosen_mixes(params, names)
    if out is not None:  # now, and not after hours
        if out.exists() and not out.is_dir():
            raise PipelineError(f"expected a folder as --out, found the file {out}")
        out.mkdir(parents=True, exist_ok=True)
    experiments = Experiments()
    steps = images or image_steps(params, _on_train(dataset_of(experiments.base())))
    merged = [_merged(experiments, mix) for mix in mixes]
    check_same_inputs({one.mix.name: inputs_of(one.version, "merge") for one in merged})
    dev = common_dev([one.table for one in merged])
    to_train = [one for one in merged if one.pictures >= _FEWEST]
    if not to_train:
        raise PipelineError(
            f"expected pictures to train on, found none in {', '.join(mix.name for mix in mixes)}"
        )
    runs = _all_runs(experiments, to_train, params, steps, seeds, dev)
    notes = [f"`{one.mix.name}` has too few pictures to train on." for one in merged if one not in to_train]
    photographs = dev["cluster"].fillna(dev["id"]).tolist()
    notes += uneven(runs, steps)
    text = ablation_report(runs, notes, photographs, _hours(merged[0].version), experiments.head)
    print(text, end="")
    if out is not None:
        write_text(out / "ablation.md", text)
        write_text(out / "runs.csv", runs_table(runs).to_csv(index=False, float_format="%.6f"))
        (out / "gains.svg").unlink(missing_ok=True)
        if gains := gains_of(runs, photographs):
            write_text(out / "gains.svg", gain_bars(bars_of(gains)))


def chosen_mixes(params: Params, names: Sequence[str]) -> list[Mix]:
    """The mixes of these names, in the order of the recipe; PipelineError where there is none of a name."""
    mixes = mixes_of({name: source.layout for name, source in params.sources.root.items()})
    known = [mix.name for mix in mixes]
    strange = [name for name in names if name not in known]
    if strange:
        raise PipelineError(
            f"expected mixes of {', '.join(known)}, one --mix each, found {', '.join(strange)}"
        )
    return [mix for mix in mixes if not names or mix.name in names]


def image_steps(params: Params, pictures: int) -> int:
    """How often the recipe shows a picture to the network, of so many that train."""
    phases = params.train.phases
    return (phases.encoder.epochs + phases.full.epochs) * pictures


def epochs_of(params: Params, steps: int, pictures: int) -> dict[str, int]:
    """The epochs of both phases, by parameter, that come to about `steps` image steps; more than the warm-up's."""
    factor = steps / image_steps(params, pictures)
    found = {}
    for name, phase in (("encoder", params.train.phases.encoder), ("full", params.train.phases.full)):
        least = math.floor(phase.schedule.warmup) + 1 if phase.epochs else 0
        found[f"train.phases.{name}.epochs"] = max(least, round(factor * phase.epochs))
    return found


def common_dev(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The dev pictures of all mixes by id; PipelineError where they are not the same, or there are none."""
    sides = [table[table["side"] == "dev"].sort_values("id", ignore_index=True) for table in tables]
    columns = ["id", "mask_md5"]
    if any(not one[columns].equals(sides[0][columns]) for one in sides):
        raise PipelineError(
            "expected the same dev pictures and masks in each mix, found others: annotations/sides/ differs between "
            "the experiments; `dvc exp remove` those called ablate-... and run it again"
        )
    if sides[0].empty:
        raise PipelineError("expected a dev side to measure on, found none; raise split.dev_share")
    return sides[0]


def check_same_inputs(read: Mapping[str, Mapping[str, str]]) -> None:
    """PipelineError where mixes were merged of other pictures; `read` has the md5 of each input by mix and path."""
    first, *others = read
    for name in others:
        other = sorted(path for path in read[first] if read[first][path] != read[name].get(path))
        if other:
            raise PipelineError(
                f"expected mixes of the same pictures, found other ones ({', '.join(other)}) in ablate-{first} and "
                f"ablate-{name}: a source has changed since; `dvc repro`, commit dvc.lock, and run it again"
            )


def _on_train(table: pd.DataFrame) -> int:
    return int((table["side"] == "train").sum())


def _merged(experiments: Experiments, mix: Mix) -> _Merged:
    values: Values = {"merge.unreviewed": "include", "merge.leave_out": list(mix.leave_out)}
    name = f"ablate-{mix.name}"
    version = experiments.done(name, values, RECORDS)
    if version is None:
        _say(f"{mix.name}: merging")
        version = experiments.run(name, ("merge", "agreement"), values)
    return _Merged(mix, values, version, dataset_of(version))


def _all_runs(
    experiments: Experiments,
    merged: Sequence[_Merged],
    params: Params,
    steps: int,
    seeds: int,
    dev: pd.DataFrame,
) -> list[MixRuns]:
    """The mixes, each trained with each seed; one that holds the pictures of an earlier one takes its runs."""
    by_content: dict[str, MixRuns] = {}
    found, number, total = [], 0, seeds * len({one.content for one in merged})
    for one in merged:
        twin = by_content.get(one.content)
        if twin is not None:
            found.append(MixRuns(one.mix, one.pictures, twin.image_steps, twin.runs, twin.mix.name))
            continue
        epochs = epochs_of(params, steps, one.pictures)
        runs = {}
        for seed in range(1, seeds + 1):
            number += 1
            values = {**_LAST, **epochs, "train.seed": seed}
            version = _trained(experiments, one, values, f"{number} of {total}")
            runs[seed] = _scores(version, dev, one.version, params.evaluate)
        by_content[one.content] = MixRuns(one.mix, one.pictures, sum(epochs.values()) * one.pictures, runs)
        found.append(by_content[one.content])
    return found


def _trained(experiments: Experiments, merged: _Merged, values: Values, place: str) -> Version:
    """The experiment of one training; PipelineError where it trained on other pictures than those of the mix."""
    run = f"{merged.mix.name}-{values['train.seed']}"
    values = {**merged.values, **values}
    version = experiments.done(f"ablate-{run}", values, SINET)
    if version is not None:
        _say(f"{run}: already trained, {place}")
    else:
        began = time.monotonic()
        _say(f"{run}: training, {place}")
        version = experiments.run(f"ablate-{run}", ("train",), values)
        _say(f"{run}: done in {(time.monotonic() - began) / 60:.1f} minutes")
    check_same_inputs({merged.mix.name: {str(DATASET): merged.content}, run: inputs_of(version, "train")})
    return version


def _scores(trained: Version, dev: pd.DataFrame, merged: Version, recipe: EvaluateRecipe) -> pd.DataFrame:
    """A row a picture of `dev`, whose files `merged` has, with all four scores of what was trained."""
    files = merged.bring([*dev["image"], *dev["mask"]])
    pictures = dev.assign(image=dev["image"].map(files), mask=dev["mask"].map(files))
    if pictures[["image", "mask"]].isna().any(axis=None):
        raise NotHereError("a picture of the dev side is not in DVC's cache; `dvc fetch` brings it")
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        Path(file.name).write_bytes(trained.read(str(SINET)))
        return measured(pictures, Path(file.name), recipe)


def _hours(version: Version) -> float | None:
    """About what the reviews of the queue took, None where nobody measured it."""
    path = METRICS / "reviews.json"
    try:
        minutes = parse_figures(version.read(str(path)), str(path)).get("minutes")
    except NotHereError:  # stage agreement has not run
        return None
    return None if minutes is None or isinstance(minutes, str) else float(minutes) / 60


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
