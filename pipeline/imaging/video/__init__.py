"""Videos, by the ffmpeg of the extra `video`: ask what they are, take frames out of them, write them anew.

Everything here but `installed` runs in a sandbox child, and ffmpeg as a program that this child starts.
"""
