"""How every command ends: its exit code, and one line where it failed."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click

from fornet_keras.config.schema import SECTIONS
from fornet_keras.errors import FoRNetError, RunInterrupted, is_out_of_memory, memory_reason, os_reason

FAILED = 1
INTERRUPTED = 130
TERMINATED = 128 + signal.SIGTERM


class _Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, which ends a command as Ctrl-C does: what is half-written goes."""


class Command(click.Command):
    """A command whose help ends with examples, each a line without the program's name.

    Where the memory is full, it ends with the advice that it has for that.
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        memory_advice: str = "close other programs, or take smaller images",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.memory_advice = memory_advice

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.ClickException:  # it may name a file "out of memory"
            raise
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise FoRNetError(f"out of memory ({memory_reason(error)}); {self.memory_advice}") from error

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if setting := self._setting(error.option_name):
                message = f"{error.message} Did you mean '--set {setting}=VALUE'?"
                raise click.NoSuchOption(error.option_name, message, ctx=ctx) from None
            raise
        except click.MissingParameter as error:
            example = f"\nFor example: {ctx.find_root().command_path} {self.examples[0]}"
            raise click.UsageError(error.format_message().rstrip(".") + "." + example, ctx) from None
        _require_not_read(ctx.params)
        return rest

    def _setting(self, option: str) -> str | None:
        """The setting that is called like an option which a command does not have."""
        if not any(parameter.name == "overrides" for parameter in self.params):
            return None
        key = option.lstrip("-").replace("-", "_")
        return next((f"{name}.{key}" for name, keys in SECTIONS.items() if key in keys.model_fields), None)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        program = ctx.find_root().command_path
        with formatter.section("Examples" if len(self.examples) > 1 else "Example"):
            for example in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{program} {example}\n")


def _require_not_read(values: Mapping[str, Any]) -> None:
    """Refuse a --json FILE that is also among the files that the command reads."""
    file = values.get("json_file")
    given = [x for value in values.values() for x in (value if isinstance(value, tuple) else (value,))]
    for path in given:
        if path is file or not isinstance(path, str | Path) or not os.path.exists(path):
            continue
        if file and file.exists() and file.samefile(path):
            raise click.UsageError(f"--json {file}: this command reads it; expected a FILE to write")


class Group(Command, click.Group):
    """A group of such commands; exits with 0, 1 (failed), 2 (wrong usage), 130 (Ctrl-C) or 143 (SIGTERM)."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # as they were added, not by name

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        heard: list[int] = []
        try:
            with _hearing_signals(heard):
                code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except RunInterrupted as error:
            code = _interrupted(error.signal_number, str(error))
        except FoRNetError as error:
            # OpenVINO's converter makes an error of its own of what it is interrupted by.
            code = _interrupted(heard[-1]) if heard and error.__cause__ else _failed(f"Error: {error}")
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            fix = "; make room on the disk and start the command again" if is_full else ""
            code = _failed(f"Error: {place}{os_reason(error)}{fix}")
        except Exception as error:  # click.Abort, or JAX', which in mid-step has no weights to put back
            if not (heard or isinstance(error.__cause__, KeyboardInterrupt)):
                raise
            code = _interrupted(heard[-1] if heard else signal.SIGINT)
        sys.exit(code)


@contextmanager
def _hearing_signals(heard: list[int]) -> Iterator[None]:
    """In the block SIGTERM and a closed terminal raise as Ctrl-C does, and none is lost.

    Args:
        heard: gets the number of each.
    """

    def stop(number: int, frame: Any) -> NoReturn:
        heard.append(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        # A second one ends the process, whatever it is at; a terminal that closes sends several.
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
        raise _Terminated

    timers: list[threading.Timer] = []

    def send_again(lost: sys.UnraisableHookArgs) -> None:
        """What is raised while Python destroys an object, or collects garbage, goes no further."""
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            report(lost)
            return
        number = signal.SIGTERM if lost.exc_type is _Terminated else signal.SIGINT
        if number == signal.SIGTERM:
            signal.signal(number, stop)
        # To the process, not the timer's thread: that wakes the main one. Windows would end it by os.kill.
        send = signal.raise_signal if sys.platform == "win32" else partial(os.kill, os.getpid())
        timers.append(threading.Timer(0.1, send, (number,)))
        timers[-1].start()

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:  # a script's background ignores it
        numbers.append(signal.SIGINT)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup sets it
        numbers.append(signal.SIGHUP)
    try:
        before = {number: signal.signal(number, stop) for number in numbers}
    except ValueError:  # not the main thread, which alone hears signals
        yield
        return
    report, sys.unraisablehook = sys.unraisablehook, send_again
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        sys.unraisablehook = report
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupted(number: int, message: str = "Interrupted") -> int:
    return _failed(message, INTERRUPTED if number == signal.SIGINT else TERMINATED)


def _failed(message: str, code: int = FAILED) -> int:
    with suppress(OSError):  # the terminal is gone
        click.echo(message, err=True)
    return code
