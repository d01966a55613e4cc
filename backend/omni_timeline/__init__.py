"""omni-timeline watches and listens to videos and writes down what happens when."""

__version__ = "0.1.0"
