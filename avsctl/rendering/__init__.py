"""Pictures and videos in and out: decoding, overlays, contact sheets and curves.

Import the module you need; nothing is imported here, so that reading a label costs no video library.
"""
