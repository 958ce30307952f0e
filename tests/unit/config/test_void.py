"""When an option has no effect, as the form greys it: each reason names an option and a value that exist."""

from pivotal.config.build import coerce
from pivotal.config.options import walk
from pivotal.config.train import TrainConfig


def test_every_reason_rests_on_an_option_and_values_that_it_may_have():
    options = {option.key: option for option in walk(TrainConfig)}
    reasons = [(option, *reason) for option in options.values() for reason in option.spec.void_when]
    assert len(reasons) > 25
    for option, other, values, why in reasons:
        assert other != option.key and why.endswith(".") and "\n" not in why, option.key
        for value in values:
            assert value == "" or coerce(options[other], value) == value, (option.key, other, value)
        assert values not in ((), ("",)) or options[other].optional or options[other].default == "", (option.key, other)


def test_no_option_is_void_by_default_through_one_that_is_hidden():
    options = {option.key: option for option in walk(TrainConfig)}
    relative = options["optimizer.relative_step"]
    assert relative.spec.shown_when == ("optimizer.kind", ("adafactor",))  # so that the form need not look at its value else
    assert "optimizer.relative_step" in {other for other, _, _ in options["schedule.kind"].spec.void_when}
