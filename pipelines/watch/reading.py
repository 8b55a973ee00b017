"""Read `cameras.toml`, and collect all mistakes in it, each with its line."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from vad.config import MAX_BYTES, options
from vad.errors import UsageError
from vad.names import did_you_mean
from vad.stages.extract.live import LiveSource, find_source
from vad.stages.infer.settings import parse_rate
from vad.tables import read_text

from .camera import Masks
from .settings import (
    SINKS,
    Camera,
    CameraSettings,
    Hours,
    Mistake,
    Sink,
    WatchFile,
    WatchSettings,
    WebhookSettings,
    Zone,
)

SECRETS = "secrets.toml"
NAMED = re.compile(r"\$\{(\w+)\}")  # a value of the environment or of secrets.toml
HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
KEY = re.compile(r"""\s*("[^"]*"|'[^']*'|[\w-]+)\s*=""")
NAME = re.compile(r"[\w][\w.-]*$")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
HOURS = re.compile(r"(?:(\w{3})(?:-(\w{3}))?|daily)\s+(\d\d?):(\d\d)-(\d\d?):(\d\d)$")
INSTEAD = {"threshold": "false_alarms", "false_alarms": "threshold"}  # only one is given
ZONE_CELLS = 100  # rows and columns in which zones are looked at
REQUIRED = {"folder": "path", "webhook": "url", "mqtt": "host", "command": "command"}
SECRET = {"address", "url", "secret", "user", "password"}  # keys that ${NAME} may stand in


