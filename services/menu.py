"""What stands in everybody's menu, by role: the same on every service's pages."""

from __future__ import annotations

_STAFF = (
    {"text": "Today", "href": "/"},
    {"text": "Enter a discharge", "href": "/discharges/new"},
    {"text": "Consents first", "href": "/consents/new"},
    {"text": "Clients", "href": "/clients"},
)
_FLOW = (
    {"text": "Flow", "href": "/ops/"},
    {"text": "Follow one", "href": "/ops/follow"},
    {"text": "Messages", "href": "/ops/messages"},
    {"text": "Parked", "href": "/ops/parked"},
)
_MENTORS = {"text": "Mentors", "href": "/matching/"}

#: Administrators also see who the mentors are, whom operations never name.
MENU = {
    "clerk": _STAFF,
    "coordinator": (*_STAFF, _MENTORS),
    "operations": _FLOW,
    "administrator": (*_FLOW, _MENTORS),
}
