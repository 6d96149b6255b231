"""Intake takes discharges in, keeps consents and tasks, and tells the story of each client.

Says: what is in ``contracts/intake.py``. Hears: everything, to tell the story.
"""
