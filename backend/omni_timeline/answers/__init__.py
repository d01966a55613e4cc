"""Answers of a model, and their meaning. No heavy library is imported here."""
