// Where the samples come from that one output sample of "insert zeros, pad, filter, keep every down-th" is made of.
#pragma once

#include "number.h"

namespace invert {
namespace INVERT_ISA {

// One axis. Output o is the sum over the taps k of coefficient[k] * padded[o * down + k], where padded[j] is
// input[(j - pad) / up] if that is a whole number inside the picture, else zero.
struct FilterAxis {
  int64_t size;
  int64_t up, down;
  int64_t pad;
  int64_t taps;
};

struct TapRange {
  int64_t first;   // the first tap that meets a sample inside the picture
  int64_t count;   // how many do; the next one is `up` taps further
  int64_t sample;  // the sample that the first tap meets; the next tap meets the next sample
};

INVERT_INLINE int64_t divide_up(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

INVERT_INLINE TapRange tap_range(const FilterAxis& axis, int64_t o) {
  const int64_t origin = o * axis.down - axis.pad;
  int64_t sample = divide_up(origin, axis.up);
  sample = sample < 0 ? 0 : sample;
  const int64_t first = sample * axis.up - origin;
  int64_t count = first < axis.taps ? (axis.taps - first + axis.up - 1) / axis.up : 0;
  const int64_t inside = axis.size - sample;
  count = count < inside ? count : inside;
  return {first, count < 0 ? 0 : count, sample};
}

}  // namespace INVERT_ISA
}  // namespace invert
