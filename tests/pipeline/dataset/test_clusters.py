"""Clusters go from one picture to the next."""

from typing import Any

from pipeline.core.records import make_records
from pipeline.dataset.clusters import clusters


def record(number: int, **more: Any) -> dict[str, Any]:
    common = {"source": "s", "source_key": f"{number}", "image": f"{number}.png", "width": 9, "height": 9}
    return {"id": f"{number:016x}", "sha256": f"{number:064x}", **common, **more}


def test_clusters_by_file_parent_and_hash_go_from_one_to_the_next() -> None:
    parent = f"{77:016x}"
    records = make_records(
        [
            record(1),
            record(2, sha256=f"{1:064x}"),  # the file of 1
            record(3, parent_id=parent, parent_sha256=f"{500:064x}"),
            record(4, parent_id=parent),  # the parent of 3
            record(5, sha256=f"{500:064x}"),  # the file of the parent of 3
            record(6),  # looks like 1
            record(7, parent_id=f"{78:016x}"),  # its parent looks like the parent of 3
            record(8),
        ]
    )
    pairs = [(f"{1:016x}", f"{6:016x}"), (f"{78:016x}", parent)]
    found = clusters(records, pairs)
    assert [int(one, 16) for one in found] == [1, 1, 3, 3, 3, 1, 3, 8]
    assert [int(one, 16) for one in clusters(records)] == [1, 1, 3, 3, 3, 6, 7, 8]


def test_clusters_do_not_depend_on_the_order_of_the_rows() -> None:
    records = make_records([record(one, sha256=f"{one % 5:064x}") for one in range(30)])
    shuffled = records.sample(frac=1, random_state=3)
    assert clusters(shuffled).sort_index().tolist() == clusters(records).tolist()
