"""What a model writes and what it means. No heavy library is imported here."""
