"""Predictions for people and for other programs."""
