"""Settings of a training run: one flat frozen dataclass, so that each can be named on a command line.

Nothing here imports torch.
"""

from dataclasses import dataclass

from generator.config import DiscriminatorSettings, GeneratorConfig, MappingConfig
from generator.errors import ConfigError
from generator.families import ARCHITECTURES, DISCRIMINATORS, family_trained_as, refuse_foreign_settings
from generator.settings import Flag, check_fields, setting
from generator.training.precision import check_precision
from generator.training.schedule import GrowthSchedule, parse_by_resolution

__all__ = ["TrainConfig"]


_IMAGES, _NETWORKS, _LOSSES, _COMPUTATION = "Images", "Networks", "Losses", "Computation"
_GROUP = "(?:blit|geom|color|filter|noise|cutout)"


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained. Resuming a run needs the same values; defaults are StyleGAN2's configuration F.

    Settings that are declared `later` default to what runs did before there was the setting, which is not always what
    the public code does; the presets say where they differ.

    Each field says in its `help` what it is; `generator.settings.setting_of` gives it. The order of the fields is that
    of the keys in every file of a run, and of the options in `--help`.

    Raises:
        ConfigError: A setting is out of range, or two contradict each other.
    """

    resolution: int = setting(
        1024,
        help="Side of the images in pixels, a power of two; the data must have it.",
        option="--resolution",
        group=_IMAGES,
        metavar="R",
    )
    channels: int = setting(3, choices=(1, 3, 4), help="Channels of the images, 1 (grey), 3 (RGB) or 4 (RGBA).")
    classes: int = setting(0, minimum=0, help="Number of labels of a conditional network, 0 for a network without.")
    z_dim: int = setting(512, help="Width of the latent z.")
    w_dim: int = setting(512, help="Width of the intermediate latent w.")
    mapping_layers: int = setting(
        8, help="Number of layers of the mapping network.", option="--mapping-layers", group=_NETWORKS, metavar="N"
    )
    mapping_lr_multiplier: float = setting(
        0.01, above=0.0, help="Learning rate of the mapping network relative to the other layers."
    )
    channel_base: int = setting(
        32768, help="The generator has min(channel_base / r, channel_max) channels at r x r pixels."
    )
    channel_max: int = setting(512, help="The most channels that any layer of the generator has.")
    discriminator_channel_base: int = setting(0, help="The discriminator's channel_base; 0 takes the generator's.")
    discriminator_channel_max: int = setting(0, help="The discriminator's channel_max; 0 takes the generator's.")
    generator_architecture: str = setting(
        "skip", choices=ARCHITECTURES, help="Architecture of the generator.", option="--generator", group=_NETWORKS
    )
    discriminator_architecture: str = setting(
        "resnet",
        choices=DISCRIMINATORS,
        help="Architecture of the discriminator.",
        option="--discriminator",
        group=_NETWORKS,
    )
    demodulate: bool = setting(
        True,
        help="Whether StyleGAN2's layers demodulate their weights.",
        option="--no-demodulation",
        flag=Flag(False, "Do not demodulate the weights."),
        group=_NETWORKS,
    )
    use_noise: bool = setting(
        True,
        help="Whether the layers of the generator have noise inputs.",
        option="--no-noise",
        flag=Flag(False, "Leave out the noise inputs."),
        group=_NETWORKS,
    )
    spectral_norm: str = setting(
        "none",
        choices=("none", "d", "g", "gd"),
        help="Networks whose weights are normalised spectrally: discriminator (d), generator (g) or both.",
        option="--spectral-norm",
        group=_NETWORKS,
    )
    mbstd_group_size: int = setting(4, minimum=1, help="Images in a group of the minibatch deviation.")
    mbstd_channels: int = setting(1, help="Feature maps that the minibatch deviation appends; 0 leaves it out.")
    conv_clamp: float = setting(
        0.0, minimum=0.0, help="Limit on the absolute values of feature maps, not StyleGAN's; 0 for no limit."
    )
    batch: int = setting(
        32,
        minimum=1,
        help="Images per step, over all processes and micro-batches.",
        option="--batch",
        group=_COMPUTATION,
        metavar="N",
    )
    learning_rate: float = setting(0.002, above=0.0, help="Learning rate of the generator.")
    discriminator_learning_rate: float = setting(0.002, above=0.0, help="Learning rate of the discriminator.")
    adam_beta1: float = setting(0.0, minimum=0.0, below=1.0, help="How much of its mean gradient Adam keeps.")
    adam_beta2: float = setting(0.99, minimum=0.0, below=1.0, help="How much of its mean squared gradient Adam keeps.")
    adam_epsilon: float = setting(1e-8, minimum=0.0, help="What Adam adds to its denominator.")
    r1_gamma: float = setting(
        10.0,
        minimum=0.0,
        help="Weight of R1, and of R2 with it; 0 turns it off, auto is 0.0002 R^2 / batch.",
        option="--gamma",
        group=_LOSSES,
        metavar="X|auto",
        words=("auto",),
    )
    r1_interval: int = setting(16, minimum=1, help="Number of steps from one application of R1 to the next.")
    path_length_weight: float = setting(
        2.0,
        minimum=0.0,
        help="Weight of the path length regulariser; 0 turns it off.",
        option="--no-path-length",
        flag=Flag(0.0, "Leave out the path length regularisation."),
        group=_LOSSES,
    )
    path_length_interval: int = setting(
        8, minimum=1, help="Number of steps from one application of the path length regulariser to the next."
    )
    path_length_decay: float = setting(
        0.99, minimum=0.0, below=1.0, help="How much of the average path length is kept at each application."
    )
    lazy: bool = setting(
        True,
        help="Whether the regularisers are applied at their intervals, or at every step together with the loss.",
        option="--no-lazy",
        flag=Flag(False, "Regularise at every step."),
        group=_LOSSES,
    )
    style_mixing: float = setting(
        0.9,
        minimum=0.0,
        maximum=1.0,
        help="Probability that an image takes its styles from two latents.",
        option="--mixing",
        group=_LOSSES,
        metavar="P",
    )
    ema_half_life_kimg: float = setting(
        10.0, above=0.0, help="Thousands of images after which the averaged generator has forgotten half."
    )
    ema_warmup: float = setting(
        0.0, minimum=0.0, help="Upper limit of that half-life as a share of the images seen; 0 for none."
    )
    w_avg_beta: float = setting(
        0.995, minimum=0.0, below=1.0, help="How much of the running mean w is kept at each step."
    )
    mirror: bool = setting(False, help="Whether each image is shown mirrored left to right half of the time.")
    seed: int = setting(0, minimum=0, help="Seed of everything random.", option="--seed", metavar="N")
    # Runs that began before there were the following have none of them in their settings.
    loss: str = setting(
        "logistic",
        choices=("logistic", "wgan-gp", "relativistic"),
        help="Loss of both networks; wgan-gp has a gradient penalty of its own in place of R1, relativistic has R2 "
        "beside R1.",
        option="--loss",
        group=_LOSSES,
        later=True,
    )
    gradient_penalty: float = setting(10.0, minimum=0.0, help="Weight of WGAN-GP's gradient penalty.", later=True)
    drift: float = setting(0.001, minimum=0.0, help="Weight of WGAN-GP's drift term.", later=True)
    synthesis_input: str = setting(
        "constant",
        help="Input of a StyleGAN generator: constant, or latent (the traditional input).",
        option="--latent-input",
        flag=Flag("latent", "StyleGAN: the traditional latent input in place of a learned constant."),
        group=_NETWORKS,
        later=True,
    )
    use_styles: bool = setting(
        True,
        help="Whether w sets scale and bias in each layer of a StyleGAN generator.",
        option="--no-styles",
        flag=Flag(False, "StyleGAN: w at the input alone; needs --latent-input."),
        group=_NETWORKS,
        later=True,
    )
    normalisation: str = setting(
        "instance",
        choices=("instance", "pixel", "none"),
        help="How a StyleGAN generator normalises its feature maps.",
        option="--normalisation",
        group=_NETWORKS,
        later=True,
    )
    blur: bool = setting(True, help="Whether StyleGAN's networks blur where they up- and downsample.", later=True)
    growing: bool = setting(
        False,
        help="Whether the networks grow progressively, which orig and stylegan can.",
        option="--growing/--no-growing",
        group=_NETWORKS,
        later=True,
    )
    growing_start: int = setting(8, help="Resolution that networks which grow begin with.", later=True)
    growing_stage_kimg: float = setting(
        600.0, minimum=0.0, help="Thousands of images for which a resolution is trained.", later=True
    )
    growing_fade_kimg: float = setting(
        600.0, minimum=0.0, help="Thousands of images over which a resolution fades in.", later=True
    )
    batch_by_resolution: str = setting(
        "", help="Batches of networks that grow, such as 8:256,16:128; elsewhere batch counts.", later=True
    )
    learning_rate_by_resolution: str = setting(
        "", help="Learning rates of networks that grow, such as 128:0.0015, each for both networks.", later=True
    )
    adam_reset: str = setting(
        "resolution",
        choices=("resolution", "fade", "never"),
        help="When Adam begins again in networks that grow: with each resolution, at both ends of each fade, or never.",
        later=True,
    )
    path_length_layers: str = setting(
        "grown",
        choices=("grown", "all"),
        help="Layers over which the path length is a mean while networks grow: those that have grown, or all.",
        later=True,
    )
    w_avg_passes: str = setting(
        "generator",
        choices=("generator", "discriminator", "all"),
        help="Passes that move the running mean w and StyleGAN3's running magnitudes: those of the generator's loss, "
        "of the discriminator's, or both and those of the path length.",
        later=True,
    )

    augment: str = setting(
        "none",
        pattern=(
            r"none|ada|diff|fixed:(?:0(?:\.\d*)?|\.\d+|1(?:\.0*)?)",
            "none, ada, diff or fixed:P with P in [0, 1]",
        ),
        help="Augmentation of what the discriminator sees: adaptive (ada), with a fixed probability (fixed:P), "
        "DiffAugment's (diff) or none.",
        option="--augment",
        group=_IMAGES,
        metavar="ada|fixed:P|diff|none",
        later=True,
    )
    augment_groups: str = setting(
        "blit,geom,color",
        pattern=(f"{_GROUP}(?:,{_GROUP})*", "some of blit,geom,color,filter,noise,cutout"),
        help="Transforms of ada and fixed:P, some of blit,geom,color,filter,noise,cutout.",
        option="--augment-groups",
        group=_IMAGES,
        metavar="LIST",
        later=True,
    )
    augment_target: float = setting(
        0.6,
        minimum=-1.0,
        maximum=1.0,
        help="Mean sign of the discriminator's output for training images that ada aims at.",
        later=True,
    )
    augment_kimg: float = setting(
        500.0, above=0.0, help="Thousands of images in which ada can go from no augmentation to all.", later=True
    )
    augment_interval: int = setting(
        4, minimum=1, help="Number of steps from one change of ada to the next.", later=True
    )
    mirror_y: bool = setting(
        False, help="Whether each image is shown mirrored top to bottom half of the time.", later=True
    )
    subset: int = setting(
        0,
        minimum=0,
        help="Number of images, drawn from the data, that are trained on; 0 for all.",
        option="--subset",
        group=_IMAGES,
        metavar="N",
        later=True,
    )
    subset_seed: int = setting(0, minimum=0, help="Seed by which these images are drawn.", later=True)
    start: str = setting(
        "",
        pattern=("(?:[0-9a-f]{64})?", "a SHA-256"),
        help="SHA-256 of the network file whose layers the run started with.",
        later=True,
    )
    freeze_d: int = setting(
        0,
        minimum=0,
        help="Number of layers of the discriminator, from the image on, that keep the weights they start with.",
        option="--freeze-d",
        group=_NETWORKS,
        metavar="N",
        later=True,
    )
    freeze_mapping: bool = setting(
        False,
        help="Whether the mapping network keeps the weights it starts with.",
        option="--freeze-mapping",
        flag=Flag(True, "Do not train the mapping network."),
        group=_NETWORKS,
        later=True,
    )

    layer_schedule: str = setting(
        "",
        help="Schedule of StyleGAN3's layers where it is not the published one: num_layers:10,margin_size:5.",
        later=True,
    )
    magnitude_half_life_kimg: float = setting(
        20.0, above=0.0, help="Thousands of images after which StyleGAN3's running magnitudes forgot half.", later=True
    )
    discriminator_mapping_layers: int = setting(
        0, minimum=0, help="Layers that map the discriminator's labels; 0 takes mapping_layers.", later=True
    )
    blur_warmup_sigma: float = setting(
        0.0,
        minimum=0.0,
        maximum=100.0,
        help="Pixels by which all that the discriminator sees is blurred at the start.",
        later=True,
    )
    blur_warmup_kimg: float = setting(
        200.0, above=0.0, help="Thousands of images over which that blur fades.", later=True
    )
    precision: str = setting(
        "float32",
        choices=("float32", "bfloat16"),
        help="Numbers of the feature maps in the adversarial passes; weights, losses and regularisers are float32.",
        option="--precision",
        group=_COMPUTATION,
        later=True,
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.loss == "wgan-gp" and self.r1_gamma:
            raise ConfigError(f"r1_gamma is {self.r1_gamma!r}, but WGAN-GP has a penalty of its own: it has to be 0")
        if self.loss == "wgan-gp" and self.augment == "ada":
            raise ConfigError(
                "augment is 'ada', but the sign of a WGAN-GP critic says nothing: take fixed:P, diff or none"
            )
        # the networks' own settings are checked by their own classes, here and not when training has begun
        self.generator_config()
        width = self.discriminator_config().widths[4]
        if self.mbstd_channels and width % self.mbstd_channels:
            raise ConfigError(f"mbstd_channels is {self.mbstd_channels}, not a divisor of the {width} channels at 4 px")
        start = self.growing_start
        if self.growing and not (4 <= start <= self.resolution and start & (start - 1) == 0):
            raise ConfigError(f"growing_start is {start}, not a power of two in 4..{self.resolution}")
        if self.mbstd_channels:
            self.growth_schedule().check_groups(self.mbstd_group_size)
        check_precision(self)

    def generator_config(self) -> GeneratorConfig:
        """Return the settings of the generator.

        Raises:
            ConfigError: They do not fit together.
        """
        refuse_foreign_settings(self)
        family = family_trained_as(self.generator_architecture)
        synthesis = family.synthesis_settings(self)
        mapping = MappingConfig(
            z_dim=self.z_dim,
            c_dim=self.classes,
            w_dim=self.w_dim,
            num_layers=self.mapping_layers,
            label_mode=family.LABEL_MODE,
            lr_multiplier=self.mapping_lr_multiplier,
            w_avg_beta=self.w_avg_beta,
        )
        mapping.check_width()
        return GeneratorConfig(mapping, synthesis)

    def discriminator_config(self) -> DiscriminatorSettings:
        """Return the settings of the discriminator.

        Raises:
            ConfigError: They do not fit together.
        """
        return family_trained_as(self.discriminator_architecture).discriminator_settings(self)

    def growth_schedule(self) -> GrowthSchedule:
        """Return what is trained when; without growing it has one stage."""
        return GrowthSchedule(
            start=self.growing_start if self.growing else self.resolution,
            resolution=self.resolution,
            stage_images=round(self.growing_stage_kimg * 1000),
            fade_images=round(self.growing_fade_kimg * 1000),
            batch=self.batch,
            learning_rate=self.learning_rate,
            discriminator_learning_rate=self.discriminator_learning_rate,
            batches=parse_by_resolution("batch_by_resolution", self.batch_by_resolution, int),
            learning_rates=parse_by_resolution("learning_rate_by_resolution", self.learning_rate_by_resolution, float),
        )
