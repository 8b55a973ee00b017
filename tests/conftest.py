"""Fixtures of several test files: the real data, and small videos that tests make themselves."""

import gc
import os
import runpy
import shutil
import signal
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
# Compiling a network takes longer than the few clips of a test; tests of the engine switch it on.
os.environ.setdefault("VAD_ENGINE", "pytorch")
# Tests run side by side, one a core; threads of theirs would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Processes that tests start load our code compiled, and do not each compile it again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
N_BITS = 10  # numbers up to 1023

# Tests that are run in the background of a script ignore Ctrl-C, and so would what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """Take what is loaded by now, which stays, out of the garbage collector's rounds."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """With VAD_REQUIRE_GPU=1, a skipped test that needs a GPU is a failed one."""
    report = (yield).get_result()
    needs_gpu = item.get_closest_marker("gpu") is not None
    if report.skipped and needs_gpu and os.environ.get("VAD_REQUIRE_GPU") == "1":
        report.outcome, report.longrepr = "failed", f"VAD_REQUIRE_GPU=1, but: {report.longrepr}"


def pytest_runtest_setup(item):
    """Skip tests marked `gpu` where torch finds none."""
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("torch finds no CUDA device")


@pytest.fixture
def vad(monkeypatch, capsys):
    """Run a command in this process: exit code, stdout, stderr."""
    from vad.stages.pipelines.cli import main

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["vad", *map(str, args)])
        with pytest.raises(SystemExit) as done:
            main()
        out, err = capsys.readouterr()
        return done.value.code or 0, out, err

    return run


@pytest.fixture(scope="session")
def python():
    """Start processes of Python that have everything loaded: see `forks.py`."""
    with runpy.run_path(str(Path(__file__).with_name("forks.py")))["Forks"]() as forks:
        yield forks


