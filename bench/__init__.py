"""Benchmarks that anyone can run: figures as ratios within one run, never asserted by a test."""
