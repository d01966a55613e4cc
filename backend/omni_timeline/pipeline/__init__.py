"""A video becomes a prediction."""
