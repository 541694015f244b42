"""The names and shapes of every tensor that a configuration implies, without building a network."""

from generator.config import DiscriminatorSettings, GeneratorConfig
from generator.stylegan.config import StyleGANDiscriminatorConfig, StyleGANSynthesisConfig
from generator.stylegan2.config import MappingConfig, SynthesisConfig

__all__ = ["discriminator_shapes", "generator_shapes"]

Shapes = dict[str, tuple[int, ...]]


def generator_shapes(config: GeneratorConfig) -> Shapes:
    """Return the shape of every tensor of a generator's state."""
    mapping = _mapping_shapes("mapping", config.mapping)
    mapping["mapping.w_avg"] = (config.mapping.w_dim,)
    if isinstance(config.synthesis, StyleGANSynthesisConfig):
        return mapping | _style_shapes(config.synthesis)
    return mapping | _synthesis_shapes(config.synthesis)


def discriminator_shapes(config: DiscriminatorSettings) -> Shapes:
    """Return the shape of every tensor of a discriminator's state."""
    shapes: Shapes = {}
    widths, colours = config.widths, config.img_channels
    everywhere = config.growing or config.architecture == "skip"
    for r, width in sorted(widths.items(), reverse=True):
        if everywhere or r == config.img_resolution:
            shapes |= {f"b{r}.fromrgb.weight": (width, colours, 1, 1), f"b{r}.fromrgb.bias": (width,)}
        if r > 4:
            below = widths[r // 2]
            shapes |= {f"b{r}.conv0.weight": (width, width, 3, 3), f"b{r}.conv0.bias": (width,)}
            shapes |= {f"b{r}.conv1.weight": (below, width, 3, 3), f"b{r}.conv1.bias": (below,)}
            if config.architecture == "resnet":
                shapes[f"b{r}.skip.weight"] = (below, width, 1, 1)
    width, outputs = widths[4], 1
    if isinstance(config, StyleGANDiscriminatorConfig) or config.label_mode == "select":
        outputs = config.c_dim or 1
    elif config.c_dim:
        outputs = config.cmap_dim or width
        layers = config.mapping_layers
        shapes |= _mapping_shapes("mapping", MappingConfig(0, config.c_dim, outputs, num_layers=layers))
    shapes |= {"b4.conv.weight": (width, width + config.mbstd_channels, 3, 3), "b4.conv.bias": (width,)}
    shapes |= {"b4.fc.weight": (width, width * 16), "b4.fc.bias": (width,)}
    return {**shapes, "b4.out.weight": (outputs, width), "b4.out.bias": (outputs,)}


def _mapping_shapes(prefix: str, config: MappingConfig) -> Shapes:
    shapes: Shapes = {}
    width = config.z_dim
    if config.c_dim and config.label_mode == "embed":
        embed = config.embed_dim or config.w_dim
        shapes |= {f"{prefix}.embed.weight": (embed, config.c_dim), f"{prefix}.embed.bias": (embed,)}
        width += embed
    elif config.c_dim:
        shapes[f"{prefix}.label_matrix"] = (config.c_dim, config.z_dim)
        width += config.z_dim
    for i in range(config.num_layers):
        out = config.w_dim if i == config.num_layers - 1 else config.layer_dim or config.w_dim
        shapes |= {f"{prefix}.fc{i}.weight": (out, width), f"{prefix}.fc{i}.bias": (out,)}
        width = out
    return shapes


def _synthesis_shapes(config: SynthesisConfig) -> Shapes:
    shapes: Shapes = {}
    for r, width in config.widths.items():
        block = f"synthesis.b{r}"
        layers = {"conv1": width}
        if r == 4:
            shapes[f"{block}.const"] = (width, 4, 4)
        else:
            below = config.widths[r // 2]
            layers = {"conv0": below, "conv1": width}
            if config.architecture == "resnet":
                shapes[f"{block}.skip.weight"] = (width, below, 1, 1)
        for layer, channels in layers.items():
            shapes |= _modulated(f"{block}.{layer}", channels, width, 3, config.w_dim)
            if config.use_noise:
                shapes |= {f"{block}.{layer}.noise_const": (r, r), f"{block}.{layer}.noise_strength": ()}
        if config.architecture == "skip" or config.growing or r == config.img_resolution:
            shapes |= _modulated(f"{block}.torgb", width, config.img_channels, 1, config.w_dim)
    return shapes


def _style_shapes(config: StyleGANSynthesisConfig) -> Shapes:
    shapes: Shapes = {}
    for r, width in config.widths.items():
        block = f"synthesis.b{r}"
        if r == 4 and config.input == "constant":
            shapes[f"{block}.const"] = (width, 4, 4)
        elif r == 4:
            shapes[f"{block}.dense.weight"] = (width * 16, config.w_dim)
        else:
            shapes[f"{block}.conv0.weight"] = (width, config.widths[r // 2], 3, 3)
        shapes[f"{block}.conv1.weight"] = (width, width, 3, 3)
        for layer in ("input" if r == 4 else "conv0", "conv1"):
            shapes[f"{block}.{layer}.bias"] = (width,)
            if config.use_noise:
                shapes |= {f"{block}.{layer}.noise_const": (r, r), f"{block}.{layer}.noise_strength": (width,)}
            if config.use_styles:
                affine = f"{block}.{layer}.affine"
                shapes |= {f"{affine}.weight": (2 * width, config.w_dim), f"{affine}.bias": (2 * width,)}
        if config.growing or r == config.img_resolution:
            colours = config.img_channels
            shapes |= {f"{block}.torgb.weight": (colours, width, 1, 1), f"{block}.torgb.bias": (colours,)}
    return shapes


def _modulated(layer: str, channels: int, out: int, kernel: int, w_dim: int) -> Shapes:
    weights: Shapes = {f"{layer}.weight": (out, channels, kernel, kernel), f"{layer}.bias": (out,)}
    return {**weights, f"{layer}.affine.weight": (channels, w_dim), f"{layer}.affine.bias": (channels,)}
