"""The portraits of a dataset as other libraries get them: the files of picture and mask, and what is known of them."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.core.licences import UNKNOWN, allowed, is_family, licence_name
from pipeline.core.records import SIDES, read_records

SHARD_BYTES = 400_000_000  # of one file of many pictures


@dataclass(frozen=True)
class PictureFacts:
    """What every format says of a portrait beside its pixels; "" for what nobody stated."""

    id: str
    side: str  # train, dev or test
    label: str  # whose mask it is: human, crop, reviewed or pseudo
    source: str
    source_key: str
    licence: str  # SPDX id where it is understood, else the source's words, or `unknown`
    author: str
    url: str
    retrieved_at: str


@dataclass(frozen=True)
class DatasetPicture:
    """A picture and its 0/255 mask as files, and the facts."""

    facts: PictureFacts
    image: Path  # .jpg or .png
    mask: Path
    width: int  # pixels
    height: int

    def stated(self) -> dict[str, str]:
        """The facts by name."""
        return asdict(self.facts)

    def size(self) -> int:
        """Bytes of both files."""
        return self.image.stat().st_size + self.mask.stat().st_size


def chosen_records(folder: Path, sides: Collection[str], allow: Sequence[str]) -> pd.DataFrame:
    """The dataset's records of these sides and licences (ids, families, `unknown`); all where none are named.

    PipelineError for a word that is no side or licence, and where nothing is left.
    """
    for word in sides:
        if word not in SIDES:
            raise PipelineError(f"expected a side ({', '.join(SIDES)}), found {word!r}")
    for word in allow:
        if word != UNKNOWN and not is_family(word):
            raise PipelineError(
                f"expected an SPDX id, a family of them (CC-BY) or `{UNKNOWN}` to allow, found {word!r}"
            )
    records = read_records(folder)
    of_sides = records["side"].isin(list(sides) or SIDES)
    of_licences = records["licence"].map(lambda one: allowed(one, allow or "any")).astype(bool)
    chosen = records[of_sides & of_licences].reset_index(drop=True)
    if chosen.empty:
        raise PipelineError(
            f"expected portraits of that side and licence in {folder}, found none; ask for others"
        )
    return chosen


def dataset_pictures(folder: Path, records: pd.DataFrame) -> list[DatasetPicture]:
    """The portraits of a dataset's records, by id; PipelineError where a file is missing."""
    pictures = []
    for row in records.sort_values("id").itertuples():
        facts = PictureFacts(
            id=str(row.id),
            side=str(row.side),
            label=str(row.label),
            source=str(row.source),
            source_key=str(row.source_key),
            licence=licence_name(row.licence),
            author=_text(row.author),
            url=_text(row.url),
            retrieved_at=_text(row.retrieved_at),
        )
        files = (Path(str(row.image)), Path(str(row.mask)))
        for path in files:
            if not path.is_file():
                raise PipelineError(
                    f"expected {path}, found no such file; `dvc pull {folder}` brings it back"
                )
        pictures.append(DatasetPicture(facts, *files, int(str(row.width)), int(str(row.height))))
    return pictures


def by_side(pictures: Sequence[DatasetPicture]) -> dict[str, list[DatasetPicture]]:
    """The portraits of each side that has any, in the order of the sides."""
    found = {side: [one for one in pictures if one.facts.side == side] for side in SIDES}
    return {side: members for side, members in found.items() if members}


def shards_of(pictures: Sequence[DatasetPicture], limit: int) -> Iterator[list[DatasetPicture]]:
    """Cut into runs of at most `limit` bytes of files; a portrait larger than that is alone."""
    shard: list[DatasetPicture] = []
    filled = 0
    for one in pictures:
        if shard and filled + one.size() > limit:
            yield shard
            shard, filled = [], 0
        shard.append(one)
        filled += one.size()
    if shard:
        yield shard


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
