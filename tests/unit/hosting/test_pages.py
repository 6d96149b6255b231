"""Pages: what went wrong is told twice in the same words, nothing typed is run, nothing leaves."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from jinja2 import DictLoader
from sqlalchemy import create_engine

from hosting import pages
from hosting.auth import open_to_all
from hosting.pages import BUILT, FOR_EVER, NEEDED, render
from hosting.web import make_app

HOSTILE = "<script>alert(1)</script>\"' onfocus='alert(1)' {{ 7 * 7 }}"
NAMES = ("given", "born", "tongue", "sooner", "helps", "remarks")
ERRORS = [(name, f"Say {name} & <b>why</b>.") for name in NAMES]
PAGE = """
{% extends "base.html" %}
{% from "forms.html" import button, checkboxes, date_field, field %}
{% from "forms.html" import radios, select, textarea, token %}
{% block title %}A form{% endblock %}
{% block content %}
<h1>A form</h1>
<form method="post" novalidate>
  {{ token("the token") }}
  {{ field("given", typed, typed, errors, hint=typed, autocomplete="off") }}
  {{ date_field("born", typed, {"day": typed, "year": 1990}, errors, hint=typed) }}
  {{ select("tongue", typed, options, typed, errors, hint=typed, empty="Choose") }}
  {{ radios("sooner", typed, options, "b", errors, hint=typed) }}
  {{ checkboxes("helps", typed, options, [typed, "b"], errors, hint=typed) }}
  {{ textarea("remarks", typed, typed, errors, hint=typed) }}
  {{ button(typed, name="then", value=typed) }}
</form>
{% endblock %}
"""


class _Elements(HTMLParser):
    """Every element of a page as (tag, attributes), and the texts inside each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        self._open = tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.setdefault(self._open, []).append(data.strip())

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for found, attributes in self.found if found == tag]

    def by_id(self) -> dict[str, tuple[str, dict[str, str]]]:
        return {a["id"]: (tag, a) for tag, a in self.found if "id" in a}


def _web(prefix: str = "/place") -> FlaskClient:
    away = create_engine("postgresql+psycopg://nobody@127.0.0.1:9/none")
    app = make_app(
        "pages", prefix=prefix, database=away, access=away, metrics_port=1, blueprints=()
    )
    _add_form(app)
    return app.test_client()


def _add_form(app: Flask) -> None:
    loader: Any = app.jinja_loader
    loader.loaders.append(DictLoader({"form.html": PAGE}))
    values = {
        "typed": HOSTILE,
        "options": [(HOSTILE, HOSTILE), ("b", "B", HOSTILE)],
        "navigation": [{"text": HOSTILE, "href": "/right"}, {"text": "Elsewhere", "href": "/e"}],
        "sign_out": "/sign-out",
        "form_token": HOSTILE,
    }

    @app.get("/right")
    @open_to_all("a test")
    def right() -> str:
        return render("form.html", **values)

    @app.get("/wrong")
    @open_to_all("a test")
    def wrong() -> tuple[str, int]:
        return render("form.html", errors=ERRORS, **values), 422


@pytest.fixture(scope="module")
def web() -> FlaskClient:
    return _web()


@pytest.fixture(scope="module")
def wrong(web: FlaskClient) -> _Elements:
    answer = web.get("/wrong")
    assert 422 == answer.status_code
    return _Elements(answer.text)


def test_the_title_says_first_that_something_is_wrong(web: FlaskClient, wrong: _Elements) -> None:
    assert ["Error: A form – Warm Handoff"] == wrong.texts["title"]
    assert ["A form – Warm Handoff"] == _Elements(web.get("/right").text).texts["title"]


def test_the_summary_leads_to_each_field_in_the_words_beside_it(web: FlaskClient) -> None:
    page = web.get("/wrong").text
    elements = _Elements(page)
    told = re.findall(r'<a href="#(\w+)"[^>]*>\s*(.*?)\s*</a>', page, re.DOTALL)
    beside = re.findall(
        r'<span class="nhsuk-error-message" id="(\w+(?:-boxes)?)-error"\s*>'
        r'\s*<span class="nhsuk-u-visually-hidden">Error:\s*</span>\s*(.*?)\s*</span>',
        page,
        re.DOTALL,
    )

    escaped = [(name, f"Say {name} &amp; &lt;b&gt;why&lt;/b&gt;.") for name in NAMES]
    assert escaped == [pair for pair in told if pair[0] != "maincontent"]
    assert escaped == [(name.removesuffix("-boxes"), words) for name, words in beside]
    for name in NAMES:
        tag, _ = elements.by_id()[name]
        assert tag in ("input", "select", "textarea"), "a link leads to what can be typed in"
    assert page.index("There is a problem") < page.index("<h1>")


def test_a_page_without_errors_tells_of_none(web: FlaskClient) -> None:
    page = web.get("/right").text

    assert "There is a problem" not in page
    assert "error" not in page.lower()


def test_no_id_is_given_twice_and_every_label_and_description_has_its_field(
    wrong: _Elements,
) -> None:
    ids = [attributes["id"] for _, attributes in wrong.found if "id" in attributes]

    assert len(ids) == len(set(ids))
    for _, attributes in wrong.found:
        named = attributes.get("aria-describedby", "").split()
        assert {*named, *attributes.get("for", "").split()} <= set(ids)


