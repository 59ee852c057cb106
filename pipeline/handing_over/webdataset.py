"""WebDataset: tars in which ID.jpg or ID.png, ID.mask.png and ID.json of a portrait lie beside each other."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.handing_over.dataset_pictures import SHARD_BYTES, DatasetPicture, by_side, shards_of


def write_webdataset(
    folder: Path, pictures: Sequence[DatasetPicture], shard_bytes: int = SHARD_BYTES
) -> None:
    """Write SIDE-000000.tar of each side, with the files' own bytes, and no time and no owner in it."""
    for side, members in by_side(pictures).items():
        for number, shard in enumerate(shards_of(members, shard_bytes)):
            with tarfile.open(folder / f"{side}-{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
                for one in shard:
                    _add_portrait(tar, one)


def _add_portrait(tar: tarfile.TarFile, one: DatasetPicture) -> None:
    facts = json.dumps(one.stated(), sort_keys=True, ensure_ascii=False).encode()
    parts = {one.image.suffix: one.image.read_bytes(), ".mask.png": one.mask.read_bytes(), ".json": facts}
    for suffix, data in parts.items():
        member = tarfile.TarInfo(f"{one.facts.id}{suffix}")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
