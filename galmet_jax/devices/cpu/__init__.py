"""Workarounds for XLA's CPU backend; no other backend uses them."""
