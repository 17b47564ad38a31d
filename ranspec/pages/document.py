"""HTML files that hold all they need, and may fetch nothing and run nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranspec import __version__
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
            f"style-src 'sha256-{_digest(style)}'",
            f"script-src 'sha256-{_digest(script)}'",
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


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    file = files("ranspec.pages") / "templates" / name
    return file.read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ranspec.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
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
