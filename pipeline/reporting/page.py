"""Turn counts and figures into texts: the dataset card that git tracks, and the page with pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.params import ROLES
from pipeline.core.records import SIDES
from pipeline.reporting.figures import BACKGROUND, INK
from pipeline.reporting.flow import BY_ROLE, KINDS, Metrics, extent, flow, sources_of
from pipeline.reporting.rendering import template
from pipeline.reporting.review_facts import review_rows, reviewer_rows
from pipeline.versions.paired import FEWEST
from pipeline.versions.slices import MEASURES, SliceScore
from sinet.evaluation.slices import SLICES

_TITLE = "From the sources' files to the sides of the dataset"
METRIC_NAMES = ("foreground_iou", "mean_iou", "boundary_f1", "foreground_iou_native")
# As sinet.evaluation.gallery paints them; a test holds the two together, since importing it here would load torch.
COLOURS = {"found": "rgb(0, 114, 178)", "false": "rgb(213, 94, 0)", "missed": "rgb(240, 228, 66)"}
SHOWN_EACH = 8  # rejected items shown for a stage


@dataclass(frozen=True)
class ShownPicture:
    """A picture inside the page."""

    id: str
    uri: str
    width: int  # pixels
    height: int
    caption: str


@dataclass(frozen=True)
class ShownPictures:
    """Pictures with one kind of mask."""

    name: str
    pictures: Sequence[ShownPicture]


@dataclass(frozen=True)
class Page:
    """What the page shows beside the metrics."""

    plots: Mapping[str, str]  # SVG text of train, teacher, iou and balance
    balance: Sequence[
        Mapping[str, Any]
    ]  # a row a side and source, as `pipeline.reporting.groups.balance_rows`
    slice_scores: Sequence[SliceScore]
    rejected: Mapping[
        str, Sequence[Mapping[str, str]]
    ]  # by stage, as the metrics: source, source_key, reason, detail
    samples: Sequence[ShownPictures]
    gallery: Sequence[Mapping[str, Any]]  # id, file, uri, width, height, the four figures
    label: str  # the kind of the test masks, where there is only one
    params: Mapping[str, Any]  # sections of params.yaml
    versions: Mapping[str, str]
    picture_height: int  # pixels


def dataset_card(metrics: Metrics) -> str:
    """reports/dataset.md: what the dataset holds and what was left out, from the data stages alone."""
    return template("dataset.md.j2").render(_data_facts(metrics))


def dataset_table(metrics: Metrics) -> str:
    """reports/dataset.csv: the counts of the card, one a line: stage, group, name, count."""
    lines = ["stage,group,name,count"]
    for key in _stage_names(metrics):
        counts = metrics[key]
        lines += [f"{key},pictures,{name},{counts[name]}" for name in ("in", "out", "rejected")]
        lines += [f"{key},reason,{name},{count}" for name, count in sorted(counts["reasons"].items())]
    merge = metrics["merge"]
    for group in ("inputs", "labels", "sides", "sources", "licences", "reviews", "clusters"):
        lines += [f"merge,{group},{_quoted(name)},{count}" for name, count in sorted(merge[group].items())]
    for side in SIDES:
        kinds = sorted(merge["sides_by_label"].get(side, {}).items())
        lines += [f"merge,side_{side},{name},{count}" for name, count in kinds]
    singles = ("leaks", "test_duplicates", "orphaned_reviews", "unreviewed")
    lines += [f"merge,pictures,{name},{merge[name]}" for name in singles]
    return "\n".join(lines) + "\n"


def flow_svg(metrics: Metrics, *, standalone: bool = True) -> str:
    """The drawing of the counts; `standalone` brings its own colours, else the page's are used."""
    nodes, edges = flow(metrics)
    width, height = extent(nodes)
    drawing = {"nodes": nodes, "edges": edges, "width": width, "height": height, "title": _TITLE}
    return template("flow.svg.j2").render(drawing, standalone=standalone).strip() + "\n"


