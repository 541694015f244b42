// One element of the distance between unit-normalised features and a stored target, and of its gradient.
//
// With length = |f| over the channels and inverse = 1 / (length + 1e-10):
//   d_c = f_c inverse - t_c,   distance = sum_c lin_c d_c^2,
//   d distance / d f_c = 2 lin_c d_c inverse - (sum_k 2 lin_k d_k f_k) inverse^2 f_c / length.
#pragma once

#include "number.h"

namespace invert {
namespace INVERT_ISA {

template <class A>
INVERT_INLINE A inverse_length(A squares) {
  return A(1) / (square_root(squares) + A(1e-10));
}

// The factor of f_c in the gradient; nothing where the feature vector is zero.
template <class A>
INVERT_INLINE A length_gradient(A projected, A squares) {
  const A length = square_root(squares);
  const A inverse = A(1) / (length + A(1e-10));
  return length > A(0) ? projected * inverse * inverse / length : A(0);
}

template <class A>
INVERT_INLINE A difference(A f, A inverse, A target) {
  return multiply_add(f, inverse, -target);
}

template <class A>
INVERT_INLINE A weighted_square(A d, A lin, A sum) {
  return multiply_add(d * lin, d, sum);
}

// dy stands for the gradient of one pixel's distance.
template <class A>
INVERT_INLINE A feature_gradient(A f, A d, A lin, A inverse, A along, A dy) {
  return dy * (A(2) * lin * d * inverse - along * f);
}

}  // namespace INVERT_ISA
}  // namespace invert
