"""The command `omni-timeline`. The only place that prints."""
