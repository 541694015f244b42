#include "tensor.h"

namespace invert {
namespace {

// An uninitialised tensor like x. Where x has no gaps it has the strides of x, so both are flat arrays.
Tensor flat_like(const Tensor& x) { return torch::stable::empty_like(x); }

bool same_strides(const Tensor& x, const Tensor& y) {
  for (int64_t d = 0; d < x.dim(); d++) {
    if (x.size(d) != 1 && x.stride(d) != y.stride(d)) return false;
  }
  return true;
}

// x with the order of elements that `like` has.
Tensor in_order_of(const Tensor& like, const Tensor& x) {
  if (same_strides(like, x) || x.numel() == 0) return x;
  Tensor copy = flat_like(like);
  torch::stable::copy_(copy, x);
  return copy;
}

Tensor run(Order order, const Tensor* v, const Tensor* dy, const Tensor& x, const OptionalTensor& b, int64_t dim,
           const ActivationArguments& activation) {
  // The result lies as the first argument does.
  const Tensor& first = v != nullptr ? *v : dy != nullptr ? *dy : x;
  Tensor result = flat_like(first);
  BiasActArguments a{};
  a.type = number_of(x);
  a.order = order;
  a.activation = activation;
  a.count = x.numel();
  a.channels = a.inner = 1;
  Tensor keep_b = x, keep_v = x, keep_dy = x;
  if (b.has_value()) {
    STD_TORCH_CHECK(dim >= 0 && dim < x.dim() && b->dim() == 1 && b->size(0) == x.size(dim) &&
                        b->scalar_type() == x.scalar_type() && b->device() == x.device(),
                    "bias_act: the bias must fit its dimension and have the type and device of x");
    keep_b = with_layout(*b, false);
    a.b = keep_b.const_data_ptr();
    a.channels = x.size(dim);
    // Elements further in than the bias's dimension: those of dimensions with a smaller stride.
    for (int64_t d = 0; d < x.dim(); d++) {
      if (d != dim && x.size(d) != 1 && result.stride(d) < result.stride(dim)) a.inner *= x.size(d);
    }
    if (a.channels == 1) a.inner = 1;
  }
  const Tensor input = in_order_of(result, x);
  a.x = input.const_data_ptr();
  if (dy != nullptr) {
    check_same(x, *dy, "bias_act: the gradient");
    keep_dy = in_order_of(result, *dy);
    a.dy = keep_dy.const_data_ptr();
  }
  if (v != nullptr) {
    check_same(x, *v, "bias_act: the second gradient");
    keep_v = in_order_of(result, *v);
    a.v = keep_v.const_data_ptr();
  }
  a.result = result.mutable_data_ptr();
  const Launch on(x);
  launch(a, on.stream);
  return result;
}

Tensor bias_act(const Tensor& x, const OptionalTensor& b, int64_t dim, int64_t act, double alpha, double gain,
                double clamp) {
  return run(VALUE, nullptr, nullptr, x, b, dim, {static_cast<int>(act), alpha, gain, clamp});
}

Tensor bias_act_backward(const Tensor& dy, const Tensor& ref, const OptionalTensor& b, int64_t dim, int64_t act,
                         double alpha, double gain, double clamp) {
  return run(FIRST, nullptr, &dy, ref, b, dim, {static_cast<int>(act), alpha, gain, clamp});
}

Tensor bias_act_second(const Tensor& v, const Tensor& dy, const Tensor& ref, const OptionalTensor& b, int64_t dim,
                       int64_t act, double alpha, double gain, double clamp) {
  return run(SECOND, &v, &dy, ref, b, dim, {static_cast<int>(act), alpha, gain, clamp});
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(invert, INVERT_DISPATCH_KEY, m) {
  m.impl("bias_act", TORCH_BOX(&bias_act));
  m.impl("bias_act_backward", TORCH_BOX(&bias_act_backward));
  m.impl("bias_act_second", TORCH_BOX(&bias_act_second));
}

}  // namespace invert
