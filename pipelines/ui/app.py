"""The pages and addresses of the project page.

    GET  /videos /label /train /results /cameras /about   pages
    GET  /static/NAME  /pictures/NAME  /stills/KEY/NAME   what they show
    GET  /scores/NAME  /scores/copies/NAME                results, reports, videos of reports
    GET  /runs/NAME/model-card.html                       the page of a run, as reports link it
    GET  /api/state                                       jobs, as JSON
    POST /api/videos?name=NAME                            add the video in the body
    POST /api/labels  /api/reviews                        write labels.csv, reviews.csv
    POST /api/jobs/KIND  /api/jobs/NUMBER/cancel          begin and end jobs

Pages are made of templates and show the state of the files; the script renews them when a job ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from vad.documents import parse
from vad.errors import VadError
from vad.stages.infer import pages
from vad.stages.infer.pages import TEMPLATES
from vad.stages.infer.times import clock
from vad.stages.train.card import PAGE
from vad.store import key_of
from vad.tables import cell
from vad.terminal import plain
from vad.version import VERSION

from ..paths import RUNS, SCORES, VIDEOS
from .access import Access, Guard, Refused
from .folder import COPIES, PREVIEWS, STILLS, ProjectFolder, ScoredEvent, Video
from .jobs import Jobs
from .uploads import Uploads

HERE = Path(__file__).parent
# A report can run its own script and save reviews.csv, but cannot open a connection.
REPORT_POLICY = "sandbox allow-scripts allow-downloads"
CARD_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".jpg": "image/jpeg",
    ".mp4": "video/mp4",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".js": "text/javascript; charset=utf-8",
}
PAGES = {
    "videos": "Videos",
    "label": "Label",
    "train": "Train",
    "results": "Results",
    "cameras": "Cameras",
    "about": "About this run",
}
PER_PAGE = {"videos": 60, "label": 24, "results": 60}
FILTERS = {
    "label": ("to label", "abnormal", "normal", "all"),
    "results": ("all", "open", "confirmed", "dismissed"),
}

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shown:
    """An event in the list of results."""

    video: str
    event: ScoredEvent
    verdict: str


@dataclass(frozen=True)
class LabelChange:
    """A label that a person gives; category None keeps that of before."""

    video: str
    label: str
    category: str | None = None


@dataclass(frozen=True)
class LabelChanges:
    """The body of a request to /api/labels."""

    changes: tuple[LabelChange, ...]


@dataclass(frozen=True)
class Verdict:
    """The body of a request to /api/reviews."""

    video: str
    start_frame: int
    end_frame: int
    verdict: str


@dataclass(frozen=True)
class Chosen:
    """The body of a request that begins a job."""

    videos: tuple[str, ...] = ()


def make_app(
    project: ProjectFolder, jobs: Jobs, access: Access, max_bytes: int, *, only_labels: bool
) -> Starlette:
    """Return the application. only_labels: it has the page of labels alone."""
    studio = _Studio(project, jobs, access, Uploads(project / VIDEOS, max_bytes), only_labels)
    names = ["label"] if only_labels else list(PAGES)
    get: list[tuple[str, Callable[[Request], Any]]] = [
        ("/", lambda request: RedirectResponse(f"/{names[0]}", 303)),
        *((f"/{page}", studio.page) for page in names),
        ("/static/{name}", studio.static),
        ("/pictures/{name}", studio.picture),
        ("/stills/{key}/{name}", studio.still),
        ("/scores/{name}", studio.scores),
        ("/scores/copies/{name}", studio.copy),
        ("/api/state", studio.state),
        (f"/runs/{{name:path}}/{PAGE}", studio.card),
    ]
    post: list[tuple[str, Callable[[Request], Any]]] = [
        ("/api/videos", studio.add_video),
        ("/api/labels", studio.set_labels),
        ("/api/reviews", studio.judge),
        ("/api/jobs/{number:int}/cancel", studio.cancel),
        ("/api/jobs/{kind}", studio.begin),
    ]
    return Starlette(
        routes=[
            *(Route(path, act, methods=["GET"]) for path, act in get),
            *(Route(path, act, methods=["POST"]) for path, act in post),
        ],
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={
            Refused: _refused,
            VadError: _wrong,
            404: _missing,
            405: _missing,
        },
    )


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    # the rest of the request is not read
    return JSONResponse({"error": str(error)}, error.status, {"Connection": "close"})


async def _wrong(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": plain(str(error))}, 409)


async def _missing(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": "there is no such page"}, 404)


class _Studio:
    """Answers requests."""

    def __init__(
        self,
        project: ProjectFolder,
        jobs: Jobs,
        access: Access,
        uploads: Uploads,
        only_labels: bool,
    ) -> None:
        self._project, self._jobs, self._access = project, jobs, access
        self._uploads, self._only_labels = uploads, only_labels
        self._templates = Environment(
            loader=PackageLoader(__package__, TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"clock": clock, "key": key_of, "path": _in_path}

    # --- pages

    def page(self, request: Request) -> Response:
        """Return a page; what is wrong with a file of the project is said on it."""
        name = request.url.path.strip("/")
        problem, values = "", dict[str, object]()
        try:
            values = getattr(self, f"_{name}")(request)
        except VadError as error:
            problem = plain(str(error))
        html = self._templates.get_template(f"{name}.html").render(
            page=name,
            pages={"label": PAGES["label"]} if self._only_labels else PAGES,
            title=PAGES[name],
            project=self._project.path.resolve().name,
            secret=self._access.secret,
            problem=problem,
            version=VERSION,
            only_labels=self._only_labels,
            **values,
        )
        return HTMLResponse(html)

    def _videos(self, request: Request) -> dict[str, object]:
        videos = self._project.videos()
        lacking = [video for video in videos if not video.has_features]
        return {
            **_cut("videos", videos, request),
            "n_lacking": len(lacking),
            "max_bytes": self._uploads.max_bytes,
            "pictures": self._pictures(),
        }

    def _label(self, request: Request) -> dict[str, object]:
        videos = self._project.videos()
        by_filter = {
            "to label": self._project.to_label(videos),
            "abnormal": [video for video in videos if video.label == "1"],
            "normal": [video for video in videos if video.label == "0"],
            "all": videos,
        }
        chosen = _chosen("label", request)
        return {
            **_cut("label", by_filter[chosen], request),
            "filters_of": {name: len(found) for name, found in by_filter.items()},
            "chosen": chosen,
            "categories": sorted({video.category for video in videos if video.category}),
            "pictures": self._pictures(),
        }

    def _train(self, request: Request) -> dict[str, object]:
        videos = self._project.videos()
        reviews = self._project.reviews()
        return {
            "n_abnormal": sum(video.label == "1" for video in videos),
            "n_normal": sum(video.label == "0" for video in videos),
            "n_videos": len(videos),
            "n_reviews": len(reviews),
            "runs": [
                (
                    self._project.name_of(path),
                    card.created,
                    card.selection.expected or card.selection.doubt,
                )
                for path, card in self._project.runs()
            ],
        }

    def _results(self, request: Request) -> dict[str, object]:
        videos = self._project.videos()
        reviews = self._project.reviews()

        def verdict_on(video: Video, event: ScoredEvent) -> str:
            name = cell(video.id)
            return next(
                (
                    review.verdict
                    for review in reviews
                    if review.video == name
                    and review.start_frame <= event.peak_frame < review.end_frame
                ),
                "",
            )

        scored = [video for video in videos if video.scored]
        events = [
            Shown(video.id, event, verdict_on(video, event))
            for video in scored
            if video.scored
            for event in video.scored.events
        ]
        events.sort(key=lambda shown: -shown.event.peak)
        by_filter = {
            "all": events,
            "open": [shown for shown in events if not shown.verdict],
            "confirmed": [shown for shown in events if shown.verdict == "confirmed"],
            "dismissed": [shown for shown in events if shown.verdict == "dismissed"],
        }
        chosen = _chosen("results", request)
        quiet = [video for video in scored if video.scored and not video.scored.events]
        quiet.sort(key=lambda video: -video.scored.peak if video.scored else 0.0)
        run = self._project.run()
        return {
            **_cut("results", by_filter[chosen], request),
            "filters_of": {name: len(found) for name, found in by_filter.items()},
            "chosen": chosen,
            "quiet": quiet,
            "unscored": [video.id for video in self._project.unscored(videos)],
            "n_videos": len(videos),
            "run": self._project.name_of(run) if run else "",
            "meanings": sorted({v.scored.meaning for v in scored if v.scored and v.scored.meaning}),
            "warned": [video for video in scored if video.scored and video.scored.warning],
            "stills": self._stills(),
        }

    def _cameras(self, request: Request) -> dict[str, object]:
        pictures = self._pictures()
        videos = [s.id for s in self._project.sources() if f"{key_of(s.id)}.jpg" in pictures]
        return {"cameras": self._project.cameras(), "videos": videos, "pictures": pictures}

    def _about(self, request: Request) -> dict[str, object]:
        path = self._project.run()
        if path is None:
            return {"run": None, "facts": {}, "expected": "", "parts": {}, "card": ""}
        from vad.stages.train.run import Run  # loads torch, which takes seconds

        run = Run.open(path)
        runs, page = (self._project / RUNS).resolve(), path.resolve() / PAGE
        is_served = page.is_file() and page.is_relative_to(runs)
        return {
            "run": self._project.name_of(path),
            "card": f"/runs/{quote(page.relative_to(runs).as_posix())}" if is_served else "",
            "facts": run.facts(),
            "expected": run.card.selection.expected,
            "parts": {part: videos for part, videos in run.card.videos.items() if videos},
        }

    def _pictures(self) -> dict[str, int]:
        """Return the previews that are made: name of the file -> time of its last change."""
        return _names(self._project / PREVIEWS)

    def _stills(self) -> set[str]:
        """Return the pictures of events, as KEY/FRAME.jpg."""
        folder = self._project / STILLS
        return {str(path.relative_to(folder)) for path in folder.glob("*/*.jpg")}

    # --- files

    def static(self, request: Request) -> Response:
        """Return a style sheet or script of the pages."""
        name = request.path_params["name"]
        folder = Path(pages.__file__).parent / TEMPLATES if name == "page.css" else HERE / "static"
        return _file(folder, name, "max-age=60")

    def picture(self, request: Request) -> Response:
        """Return a still or a loop of a video."""
        return _file(self._project / PREVIEWS, request.path_params["name"], "private, max-age=3600")

    def still(self, request: Request) -> Response:
        """Return the picture of an event."""
        folder = self._project / STILLS / _plain_name(request.path_params["key"])
        return _file(folder, request.path_params["name"])

    def scores(self, request: Request) -> Response:
        """Return a file of scores or a report."""
        name = request.path_params["name"]
        response = _file(self._project / SCORES, name)
        response.headers["Content-Security-Policy"] = (
            REPORT_POLICY if name.endswith(".html") else "sandbox; default-src 'none'"
        )
        return response

    def card(self, request: Request) -> Response:
        """Return the page of a run that `vad train` or `vad card` wrote."""
        parts = request.path_params["name"].split("/")  # two for a run of several seeds
        response = _file((self._project / RUNS).joinpath(*map(_plain_name, parts)), PAGE)
        response.headers["Content-Security-Policy"] = CARD_POLICY
        return response

    def copy(self, request: Request) -> Response:
        """Return the video of a report, or the part of it that is asked for."""
        name = request.path_params["name"]
        if not name.endswith(".mp4"):
            raise Refused(404, "there is no such file")
        return _file(self._project / COPIES, name)

    # --- actions

    def state(self, request: Request) -> Response:
        """Return the jobs."""
        return JSONResponse({"jobs": [job.to_dict() for job in self._jobs.all()]})

    async def add_video(self, request: Request) -> Response:
        """Add a video, and queue the job that makes its pictures and features."""
        name = await self._uploads.receive(request)
        job = await run_in_threadpool(self._jobs.add, "prepare")
        return JSONResponse({"name": plain(name), **job.to_dict()}, 201)

    async def set_labels(self, request: Request) -> Response:
        """Write labels, and return those of before, by which the change is undone."""
        asked = await _body(LabelChanges, request)

        def change() -> list[dict[str, str]]:
            labels = self._project.labels([source.id for source in self._project.sources()])
            before = [
                {
                    "video": c.video,
                    "label": str(labels[c.video].label) if c.video in labels else "",
                    "category": labels[c.video].category if c.video in labels else "",
                }
                for c in asked.changes
            ]
            self._project.set_labels([(c.video, c.label, c.category) for c in asked.changes])
            return before

        return JSONResponse({"before": await run_in_threadpool(change)})

    async def judge(self, request: Request) -> Response:
        """Write a verdict on an event."""
        asked = await _body(Verdict, request)
        await run_in_threadpool(
            self._project.judge, asked.video, asked.start_frame, asked.end_frame, asked.verdict
        )
        return JSONResponse({"verdict": asked.verdict})

    async def begin(self, request: Request) -> Response:
        """Queue a job."""
        asked = await _body(Chosen, request)
        chosen = {"videos": sorted(asked.videos)} if asked.videos else {}
        kind = request.path_params["kind"]
        job = await run_in_threadpool(
            lambda: self._jobs.add(kind, **(chosen if kind == "score" else {}))
        )
        return JSONResponse(job.to_dict(), 202)

    def cancel(self, request: Request) -> Response:
        """End a job."""
        job = self._jobs.cancel(request.path_params["number"])
        if job is None:
            raise Refused(404, "there is no such job")
        return JSONResponse(job.to_dict())


async def _body(cls: type[Item], request: Request) -> Item:
    """Return the JSON object in the body. Raises Refused if it is not as expected."""
    try:
        return parse(cls, json.loads(await request.body() or b"{}"))
    except (ValueError, RecursionError) as error:
        raise Refused(400, plain(str(error))) from None


def _cut(page: str, items: Sequence[Item], request: Request) -> dict[str, object]:
    """Return the items of the asked-for part of a list, and the numbers of the parts."""
    per_page = PER_PAGE[page]
    n_parts = max(1, -(-len(items) // per_page))
    given = request.query_params.get("part", "1")
    part = min(max(1, int(given) if given.isascii() and given.isdecimal() else 1), n_parts)
    return {
        "items": items[per_page * (part - 1) : per_page * part],
        "n_items": len(items),
        "part": part,
        "n_parts": n_parts,
    }


def _chosen(page: str, request: Request) -> str:
    given = request.query_params.get("show", "")
    return given if given in FILTERS[page] else FILTERS[page][0]


def _names(folder: Path) -> dict[str, int]:
    return {path.name: int(path.stat().st_mtime) for path in folder.glob("*.*")}


def _in_path(name: str) -> str:
    return quote(name, safe="")


def _plain_name(name: str) -> str:
    if name.startswith(".") or "/" in name or "\0" in name:
        raise Refused(404, "there is no such file")
    return name


def _file(folder: Path, name: str, caching: str = "no-store") -> Response:
    """Return a file of a folder, whole or the range that is asked for."""
    path = folder / _plain_name(name)
    kind = KINDS.get(path.suffix)
    if kind is None or not path.is_file():
        raise Refused(404, "there is no such file")
    return FileResponse(path, media_type=kind, headers={"Cache-Control": caching})
