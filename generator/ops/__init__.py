"""Operators that the networks are made of: each a module, with its portable kernel and its derivatives."""

from generator.ops.affine_sample import affine_sample
from generator.ops.bias_act import bias_act, default_gain
from generator.ops.box_conv import averaging_kernel, conv_average2d, upsample_conv2d, upsampling_kernel
from generator.ops.conv_tail import conv_tail
from generator.ops.frozen_style import FrozenStyle
from generator.ops.lpips_tail import lpips_tail, normalise_features
from generator.ops.modulate import modulate
from generator.ops.modulated_conv import modulated_conv2d
from generator.ops.noise_maps import noise_penalties, noise_penalty, normalise_noise_
from generator.ops.upfirdn2d import setup_filter, upfirdn2d

__all__ = [
    "FrozenStyle",
    "affine_sample",
    "averaging_kernel",
    "bias_act",
    "conv_average2d",
    "conv_tail",
    "default_gain",
    "lpips_tail",
    "modulate",
    "modulated_conv2d",
    "noise_penalties",
    "noise_penalty",
    "normalise_features",
    "normalise_noise_",
    "setup_filter",
    "upfirdn2d",
    "upsample_conv2d",
    "upsampling_kernel",
]
