"""Corrections become numbers, and a better way of reading the same model."""
