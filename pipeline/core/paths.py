"""Where the recipe reads and writes, relative to the folder that holds dvc.yaml."""

from pathlib import Path

DATA = Path("data")
SAMPLE = DATA / "sample"
SAMPLE_SOURCES = ("eg1800", "baidu", "crawl")  # the folders in it, each in the layout of its name
CRAWL = DATA / "crawl"  # NAME, a folder a list of addresses: sources.csv, images/
# ROLE/NAME, a folder a source: records.parquet, images/, masks/; ROLE/sources.csv lists them.
INGEST = DATA / "ingest"
CROP = DATA / "crop"  # bodies/ and crawl/, each with records.parquet and images/, bodies/ with masks/ too
CLUSTER = DATA / "cluster"  # which pictures show the same photograph
SPLIT = DATA / "split"  # labelled/ and crawl/: records with their sides
KEPT_SIDES = Path("annotations/sides")  # in git: the side that each photograph was given first
PSEUDO = DATA / "pseudo"
QUEUE = DATA / "queue"
PUSH = DATA / "push"
SECOND_LOOK = DATA / "second_look"
DATASET = DATA / "dataset"
PICTURE_FACTS = DATA / "facts"  # what is plain to see of each picture of the dataset
LABEL_ERRORS = DATA / "label_errors"  # of a command, no stage: masks.csv and a page with pictures
REJECTED = DATA / "rejected"  # STAGE.csv, apart from the data, so that another reject trains nothing anew
GALLERY = DATA / "gallery"
PAGE = DATA / "report"  # the HTML page with pictures: a DVC output, never in git

MODELS = Path("models")
TEACHER = MODELS / "teacher.safetensors"
SINET = MODELS / "sinet.safetensors"
SINET_ONNX = MODELS / "sinet.onnx"

METRICS = Path("metrics")  # all that a stage counted, in DVC's cache
HEADLINE = Path("headline.json")  # of it what versions are compared by, in git
PLOTS = Path("plots")
REPORTS = Path("reports")  # in git: numbers, tables and plots only

CACHE = Path(".cache")  # per-image results and training checkpoints; removing it costs only time
PARAMS = Path("params.yaml")
PROFILES = Path(__file__).parents[1] / "commands" / "profiles"
