"""Whole projects are predicted, outside the server."""
