"""Every option has a widget that the installed gradio can make, and that shows what the option is."""

import gradio as gr
import pytest

from pivotal.config.build import coerce
from pivotal.config.options import Option, Spec, everything, walk
from pivotal.config.train import TrainConfig
from pivotal.ui.widgets import as_typed, element_id, is_wide, label_of, widget_for

OPTIONS = list(everything(TrainConfig))


def test_there_are_options_to_look_at():
    assert len(OPTIONS) >= 30


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_the_installed_gradio_makes_the_widget(option):
    name, arguments = widget_for(option)
    widget = getattr(gr, name)(**arguments)  # outside of any Blocks, each of which makes a web server: 0.1 s
    assert widget.label == label_of(option)
    assert widget.info == option.spec.help
    assert widget.elem_id == element_id(option.key) == "pivotal_" + option.key.replace(".", "_")


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_an_untouched_widget_gives_the_default(option):
    _, arguments = widget_for(option)
    assert coerce(option, arguments["value"]) == option.default


@pytest.mark.parametrize("option", list(walk(TrainConfig)), ids=lambda option: option.key)
def test_a_number_reaches_us_as_it_was_typed(option):
    """No limits of gradio's own: they would answer in a pop-up, before we can answer under the field."""
    name, arguments = widget_for(option)
    if name == "Number":
        assert not {"minimum", "maximum", "precision"} & arguments.keys()


def _option(kind=int, choices=(), optional=False, default=1, **spec):
    return Option("a.b", kind, choices, optional, default, Spec("Is a number.", **spec))


@pytest.mark.parametrize(
    ("option", "name"),
    [
        (_option(bool, default=True), "Checkbox"),
        (_option(str, ("a", "b"), default="a"), "Dropdown"),
        (_option(int), "Number"),
        (_option(int, ge=1, le=12), "Slider"),
        (_option(int, ge=1, le=100_000), "Number"),
        (_option(int, optional=True, default=None, ge=1, le=12), "Textbox"),
        (_option(float, default=1e-4), "Textbox"),
        (_option(float, default=0.5, ge=0, le=1), "Textbox"),
        (_option(float, default=0.5, ge=0, le=1, step=0.05), "Slider"),
        (_option(str, default=""), "Textbox"),
        (_option(tuple, default=("a", "b")), "Textbox"),
    ],
)
def test_which_widget(option, name):
    assert widget_for(option)[0] == name


def test_texts_that_are_tokenized_are_marked_for_the_counter():
    def classes(option):
        return widget_for(option)[1]["elem_classes"]

    assert classes(_option(str, default="")) == []
    assert classes(_option(str, default="", tokens="prompt")) == ["pivotal-tokens"]
    assert classes(_option(str, default="", tokens="caption")) == ["pivotal-tokens", "pivotal-tokens-caption"]
    assert classes(_option(tuple, default=(), tokens="prompt")) == ["pivotal-tokens", "pivotal-tokens-lines"]


def test_values_are_shown_as_one_types_them():
    assert as_typed(_option(tuple, default=()), ("a", "b")) == "a\nb"
    assert as_typed(_option(float, optional=True, default=None), None) == ""
    assert as_typed(_option(float, default=1.0), 1e-4) == "0.0001"
    assert label_of(_option(int, unit="px")) == "B (px)"
    assert is_wide(_option(str, default="", widget="folder"))
    assert not is_wide(_option(int))
