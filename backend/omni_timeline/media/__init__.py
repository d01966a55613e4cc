"""A media file becomes a clip: frames with their true times, and the sound on the same clock."""
