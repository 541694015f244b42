"""What the functions are given: networks, settings, and what to do with an image that cannot be used."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from invert.batch.work import Failed
from invert.errors import UsageError
from invert.projection.config import ProjectConfig, with_defaults
from invert.projection.presets import PRESETS

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork

__all__ = [
    "Network",
    "OnFailure",
    "OnMessage",
    "check_failure",
    "check_settings",
    "fail",
    "load",
    "make_config",
    "silent",
]

Network: TypeAlias = "str | os.PathLike[str] | LoadedNetwork"
OnFailure = Literal["raise", "skip"] | Callable[[Failed], None]
OnMessage = Callable[[str], None]


def silent(_: str) -> None:
    """Say nothing."""


def load(path: str | os.PathLike[str], *, on_warning: OnMessage | None = None) -> "LoadedNetwork":
    """Load a network: of this project, or as any repository in `docs/formats.md` writes it; nothing in it is run.

    Args:
        path: The file.
        on_warning: Called with a line for each thing that its user should know.

    Returns:
        The network, with its `generator`, `discriminator` and `provenance`.

    Raises:
        NetworkError: It is unsafe, unsupported, damaged, or cannot be read.
    """
    from invert.projection.session import load_network

    return load_network(path, on_warning, any_shape=True)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse names that are not those of `ProjectConfig`, and presets that are not there.

    Raises:
        UsageError: There is no such setting, or no such preset.
    """
    known = ProjectConfig.__dataclass_fields__
    for name in settings:
        if name not in known:
            raise UsageError(f"there is no setting {name!r}", advice=f"Settings are {', '.join(known)}.")
    if settings.get("preset") not in (None, *PRESETS):
        raise UsageError(f"preset {settings['preset']!r} is not one of {', '.join(PRESETS)}")


def make_config(preset: str, settings: Mapping[str, Any]) -> ProjectConfig:
    """Return the settings of a projection.

    Args:
        preset: The preset where none is named.
        settings: Fields of `ProjectConfig`.

    Raises:
        UsageError: There is no such setting, or a value is out of range.
    """
    check_settings(settings)
    return ProjectConfig(**with_defaults({"preset": preset, **settings}))


def check_failure(on_failure: OnFailure) -> None:
    """Validate what is to be done with images that cannot be used.

    Raises:
        UsageError: It is something else.
    """
    if not (callable(on_failure) or on_failure in ("raise", "skip")):
        raise UsageError(f"on_failure {on_failure!r} is neither 'raise' nor 'skip' nor a function")


def fail(failed: Failed, on_failure: OnFailure, on_message: OnMessage) -> None:
    """Do with an image that cannot be used what the caller wants.

    Args:
        failed: What is known of it.
        on_failure: What the caller wants.
        on_message: Called with its message where it is skipped.

    Raises:
        InvertError: Its error, with "raise".
    """
    if failed.by_rule:
        on_message(failed.message)
    elif callable(on_failure):
        on_failure(failed)
    elif on_failure == "raise":
        raise failed.to_error()
    else:
        on_message(failed.message)
