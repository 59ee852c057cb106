"""The templates of this room, and how values stand in them."""

import json
from pathlib import Path
from typing import Any

import jinja2
import yaml

from pipeline.core.reasons import meaning

TEMPLATES = Path(__file__).parent / "templates"


def template(name: str) -> jinja2.Template:
    """A template of this room, with the filters that all of them have."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=lambda template: template is not None and (".html" in template or ".svg" in template),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "thousands": lambda count: f"{int(count):,}",
        "meaning": meaning,
        "cell": markdown_cell,
        "yaml": _yaml,
    }
    return environment.get_template(name)


def markdown_cell(text: str) -> str:
    """A text of unknown origin inside a Markdown table."""
    return " ".join(
        text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[").split()
    )


def _yaml(section: Any) -> str:
    return str(
        yaml.safe_dump(json.loads(json.dumps(section)), sort_keys=False, default_flow_style=None, width=100)
    )
