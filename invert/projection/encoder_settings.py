"""Settings of the training of an encoder; nothing here imports torch."""

from dataclasses import dataclass

from generator.settings import setting

__all__ = ["EncoderSettings"]

_GROUP = "Training"


@dataclass(frozen=True)
class EncoderSettings:
    """How an encoder is trained."""

    steps: int = setting(2000, minimum=1, maximum=10**7, help="Number of steps.", group=_GROUP, metavar="N")
    batch: int = setting(32, minimum=1, maximum=4096, help="Samples of a step.", group=_GROUP, metavar="N")
    width: int = setting(48, minimum=4, maximum=512, help="Channels of the first layers.", group=_GROUP, metavar="N")
    rate: float = setting(1e-3, above=0, maximum=1, help="Learning rate between its ramps.", group=_GROUP, metavar="X")
    lpips: str = setting("alex", choices=("vgg", "alex"), help="Backbone of the LPIPS distance.", group=_GROUP)
    seed: int = setting(0, minimum=0, maximum=2**31 - 1, help="Seed of the samples.", group=_GROUP, metavar="N")