def read_watch_file(path: Path) -> WatchFile:
    """Read the file. Raises UsageError, with all mistakes, if it is not TOML, if something is wrong
    beside single cameras, or if no camera is left.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}", hint="docs/cameras.md shows one")
    text = read_text(path, MAX_BYTES)
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    reader = _Reader(_line_numbers(text), _secrets(path.with_name(SECRETS)))
    found = reader.file(path, document)
    if any(m.camera is None for m in found.mistakes) or not found.cameras:
        told = "; ".join(map(str, found.mistakes)) or "it names no camera: write [cameras.NAME]"
        raise UsageError(f"{path}: {told}")
    return found


def _secrets(path: Path) -> dict[str, str]:
    """Return the values of secrets.toml; those of the environment come first.

    Raises UsageError if others can read the file.
    """
    found: dict[str, str] = {}
    if path.is_file():
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise UsageError(f"others can read {path}", hint=f"chmod 600 {path}")
        try:
            document = tomllib.loads(read_text(path, MAX_BYTES))
        except (ValueError, RecursionError):
            raise UsageError(f"{path} is not TOML") from None  # the reason could show a secret
        found = {name: str(value) for name, value in document.items()}
    return found | dict(os.environ)


def _line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """Return the lines, from 1, of the tables and keys of a TOML file.

    A path such as ("cameras", "gate", "zones", "1", "polygon") names a key in the second of several
    tables of one name.
    """
    found: dict[tuple[str, ...], int] = {}
    counts: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := HEADER.match(line):
            table = tuple(p.strip().strip("\"'") for p in header[2].split("."))
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, str(counts[table]))
            found.setdefault(table, number)
        elif key := KEY.match(line):
            found.setdefault((*table, key[1].strip("\"'")), number)
    return found


class _Reader:
    """Turns the tables of the file into settings, and collects mistakes."""

    def __init__(self, lines: Mapping[tuple[str, ...], int], secrets: Mapping[str, str]) -> None:
        self._lines, self._secrets = lines, secrets
        self._default_lines = {line for path, line in lines.items() if path[0] == "defaults"}
        self.mistakes: list[Mistake] = []

    def file(self, path: Path, document: Mapping[str, object]) -> WatchFile:
        tables = {"defaults", "cameras", "sinks"}
        top = {name: value for name, value in document.items() if name not in tables}
        settings = self._settings(WatchSettings, top, (), also=tables)
        defaults = self._table(document, "defaults")
        allowed = {f.name for f in fields(CameraSettings)} | {"hours"}
        allowed -= {"address"}
        self._unknown(defaults, allowed, ("defaults",))
        defaults = {name: value for name, value in defaults.items() if name in allowed}
        cameras = self._table(document, "cameras")
        sinks = self._table(document, "sinks")
        read = [self._camera(name, value, defaults) for name, value in cameras.items()]
        told = [self._sink(name, value, set(cameras)) for name, value in sinks.items()]
        wrong = {mistake.camera for mistake in self.mistakes}
        return WatchFile(
            path,
            settings or WatchSettings(),
            tuple(c for c in read if c is not None and c.name not in wrong),
            tuple(s for s in told if s is not None),
            tuple(sorted(self.mistakes, key=lambda mistake: mistake.line)),
        )

    def _camera(self, name: str, table: object, defaults: Mapping[str, object]) -> Camera | None:
        path = ("cameras", name)
        if not NAME.match(name) or not isinstance(table, dict):
            self._wrong(path, f"{name!r} is no name of a camera", name)
            return None
        own = {n: v for n, v in defaults.items() if INSTEAD.get(n) not in table} | table
        given = {n: v for n, v in own.items() if n not in ("zones", "hours")}
        settings = self._settings(CameraSettings, given, path, camera=name, also={"zones", "hours"})
        read = [
            self._zone(zone, (*path, "zones", str(i)), name)
            for i, zone in enumerate(self._list(own, "zones", path, name))
        ]
        zones = tuple(zone for zone in read if zone)
        if Masks.of(zones, ZONE_CELLS, ZONE_CELLS).ignored.all():
            self._wrong((*path, "zones", "0"), "its zones ignore the whole picture", name)
        hours = [
            self._hours(w, (*path, "hours"), name) for w in self._list(own, "hours", path, name)
        ]
        if settings is None:
            return None
        source = self._source(settings, path, name, str(table.get("address", "")))
        if settings.false_alarms:
            try:
                parse_rate(settings.false_alarms)
            except UsageError as error:
                self._wrong((*path, "false_alarms"), str(error), name)
            if settings.threshold is not None:
                self._wrong((*path, "threshold"), "give threshold or false_alarms", name)
        if source is None:
            return None
        return Camera(
            name,
            settings,
            source,
            self._line((*path, "address")),
            zones,
            tuple(h for h in hours if h),
        )

    def _source(
        self, settings: CameraSettings, path: tuple[str, ...], name: str, written: str
    ) -> LiveSource | None:
        where = (*path, "address")
        if not settings.address:
            self._wrong(path, f"the camera {name} has no address", name)
            return None
        if _has_password(written):
            self._wrong(
                where,
                "the address holds a password: write ${NAME} in its place, and set NAME in the "
                f"environment or in {SECRETS}",
                name,
            )
            return None
        try:
            is_file = "://" not in settings.address and not settings.address.isdigit()
            speed = 1.0 if is_file else 0.0
            return find_source(settings.address, speed=speed, loop=settings.loop)
        except UsageError as error:
            self._wrong(where, str(error), name)
            return None

    def _zone(self, zone: object, path: tuple[str, ...], camera: str) -> Zone | None:
        if not isinstance(zone, dict):
            self._wrong(path, "a zone is a table with a polygon", camera)
            return None
        self._unknown(zone, {"name", "polygon", "kind", "black"}, path, camera)
        kind, black = zone.get("kind", "ignore"), zone.get("black", False)
        if kind not in ("ignore", "watch"):
            self._wrong((*path, "kind"), f"kind is {kind!r}, expected ignore or watch", camera)
        if not isinstance(black, bool):
            self._wrong((*path, "black"), f"black is {black!r}, expected true or false", camera)
        points = zone.get("polygon")
        if reason := _polygon_fault(points):
            self._wrong((*path, "polygon"), f"polygon: {reason}", camera)
            return None
        polygon = tuple((float(x), float(y)) for x, y in points or ())
        return Zone(str(zone.get("name", "")), polygon, kind, black is True)

    def _hours(self, words: object, path: tuple[str, ...], camera: str) -> Hours | None:
        match = HOURS.match(str(words))
        if match:
            first, last, *numbers = match.groups()
            h1, m1, h2, m2 = map(int, numbers)
            known = {first or "Mon", last or first or "Sun"} <= set(DAYS)
            if known and h1 * 60 + m1 < 24 * 60 and h2 * 60 + m2 <= 24 * 60 and max(m1, m2) < 60:
                start = DAYS.index(first) if first else 0
                stop = DAYS.index(last or first) if first else 6
                days = frozenset((start + i) % 7 for i in range((stop - start) % 7 + 1))
                return Hours(days, h1 * 60 + m1, h2 * 60 + m2)
        self._wrong(
            path, f"hours: {words!r} is not like 'Mon-Fri 18:00-06:00' or 'daily ...'", camera
        )
        return None

    def _sink(self, name: str, table: object, cameras: set[str]) -> Sink | None:
        path = ("sinks", name)
        if not isinstance(table, dict) or table.get("type") not in SINKS:
            self._wrong((*path, "type"), f"type is one of: {', '.join(SINKS)}")
            return None
        kind = str(table["type"])
        also = {"cameras", "kinds"} | ({"command"} if kind == "command" else set())
        given = {n: v for n, v in table.items() if n not in also}
        settings = self._settings(SINKS[kind], given, path, also=also)
        if (needed := REQUIRED.get(kind)) and not table.get(needed):
            self._wrong(path, f"a sink of type {kind} needs {needed}")
        chosen = self._list(table, "cameras", path)
        for camera in chosen:
            if camera not in cameras:
                self._wrong((*path, "cameras"), f"there is no camera {camera!r}")
        kinds = self._list(table, "kinds", path)
        for name_of_kind in kinds:
            if not (isinstance(name_of_kind, str) and name_of_kind):
                self._wrong((*path, "kinds"), f"kinds: {name_of_kind!r} is no name of a kind")
        for key in ("secret", "password"):
            if table.get(key) and not NAMED.search(str(table[key])):
                self._wrong((*path, key), f"write ${{NAME}} here, and set NAME in {SECRETS}")
        command = self._list(table, "command", path) if kind == "command" else []
        if isinstance(settings, WebhookSettings) and settings.url:
            parts = urlsplit(settings.url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                self._wrong((*path, "url"), "url is no http:// or https:// address")
            if _has_password(str(table["url"])):
                self._wrong((*path, "url"), f"the url holds a password: keep it in {SECRETS}")
        if settings is None:
            return None
        return Sink(
            name,
            settings,
            frozenset(map(str, chosen)),
            frozenset(map(str, kinds)),
            tuple(map(str, command)),
            self._line((*path, "kinds")),
        )

    # --- tables and values

    def _settings(
        self,
        cls: type[Any],
        table: Mapping[str, object],
        path: tuple[str, ...],
        *,
        camera: str | None = None,
        also: Iterable[str] = (),
    ) -> Any:
        """Return settings of a class, or None after a mistake."""
        known, values, n_before = options(cls), {}, len(self.mistakes)
        self._unknown(table, set(known), path, camera, also)
        for name, value in table.items():
            if name not in known:
                continue
            try:
                filled = self._filled(name, value)
            except KeyError as error:
                missing = f"{error.args[0]} is neither in the environment nor in {SECRETS}"
                self._wrong((*path, name), f"{name}: {missing}", camera)
                continue
            try:
                values[name] = known[name].check(filled)
            except ValueError as error:
                shown = "its value does not fit" if name in SECRET else str(error)
                self._wrong((*path, name), f"{name}: {shown}", camera)
        return cls(**values) if len(self.mistakes) == n_before else None

    def _filled(self, name: str, value: object) -> object:
        """Return a value with its secrets. Raises KeyError with the name of one that is not
        known.
        """
        if name not in SECRET or not isinstance(value, str):
            return value

        def secret(match: re.Match[str]) -> str:
            text = self._secrets[match[1]]
            return quote(text, safe="") if name in ("address", "url") else text

        return NAMED.sub(secret, value)

    def _unknown(
        self,
        table: Mapping[str, object],
        known: set[str],
        path: tuple[str, ...],
        camera: str | None = None,
        also: Iterable[str] = (),
    ) -> None:
        every = sorted(known | set(also))
        for name in table.keys() - set(every):
            rest = did_you_mean(name, every) or f"there are: {', '.join(every)}"
            self._wrong((*path, name), f"no key {name!r}, {rest}", camera)

    def _table(self, document: Mapping[str, object], name: str) -> Mapping[str, Any]:
        table = document.get(name, {})
        if isinstance(table, dict):
            return table
        self._wrong((name,), f"{name} must be a table: [{name}]")
        return {}

    def _list(
        self,
        table: Mapping[str, object],
        name: str,
        path: tuple[str, ...],
        camera: str | None = None,
    ) -> Sequence[object]:
        values = table.get(name, [])
        if isinstance(values, list):
            return values
        self._wrong((*path, name), f"{name} must be a list: [...]", camera)
        return []

    def _wrong(self, path: tuple[str, ...], what: str, camera: str | None = None) -> None:
        """Note a mistake; one under [defaults] once for all cameras: the file cannot be used."""
        line = self._line(path)
        mistake = Mistake(line, what, None if line in self._default_lines else camera)
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)

    def _line(self, path: tuple[str, ...]) -> int:
        """Return the line of a key, or of what it is in; a default stands under [defaults]."""
        defaults = ("defaults", *path[2:]) if path[:1] == ("cameras",) else ()
        for known in (path, defaults):
            if known in self._lines:
                return self._lines[known]
        return self._line(path[:-1]) if path else 1


def _has_password(address: str) -> bool:
    """Return True if a written address has a password that is no ${NAME}."""
    authority = re.split(r"[/?#]", NAMED.sub("", address).partition("://")[2], maxsplit=1)[0]
    return bool(authority.rpartition("@")[0].partition(":")[2])


def _polygon_fault(points: object) -> str:
    """Say what is wrong with a polygon; "" if nothing is."""
    if not isinstance(points, list) or len(points) < 3:
        return "expected at least three points [x, y]"
    for point in points:
        is_pair = isinstance(point, list) and len(point) == 2
        if not is_pair or not all(type(v) in (int, float) and 0 <= v <= 1 for v in point):
            return f"{point!r} is no point [x, y] in shares of width and height, 0 to 1"
    edges = list(zip(points, [*points[1:], points[0]], strict=True))
    for i, one in enumerate(edges):
        for j, other in enumerate(edges):
            if j > i + 1 and (i, j) != (0, len(edges) - 1) and _cross(*one, *other):
                return f"its sides {i + 1} and {j + 1} cross"
    if abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in edges)) < 1e-9:
        return "it has no area"
    return ""


def _cross(a: Sequence[float], b: Sequence[float], c: Sequence[float], d: Sequence[float]) -> bool:
    """Return True if the lines from a to b and from c to d cross."""

    def side(p: Sequence[float], q: Sequence[float], r: Sequence[float]) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
