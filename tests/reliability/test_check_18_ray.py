"""The Ray executor: what it hands out, and that nothing that dies makes a difference (check 18)."""

import itertools
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import vad
from vad.errors import UsageError, VideoError
from vad.stages.extract.outcome import Ended
from vad.stages.extract.plan import make_plan
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import Source, find_sources
from vad.stages.pipelines.executors.cluster import Share, longest_first, on_cluster
from vad.stages.pipelines.executors.dispatch import Dispatch
from vad.stages.pipelines.executors.run import backbone_for_plan, run_plan_on
from vad.stages.pipelines.executors.settings import ExecutorSettings, split
from vad.store import FeatureStore
from vad.store.verify import verify

# --- which worker does which video


def videos(names):
    return [Source(name, Path(f"{name}.mp4")) for name in names]


def take(dispatch, turn, n=9):
    sources = itertools.takewhile(bool, (dispatch.take(turn) for _ in range(n)))
    return [source.id for source in sources]


@pytest.fixture
def dispatch():
    """Videos a to e; the first turn has taken a and b, the second c."""
    dispatch = Dispatch(videos("abcde"), max_losses=2)
    for turn, n in (("one", 2), ("two", 1)):
        dispatch.begin(turn)
        take(dispatch, turn, n)
    return dispatch


def test_videos_are_handed_out_once_and_in_their_order(dispatch):
    assert take(dispatch, "one", 1) == ["d"]
    assert take(dispatch, "two") == ["e"]
    assert dispatch.news().n_waiting == 0
    assert dispatch.news().n_left == 5  # none has ended
    for turn, names in (("one", "abd"), ("two", "ce")):
        for source in videos(names):
            dispatch.ended(turn, Ended(source))
        dispatch.close(turn)
    news = dispatch.news()
    assert [end.source.id for end in news.ended] == ["a", "b", "d", "c", "e"]
    assert news.n_left == 0
    assert dispatch.news().ended == []  # told once


def test_what_a_dead_worker_had_is_done_last_and_alone(dispatch):
    dispatch.close("one")  # with a and b under way
    assert dispatch.news().n_waiting == 4  # d, e, and a, b again
    assert take(dispatch, "two", 2) == ["d", "e"]
    assert take(dispatch, "two") == []  # a may be what kills: not beside c, d and e
    dispatch.begin("three")
    assert take(dispatch, "three") == ["a"]  # and nothing else in this turn
    dispatch.begin("four")
    assert take(dispatch, "four") == ["b"]


def test_a_video_that_takes_its_workers_down_fails_and_its_neighbour_does_not(dispatch):
    dispatch.close("one")  # a kills the first worker, with b beside it,
    take(dispatch, "two")
    dispatch.begin("three")
    assert take(dispatch, "three") == ["a"]
    dispatch.close("three")  # and the second
    (end,) = dispatch.news().ended
    assert (end.source.id, end.error.reason) == ("a", "crashed")
    assert str(end.error) == "2 workers died while it was under way"
    dispatch.begin("four")
    assert take(dispatch, "four") == ["b"]


def test_a_worker_that_was_given_up_gets_and_says_nothing_more(dispatch):
    dispatch.close("one")
    assert dispatch.take("one") is None
    dispatch.ended("one", Ended(Source("a", Path("a.mp4")), VideoError("empty", "too late")))
    assert dispatch.news().ended == []
    assert dispatch.news().n_left == 5


def test_large_files_come_first_and_missing_ones_last(tmp_path):
    for name, n_bytes in (("a", 10), ("b", 30), ("c", 20)):
        (tmp_path / f"{name}.mp4").write_bytes(bytes(n_bytes))
    sources = [Source(name, tmp_path / f"{name}.mp4") for name in "xabc"]
    assert [source.id for source in longest_first(sources)] == ["b", "c", "a", "x"]


@pytest.mark.parametrize(
    ("settings", "resources", "share", "n_workers"),
    [
        ({}, {"CPU": 8}, Share(1, 0), 8),
        ({}, {"CPU": 32, "GPU": 4}, Share(8, 1), 4),
        ({"actor_gpus": 0.5}, {"CPU": 32, "GPU": 4}, Share(4, 0.5), 8),
        ({"actor_gpus": 0}, {"CPU": 32, "GPU": 4}, Share(1, 0), 32),
        ({"actor_cpus": 3}, {"CPU": 8}, Share(3, 0), 2),
        ({"actor_cpus": 8}, {"CPU": 16, "GPU": 4}, Share(8, 1), 2),  # cores run out first
    ],
)
def test_a_worker_gets_a_gpu_or_a_core(settings, resources, share, n_workers):
    found = Share.of(ExecutorSettings(**settings), resources, "auto")
    assert found == share
    assert found.n_workers(resources) == n_workers


