"""The table of facts about a dataset's pictures: its columns, and its file; `sinet.evaluation.slices` has the slices.

Stage balance makes it (`pipeline.dataset.picture_facts`); whoever else needs it reads it by its id.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.core.errors import PipelineError
from sinet.core import atomic
from sinet.evaluation.slices import Known, in_slices

FACTS = (
    "brightness",  # mean luma, 0..1
    "sharpness",  # variance of the Laplacian of the luma 0..255, squashed to 224 x 224 as the network sees it
    "grey",  # whether there is no colour in it
    "face_height",  # of the largest face, as a share of the picture's height; NaN without a face
    "faces",  # how many there are of a size with the largest
    "person_share",  # of the picture, by the mask
    "centre_x",  # of the mask, 0 (left) .. 1
    "centre_y",  # of the mask, 0 (top) .. 1
    "skin_tone",  # individual typology angle of the largest face, degrees; NaN without a face or colour
)
_FILE = "facts.parquet"


def write_facts(folder: Path, table: pd.DataFrame) -> None:
    """Write FOLDER/facts.parquet."""
    with atomic.replacing(folder / _FILE) as temporary:
        table.to_parquet(temporary, index=False)


def read_facts(folder: Path) -> pd.DataFrame:
    """`id` and FACTS, a row a picture."""
    if not (folder / _FILE).is_file():
        raise PipelineError(f"expected {folder / _FILE}, found no such file; run `dvc repro balance`")
    table = pd.read_parquet(folder / _FILE)
    if list(table.columns) != ["id", *FACTS]:
        raise PipelineError(
            f"expected the columns id, {', '.join(FACTS)} in {folder / _FILE}, found {', '.join(table.columns)}; run "
            "`dvc repro balance`"
        )
    return table


def known_facts(facts: pd.DataFrame, ids: pd.Series) -> Known:
    """FACTS of the pictures with these ids, in their order; NaN where there is no row."""
    rows = facts.set_index("id").reindex(ids)
    return {name: rows[name].to_numpy(np.float64, na_value=np.nan) for name in rows if name in FACTS}


def slices_of(facts: pd.DataFrame) -> pd.DataFrame:
    """Whether each row of FACTS is in each of the SLICES; <NA> where its picture cannot tell."""
    found = in_slices({name: facts[name].to_numpy(np.float64) for name in facts if name in FACTS})
    return pd.DataFrame(found, index=facts.index).astype("boolean")