def test_what_was_typed_comes_back_as_it_was_and_is_never_run(wrong: _Elements) -> None:
    fields = wrong.by_id()

    assert HOSTILE == fields["given"][1]["value"]
    assert ["", HOSTILE, "1990"] == [a["value"] for a in _boxes(wrong)]
    assert HOSTILE in wrong.texts["textarea"]
    assert [HOSTILE] == [a["value"] for a in wrong.named("option") if "selected" in a]
    ticked = [(a["name"], a["value"]) for a in wrong.named("input") if "checked" in a]
    assert [("sooner", "b"), ("helps", HOSTILE), ("helps", "b")] == ticked
    assert not any(name.startswith("on") for _, a in wrong.found for name in a)
    assert all("src" in a for a in wrong.named("script"))
    assert not any("style" in a for _, a in wrong.found)
    assert [] == wrong.named("style")


def _boxes(elements: _Elements) -> list[dict[str, str]]:
    boxes = [a for a in elements.named("input") if a["name"].startswith("born-")]
    assert ["born-month", "born-day", "born-year"] == [a["name"] for a in boxes]
    assert ["born", "born-day", "born-year"] == [a["id"] for a in boxes]
    return boxes


def test_a_form_carries_its_token_and_so_does_signing_out(wrong: _Elements) -> None:
    tokens = [a["value"] for a in wrong.named("input") if a["name"] == "form_token"]

    assert [HOSTILE, "the token"] == tokens
    assert {"method": "post", "action": "/sign-out", "class": "wh-header__end"} in wrong.named(
        "form"
    )


def test_a_page_can_be_walked_without_seeing_it(web: FlaskClient) -> None:
    elements = _Elements(web.get("/right").text)
    links = elements.named("a")

    assert "en" == elements.named("html")[0]["lang"]
    assert "#maincontent" == links[0]["href"]
    assert "main" == elements.by_id()["maincontent"][0]
    assert ["/right"] == [a["href"] for a in links if a.get("aria-current") == "page"]
    assert [1, 1, 1] == [len(elements.named(tag)) for tag in ("header", "nav", "footer")]


def test_a_page_names_no_other_host(web: FlaskClient) -> None:
    for path in ("/right", "/wrong"):
        assert set() == _addresses(web.get(path).text)


@pytest.mark.parametrize("name", sorted(path.name for path in BUILT.glob("*")))
def test_a_file_that_pages_load_names_no_other_host(name: str) -> None:
    text = (BUILT / name).read_text()

    assert set() == _addresses(text)
    for loaded in re.findall(r"url\(\"?([^\")]*)", text):
        assert (BUILT / loaded).is_file(), loaded
    assert "@import" not in text
    assert "sourceMappingURL" not in text


def _addresses(text: str) -> set[str]:
    # The names of XML's vocabularies look like addresses, and nobody asks for them.
    return set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text)) - {"http://www.w3.org"}


def test_what_a_page_loads_is_served_with_its_type_and_kept(
    web: FlaskClient, wrong: _Elements
) -> None:
    loaded = [a["src"] for a in wrong.named("script")] + [a["href"] for a in wrong.named("link")]
    types = {}

    for address in loaded:
        answer = web.get(address)
        assert 200 == answer.status_code
        assert f"public, max-age={FOR_EVER}, immutable" == _kept(answer)
        types[address.partition("?")[0]] = answer.mimetype

    assert {
        "/place/static/pages.css": "text/css",
        "/place/static/pages.js": "text/javascript",
        "/place/static/htmx.js": "text/javascript",
        "/place/static/icon.svg": "image/svg+xml",
    } == types
    assert {path.rpartition("/")[2] for path in types} == NEEDED


def test_a_file_under_another_address_than_its_own_is_asked_for_again(web: FlaskClient) -> None:
    assert "no-cache" == _kept(web.get("/place/static/pages.css"))
    assert "no-cache" == _kept(web.get("/place/static/pages.css?v=older"))


def _kept(answer: Any) -> str:
    return str(answer.headers["Cache-Control"])


@pytest.mark.parametrize("name", ["none.css", "..%2Fpages.py", "%2E%2E/web.py", "made"])
def test_nothing_else_is_served(web: FlaskClient, name: str) -> None:
    assert 404 == web.get(f"/place/static/{name}").status_code


def test_only_a_page_may_run_scripts_and_only_those_of_this_host(web: FlaskClient) -> None:
    page = web.get("/right").headers["Content-Security-Policy"]
    other = web.get("/place/healthz").headers["Content-Security-Policy"]

    assert "script-src 'self';" in page
    assert "unsafe" not in page
    assert "script-src" not in other
    assert page.startswith(other)


def test_a_page_may_set_a_policy_of_its_own(web: FlaskClient) -> None:
    app = web.application
    response = Response("", headers={"Content-Security-Policy": "default-src 'none'"})

    with app.test_request_context("/right"):
        assert "default-src 'none'" == _policy(app.process_response(response))


def _policy(response: Response) -> str:
    return response.headers["Content-Security-Policy"]


def test_an_app_without_its_files_is_not_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pages, "BUILT", tmp_path)

    with pytest.raises(RuntimeError, match="make setup"):
        _web()