def page_html(metrics: Metrics, page: Page) -> str:
    """data/report/index.html: one file with its style, drawings and pictures inside."""
    plots = {name: inline_svg(text) for name, text in page.plots.items()}
    return template("page.html.j2").render(
        _page_facts(metrics, page), flow=flow_svg(metrics, standalone=False), plots=plots
    )


def page_markdown(metrics: Metrics, page: Page) -> str:
    """data/report/report.md; its plots lie beside it."""
    return template("report.md.j2").render(_page_facts(metrics, page))


def inline_svg(text: str) -> str:
    """An SVG file of pipeline.reporting.figures as part of a page: no prologue, the page's ink, no background."""
    body = text[text.index("<svg") :]
    return body.replace(BACKGROUND, "none").replace(INK, "currentColor")


def _stage_names(metrics: Metrics) -> dict[str, str]:
    """What counts pictures in and out, in the order of the recipe, and how it is called on the page."""
    names: dict[str, str] = {}
    for role in ROLES:
        names |= {f"ingest@{name}": f"ingest {name} ({role})" for name in sources_of(metrics, role)}
    for stage, roles in BY_ROLE.items():
        names |= {f"{stage}@{role}": f"{stage} {role}" for role in roles}
    return {**names, "merge": "merge"}


def _data_facts(metrics: Metrics) -> dict[str, Any]:
    merge = metrics["merge"]
    kinds = [kind for kind in KINDS if kind in merge["labels"]]
    return {
        "title": _TITLE,
        "merge": merge,
        "sides": SIDES,
        "kinds": kinds,
        "kind_names": KINDS,
        "stages": [
            {"key": key, "name": name, "counts": metrics[key]} for key, name in _stage_names(metrics).items()
        ],
        "sides_sentence": _list([f"{merge['sides'].get(side, 0):,} {side}" for side in SIDES]),
        "inputs_sentence": _inputs(merge["inputs"]),
        "unreviewed_sentence": _unreviewed(merge),
        "test_sentence": _test(metrics["split@labelled"], merge),
        "cluster_sentence": _clusters(merge),
    }


def _page_facts(metrics: Metrics, page: Page) -> dict[str, Any]:
    facts = _data_facts(metrics)
    for row in facts["stages"]:
        row["examples"] = _spread(page.rejected[row["key"]])
    evaluate = metrics["evaluate"]
    return {
        **facts,
        **{name: metrics[name] for name in ("evaluate", "train", "teacher", "export", "queue")},
        "review_rows": review_rows(metrics["agreement"]),
        "reviewer_rows": reviewer_rows(metrics["agreement"]),
        "start_sentence": _start(metrics["train"], metrics["merge"], page.params["train"]["weights"]),
        "cards": _cards(evaluate, page.params["evaluate"]),
        "metric_names": METRIC_NAMES,
        "near_sentence": _near(evaluate["count"] - evaluate["without_near_train"]["count"]),
        "balance": page.balance,
        "slices": SLICES,
        "measures": MEASURES,
        "slice_rows": [(one.name, one.scores) for one in page.slice_scores],
        "fewest": FEWEST,
        "by_label": _by_label(evaluate, page.label),
        "samples": page.samples,
        "gallery": page.gallery,
        "colours": COLOURS,
        "params": page.params,
        "versions": page.versions,
        "picture_height": page.picture_height,
    }


