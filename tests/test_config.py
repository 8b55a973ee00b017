"""Settings from one source of types, defaults, ranges and help."""

from dataclasses import dataclass
from typing import Literal

import pytest

from vad.config import build, option, options, parse_assignments, read_toml
from vad.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Settings:
    lr: float = option(1e-3, "learning rate", minimum=0, maximum=1)
    epochs: int = option(10, "passes", minimum=1)
    form: Literal["paper", "published"] = option("paper", "of the loss")
    fold: str | None = option(None, "held out")
    resume: bool = option(False, "go on")


def test_later_sources_win_and_text_takes_the_type_of_the_setting():
    built = build(Settings, {"lr": 0.1, "epochs": 5}, {"lr": "1e-2", "resume": "true"}, where="x")
    assert built == Settings(lr=0.01, epochs=5, resume=True)


def test_every_mistake_is_told_at_once_with_the_nearest_name():
    wrong = {"epoch": 3, "lr": "2", "form": "papers", "epochs": 1.5, "resume": "perhaps"}
    with pytest.raises(UsageError) as told:
        build(Settings, wrong, where="vad train")
    for words in (
        "vad train: ",
        "no setting 'epoch', did you mean 'epochs'?",
        "lr: 2.0 is above 1",
        "form: 'papers' is not one of: paper, published",
        "epochs: 1.5 is no whole number",
        "resume: 'perhaps' is neither true nor false",
    ):
        assert words in str(told.value)


def test_options_know_their_help_range_and_choices():
    known = options(Settings)
    assert (known["lr"].kind, known["lr"].minimum, known["lr"].help) == (float, 0, "learning rate")
    assert known["form"].choices == ("paper", "published")
    assert known["fold"].optional


def test_toml_tables(tmp_path):
    path = tmp_path / "vad.toml"
    path.write_text("[train]\nlr = 0.5\n")
    assert read_toml(path, "train") == {"lr": 0.5}
    assert read_toml(path, "extract") == {}
    assert read_toml(None, "train") == {}
    path.write_text("[train\n")
    with pytest.raises(UsageError, match="is not TOML"):
        read_toml(path, "train")
    with pytest.raises(UsageError, match="no configuration file"):
        read_toml(tmp_path / "none.toml", "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tarin]\nlr = 0.5\n", r"vad.toml: no command reads \[tarin\], did you mean 'train'"),
        ("lr = 0.5\n", r"vad.toml: no command reads \[lr\], there are: extract, caption, train"),
        ("x = " + "[" * 9999 + "]" * 9999, "vad.toml is not TOML"),
    ],
    ids=["misspelt", "no table", "nested"],
)
def test_a_toml_file_with_names_that_no_command_reads_is_refused(tmp_path, text, message):
    path = tmp_path / "vad.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_toml(path, "train")


def test_assignments():
    assert parse_assignments(["lr=1e-4", "weight-decay = 0"]) == {"lr": "1e-4", "weight_decay": "0"}
    with pytest.raises(UsageError, match="--set lr: write name=value"):
        parse_assignments(["lr"])
