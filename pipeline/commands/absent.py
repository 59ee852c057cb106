"""Say which raw folders are not here, where what was read from them is: on a colleague's machine, after `dvc pull`.

`make repro` then runs `dvc repro --allow-missing`, which takes a missing file as dvc.lock has it; else DVC stops
at the first one. What is here is compared as ever, and an ingest that has to run (another path, other code) stops and
says what it lacks. Nothing is passed where no raw folder is missing, so that deleted outputs are made again.

`python -m pipeline absent`
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.params import Params, load_params
from pipeline.core.paths import CRAWL, DATA, INGEST

FLAG = "--allow-missing"


def main() -> None:
    """Print the option for `dvc repro` on stdout, where there is something to pass, and why on stderr."""
    found = list(absent(load_params()))
    for name, path in found:
        print(
            f"{path} of {name} is not here: what was read from it stays as dvc.lock has it", file=sys.stderr
        )
    if found:
        print(FLAG)


def absent(params: Params) -> Iterator[tuple[str, Path]]:
    """Name and path of each source or list that is not here, though what a stage made of it is.

    What lies in data/ a stage makes, which runs where it is missing.
    """
    made = {name: (Path(one.path), INGEST / one.role / name) for name, one in params.sources.root.items()}
    made |= {f"list {name}": (Path(path), CRAWL / name) for name, path in params.crawl.lists.items()}
    for name, (path, out) in sorted(made.items()):
        if not path.is_relative_to(DATA) and not path.exists() and out.exists():
            yield name, path
