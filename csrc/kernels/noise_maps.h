// One element of what keeps noise maps noise: the autocorrelation at a shift by one, its gradient, and the halving.
#pragma once

#include "number.h"

namespace invert {
namespace INVERT_ISA {

constexpr int64_t PYRAMID_FLOOR = 8;  // pixels; a map is halved until its shorter side is no longer than this

// d (sum_i m_i m_{i-1} / n)^2 / d m_i by the neighbours along one axis; slope is 2 (sum / n) / n.
template <class A>
INVERT_INLINE A shifted_gradient(A before, A after, A slope, A sum) {
  return multiply_add(before + after, slope, sum);
}

template <class A>
INVERT_INLINE A halved(A a, A b, A c, A d, A scale) {
  return ((a + b) + (c + d)) * scale;
}

}  // namespace INVERT_ISA
}  // namespace invert
