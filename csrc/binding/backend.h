// What a backend offers to the torch-facing side. `stream` is where CUDA kernels go and null on the CPU.
#pragma once

#include "../kernels/arguments.h"

namespace invert {

void launch(const BiasActArguments&, void* stream);
void launch(const Upfirdn2dArguments&, void* stream);
void launch(const FilteredLreluArguments&, void* stream);
void launch(const SeededNormalArguments&, void* stream);  // on the CPU alone
void launch(const DemodulationArguments&, void* stream);  // on the CPU alone
void launch(const NoisePenaltyArguments&, void* stream);  // on the CPU alone
void launch(const NoiseNormaliseArguments&, void* stream);  // on the CPU alone
void launch_forward(const ConvTailArguments&, void* stream);
void launch_backward(const ConvTailArguments&, void* stream);
void launch_forward(const LayerTailArguments&, void* stream);   // on the CPU alone
void launch_backward(const LayerTailArguments&, void* stream);  // on the CPU alone
void launch_forward(const NormalisedTailArguments&, void* stream);   // on the CPU alone
void launch_backward(const NormalisedTailArguments&, void* stream);  // on the CPU alone
void launch_forward(const PixelProductArguments&, void* stream);   // on the CPU alone
void launch_backward(const PixelProductArguments&, void* stream);  // on the CPU alone
void launch_forward(const LpipsTailArguments&, void* stream);
void launch_backward(const LpipsTailArguments&, void* stream);

// The first index of an operator's partial sums runs over this many blocks.
ReductionPlan conv_tail_plan(int64_t channels, int64_t pixels, bool channels_last);
int64_t layer_tail_blocks(int64_t channels, int64_t pixels, bool channels_last);
int64_t normalised_tail_blocks(int64_t channels, int64_t pixels);
int64_t lpips_tail_blocks(int64_t channels, int64_t pixels);

}  // namespace invert
