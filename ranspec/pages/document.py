"""HTML files that hold all they need, and may fetch nothing and run nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranspec import __version__
from ranspec.html import page_environment, source_hash
from ranspec.numbers import integer, megabytes, percent, scaled, shape

if TYPE_CHECKING:
    from jinja2 import Environment

_MARK = re.compile(r"\A<!doctype html>\n<!-- ranspec ([0-9a-f]{64}) -->\n")


def document(template: str, data: Any = None, /, **context: Any) -> str:
    """Return the page of a template, with its style and script and the shared ones inside.

    `data` is what its script reads, as JSON. The page's policy allows its own style and script by
    their digests, and nothing else: no request, no handler in an attribute, no frame, no form.
    """
    style, script = _asset("base.css") + _asset(f"{template}.css"), _asset("base.js")
    script += _asset(f"{template}.js")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src '{source_hash(style)}'",
            f"script-src '{source_hash(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    body = (
        _environment()
        .get_template(f"{template}.html.j2")
        .render(
            **context,
            policy=policy,
            style=style,
            script=script,
            data=embedded(data),
            version=__version__,
        )
    )
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f"<!doctype html>\n<!-- ranspec {digest} -->\n{body}"


def embedded(data: Any) -> str:
    """Return data as JSON that no text in it can end early, whatever element it stands in."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def is_own(path: Path) -> bool:
    """Tell whether a file is a page as it was made, not edited since."""
    try:
        text = path.read_bytes().decode()
    except (OSError, ValueError):
        return False
    mark = _MARK.match(text)
    return mark is not None and hashlib.sha256(text[mark.end() :].encode()).hexdigest() == mark[1]


@cache
def _asset(name: str) -> str:
    file = files("ranspec.pages") / "templates" / name
    return file.read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = page_environment("ranspec.pages")
    environment.filters |= {
        "capital": _capital,
        "exponent": _exponent,
        "integer": integer,
        "megabytes": megabytes,
        "percent": percent,
        "scaled": scaled,
        "shape": shape,
        "zip": zip,
    }
    return environment


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _exponent(value: float | None) -> str:
    """Write an error: 3e-15, or 0."""
    return "infinite" if value is None else f"{value:.0e}" if value else "0"
