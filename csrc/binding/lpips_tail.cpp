#include "tensor.h"

namespace invert {
namespace {

struct Prepared {
  Prepared(const Tensor& x, const Tensor& stored, const Tensor& weights) : features(x), target(stored), lin(x) {
    STD_TORCH_CHECK(x.dim() == 4 && stored.dim() == 4, "lpips_tail: features and target are [N, C, H, W]");
    STD_TORCH_CHECK((stored.size(0) == x.size(0) || stored.size(0) == 1) && stored.size(1) == x.size(1) &&
                        stored.size(2) == x.size(2) && stored.size(3) == x.size(3) &&
                        stored.scalar_type() == x.scalar_type() && stored.device() == x.device(),
                    "lpips_tail: the target must have the shape, type and device of the features");
    a.type = number_of(x);
    a.channels_last = is_channels_last(x);
    a.n = x.size(0), a.c = x.size(1), a.pixels = x.size(2) * x.size(3);
    a.shared_target = stored.size(0) == 1;
    features = with_layout(x, a.channels_last);
    target = with_layout(stored, a.channels_last);
    a.features = features.const_data_ptr();
    a.target = target.const_data_ptr();
    a.lin = small(weights, x, a.c, "lpips_tail: the channel weights", lin);
  }

  LpipsTailArguments a{};
  Tensor features, target, lin;
};

Tensor lpips_tail(const Tensor& features, const Tensor& target, const Tensor& lin) {
  Prepared p(features, target, lin);
  const int64_t sizes[] = {p.a.n, lpips_tail_blocks(p.a.c, p.a.pixels)};
  Tensor y = empty({sizes, 1}, sum_type(features), features);
  Tensor partial = empty({sizes, 2}, sum_type(features), features);
  p.a.y = y.mutable_data_ptr();
  p.a.partial = partial.mutable_data_ptr();
  const Launch on(features);
  launch_forward(p.a, on.stream);
  return y;
}

Tensor lpips_tail_backward(const Tensor& dy, const Tensor& features, const Tensor& target, const Tensor& lin) {
  Prepared p(features, target, lin);
  Tensor gradient = dy;
  p.a.dy = small(dy, features, p.a.n, "lpips_tail: the gradient", gradient);
  Tensor dfeatures = empty_with_layout(p.features, p.a.channels_last);
  p.a.dfeatures = dfeatures.mutable_data_ptr();
  const Launch on(features);
  launch_backward(p.a, on.stream);
  return dfeatures;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(invert, INVERT_DISPATCH_KEY, m) {
  m.impl("lpips_tail", TORCH_BOX(&lpips_tail));
  m.impl("lpips_tail_backward", TORCH_BOX(&lpips_tail_backward));
}

}  // namespace invert
