"""Figures of events, kinds and intervals by hand; the page and the tables of an evaluation."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk

from vad.stages.infer.evaluation.metrics import Metrics, Moment
from vad.stages.infer.evaluation.page import Share, Verdict
from vad.stages.infer.evaluation.tables import metrics_table, tables, worst_table
from vad.stages.train.metrics import Pool, evaluate, ranking, sweep
from vad.stages.train.metrics.bootstrap import Ranker, decision_intervals, draw, interval
from vad.stages.train.metrics.events import event_figures, first_alarms, n_matches
from vad.stages.train.metrics.figures import Confusion, Overlap


@pytest.mark.parametrize(
    ("true", "predicted", "iou", "n"),
    [
        # ..####....  truth      [2, 6)
        # ....####..  predicted  [4, 8): 2 shared of 6
        ([(2, 6)], [(4, 8)], 0.3, 1),
        ([(2, 6)], [(4, 8)], 0.34, 0),
        ([(2, 6)], [(2, 6)], 1.0, 1),
        ([(2, 6)], [(6, 8)], 0.1, 0),  # they touch, and share nothing
        ([(0, 4), (6, 10)], [(0, 10)], 0.3, 1),  # one alarm for two events matches one of them
        ([(0, 10)], [(0, 4), (6, 10)], 0.3, 1),  # and two alarms for one event
        ([(0, 10), (10, 14)], [(2, 12)], 0.1, 1),  # 8 of 12 before 2 of 12
        ([(0, 4), (6, 8)], [(6, 8), (0, 3)], 0.5, 2),  # in any order
        ([], [(0, 1)], 0.1, 0),
        ([(0, 1)], [], 0.1, 0),
    ],
)
def test_events_match_one_to_one_by_overlap(true, predicted, iou, n):
    assert n_matches(true, predicted, iou) == n


@pytest.mark.parametrize(
    ("predicted", "first"),
    [
        ([(12, 14)], 12),
        ([(0, 11)], 10),  # on already when the event begins
        ([(0, 10), (20, 30)], None),  # over before it begins, and begun when it is over
        ([(18, 25), (15, 16)], 15),
    ],
)
def test_the_first_alarm_in_an_event(predicted, first):
    assert first_alarms([(10, 20)], predicted) == [first]


def test_events_by_hand():
    true = [[(10, 20), (30, 40)], [], [(0, 10)]]
    predicted = [[(15, 20)], [(2, 4), (6, 8)], [(0, 10)]]
    times_s = [np.arange(41) / 10, np.arange(73) * 100.0, np.arange(11) / 10]
    figures = event_figures(true, predicted, np.array([True, False, True]), times_s)
    assert (figures.n_events, figures.n_predicted) == (3, 4)
    assert figures.iou[0.5] == Overlap(precision=2 / 4, recall=2 / 3, f1=4 / 7)
    assert figures.detected == 2 / 3
    assert figures.delay_mean_s == pytest.approx((0.5 + 0) / 2)  # frame 15 of 10, at 10 a second
    assert figures.delay_median_s == pytest.approx(0.25)
    assert figures.false_alarms_per_hour == 2 / 2  # two in a normal video of 7200 s


TRUTH = [[0, 0, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0], [0, 0]]
SCORES = [[0.1, 0.6, 0.1, 0.1], [0.3, 0.9, 0.5, 0.2], [0.4, 0.4, 0.8, 0.4], [0.0, 0.2]]
LABELS = [0, 1, 1, 0]
KINDS = ["normal", "fight", "fire+fight", "normal"]


def test_kinds_by_hand():
    found = evaluate(TRUTH, SCORES, LABELS, threshold=0.5, categories=KINDS).categories
    assert list(found) == ["fight", "fire"]
    fire, fight = found["fire"], found["fight"]
    assert (fire.n_videos, fire.n_frames, fire.n_anomalous_frames) == (1, 4, 2)
    # 0.4 and 0.4 against 0.8 and 0.4 of the same video: each loses one and ties one
    assert fire.abnormal_only_auc == 1 / 4
    # and against 0.1 0.6 0.1 0.1 0.0 0.2 besides: 5 more wins each
    assert fire.auc == (5 + 0.5) / 8
    assert (fire.recall, fire.video_recall) == (0, 1)  # the video is flagged, for 0.8
    assert (fight.n_videos, fight.recall) == (2, 2 / 4)  # a video of two kinds is of both


def test_a_sweep_is_the_decision_at_every_threshold():
    pool = Pool.of([np.array(t, bool) for t in TRUTH], [np.array(s) for s in SCORES])
    rows, best = sweep(pool, np.array(LABELS, bool)[pool.video])
    assert [row.threshold for row in rows] == [0.9, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]
    truth, scores = np.concatenate(TRUTH).astype(bool), np.concatenate(SCORES)
    for row in rows:
        flagged = scores >= row.threshold
        assert row.precision == pytest.approx(sk.precision_score(truth, flagged), abs=1e-12)
        assert row.recall == pytest.approx(sk.recall_score(truth, flagged), abs=1e-12)
        assert row.f1 == pytest.approx(sk.f1_score(truth, flagged), abs=1e-12)
    at_half = rows[3]  # 0.9 and 0.5 of 4 anomalous, 0.8 and 0.6 of 10 normal frames
    assert at_half.youden == pytest.approx(2 / 4 - 2 / 10)
    assert at_half.false_alarm_rate == 1 / 6
    assert best.threshold == 0.4  # all 4, and 0.8, 0.6, 0.4 of 10
    assert best.youden == pytest.approx(1 - 3 / 10)


def long_set(seed=0, n_videos=30):
    """Videos in snippets of 16 frames, the last one shorter."""
    random = np.random.default_rng(seed)
    truth, scores = [], []
    for index in range(n_videos):
        n = int(random.integers(20, 400))
        one = np.zeros(n, bool)
        one[n // 3 : n // 2] = index % 2
        levels = np.round(random.uniform(0, 0.9, -(-n // 16)), 2)
        score = np.repeat(levels, 16)[:n] + 0.1 * one
        truth.append(one)
        scores.append(score)
    return truth, scores, np.arange(n_videos) % 2


def test_runs_of_frames_have_the_figures_of_the_frames():
    truth, scores, _ = long_set()
    pool = Pool.of(truth, scores)
    assert pool.n_frames.sum() == sum(map(len, truth))
    assert len(pool.scores) < pool.n_frames.sum() / 8
    frames = np.concatenate(truth), np.concatenate(scores)
    figures = ranking(pool.truth, pool.scores, pool.n_frames)
    assert figures.auc == pytest.approx(sk.roc_auc_score(*frames), abs=1e-12)
    assert figures.ap == pytest.approx(sk.average_precision_score(*frames), abs=1e-12)
    precision, recall, _ = sk.precision_recall_curve(*frames)
    assert figures.pr_auc == pytest.approx(sk.auc(recall, precision), abs=1e-12)


def test_a_resample_has_the_figures_of_the_videos_it_repeats():
    truth, scores, _ = long_set()
    rank = Ranker(Pool.of(truth, scores))
    for seed in range(5):
        weights = np.random.default_rng(seed).integers(0, 4, len(truth))
        videos = np.repeat(np.arange(len(truth)), weights)
        frames = [np.concatenate([one[i] for i in videos]) for one in (truth, scores)]
        auc, ap, pr_auc = rank(weights)
        assert auc == pytest.approx(sk.roc_auc_score(*frames), abs=1e-12)
        assert ap == pytest.approx(sk.average_precision_score(*frames), abs=1e-12)
        precision, recall, _ = sk.precision_recall_curve(*frames)
        assert pr_auc == pytest.approx(sk.auc(recall, precision), abs=1e-12)


def test_as_many_normal_and_abnormal_videos_are_drawn_as_there_are():
    is_abnormal = np.array([True, False, False, True, False])
    counts = draw(is_abnormal, 200, np.random.default_rng(0))
    assert set(counts[:, is_abnormal].sum(1)) == {2}
    assert set(counts[:, ~is_abnormal].sum(1)) == {3}
    assert counts.mean(0) == pytest.approx(np.ones(5), abs=0.2)


def test_intervals_hold_the_figure_and_narrow_with_more_videos():
    few, many = (evaluate(*long_set(n_videos=n), threshold=0.5) for n in (10, 160))
    widths = []
    for figures in (few, many):
        low, high = figures.intervals["frame.auc"]
        assert low < figures.frame.auc < high
        widths.append(high - low)
        low, high = figures.intervals["at_threshold.recall"]
        assert low < figures.at_threshold.recall < high
    assert widths[1] < widths[0] / 2  # 16 times the videos: a quarter, by the square root


def test_videos_that_are_all_alike_have_no_spread_and_what_has_no_value_no_interval():
    same = np.tile([[8, 2, 0, 0], [4, 1, 2, 3]], (5, 1))  # tn fp fn tp
    is_abnormal = np.arange(10) % 2 == 1
    found = decision_intervals(same, is_abnormal, draw(is_abnormal, 50, np.random.default_rng(0)))
    assert found["recall"] == pytest.approx((3 / 5, 3 / 5))
    assert found["false_alarm_rate"] == pytest.approx((2 / 10, 2 / 10))
    assert found["precision"] == pytest.approx((3 / 6, 3 / 6))
    silent = same * np.array([1, 0, 1, 0])
    found = decision_intervals(silent, is_abnormal, draw(is_abnormal, 9, np.random.default_rng(0)))
    assert found["precision"] is None
    assert interval(np.array([])) is None


def test_folds_are_judged_by_their_own_thresholds():
    figures = evaluate([[0, 1], [0, 1]], [[0.1, 0.3], [0.6, 0.9]], [1, 1], threshold=[0.2, 0.8])
    assert figures.at_threshold.confusion == Confusion(tn=2, fp=0, fn=0, tp=2)
    assert figures.at_threshold.threshold == [0.2, 0.8]
    same = evaluate([[0, 1], [0, 1]], [[0.1, 0.3], [0.6, 0.9]], [1, 1], threshold=[0.2, 0.2])
    assert same.at_threshold.confusion.fp == 1
    assert same.at_threshold.threshold == 0.2


def shown(**changed):
    moment = Moment("cam [1]", "", 1.0, 2.5, 1.5, "00:00:01.000", "00:00:02.500", 0.8125)
    result = Metrics(
        run="runs/rtfm",
        runs=["runs/rtfm"],
        name="rtfm",
        detector="rtfm",
        split="test",
        truth="segments.csv",
        selected_on="validation",
        stamp="",
        threshold=0.5,
        loss=None,
        training={},
        figures=evaluate(TRUTH, SCORES, LABELS, threshold=0.5, categories=KINDS),
        false_alarms=[moment],
        misses=[],
        videos=[],
    )
    return replace(result, **changed)


def test_the_table_puts_results_side_by_side_and_says_what_must_be_said():
    text = metrics_table(
        [shown(), shown(name="mgfn", stamp="selected on test", threshold=[0.2, 0.4])]
    )
    head, *rows = text.splitlines()
    assert head.split() == ["rtfm", "mgfn"]
    assert rows[0].split() == ["SELECTED", "ON", "TEST"]
    row = next(line for line in rows if "confusion" in line)
    assert row.split()[-8:] == ["8", "2", "2", "2"] * 2
    assert "0.2000 to 0.4000, by fold" in text
    assert max(map(len, text.splitlines())) <= 130


def test_tables_of_the_page_have_a_named_column_for_every_value():
    one = {table.title: table for table in tables([shown()])}
    assert one["frames, all videos"].columns == ["figure", "rtfm", "95 % interval"]
    assert one["kinds of anomaly"].rows[0] == ["fight", "2", *one["kinds of anomaly"].rows[0][2:]]
    counted = one["number of frames at the threshold of the run"]
    assert counted.columns == ["truth", "flagged", "not flagged"]
    assert counted.rows == [["anomalous", "2", "2"], ["normal", "2", "8"]]
    two = list(tables([shown(), shown(name="mgfn", stamp="selected on test")]))
    assert two[0].columns[3:] == ["mgfn, selected on test", "95 % interval"]
    for table in [*one.values(), *two]:
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert all(table.columns[1:])


def test_a_verdict_counts_videos_and_says_what_they_can_tell():
    found = Verdict.of(shown())
    assert (found.n_found, found.n_abnormal, found.n_raised, found.n_normal) == (2, 2, 1, 2)
    z, n = 1.959964, 2  # Wilson (1927): the shares that are within z deviations of what was seen
    for share, seen in ((found.found, 1.0), (found.raised, 0.5)):
        middle = (seen + z**2 / (2 * n)) / (1 + z**2 / n)
        reach = z / (1 + z**2 / n) * np.sqrt(seen * (1 - seen) / n + z**2 / (4 * n**2))
        assert (share.low, share.high) == pytest.approx((middle - reach, middle + reach))
    assert found.oracle == evaluate(TRUTH, SCORES, LABELS).oracle.auc
    few = Verdict.of(shown(figures=evaluate(TRUTH[:1], SCORES[:1], [0], threshold=0.5)))
    assert (few.found, few.n_raised, few.pairs) == (None, 1, None)


@pytest.mark.parametrize(
    ("low", "high", "side"), [(0.6, 0.9, "above"), (0.4, 0.9, "near"), (0.1, 0.4, "below")]
)
def test_a_share_is_compared_by_its_interval(low, high, side):
    assert Share(0.4, low, high).against(0.5) == side


def test_a_name_is_no_markup():
    assert "[bold]x[/]" in metrics_table([shown(name="[bold]x[/]")])
    text = worst_table(shown())
    assert text.splitlines() == [
        "worst false alarms",
        "  00:00:01.000 to 00:00:02.500  highest 0.812  cam [1]",
    ]
