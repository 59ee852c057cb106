"""Find the pictures that show the same photograph: the only stage that compares pictures with one another.

Reads all that was ingested and cropped. Writes data/cluster/labelled.csv and data/cluster/crawl.csv, the cluster of
every picture, which is the smallest id in it; and data/cluster/beside.csv, which clusters of the crawl look like which
labelled ones. The two are clustered apart, so that a growing crawl changes nothing about the labelled pictures, and
likeness does not go from one crawled picture to another through a labelled one.
"""

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain

import pandas as pd

from pipeline.core.ingested import read_ingested
from pipeline.core.params import ClusterParams, load_params
from pipeline.core.paths import CLUSTER, CROP, INGEST
from pipeline.core.records import read_records
from pipeline.core.stage import run, write_metrics
from pipeline.core.store import Store
from pipeline.dataset.cluster_table import Clusters, write_beside, write_clusters
from pipeline.dataset.clusters import clusters, names_of, pixels
from pipeline.look_alikes.finder import Prints, look_alikes, prints_of


def cluster(labelled: pd.DataFrame, crawl: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> Clusters:
    """The clusters of the records, whose ids may repeat.

    `pairs` are ids of pictures that look alike, of the records' pictures and of those that they were cut from
    (`pictures_of`). Two crops of one scene may differ where their boxes do; what they come from still looks alike.
    """
    of_labelled, of_crawl = (_among(table, pairs) for table in (labelled, crawl))
    links = {(of_crawl[one], of_labelled[one]) for one in of_crawl.keys() & of_labelled.keys()}
    for one, other in chain(pairs, ((other, one) for one, other in pairs)):
        first, second = pixels(one), pixels(other)
        if first in of_crawl and second in of_labelled:
            links.add((of_crawl[first], of_labelled[second]))
    beside: dict[str, list[str]] = {}
    for one, other in sorted(links):
        beside.setdefault(one, []).append(other)
    return Clusters(_by_id(labelled, of_labelled), _by_id(crawl, of_crawl), beside)


def pictures_of(records: pd.DataFrame, parents: pd.DataFrame) -> dict[str, str]:
    """Path by id of the records' pictures, and of those `parents` that they were cut from."""
    cut_from = parents[parents["id"].isin(records["parent_id"])]
    both = pd.concat([cut_from, records])
    return dict(zip(both["id"], both["image"], strict=True))


def summarise(found: Clusters) -> dict[str, object]:
    """How many pictures make how many clusters, how many are in one with others, and how many are alike."""
    counts: dict[str, object] = {}
    for name, table in (("labelled", found.labelled), ("crawl", found.crawl)):
        sizes = pd.Series(table, dtype="str").value_counts()
        counts[name] = {
            "pictures": len(table),
            "clusters": len(sizes),
            "shared": int((sizes > 1).sum()),  # of more than one picture
            "pictures_in_shared": int(sizes[sizes > 1].sum()),
            "largest": int(sizes.max()) if len(sizes) else 0,
        }
    return {**counts, "crawl_like_labelled": len(found.beside)}


def _among(records: pd.DataFrame, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The cluster by every name that a record is known under, with the pairs among them alone."""
    names = names_of(records)
    known = {name for of_one in names for name in of_one}
    inside = [pair for pair in pairs if all(pixels(one) in known for one in pair)]
    found = clusters(records, inside)
    return {name: one for of_one, one in zip(names, found, strict=True) for name in of_one}


def _by_id(records: pd.DataFrame, found: Mapping[str, str]) -> dict[str, str]:
    return {str(one): found[pixels(str(one))] for one in records["id"]}


def _pairs(
    prints: Prints, labelled: Collection[str], crawl: Collection[str], params: ClusterParams
) -> list[tuple[str, str]]:
    """The look-alikes among the labelled pictures, which no crawl changes; among the crawl's; and across."""
    return [
        *look_alikes(prints.among(labelled), params, "labelled"),
        *look_alikes(prints.among(crawl), params, "crawl"),
        *look_alikes(prints, params, "across", labelled),
    ]


def main() -> None:
    params = load_params().cluster
    bodies, photographs = read_ingested(INGEST / "bodies"), read_ingested(INGEST / "crawl")
    labelled = pd.concat(
        [read_ingested(INGEST / "labelled"), read_records(CROP / "bodies")], ignore_index=True
    )
    crawl = pd.concat([photographs, read_records(CROP / "crawl")], ignore_index=True)
    of_labelled, of_crawl = pictures_of(labelled, bodies), pictures_of(crawl, photographs)
    prints = prints_of(of_labelled | of_crawl, Store("look_alikes"), "cluster")
    found = cluster(labelled, crawl, _pairs(prints, of_labelled, of_crawl, params))
    shutil.rmtree((CLUSTER / "labelled.csv").parent, ignore_errors=True)  # with what a kill has left
    write_clusters(CLUSTER / "labelled.csv", found.labelled)
    write_clusters(CLUSTER / "crawl.csv", found.crawl)
    write_beside(CLUSTER / "beside.csv", found.beside)
    write_metrics("cluster", summarise(found))


if __name__ == "__main__":
    run("cluster", main)
