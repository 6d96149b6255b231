"""The pages on which a roster file is loaded: upload, what is wrong in it, and how far it is."""

from __future__ import annotations

from io import BytesIO
from typing import IO, Any
from uuid import UUID

from flask import Blueprint, Response, request

from hosting.pages import see
from hosting.problems import Problem
from hosting.sign_in import needs_role
from messaging.work import Participant
from services.matching.loading import Load, decide, find_load, judge_file
from services.matching.page_parts import facility_here, id_of, not_here, page
from services.matching.roster import MENTOR
from services.matching.store import Facility
from services.revealing import reveals

#: Five thousand mentors with every cell filled in stay below half of this, in bytes.
LARGEST_FILE = 5_000_000
#: How many errors are shown; whoever has more changes the file first.
ERRORS = 100


def add_loads(pages: Blueprint, participant: Participant) -> None:
    """Uploading a file, deciding on it, and looking how far it is."""
    _add_upload(pages, participant)
    _add_load(pages, participant)

    @pages.before_request
    def take_files() -> None:
        if request.path.endswith("/loads/new"):
            if (request.content_length or 0) > LARGEST_FILE:
                raise Problem(413, "The file is too large", "Load at most 5 MB at once.")
            request.max_content_length = LARGEST_FILE
            # A large upload would be kept in a file on the disk, as it is, while it is read.
            request._get_file_stream = _in_memory  # type: ignore[method-assign]


def _in_memory(*_: Any, **__: Any) -> IO[bytes]:
    return BytesIO()


def _add_upload(pages: Blueprint, participant: Participant) -> None:
    @pages.get("/loads/new")
    @needs_role("coordinator")
    def choose_file() -> str:
        return _upload(participant, [])

    @pages.post("/loads/new")
    @needs_role("coordinator")
    def upload() -> Response | tuple[str, int]:
        file = request.files.get("file")
        content = file.read() if file else b""
        if not content:
            return _upload(participant, [("file", "Choose a CSV file that is not empty.")]), 422
        load_id = judge_file(participant, facility_here(participant), content, reveals=reveals)
        return see(_address(load_id))


def _upload(participant: Participant, errors: list[tuple[str, str]]) -> str:
    columns = [(name, field.required) for name, field in MENTOR.fields.items()]
    values = {"errors": errors, "columns": columns}
    return page("load_new.html", facility_here(participant), participant.now(), **values)


def _add_load(pages: Blueprint, participant: Participant) -> None:
    @pages.get("/loads/<load_id>")
    @needs_role("coordinator")
    def show_load(load_id: str) -> str:
        facility, load = _found(participant, load_id)
        shown = load.errors[:ERRORS]
        lines = len({error.line for error in load.errors})
        return page(
            "load.html", facility, participant.now(), load=load, shown=shown, wrong_lines=lines
        )

    @pages.post("/loads/<load_id>")
    @needs_role("coordinator")
    def decide_on_load(load_id: str) -> Response:
        _, load = _found(participant, load_id)
        wanted = request.form.get("choice")
        if wanted not in ("load", "drop"):
            raise Problem(400, "It is not clear what you want", "Choose one of the two buttons.")
        decide(participant, load, wanted=wanted == "load")
        return see(_address(load.id))


def _found(participant: Participant, load_id: str) -> tuple[Facility, Load]:
    facility = facility_here(participant)
    load = find_load(participant, facility.id, id_of(load_id))
    if load is None:
        raise not_here()
    return facility, load


def _address(load_id: UUID) -> str:
    return f"/matching/loads/{load_id}"
