"""The ways in which a facility's record system can tell of a discharge, one file each."""
