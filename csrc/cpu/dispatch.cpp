// Picks the kernels for this processor; compiled once, without special instructions.
#include "dispatch.h"

#include <string.h>

#include "../binding/backend.h"
#include "plan.h"

namespace invert {
namespace {

#define INVERT_NAME(isa) #isa,
const char* const NAMES[] = {INVERT_FOR_EACH_ISA(INVERT_NAME)};
#undef INVERT_NAME
constexpr int COUNT = sizeof(NAMES) / sizeof(NAMES[0]);

bool supported(int isa) {
#if defined(__x86_64__)
  if (isa == 1) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == 2) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && supported(1);
  }
#endif
  return isa == 0;
}

int best() {
  int isa = COUNT - 1;
  while (!supported(isa)) isa--;
  return isa;
}

int& chosen() {
  static int isa = best();
  return isa;
}

}  // namespace

#define INVERT_LAUNCH(function, target, Arguments)              \
  void function(const Arguments& a, void*) {                    \
    using Run = void (*)(const Arguments&);                     \
    static const Run runs[] = {INVERT_FOR_EACH_ISA(INVERT_##target)}; \
    runs[chosen()](a);                                          \
  }
#define INVERT_run(isa) isa::run,
#define INVERT_run_forward(isa) isa::run_forward,
#define INVERT_run_backward(isa) isa::run_backward,

INVERT_LAUNCH(launch, run, BiasActArguments)
INVERT_LAUNCH(launch, run, Upfirdn2dArguments)
INVERT_LAUNCH(launch, run, FilteredLreluArguments)
INVERT_LAUNCH(launch, run, SeededNormalArguments)
INVERT_LAUNCH(launch, run, DemodulationArguments)
INVERT_LAUNCH(launch, run, NoisePenaltyArguments)
INVERT_LAUNCH(launch, run, NoiseNormaliseArguments)
INVERT_LAUNCH(launch_forward, run_forward, ConvTailArguments)
INVERT_LAUNCH(launch_backward, run_backward, ConvTailArguments)
INVERT_LAUNCH(launch_forward, run_forward, LayerTailArguments)
INVERT_LAUNCH(launch_backward, run_backward, LayerTailArguments)
INVERT_LAUNCH(launch_forward, run_forward, NormalisedTailArguments)
INVERT_LAUNCH(launch_backward, run_backward, NormalisedTailArguments)
INVERT_LAUNCH(launch_forward, run_forward, PixelProductArguments)
INVERT_LAUNCH(launch_backward, run_backward, PixelProductArguments)
INVERT_LAUNCH(launch_forward, run_forward, LpipsTailArguments)
INVERT_LAUNCH(launch_backward, run_backward, LpipsTailArguments)

ReductionPlan conv_tail_plan(int64_t channels, int64_t pixels, bool channels_last) {
  return baseline::reduction_plan(channels, pixels, channels_last);
}

int64_t layer_tail_blocks(int64_t channels, int64_t pixels, bool channels_last) {
  return baseline::blocks(pixels, baseline::tail_pixels(channels, pixels, channels_last));
}

int64_t normalised_tail_blocks(int64_t channels, int64_t pixels) {
  return baseline::blocks(pixels, baseline::normalised_pixels(channels));
}

int64_t lpips_tail_blocks(int64_t channels, int64_t pixels) {
  return baseline::blocks(pixels, baseline::lpips_pixels(channels));
}

}  // namespace invert

extern "C" {

// The instruction set whose kernels run.
__attribute__((visibility("default"))) const char* invert_cpu_isa() { return invert::NAMES[invert::chosen()]; }

// Uses another one; false where it is unknown or the processor lacks it.
__attribute__((visibility("default"))) bool invert_cpu_use_isa(const char* name) {
  for (int isa = 0; isa < invert::COUNT; isa++) {
    if (strcmp(name, invert::NAMES[isa]) == 0 && invert::supported(isa)) {
      invert::chosen() = isa;
      return true;
    }
  }
  return false;
}
}
