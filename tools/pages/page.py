"""Renders templates to HTML pages that hold everything they need: a browser loads nothing else, and needs no network.

Text from files is escaped, and each page forbids its own scripts but those that were written into it, by their hashes
(Content Security Policy), so that a name that looks like HTML is shown as it is.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from functools import cache
from typing import Any

from tools.runtime import extras
from tools.runtime.printable import printable

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_TEMPLATES, _ASSETS = (os.path.join(_FOLDER, name) for name in ("templates", "assets"))
_STYLE = "page.css"
_TIP = "tip.js"
_SCRIPTS = ("charts.js", _TIP, "viewer.js")
_PACKAGES = ("jinja2", "plotly")
_KEPT = "\n\t"


def missing_packages() -> list[str]:
    """Returns the packages for pages that are not installed."""
    return [name for name in _PACKAGES if not extras.is_installed(name)]


def require_packages(needed_by: str) -> None:
    """Checks that the packages for pages are installed.

    Args:
        needed_by: what needs them, for the message.

    Raises:
        MissingPackageError: a package is missing.
    """
    extras.require_packages(_PACKAGES, "report", needed_by)


def text_of(value: Any) -> str:
    """Formats a value as text whose control characters are visible, and which UTF-8 can encode."""
    return printable(str(value), keep=_KEPT)


def render(
    template: str,
    context: Mapping[str, Any],
    *,
    title: str,
    identity: str = "",
    charts: Mapping[str, Any] | None = None,
    pictures: Mapping[str, Any] | None = None,
) -> str:
    """Renders a page.

    Args:
        template: name of a file in `templates/` that extends `base.html`.
        context: values for the template; text is escaped.
        title: of the page.
        identity: what the page is about, see `identity_in`; a hexadecimal checksum.
        charts: figures of `charts`, by the id of the element that shows them.
        pictures: JSON values for `viewer.js`, see there.

    Returns:
        The page as HTML.
    """
    scripts = [*([_plotly()] if charts else []), *(_asset(name) for name in _SCRIPTS)]
    return (
        _environment()
        .get_template(template)
        .render(
            context,
            title=title,
            identity=identity,
            charts=charts or {},
            pictures=pictures or {},
            style=_markup(style()),
            scripts=[_markup(script) for script in scripts],
            script_hashes=_markup(" ".join(map(_policy_hash, scripts))),
        )
    )


def style() -> str:
    """Returns the style sheet of all pages."""
    return _asset(_STYLE)


def tip_script() -> str:
    """Returns the JavaScript that shows a text beside the pointer."""
    return _asset(_TIP)


def identity_line(identity: str) -> str:
    """Returns the line near the beginning of a page that says what it is about."""
    return f'<meta name="report-of" content="{identity}">'


def _policy_hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"


def _asset(name: str) -> str:
    with open(os.path.join(_ASSETS, name), encoding="utf-8") as file:
        return file.read()


@cache
def _plotly() -> str:
    """Returns Plotly's JavaScript, which its Python package contains; line ends as a browser reads and hashes them."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs().replace("\r\n", "\n").replace("\r", "\n")


def _markup(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # written by this project or by Plotly, not read from a run


@cache
def _environment() -> Any:
    import jinja2
    from markupsafe import Markup

    def visible(value: Any) -> Any:
        return value if isinstance(value, Markup) or not isinstance(value, str) else printable(value, keep=_KEPT)

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False}
    environment.globals["identity_line"] = lambda identity: Markup(identity_line(identity))
    return environment
