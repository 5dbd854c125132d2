"""Exact diagnostics for recurrent networks."""
