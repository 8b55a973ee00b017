"""Files with the frames and the sound of scored videos, all written in one pass over a video.

`source` decodes a video and passes its frames to several viewers at once. The viewers are `overlay`
(the video with its score curve), `clips` (a file per event) and `copies` (small copies for the
report). `mp4` writes MP4 files for all of them.
"""
