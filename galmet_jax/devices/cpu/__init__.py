"""Workarounds for XLA's CPU backend; on other devices they do nothing."""
