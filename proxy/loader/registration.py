"""What a plugin module registers: its hooks are checked one plugin at a time, and so are its channel classes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Coroutine, Mapping
from typing import Any, Final

import msgspec
import pluggy

from proxy import hookspecs
from proxy.channel import OPERATIONS, Channel, Options
from proxy.errors import PluginError, did_you_mean
from proxy.inputs import PictureForm
from proxy.models import Model

_TYPE: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
_ASYNC: Final = ("create", "fetch", "content", "start", "close", *OPERATIONS)


def channel_classes(module: Any, file: str) -> list[type[Channel]]:
    """The channel classes that `module` registers; `PluginError` with `file` where anything is wrong with it."""
    manager = pluggy.PluginManager("reelgate")
    manager.add_hookspecs(hookspecs)
    known = [name for name in vars(hookspecs) if manager.parse_hookspec_opts(hookspecs, name) is not None]
    hooks = [name for name in dir(module) if manager.parse_hookimpl_opts(module, name) is not None]
    for name in hooks:
        if name not in known:
            guess = did_you_mean(name, known) or f"; the hooks are {', '.join(known)}"
            raise PluginError(file, f"{name} is no hook of Reelgate{guess}")
    if not hooks:
        if callable(getattr(module, "register_channel", None)):
            raise PluginError(file, "register_channel needs @hookimpl above it (from proxy import hookimpl)")
        raise PluginError(file, "registers nothing; a file beside plugins that is none has a name like _name.py")
    try:
        manager.register(module)
    except pluggy.PluginValidationError as error:
        raise PluginError(file, " ".join(str(error).split())) from error
    return [cls for impl in manager.hook.register_channel.get_hookimpls() for cls in _registered(impl.function, file)]


def _registered(function: Any, file: str) -> list[type[Channel]]:
    try:
        answer = function()
    except KeyboardInterrupt:
        raise
    except PluginError as error:
        raise PluginError(file, error.cause) from error
    except BaseException as error:
        raise PluginError(file, f"register_channel failed: {type(error).__name__}: {error}") from error
    if isinstance(answer, Coroutine):
        answer.close()
        raise PluginError(file, "register_channel must be a plain def, not async def")
    classes = list(answer) if isinstance(answer, list | tuple) else [answer]
    if not classes or answer is None:
        raise PluginError(file, "register_channel returned nothing; return the Channel class")
    for cls in classes:
        if (wrong := _wrong_with(cls)) is not None:
            raise PluginError(file, wrong)
    return classes


def _wrong_with(cls: Any) -> str | None:
    """Why `cls` cannot be a channel's class, in words, or None."""
    if not isinstance(cls, type):
        what = type(cls).__name__
        return f"register_channel returned a {what}, not a class; return the class itself, without brackets"
    if not issubclass(cls, Channel) or cls is Channel:
        return f"{cls.__name__} is no subclass of proxy.Channel"
    kind = getattr(cls, "type", None)
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        return f'{cls.__name__} needs a type, the word for channels.yaml: type = "{cls.__name__.lower()}"'
    if missing := sorted(cls.__abstractmethods__):
        return f"{cls.__name__} lacks {' and '.join(missing)}: async def {missing[0]}(self, …) is required"
    if cls.__init__ is not Channel.__init__:
        return f"{cls.__name__} has an __init__ of its own; what must happen first belongs in async def start(self)"
    for name in _ASYNC:
        method = inspect.getattr_static(cls, name)
        if (
            inspect.isfunction(method)
            and not hasattr(method, "__wrapped__")
            and not inspect.iscoroutinefunction(method)
        ):
            return f"{cls.__name__}.{name} must be async def"
    return _wrong_with_facts(cls)


def _wrong_with_facts(cls: type[Channel]) -> str | None:
    options: Any = cls.options_class
    if not isinstance(options, type) or not issubclass(options, Options):
        return f"{cls.__name__}.options_class must be a subclass of proxy.Options"
    try:
        msgspec.inspect.type_info(options)
    except (NameError, TypeError) as error:
        return f"{options.__name__} cannot be used as options_class: {error}"
    if not isinstance(cls.models, Mapping) or not all(isinstance(model, Model) for model in cls.models.values()):
        return f"{cls.__name__}.models must map names to proxy.Model"
    pace: Any = inspect.getattr_static(cls, "poll_every")
    if isinstance(pace, str) or (isinstance(pace, int | float) and not pace > 0):
        return f"{cls.__name__}.poll_every must be a number of seconds above 0"
    form: Any = inspect.getattr_static(cls, "picture_form")
    if not isinstance(form, PictureForm | property):
        return f"{cls.__name__}.picture_form must be a proxy.PictureForm"
    needed: Any = cls.requires
    if not isinstance(needed, Mapping) or not all(
        isinstance(word, str) and word for pair in needed.items() for word in pair
    ):
        return f'{cls.__name__}.requires must map modules to what to run: {{"av": "pip install \'reelgate[media]\'"}}'
    return None
