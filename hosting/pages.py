"""What every page stands on: its templates, the files that it loads, and how it is rendered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from flask import Flask, Response, abort, g, redirect, render_template, request
from jinja2 import ChainableUndefined, ChoiceLoader, FileSystemLoader, PackageLoader

from hosting.auth import open_to_all

_HERE = Path(__file__).parent
TEMPLATES = _HERE / "page_templates"
#: Made by ``make setup`` from ``deploy/pages``, and never committed.
BUILT = _HERE / "built"
#: What ``base.html`` loads.
NEEDED = frozenset({"pages.css", "pages.js", "htmx.js", "icon.svg"})
#: A file under an address with its own digest never changes.
FOR_EVER = 365 * 24 * 60 * 60

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class _File:
    content: bytes
    content_type: str

    @cached_property
    def digest(self) -> str:
        """Changes with the content, and only with it."""
        return hashlib.sha256(self.content).hexdigest()[:16]


def add_pages(app: Flask, prefix: str) -> None:
    """Give an app the shared templates, and the files that pages load under its prefix.

    A blueprint keeps templates of its own in its ``template_folder``; a shared one of the same
    name is preferred, so theirs have other names.
    """
    files = _read_files()
    # The components are no .html files, so escaping has to be on whatever a template's name is;
    # and they ask for parts of what was not given, which only this kind of undefined allows.
    app.jinja_options = {"autoescape": True, "undefined": ChainableUndefined}
    app.jinja_loader = ChoiceLoader(
        [FileSystemLoader(TEMPLATES), PackageLoader("nhsuk_frontend_jinja")]
    )

    def asset(name: str) -> str:
        return f"{prefix}/static/{name}?v={files[name].digest}"

    app.jinja_env.globals.update(asset=asset, choices=choices, told_beside=told_beside)
    _add_files(app, prefix, files)


def render(template: str, **values: Any) -> str:
    """A page from a template; it may run the scripts of this host, as no other answer may."""
    g.is_page = True
    return render_template(template, **values)


def see(path: str) -> Response:
    """Look at another page, so that loading it again sends nothing twice."""
    return cast(Response, redirect(path, 303))


def told_beside(name: str, errors: Iterable[tuple[str, str]] | None) -> str:
    """What is said beside a field: the words of the summary, which links to the field."""
    return " ".join(message for about, message in errors or () if about == name)


def choices(options: Iterable[Sequence[Any]], chosen: Iterable[Any]) -> list[dict[str, Any]]:
    """Options as (value, text) or (value, text, hint), as the components want them."""
    taken = {str(value) for value in chosen}
    return [
        {
            "value": str(value),
            "text": text,
            "hint": {"text": hint[0]} if hint else None,
            "checked": str(value) in taken,
            "selected": str(value) in taken,
        }
        for value, text, *hint in options
    ]


def _add_files(app: Flask, prefix: str, files: dict[str, _File]) -> None:
    @app.get(f"{prefix}/static/<name>")
    @open_to_all("what pages load is the same for everybody")
    def page_file(name: str) -> Response:
        file = files.get(name) or abort(404)
        response = Response(file.content, content_type=file.content_type)
        response.set_etag(file.digest)
        # An address without the digest, or with an older one, is asked for again every time.
        if request.args.get("v") == file.digest:
            response.headers["Cache-Control"] = f"public, max-age={FOR_EVER}, immutable"
        else:
            response.headers["Cache-Control"] = "no-cache"
        return cast(Response, response.make_conditional(request))


def _read_files() -> dict[str, _File]:
    # They are kept in memory, so that a digest is always that of what is served.
    found = {
        path.name: _File(path.read_bytes(), _TYPES[path.suffix])
        for path in BUILT.glob("*")
        if path.suffix in _TYPES
    }
    if not found.keys() >= NEEDED:
        # Seen when an app is made rather than by the first person who opens a page.
        raise RuntimeError(f"{BUILT} lacks files that pages load; run 'make setup'")
    return found
