"""Measures speed, memory and disk use."""
