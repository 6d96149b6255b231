"""The roles that an account can have: what somebody may do is said at each page, by role."""

from __future__ import annotations

ROLES = ("clerk", "coordinator", "mentor", "operations", "administrator")
