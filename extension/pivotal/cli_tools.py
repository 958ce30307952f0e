"""The command line's tools: ``tool resize IN OUT --rank 8``, each flag from the tool's options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from pivotal.config.build import build
from pivotal.config.derived import default_text, range_text, refuse_flags
from pivotal.config.options import Option, walk
from pivotal.errors import OptionError, PivotalError
from pivotal.tools.registry import TOOLS, Tool

_GIVEN = {"sources": "FILE=WEIGHT", "embeddings": "FILE", "new_word": "NEW", "word": "WORD", "base": "BASE", "tuned": "TUNED",
          "source": "IN", "target": "OUT", "folder": "FOLDER", "run": "RUN"}


def add_tool_commands(subparsers: Any) -> Any:
    """Adds ``tool`` with a command for each tool to what ``ArgumentParser.add_subparsers()`` returned.

    Returns: where further commands may be added.
    """
    text = "Does something with finished files: networks, bundles, embeddings."
    parser = subparsers.add_parser("tool", help=text, description=text)
    commands = parser.add_subparsers(required=True, metavar="TOOL")
    for tool in TOOLS.values():
        text = f"{tool.title}. {(tool.section.__doc__ or '').strip()}"
        sub = commands.add_parser(tool.name, help=f"{tool.title}.", description=text, allow_abbrev=False)
        sub.set_defaults(command=_run, tool=tool)
        for option in walk(tool.section):
            add_option(sub, option, tool.given)
    return commands


def add_option(parser: argparse.ArgumentParser, option: Option, given: Sequence[str] = ()) -> None:
    """Adds one option as a flag; one of `given` has none."""
    limits, default = range_text(option), default_text(option)
    text = option.spec.help + (f" Values: {limits}." if limits else "") + (f" Default: {default}." if default else "")
    many = {"nargs": "+"} if option.type is tuple else {}
    common = {"dest": option.key, "default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
    if option.key in given:
        parser.add_argument(option.key, metavar=_GIVEN[option.key], help=common["help"], **many)
    elif option.type is bool:  # takes no value, which would swallow the file's name after it
        parser.add_argument(option.flag, action=argparse.BooleanOptionalAction, **common)
    else:
        parser.add_argument(option.flag, metavar=_metavar(option), **common, **many)


def _metavar(option: Option) -> str:
    if option.spec.widget == "folder":
        return "PATH"
    return {int: "N", float: "X"}.get(option.type, "WORD")


def _run(known: argparse.Namespace, rest: Sequence[str]) -> int:
    """Exit code 0, or 1 with one sentence a problem on stderr."""

    def work() -> int:
        tool: Tool = known.tool
        refuse_flags(rest, f"tool {tool.name}")
        keys = {option.key for option in walk(tool.section)}
        settings = build(tool.section, {key: value for key, value in vars(known).items() if key in keys})
        from pivotal.tools.work import carry_out

        report = carry_out(settings)
        sys.stdout.write(f"{report.text}\n")
        sys.stdout.writelines(f"{path}\n" for path in report.files)
        return 0

    return told(work, known.tool.section, known.tool.given)


def told(work: Callable[[], int], section: type, given: Sequence[str]) -> int:
    """What `work` returns, or 1 and what is wrong in the words that the user has typed."""
    try:
        return work()
    except OptionError as error:
        sys.stderr.writelines(f"{_flag_of(section, given, key)}: {text}\n" for key, text in error.problems.items())
    except PivotalError as error:
        sys.stderr.write(f"{error}\n")
    return 1


def _flag_of(section: type, given: Sequence[str], key: str) -> str:
    """What the user would have typed for an option."""
    if key in given:
        return _GIVEN[key]
    return next((option.flag for option in walk(section) if option.key == key), key)
