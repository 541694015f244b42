// clamp(act(x + b) * gain), its first and its second derivative: one thread per element.
#include "../kernels/activation.h"
#include "launch.h"

namespace invert {
namespace INVERT_ISA {
namespace {

template <class T>
__global__ void kernel(BiasActArguments a) {
  using A = wide<T>;
  const ActivationSettings<A> s = activation_settings<T>(a.activation);
  const bool at_output = a.order == FIRST && is_piecewise_linear(s.act);
  const T* b = at_output ? nullptr : static_cast<const T*>(a.b);
  for (int64_t i = thread_index(); i < a.count; i += thread_count()) {
    A u = load(static_cast<const T*>(a.x)[i]);
    if (b != nullptr) u += load(b[i / a.inner % a.channels]);
    A result;
    if (a.order == VALUE) {
      result = activate<ANY>(u, s);
    } else {
      result = load(static_cast<const T*>(a.dy)[i]);
      if (at_output) {
        result *= with_activation(s.act, [&](auto act) {
          return activation_slope_at_output<decltype(act)::value>(u, s);
        });
      } else if (a.order == FIRST) {
        result *= activation_slope<ANY>(u, s);
      } else {
        result *= load(static_cast<const T*>(a.v)[i]);
        result *= with_activation(s.act, [&](auto act) { return activation_curvature<decltype(act)::value>(u, s); });
      }
    }
    static_cast<T*>(a.result)[i] = store<T>(result);
  }
}

}  // namespace
}  // namespace INVERT_ISA

void launch(const BiasActArguments& a, void* stream) {
  using namespace INVERT_ISA;
  with_type(a.type, [&](auto number) { launch_kernel(kernel<decltype(number)>, a.count, 0, stream, a); });
}

}  // namespace invert
