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

// Pixels of a block of what follows a layer's convolution: whole planes, or as many with all their channels as the second-level cache
// holds several times.
inline int64_t tail_pixels(int64_t channels, int64_t pixels, bool channels_last) {
  return channels_last ? most(8192 / most(channels, 1), 1) : most(pixels, 1);
}

// Pixels of a block of a layer that normalises: as many as the second-level cache holds together with their result. A
// picture that is one block is read from memory once. Longer sums would lose digits.
inline int64_t normalised_pixels(int64_t channels) { return most(least(65536 / most(channels, 1), 1024), 1); }

// A unit of work: some pixels of one picture, with all their channels.
struct PixelBlock {
  int64_t n, p0, p1;
};

// The pictures' pixels are cut into blocks of `size`.
inline PixelBlock pixel_block(int64_t pixels, int64_t size, int64_t unit) {
  const int64_t per_picture = blocks(pixels, size);
  const int64_t p0 = unit % per_picture * size;
  return {unit / per_picture, p0, least(p0 + size, pixels)};
}

constexpr int64_t LANES = 16;  // channels whose sums are kept in registers while a block's pixels pass by

template <int COUNT>
struct LaneCount {
  static constexpr int value = COUNT;
};

// Calls f(LaneCount, first channel, how many) for some channels after the other; the count is -1 where it is not LANES.
template <class F>
INVERT_INLINE void over_lanes(int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + LANES <= channels; c += LANES) f(LaneCount<LANES>(), c, LANES);
  if (c < channels) f(LaneCount<-1>(), c, channels - c);
}

// Pixels whose features fit into the second-level cache, which the LPIPS tail reads several times.
inline int64_t lpips_pixels(int64_t channels) { return most(least(UNIT / most(channels, 1), ROW), 16); }

}  // namespace INVERT_ISA
}  // namespace invert
