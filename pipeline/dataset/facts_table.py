"""The table of facts about a dataset's pictures: its columns, the slices that they make, and its file.

Stage balance makes it (`pipeline.dataset.picture_facts`); whoever else needs it reads it by its id.
"""

from pathlib import Path

import pandas as pd

from pipeline.core.errors import PipelineError
from sinet.core import atomic

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
SLICES = {  # what is hard for a network, or rare, and how it is told
    "no_face": "no face was found",
    "several_people": "more than one face of the same size",
    "small_face": "the face is less than a quarter of the picture's height",
    "dark": "mean brightness below a quarter",
    "blurred": "sharpness below 100",
    "grey": "no colour",
    "off_centre": "the middle of the person is a tenth of the width or more beside that of the picture",
    "dark_skin": "skin tone of at most 10 degrees: brown or dark by Chardon's classes; a proxy that light changes too",
}
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


def slices_of(facts: pd.DataFrame) -> pd.DataFrame:
    """Whether each row of FACTS is in each of the SLICES; <NA> where its picture cannot tell."""
    found = {
        "no_face": facts["faces"] == 0,
        "several_people": facts["faces"] > 1,
        "small_face": (facts["face_height"] < 0.25).astype("boolean").mask(facts["face_height"].isna()),
        "dark": facts["brightness"] < 0.25,
        "blurred": facts["sharpness"] < 100,
        "grey": facts["grey"],
        "off_centre": (facts["centre_x"] - 0.5).abs() >= 0.1,
        "dark_skin": (facts["skin_tone"] <= 10).astype("boolean").mask(facts["skin_tone"].isna()),
    }
    return pd.DataFrame(found).astype("boolean")
