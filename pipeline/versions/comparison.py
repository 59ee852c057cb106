"""Whether one version's SINet is better than another's: picture by picture, overall and in slices.

Only pictures with the same mask on both test sides are compared: another mask is another question.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.reporting.rendering import markdown_cell
from pipeline.versions.paired import Interval, survive, verdict
from pipeline.versions.revision import Version
from pipeline.versions.slices import MEASURES, interval_of, picture_slices
from pipeline.versions.tables import SCORES, dataset_of, known_facts_of, scores_of

SMALLEST = 0.005  # the least difference of a score that matters


@dataclass(frozen=True)
class Pairs:
    """Test pictures with two scores each: id, source, label, cluster, and each of MEASURES as NAME_old and NAME_new."""

    pictures: pd.DataFrame
    facts: pd.DataFrame | None
    notes: tuple[str, ...] = ()  # what a reader must know of them


@dataclass(frozen=True)
class ComparedSlice:
    """One slice and one metric: the mean scores, and the interval of their differences."""

    slice: str
    measure: str
    old: float
    new: float
    difference: Interval
    verdict: str


def compared_rows(pairs: Pairs, smallest: float = SMALLEST) -> list[ComparedSlice]:
    """A row a metric and slice, all pictures first.

    That row stands for itself. The slices of a metric are judged together (Holm): of so many some lie apart by chance.
    """
    rows = []
    slices = picture_slices(pairs.pictures, pairs.facts)
    for metric in MEASURES:
        parts = [pairs.pictures[one.chosen] for one in slices]
        differences = [_difference(part, metric) for part in parts]
        p_values = [one.p_value for one in differences]
        hold = [*survive(p_values[:1]), *survive(p_values[1:])]
        rows += [
            ComparedSlice(
                one.name,
                metric,
                float(part[f"{metric}_old"].mean()),
                float(part[f"{metric}_new"].mean()),
                difference,
                verdict(difference, smallest, held),
            )
            for one, part, difference, held in zip(slices, parts, differences, hold, strict=True)
        ]
    return rows


def pairs_of_versions(old: Version, new: Version) -> Pairs:
    """The test pictures that both have measured against the same mask; PipelineError where there is none.

    The scores are those that stage evaluate wrote. NotHereError where scores or a table of pictures cannot be had.
    """
    notes = _unlike(old, new)
    before, after = scores_of(old), scores_of(new)
    masks = [dataset_of(version).set_index("id") for version in (old, new)]
    both = before[["id", *MEASURES]].merge(after, on="id", suffixes=("_old", "_new"))
    md5 = [both["id"].map(table["mask_md5"]) for table in masks]
    same = both[(md5[0] == md5[1]).to_numpy()].reset_index(drop=True)
    left_out = {
        f"only in {old.title}": len(before) - len(both),
        f"only in {new.title}": len(after) - len(both),
        "with another mask": len(both) - len(same),
    }
    words = [f"{count:,} {why}" for why, count in left_out.items() if count]
    if words:
        notes.append(f"Left out: {', '.join(words)}.")
    if same.empty:
        raise PipelineError(
            f"expected test pictures with the same mask in {old.title} and {new.title}, found none "
            f"({'; '.join(words)}); `python -m pipeline compare A.safetensors B.safetensors` measures both "
            "models on the test side that lies here"
        )
    same["cluster"] = same["id"].map(masks[1]["cluster"])
    facts = known_facts_of(new)
    return Pairs(same, facts, (*notes, *_without_facts(facts)))


def paired(old: pd.DataFrame, new: pd.DataFrame, facts: pd.DataFrame | None) -> Pairs:
    """Two tables of scores of the same pictures, joined; `new` also says source, label and cluster."""
    both = old[["id", *MEASURES]].merge(new, on="id", suffixes=("_old", "_new"), validate="one_to_one")
    return Pairs(both, facts, tuple(_without_facts(facts)))


def comparison_report(names: tuple[str, str], pairs: Pairs, smallest: float = SMALLEST) -> str:
    """The text as Markdown: the answer first, then a table a metric."""
    rows = compared_rows(pairs, smallest)
    parts = [
        f"# Is {names[1]} better than {names[0]}?",
        "; ".join(f"{MEASURES[row.measure]}: **{row.verdict}**" for row in rows if row.slice == "all") + ".",
        f"SINet on {len(pairs.pictures):,} test pictures of {rows[0].difference.photographs:,} photographs that both "
        "were measured on, in percent. The difference has its 95 % interval, of pictures drawn again with replacement. "
        f"`no difference` is one of less than {100 * smallest:g} points either way; `perhaps` is one that so many "
        "slices can show by chance; `not enough pictures` says how many would decide, or, of fewer photographs than an "
        "interval needs, how many that is.",
        *pairs.notes,
    ]
    old, new = map(markdown_cell, names)
    for metric, name in MEASURES.items():
        head = f"| {name} | pictures | {old} | {new} | difference | |\n|---|---:|---:|---:|---|---|"
        lines = [_line(row) for row in rows if row.measure == metric]
        parts.append("\n".join([head, *lines]))
    return "\n\n".join(parts) + "\n"


def _line(row: ComparedSlice) -> str:
    one = row.difference
    between = "" if one.low is None or one.high is None else f" [{100 * one.low:+.2f}, {100 * one.high:+.2f}]"
    cells = (
        markdown_cell(row.slice),
        f"{one.pictures:,}",
        f"{100 * row.old:.2f}",
        f"{100 * row.new:.2f}",
        f"{100 * one.mean:+.2f}{between}",
        row.verdict,
    )
    return f"| {' | '.join(cells)} |"


def _difference(part: pd.DataFrame, metric: str) -> Interval:
    values = part[f"{metric}_new"].to_numpy() - part[f"{metric}_old"].to_numpy()
    return interval_of(values, part)


def _unlike(old: Version, new: Version) -> list[str]:
    """What makes the scores of two versions less comparable; PipelineError where it makes them incomparable."""
    stages = [version.lock["stages"].get("evaluate", {}) for version in (old, new)]
    for version in (old, new):
        _check_measured(version)
    params = [stage.get("params", {}).get("params.yaml", {}).get("evaluate", {}) for stage in stages]
    for name in ("size", "boundary_kernel"):
        values = [one.get(name) for one in params]
        if values[0] != values[1]:
            raise PipelineError(
                f"expected one protocol, found evaluate.{name} {values[0]} in {old.title} and {values[1]} in "
                f"{new.title}: their scores are of two things; run `dvc repro evaluate` with one of the values"
            )
    code = [
        {dep["path"]: dep.get("md5") for dep in stage.get("deps", []) if dep["path"].startswith("sinet/")}
        for stage in stages
    ]
    other = sorted(path for path in code[0].keys() | code[1].keys() if code[0].get(path) != code[1].get(path))
    if not other:
        return []
    return [
        f"They were measured by different code ({', '.join(other)}), which may be a part of the difference."
    ]


def _check_measured(version: Version) -> None:
    """PipelineError where the scores are not of this version's pictures and weights, or not those of dvc.lock."""
    other = version.outdated_inputs("evaluate")
    if other:
        raise PipelineError(
            f"expected scores of what {version.title} holds, found that stage evaluate measured another "
            f"{' and another '.join(other)}: run `dvc repro evaluate` there and commit dvc.lock, or compare the "
            "weights files"
        )
    path = str(SCORES)
    here, outputs = version.hashes([path]), version.outputs
    if path in here and path in outputs and here[path] != outputs[path].md5:
        raise PipelineError(
            f"expected {path} as dvc.lock has it, found another one; `dvc checkout` brings it, or `dvc repro` makes it"
        )


def _without_facts(facts: pd.DataFrame | None) -> Sequence[str]:
    return (
        [] if facts is not None else ["What the pictures show was not written down there: no slices by it."]
    )
