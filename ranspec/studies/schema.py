"""The JSON Schema of studies, by which editors complete and check them.

`python -m ranspec.studies.schema` rewrites the shipped file.
"""

from __future__ import annotations

from pathlib import Path

from ranspec.spec.schema import as_text, schema_of
from ranspec.studies.model import Study

TITLE = "ranspec study"
FILE = Path(__file__).with_name("schema.json")


def render() -> str:
    """Return the text of the shipped file."""
    return as_text(schema_of(Study, TITLE))


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
