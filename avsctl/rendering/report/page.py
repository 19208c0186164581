"""The report's page: a template, with style, script and data inside, that needs no network and trusts no text in it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

MEDIA_MARK = "<!-- media -->"
"""Where embedded media go; no text of the page can hold it, for all is escaped."""
TYPES = {"jpg": "image/jpeg", "png": "image/png", "mp3": "audio/mpeg", "wav": "audio/wav"}


def page_assets() -> dict[str, str]:
    """Style, script and template as they are shipped."""
    return {name: files(__package__).joinpath(name).read_text("utf-8") for name in ("page.css", "page.js", "page.html")}


def render_page(view: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """The page.

    Args:
        view: what the template prints; every text is escaped, but for charts, which are `<svg>` elements.
        data: what the script reads, as JSON.
    """
    assets = page_assets()
    environment = Environment(
        loader=PackageLoader("avsctl.rendering.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["svg"] = Markup
    return environment.get_template("page.html").render(
        **view,
        policy=_policy(assets["page.css"], assets["page.js"]),
        style=Markup(assets["page.css"]),
        script=Markup(assets["page.js"]),
        data=Markup(json_for_script(data)),
        media_mark=Markup(MEDIA_MARK),
    ).lstrip()


def json_for_script(content: Any) -> str:
    """JSON that can't end the `<script>` it stands in, whatever its texts hold."""
    text = json.dumps(content, ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def media_element(clip: int, named: Mapping[str, bytes]) -> str:
    """A clip's files for embedding: a data block that the script reads when the clip is shown."""
    addresses = {
        name: f"data:{TYPES[name.rsplit('.', 1)[1]]};base64,{base64.b64encode(data).decode()}"
        for name, data in named.items()
    }
    return f'<script type="application/json" id="media-{clip}">{json_for_script(addresses)}</script>\n'


def _policy(style: str, script: str) -> str:
    """Nothing from outside, no script or style but the page's own, pictures and sound from beside it or inside it."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    media = "'self' file: data:"
    return (
        f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; "
        f"img-src {media}; media-src {media}; base-uri 'none'; form-action 'none'"
    )