@pytest.fixture(scope="session")
def data():
    """The folder of real videos; its README.md says what each is."""
    folder = Path(os.environ.get("VAD_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; VAD_TEST_DATA names the folder")
    return folder


@pytest.fixture(scope="module")
def browser():
    """A real browser without a network; with VAD_REQUIRE_BROWSER=1, it must be there."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if os.environ.get("VAD_REQUIRE_BROWSER") != "1":
        pytest.importorskip("playwright.sync_api", reason="pip install playwright")
        if chromium is None:
            pytest.skip("no Chromium")
    from playwright import sync_api as playwright

    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def make_video(tmp_path):
    """Write a video whose frames carry their number in their pixels; see `_write`."""

    def make(name="video.mp4", n_frames=40, **settings):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, n_frames, **settings)
        return path

    return make


@pytest.fixture(scope="session")
def write_video():
    """The function that writes a video whose frames carry their number: see `_write`."""
    return _write


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A folder with `videos/` (four of 20 frames), their `features.zarr`, and a `run` on them."""
    import vad

    folder = tmp_path_factory.mktemp("small")
    (folder / "videos").mkdir()
    for i in range(4):
        _write(folder / "videos" / f"v{i}.mp4", 20, fps=10 + 5 * i)
    rows = "".join(f"v{i},{i % 2},train\n" for i in range(4))
    (folder / "labels.csv").write_text(f"video,label,split\n{rows}")
    store, run = folder / "features.zarr", folder / "run"
    vad.extract(folder / "videos", store, quiet=True, backbone="efficientnet-lite0")
    vad.train(store, folder / "labels.csv", run, quiet=True, epochs=1, detector="rtfm")
    return folder


@pytest.fixture(scope="session")
def naming_run(small_run, tmp_path_factory):
    """The run of `small_run`, which also tells kinds: "fire" with a share of 0.7311, "fight" with
    the rest, whatever is seen.
    """
    from dataclasses import replace

    import numpy as np

    from vad.stages.train.naming import Naming
    from vad.stages.train.run import Run

    run = Run.open(small_run / "run")
    (name,) = run.card.streams
    dim = run.card.streams[name].dim
    weights = np.zeros((2, 2 * dim + 1))
    weights[1, -1] = 1
    naming = Naming(name, ("fight", "fire"), np.zeros(dim), np.ones(dim), weights, least=0.5)
    path = tmp_path_factory.mktemp("naming") / "run"
    card = replace(run.card, kinds=naming.names)
    Run(path, card, run.members, run.familiarity, naming).save()
    return path


@pytest.fixture(scope="session")
def read_numbers():
    """Read the numbers back: rgb [frames, height, width, 3] -> list."""
    return lambda rgb: [_number(image) for image in rgb]


@pytest.fixture(scope="session")
def draw():
    """The picture of a number: (number, width, height) -> rgb [height, width, 3]."""
    return _picture


_encoded: dict[str, bytes] = {}  # videos that `_write` has made, by what they are made of


def _write(path, n_frames, **settings):
    """Write a video; see `_encode`. The same one is encoded once, and then copied."""
    made_of = repr((path.suffix, n_frames, sorted(settings.items())))
    if made_of not in _encoded:
        _encode(path, n_frames, **settings)
        _encoded[made_of] = path.read_bytes()
    path.write_bytes(_encoded[made_of])


def _encode(
    path,
    n_frames,
    *,
    size=(160, 96),  # stored, in pixels
    fps=30,
    codec="libx264",
    pixel_format="yuv420p",
    options=None,  # of the encoder
    container_options=None,
    times=None,  # of the frames, in 1/fps seconds
    rotation_deg=0,  # counterclockwise, for the player to do; shown, the numbers are upright
):
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.thread_count = 1
        if rotation_deg:
            stream.set_display_rotation(rotation_deg)
        turns = rotation_deg // 90 % 4
        shown = size if turns % 2 == 0 else size[::-1]
        for number in range(n_frames):
            image = np.ascontiguousarray(np.rot90(_picture(number, *shown), -turns))
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _picture(number, width, height):
    """Above, the bits of the number, white or black; below, colours that move."""
    rgb = np.zeros((height, width, 3), np.uint8)
    cell = width // N_BITS
    for bit in range(N_BITS):
        if number >> bit & 1:
            rgb[: height // 2, bit * cell : (bit + 1) * cell] = 255
    ramp = (np.arange(width) + 4 * number) % 256
    rgb[height // 2 :] = np.stack([ramp, ramp[::-1], (3 * ramp) % 256], axis=-1)
    return rgb


def _number(image):
    cell = image.shape[1] // N_BITS
    height = image.shape[0] // 2
    bits = [image[4 : height - 4, bit * cell + 3 : (bit + 1) * cell - 3] for bit in range(N_BITS)]
    return sum(int(pixels.mean() > 127) << bit for bit, pixels in enumerate(bits))


@pytest.fixture
def make_scores(tmp_path):
    """Scores of a video of 10 frames a second, without a run: snippets in, `VideoScores` out."""
    return lambda snippets, **settings: _scores(tmp_path, snippets, **settings)


def _scores(folder, snippets, *, n_frames=None, video="video", source=None, **settings):
    from vad.stages.infer.scores import VideoScores
    from vad.stages.pipelines.video_source import video_source_of
    from vad.store import VideoRecord

    n_frames = n_frames or 16 * len(snippets)
    file = Path(source or folder / f"{Path(video).name}.mp4")
    record = VideoRecord(
        source=str(file),
        source_bytes=file.stat().st_size if file.exists() else 1000,
        source_mtime_ns=file.stat().st_mtime_ns if file.exists() else 0,
        source_sha256="0" * 64,
        n_frames=n_frames,
        fps=10.0,
        duration_s=n_frames / 10,
        width=160,
        height=96,
        container="mov",
        codec="h264",
        decoder="pyav 18.1.0",
        n_frames_declared=n_frames,
        n_bad_packets=0,
        tail="repeat-last",
    )
    return VideoScores(
        video=video,
        record=record,
        snippets=np.array(snippets, np.float32),
        times=np.arange(n_frames) / 10,
        threshold=0.5,
        detector="rtfm",
        video_source=video_source_of(record),
        **settings,
    )


@pytest.fixture(scope="session")
def s3_server():
    """A server that speaks the S3 protocol, with one bucket: what the environment says of it."""
    moto = pytest.importorskip("moto.server", reason="moto is an extra: pip install -e .[dev]")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is an extra: pip install -e .[s3]")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "a-key",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("s3://bucket")
    yield environment
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch, tmp_path):
    """The address of a new folder in the bucket of `s3_server`, which the environment names."""
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    return f"s3://bucket/{tmp_path.parent.name}/{tmp_path.name}"
