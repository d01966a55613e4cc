"""omni-timeline watches and listens to videos and writes down what happens when.

Nothing is imported here: `from omni_timeline.pipeline import Pipeline` brings torch, `omni_timeline.segments` does not.
"""

__version__ = "0.1.0"
