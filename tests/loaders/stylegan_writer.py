"""Write the golden StyleGAN the way its TensorFlow code does, with changes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from generator.files.pickles.reader import interpret
from generator.files.pickles.vocabularies import NVIDIA
from tests.loaders import emitter
from tests.loaders.writers import GOLDEN, Arrays, tf_network

Parts = dict[str, Arrays]


def variables_of(state: dict[str, Any]) -> Arrays:
    return {
        name: np.float32(value) if isinstance(value, float) else np.array(value.array())
        for name, value in state["variables"]
    }


def golden_parts() -> tuple[Parts, dict[str, Any], dict[str, Any]]:
    """Return the variables of Gs ("", "mapping", "synthesis") and D ("D"), and the settings of both."""
    data = memoryview((GOLDEN / "nvidia_tf_stylegan1.pkl").read_bytes())
    top: Any = interpret(data, NVIDIA).value
    _, critic, generator = (network.state for network in top)
    parts = {name: variables_of(network.state) for name, network in generator["components"].items()}
    parts |= {"": variables_of(generator), "D": variables_of(critic)}
    return parts, dict(generator["static_kwargs"]), dict(critic["static_kwargs"])


def stylegan(
    change: Callable[[Parts], None] | None = None,
    *,
    version: int = 3,
    kwargs: dict[str, Any] | None = None,
    d_kwargs: dict[str, Any] | None = None,
    bare: bool = False,
) -> bytes:
    """Return a network as the TensorFlow code pickles it.

    Args:
        change: Changes the variables first.
        version: Version of the TensorFlow networks. 2 leaves out a list of components that is empty.
        kwargs: Settings of the generator to add.
        d_kwargs: Settings of the discriminator to add.
        bare: Leave the list out in another version too.
    """
    parts, g, d = golden_parts()
    if change is not None:
        change(parts)
    made = tf_network(
        {**g, **(kwargs or {})},
        parts[""],
        version,
        synthesis=tf_network({}, parts["synthesis"], version),
        mapping=tf_network({}, parts["mapping"], version),
    )
    critic = tf_network({**d, **(d_kwargs or {})}, parts["D"], version)
    if version == 2 or bare:
        for network in (critic, *made.state["components"].values()):
            del network.state["components"]
    return emitter.dumps((made, critic, made), 2)


def drop(part: str, name: str) -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        del parts[part][name]

    return change


def put(part: str, name: str, value: np.ndarray | np.float32) -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        parts[part][name] = value

    return change
