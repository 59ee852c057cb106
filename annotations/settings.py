"""Where things are: what params.yaml says of Label Studio and the lock, and the folders of a review."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from annotations.errors import ReviewError

_PARAMS = Path("params.yaml")
IMPORT_FILES = Path("data/push")  # what stage push wrote
SECOND_LOOK_FILES = Path("data/second_look")  # what stage second_look wrote, if it has run
REVIEW_DATA = Path("review-data")  # beside data/, so that neither dvc nor cleaning the outputs touches it
ENVIRONMENT = Path(".cache/label-studio-venv")  # `make label-studio` makes it
PROJECT = "SINet portraits"
SHELF = "SINet portraits: uploaded pictures"  # a project without tasks, which holds what was uploaded

UPLOAD = "upload"  # label_studio.picture_root of a server that gets the pictures from us
BUCKET = "s3://"  # how a picture_root in a bucket begins


def brings_pictures(picture_root: str) -> bool:
    """Whether push puts the pictures where the server shows them; else that is for others to do."""
    return picture_root == UPLOAD or picture_root.startswith(BUCKET)


@dataclass(frozen=True)
class ReviewSettings:
    """The parameters that this room reads."""

    url: str  # label_studio.url, without a slash at its end
    picture_root: str  # label_studio.picture_root
    lock: Path  # reviews.path
    random_share: float  # queue.random_share
    clicks: bool  # label_studio.clicks


def read_settings(path: Path = _PARAMS) -> ReviewSettings:
    """Read params.yaml; `dvc repro` checks the rest of it. ReviewError names a key that is missing or of no use."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ReviewError(f"expected {path}, found none; run from the folder of dvc.yaml") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        # Where, not what: the line may hold a password.
        mark = getattr(error, "problem_mark", None)
        fault = f"line {mark.line + 1}" if mark else type(error).__name__
        raise ReviewError(f"expected YAML in UTF-8 in {path}, found none ({fault}); mend the file") from None
    return ReviewSettings(
        url=_text(content, path, "label_studio", "url").rstrip("/"),
        picture_root=_text(content, path, "label_studio", "picture_root"),
        lock=Path(_text(content, path, "reviews", "path")),
        random_share=_share(content, path, "queue", "random_share"),
        clicks=_flag(content, path, "label_studio", "clicks"),
    )


def server_python() -> Path | None:
    """The interpreter of the environment with label-studio; LABEL_STUDIO_PYTHON names another one."""
    named = os.environ.get("LABEL_STUDIO_PYTHON")
    python = Path(named) if named else ENVIRONMENT / "bin" / "python"
    return python if python.with_name("label-studio").is_file() else None


def _text(content: Any, path: Path, section: str, name: str) -> str:
    found = _value(content, path, section, name)
    if isinstance(found, str) and found:
        return found
    raise ReviewError(f"{path}: expected {section}.{name} as a text, found {found!r}; write one there")


def _flag(content: Any, path: Path, section: str, name: str) -> bool:
    found = _value(content, path, section, name)
    if isinstance(found, bool):
        return found
    raise ReviewError(f"{path}: expected {section}.{name} as true or false, found {found!r}; write one there")


def _share(content: Any, path: Path, section: str, name: str) -> float:
    found = _value(content, path, section, name)
    if isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found <= 1:
        return float(found)
    raise ReviewError(
        f"{path}: expected {section}.{name} as a number from 0 to 1, found {found!r}; write one there"
    )


def _value(content: Any, path: Path, section: str, name: str) -> Any:
    try:
        return content[section][name]
    except (KeyError, TypeError) as error:
        raise ReviewError(
            f"{path}: {section}.{name} is missing; `python -m pipeline configure sample` shows a complete file"
        ) from error
