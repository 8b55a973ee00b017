"""The page of a project folder: videos are added, labelled, trained on, scored and reviewed.

server.py    the HTTP server and its limits on connections
access.py    who may use the page
app.py       pages and addresses
folder.py    the files of the project
uploads.py   videos that are added
jobs.py      the queue of jobs
worker.py    the process that does them
previews.py  stills and loops of videos
templates/   pages
static/      their style and scripts
"""
