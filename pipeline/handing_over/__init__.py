"""The dataset in the layouts of other libraries: Hugging Face, COCO, WebDataset, pairs of files."""

from typing import Literal

Format = Literal["huggingface", "coco", "webdataset", "pairs"]