def _cards(evaluate: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[dict[str, Any]]:
    size = f"{recipe['size']}×{recipe['size']}"
    texts = {
        "foreground_iou": (
            "Foreground IoU",
            f"IoU of the person, one number a picture squashed to {size}, averaged over the pictures: "
            "what the SINet paper and its code call mIoU.",
        ),
        "mean_iou": (
            "Two-class mIoU",
            f"Mean of the IoU of person and of background at {size}, their pixels summed over all pictures: "
            "what most segmentation papers call mIoU.",
        ),
        "boundary_f1": (
            "Boundary F1",
            f"F1 of the person within a band of {recipe['boundary_kernel']} pixels around the true outline "
            f"at {size}, averaged over the pictures.",
        ),
        "foreground_iou_native": (
            "Foreground IoU, own size",
            "IoU of the person with the mask enlarged to the picture's own size, averaged over the pictures.",
        ),
    }
    return [
        {"name": texts[name][0], "value": evaluate[name], "meaning": texts[name][1]} for name in METRIC_NAMES
    ]


def _by_label(evaluate: Mapping[str, Any], label: str) -> dict[str, Mapping[str, Any]]:
    """The four figures for each kind of test masks, for all where there are several kinds, and apart from train."""
    apart = evaluate["without_near_train"]
    found = {**evaluate["by_label"], "all": evaluate} if "by_label" in evaluate else {label: evaluate}
    return {**found, "nothing near train": apart} if 0 < apart["count"] < evaluate["count"] else found


def _unreviewed(merge: Mapping[str, Any]) -> str:
    count = merge["unreviewed"]
    if not count:
        return "Every mask was drawn or accepted by a person: there is no unreviewed pseudo label in the dataset."
    verb, noun = ("is", "mask") if count == 1 else ("are", "masks")
    return (
        f"{count:,} unreviewed {noun} {verb} trained on: made by the teacher and looked at by nobody "
        "(merge.unreviewed: include). None is on the dev or test side."
    )


def _start(train: Mapping[str, Any], merge: Mapping[str, Any], weights: str) -> str:
    """What a reader must know of weights that training started from; "" where it started from none."""
    if "start_dev_foreground_iou" not in train:
        return ""
    before = train["unreviewed_pseudo_labels"] - merge["unreviewed"]
    masks = f", {_plural(before, 'unreviewed pseudo label')} among them," if before else ""
    reached = 100 * train["start_dev_foreground_iou"]
    return (
        f"Training started from other weights (train.weights: {weights}), with {reached:.2f} % "
        f"foreground IoU on dev. What those were trained on{masks} is not in this dataset: its terms hold for the new "
        "weights too, and where it holds pictures of this test side, the figures here are too good."
    )


def _inputs(inputs: Mapping[str, int]) -> str:
    names = {
        "human": "labelled portrait",
        "crop": "portrait crop",
        "pseudo": "pseudo label",
        "reviews": "review",
    }
    return _list([_plural(inputs[key], name) for key, name in names.items()])


def _test(split: Mapping[str, Any], merge: Mapping[str, Any]) -> str:
    if split["published_test"]:
        return (
            "The test side is the one that a source publishes. For showing the same photograph as a picture "
            f"of another side, {_plural(split['leaks'] + merge['leaks'], 'picture')} left."
        )
    return "No source publishes a test side: like dev, it was cut by a hash of the near-duplicate cluster."


def _near(count: int) -> str:
    if not count:
        return "No test picture was found near anything outside the test side."
    return (
        f"{_plural(count, 'test picture')} had near-duplicates outside the test side, which left and trained nothing "
        "(data/split/near_test.csv); nothing near train: without them."
    )


def _clusters(merge: Mapping[str, Any]) -> str:
    clusters = merge["clusters"]
    if not clusters["shared"]:
        return "No two of its pictures are near-duplicates."
    members = "holds" if clusters["shared"] == 1 else "hold"
    return (
        f"{_plural(clusters['shared'], 'cluster')} of near-duplicates (equal files, like hashes, mirrored, "
        f"cut from one photograph) {members} {clusters['records_in_shared']:,} pictures, the largest "
        f"{clusters['largest']:,}; no cluster crosses sides."
    )


def _spread(rejected: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """A few rejected items, of as many reasons as can be."""
    by_reason: dict[str, list[Mapping[str, str]]] = {}
    for one in rejected:
        by_reason.setdefault(one["reason"], []).append(one)
    rounds = max((len(members) for members in by_reason.values()), default=0)
    order = [members[at] for at in range(rounds) for members in by_reason.values() if at < len(members)]
    return sorted(order[:SHOWN_EACH], key=lambda one: (one["reason"], one["source_key"]))


def _list(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _quoted(text: str) -> str:
    """A field of a CSV line."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text
