#include "tensor.h"

namespace invert {
namespace {

// Runs a stage on x `[N, C]`, in which the others have the shape of x.
Tensor staged(int stage, const Tensor& x, const Tensor* by = nullptr, const Tensor* from = nullptr, double epsilon = 0) {
  STD_TORCH_CHECK(x.dim() == 2 && (x.scalar_type() == ScalarType::Float || x.scalar_type() == ScalarType::Double),
                  "demodulation: styles and factors are float32 or float64 [N, C]");
  DemodulationArguments a{};
  a.type = number_of(x);
  a.stage = stage, a.count = x.numel(), a.epsilon = epsilon;
  Tensor kept[3] = {with_layout(x, false), x, x};
  a.x = kept[0].const_data_ptr();
  if (by != nullptr) {
    check_same(*by, x, "demodulation: what multiplies");
    kept[1] = with_layout(*by, false);
    a.by = kept[1].const_data_ptr();
  }
  if (from != nullptr) {
    check_same(*from, x, "demodulation: what is subtracted from");
    kept[2] = with_layout(*from, false);
    a.from = kept[2].const_data_ptr();
  }
  Tensor y = empty(x.sizes(), x.scalar_type(), x);
  a.y = y.mutable_data_ptr();
  launch(a, nullptr);
  return y;
}

Tensor demodulation(const Tensor& styles, const Tensor& energy_t, double epsilon) {
  const Tensor sums = torch::stable::matmul(staged(DEMODULATION_SQUARE, styles), energy_t);
  return staged(DEMODULATION_ROOT, sums, nullptr, nullptr, epsilon);
}

Tensor demodulation_backward(const Tensor& dfactors, const Tensor& dstyles, const Tensor& styles, const Tensor& factors,
                             const Tensor& energy) {
  const Tensor through = torch::stable::matmul(staged(DEMODULATION_CUBE, factors, &dfactors), energy);
  return staged(DEMODULATION_REST, through, &styles, &dstyles);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(invert, INVERT_DISPATCH_KEY, m) {
  m.impl("demodulation", TORCH_BOX(&demodulation));
  m.impl("demodulation_backward", TORCH_BOX(&demodulation_backward));
}

}  // namespace invert
