"""Reproduction of the tables and figures of Wu & Boada (2019)."""
