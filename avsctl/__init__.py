"""avsctl: audio-visual segmentation from data to a labelled video, with the Stepping Stones strategy."""

__version__ = "0.1.0"
