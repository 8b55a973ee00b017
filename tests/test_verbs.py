"""The front door: typed functions whose signatures are those of the settings classes."""

import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import vad
from vad import verbs
from vad.config import options
from vad.stages.infer.settings import ScoreSettings
from vad.stages.train.detectors import DETECTORS
from vad.stages.train.presets import PRESETS
from vad.stages.train.settings import TrainSettings

ROOT = Path(__file__).resolve().parent.parent
TYPE_CHECKED = (  # names that verbs.py imports for type checkers alone
    *("Comparison", "Evaluation", "Exported", "Labels", "Line", "Outcome", "Report", "Result"),
    *("Callback", "Moment", "Run", "SearchResult", "Spread", "VideoScores"),
)
# what a preset, published weights or a detector's row may set, and an argument then overrides
DECIDED = {n for p in PRESETS.values() for n in p.settings}
DECIDED |= {n for row in DETECTORS.values() for n in row.small} | {"scale", "detector"}
CASES = [(name, cls) for name, classes in verbs.SETTINGS.items() for cls in classes]


def types_of(verb):
    return typing.get_type_hints(verb, localns=dict.fromkeys(TYPE_CHECKED, object))


@pytest.mark.parametrize(("name", "cls"), CASES, ids=lambda x: getattr(x, "__name__", x))
def test_every_setting_is_a_keyword_with_the_type_and_the_default_of_its_class(name, cls):
    verb = getattr(vad, name)
    parameters, types = inspect.signature(verb).parameters, types_of(verb)
    hints = typing.get_type_hints(cls)
    for option in options(cls).values():
        parameter = parameters[option.name]
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        open_ = name == "events" or (cls is TrainSettings and option.name in DECIDED)
        if (cls, option.name) == (TrainSettings, "detector"):
            continue  # it may also be an instance of a settings class
        wanted = hints[option.name] | None if open_ else hints[option.name]
        assert types[option.name] == wanted, option.name
        assert parameter.default == (None if open_ else option.default), option.name


@pytest.mark.parametrize("name", vad.VERBS)
def test_a_verb_has_no_keyword_without_a_word_about_it(name):
    verb = getattr(vad, name)
    documentation = inspect.getdoc(verb)
    for parameter in inspect.signature(verb).parameters.values():
        assert parameter.kind is not inspect.Parameter.VAR_KEYWORD
        assert re.search(rf"\b{parameter.name}\b", documentation), parameter.name


def test_the_module_shows_its_verbs_and_help_shows_their_settings():
    assert set(vad.VERBS) < set(dir(vad))
    assert set(vad.VERBS) < set(vad.__all__)
    defined = {
        n for n, f in vars(verbs).items() if inspect.isfunction(f) and f.__module__ == "vad.verbs"
    }
    assert {n for n in defined if not n.startswith("_")} - {"explained"} == set(vad.VERBS)
    assert "weight_decay: weight decay of the Adam optimizer" in inspect.getdoc(vad.train)
    assert "merge_gap: " + options(ScoreSettings)["merge_gap"].help in inspect.getdoc(vad.score)


def test_every_settings_class_of_a_detector_has_a_short_name():
    beside = {"DetectorRow", "add_detector"}  # which add a detector of one's own
    short = {getattr(vad.detectors, name) for name in set(vad.detectors.__all__) - beside}
    assert short == {row.settings for row in DETECTORS.values()}


@pytest.mark.slow
def test_a_type_checker_finds_a_wrong_keyword_and_a_wrong_type_in_a_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import vad\n\n"
        'outcome = vad.extract("videos/", "features.zarr", backbone="i3d")\n'
        "print(len(outcome.done), outcome.exit_code)\n"
        'run = vad.train("features.zarr", detector=vad.detectors.RTFM(dropout=0.5), epochs=3)\n'
        'vad.train("features.zarr", weight_decai=0.1)\n'
        'vad.extract("videos/", batch="4")\n'
        'vad.extract("videos/", crops="nine")\n'
        'vad.scor("video.mp4")\n'
        'print(vad.score("video.mp4", detector=run.path).frames)\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", str(script)],
        capture_output=True,
        text=True,
        check=False,
        env={"MYPYPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
    )
    errors = {
        int(line.split(":")[1])
        for line in done.stdout.splitlines()
        if line.startswith("script.py:") and ": error: " in line
    }
    assert errors == {6, 7, 8, 9}, done.stdout
    assert 'Unexpected keyword argument "weight_decai"' in done.stdout
