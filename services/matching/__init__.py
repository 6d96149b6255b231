"""Matching keeps mentors and caseloads, and finds the mentor for each client.

Says: what is in ``contracts/matching.py``. Hears: intake's facts, and replies.
"""
