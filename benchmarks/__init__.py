"""The commands behind the figures on speed, memory and disk."""
