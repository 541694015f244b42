"""Operators the networks are made of; each module has one public function beside its reference."""

from generator.ops.bias_act import bias_act, default_gain
from generator.ops.modulated_conv import modulated_conv2d
from generator.ops.upfirdn2d import setup_filter, upfirdn2d

__all__ = ["bias_act", "default_gain", "modulated_conv2d", "setup_filter", "upfirdn2d"]