def test_a_share_that_no_cluster_has_is_told():
    with pytest.raises(UsageError, match="actors of 1 GPUs, and the Ray cluster has 0"):
        Share.of(ExecutorSettings(actor_gpus=1), {"CPU": 8}, "auto")
    with pytest.raises(UsageError, match="actors of 9 cores, and the Ray cluster has 8"):
        Share.of(ExecutorSettings(actor_cpus=9), {"CPU": 8}, "auto")
    assert Share.of(ExecutorSettings(), {"CPU": 8, "GPU": 1}, "cpu") == Share(1, 0)


def test_settings_of_the_executor_are_told_from_those_of_the_stage():
    where, rest = split({"executor": "ray", "batch": 4}, where="extract")
    assert where == ExecutorSettings(executor="ray")
    assert rest == {"batch": 4}
    with pytest.raises(UsageError, match="'slurm' is not one of: local, ray"):
        split({"executor": "slurm"}, where="extract")


# --- a real cluster, on this machine


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one core each; `cluster.second` is the one without this process."""
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'wsvad[ray]'")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have no tests
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    head = {**node, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.join = lambda: setattr(cluster, "second", cluster.add_node(**node))
    cluster.join()
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def folder(make_video, tmp_path):
    """Six videos, and a file that is none."""
    for number in range(6):
        make_video(f"videos/{number}.mp4", n_frames=20 + 16 * number)
    (tmp_path / "videos" / "bad.mp4").write_text("no video")
    return tmp_path / "videos"


def extract_on_ray(folder, store, **given):
    settings, where = ExtractSettings(), ExecutorSettings(executor="ray")
    backbone = backbone_for_plan(settings, where)
    plan = make_plan(find_sources([folder]), store, backbone, settings)
    opened = FeatureStore.create(store)
    return run_plan_on(plan, opened, backbone, settings, where, quiet=True, **given)


def kill_a_writer(store):
    """Kill a process that is in the middle of a video, as the system does where memory is short."""
    drafts = []
    while not drafts:
        drafts = list((store / ".scratch").glob("*"))
    os.kill(int(drafts[0].name.rsplit("-", 2)[1]), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("dies", ["nothing", "a worker", "a machine"])
def test_check_18_the_store_is_that_of_a_local_run_whatever_dies(
    cluster, folder, tmp_path, files_of, dies
):
    local, store = tmp_path / "local.zarr", tmp_path / "ray.zarr"
    vad.extract(folder, local, quiet=True)
    stored = []

    def on_stored(video):
        stored.append(video)
        if len(stored) == 2 and dies == "a worker":
            kill_a_writer(store)
        elif len(stored) == 2 and dies == "a machine":
            cluster.remove_node(cluster.second, allow_graceful=False)
            cluster.join()

    outcome = extract_on_ray(folder, store, on_stored=on_stored)
    assert sorted(stored) == sorted([*outcome.done, *outcome.skipped]) == list("012345")
    assert {video: error.reason for video, error in outcome.failed.items()} == {
        "bad": "not-a-video"
    }
    assert files_of(store) == files_of(local)
    assert (store / "failures.jsonl").read_text() == (local / "failures.jsonl").read_text()
    assert verify(store, quiet=True).faults == []


class Poisoned:
    """A job in which one video kills its process, and another stops the run."""

    def __init__(self, kills=None, stops=None):
        self.kills, self.stops = kills, stops

    def process(self, sources, n_cpus):
        for source in sources:
            if source.id == self.kills:
                os.kill(os.getpid(), signal.SIGKILL)
            if source.id == self.stops:
                raise UsageError(f"{source.id} on {n_cpus} core: not like this")
            yield Ended(source)


@pytest.mark.slow
def test_check_18_a_video_that_kills_its_workers_costs_itself_alone(cluster):
    job, where = Poisoned(kills="d"), ExecutorSettings(executor="ray", max_losses=2)
    ends = list(on_cluster(job, videos("abcdefgh"), where))
    assert sorted(end.source.id for end in ends) == list("abcdefgh")
    assert {e.source.id: e.error.reason for e in ends if e.error} == {"d": "crashed"}


@pytest.mark.slow
def test_what_stops_a_worker_stops_the_run_and_is_told_as_it_was(cluster):
    where = ExecutorSettings(executor="ray")
    with pytest.raises(UsageError, match="^b on 1 core: not like this$"):
        list(on_cluster(Poisoned(stops="b"), videos("ab"), where))


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_told(folder, tmp_path):
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'wsvad[ray]'")
    command = [sys.executable, "-m", "vad", "extract", folder, "--store", tmp_path / "f.zarr"]
    command += ["--executor", "ray", "--address", "127.0.0.1:9"]  # nobody listens there
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "vad: no Ray cluster at 127.0.0.1:9: Connection refused" in done.stderr
