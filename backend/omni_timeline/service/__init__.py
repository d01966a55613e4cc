"""The server that stays up."""
