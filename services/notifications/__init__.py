"""Notifications writes to clients and mentors, discreetly and once, and hears what they answer.

Says: what is in ``contracts/notifications.py``. Hears: intake's and matching's facts.
"""
