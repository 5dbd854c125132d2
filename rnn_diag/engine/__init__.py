"""Equations over time: unrolled forwards, swept backwards, by a loop or by torch's own kernel."""
