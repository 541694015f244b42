// One element's input to the activation in clamp(act(x * scale + noise * strength + b) * gain).
#pragma once

#include "activation.h"

namespace invert {
namespace INVERT_ISA {

template <class A>
INVERT_INLINE A tail_input(A x, A scale, A noise, A b) {
  return multiply_add(x, scale, noise + b);
}

}  // namespace INVERT_ISA
}  // namespace invert
