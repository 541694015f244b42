// How the CPU kernels cut a picture's [channels, pixels] into units of work.
#pragma once

#include "rows.h"

namespace invert {
namespace INVERT_ISA {

// A block is long in memory order, at most ROW, so that partial sums stay few; but even one picture gives several.
inline ReductionPlan reduction_plan(int64_t channels, int64_t pixels, bool channels_last) {
  const int64_t inner = most(least(channels_last ? channels : pixels, ROW), 1);
  const int64_t size = least(UNIT, blocks(channels * pixels, 8));
  const int64_t outer = most(least(size / inner, ROW), 1);
  return channels_last ? ReductionPlan{inner, outer} : ReductionPlan{outer, inner};
}

// Pixels of a block of a layer in training: whole planes, or as many with all their channels as the second-level cache
// holds several times.
inline int64_t layer_tail_pixels(int64_t channels, int64_t pixels, bool channels_last) {
  return channels_last ? most(8192 / most(channels, 1), 1) : most(pixels, 1);
}

// Pixels whose features fit into the second-level cache, which the LPIPS tail reads several times.
inline int64_t lpips_pixels(int64_t channels) { return most(least(UNIT / most(channels, 1), ROW), 16); }

}  // namespace INVERT_ISA
}  // namespace invert
