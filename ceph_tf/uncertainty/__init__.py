"""Samplers (a finite set of networks) and measures (pure functions of their answers)."""
