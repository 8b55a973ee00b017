"""Files made of the pictures and the sound of scored videos, all of them in one pass.

`source` says how a video is read and hands its pictures to several viewers at once; the viewers
are `overlay` (the video with its curve), `clips` (a file per event) and `copies` (what the report
shows). `mp4` writes their files.
"""
