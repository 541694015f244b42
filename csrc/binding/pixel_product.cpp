// Images of feature maps, and the gradients of both factors.
#include <tuple>

#include "tensor.h"

namespace invert {
namespace {

PixelProductArguments arguments(const Tensor& x, const Tensor& weight) {
  STD_TORCH_CHECK(x.dim() == 3 && weight.dim() == 3 && x.size(0) == weight.size(0) && x.size(2) == weight.size(2) &&
                      x.scalar_type() == weight.scalar_type() && x.device() == weight.device(),
                  "pixel_product: x is [N, pixels, C] and the weights are [N, K, C] of the same type");
  STD_TORCH_CHECK(weight.size(1) >= 1 && weight.size(1) <= MOST_ROWS, "pixel_product: at most ", MOST_ROWS, " rows");
  PixelProductArguments a{};
  a.type = number_of(x);
  a.n = x.size(0), a.pixels = x.size(1), a.c = x.size(2), a.k = weight.size(1);
  return a;
}

Tensor whole(const Tensor& x) { return x.is_contiguous() ? x : torch::stable::contiguous(x); }

Tensor pixel_product(const Tensor& x, const Tensor& weight) {
  PixelProductArguments a = arguments(x, weight);
  const Tensor input = whole(x), factors = whole(weight);
  Tensor y = empty({a.n, a.pixels, a.k}, x.scalar_type(), x);
  a.x = input.const_data_ptr(), a.weight = factors.const_data_ptr(), a.y = y.mutable_data_ptr();
  const Launch on(input);
  launch_forward(a, on.stream);
  return y;
}

std::tuple<Tensor, Tensor> pixel_product_backward(const Tensor& dy, const Tensor& x, const Tensor& weight) {
  PixelProductArguments a = arguments(x, weight);
  STD_TORCH_CHECK(dy.dim() == 3 && dy.size(0) == a.n && dy.size(1) == a.pixels && dy.size(2) == a.k &&
                      dy.scalar_type() == x.scalar_type() && dy.device() == x.device(),
                  "pixel_product: the gradient is [N, pixels, K]");
  const Tensor input = whole(x), factors = whole(weight), gradient = whole(dy);
  const int64_t per_picture = layer_tail_blocks(a.c, a.pixels, true);
  Tensor dx = empty({a.n, a.pixels, a.c}, x.scalar_type(), x);
  Tensor dweight = empty({a.n, a.k, a.c}, x.scalar_type(), x);
  Tensor partial = empty({a.n, per_picture, a.k, a.c}, sum_type(x), x);
  a.x = input.const_data_ptr(), a.weight = factors.const_data_ptr(), a.dy = gradient.const_data_ptr();
  a.dx = dx.mutable_data_ptr(), a.dweight = dweight.mutable_data_ptr(), a.partial = partial.mutable_data_ptr();
  const Launch on(input);
  launch_backward(a, on.stream);
  return {dx, dweight};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(invert, INVERT_DISPATCH_KEY, m) {
  m.impl("pixel_product", TORCH_BOX(&pixel_product));
  m.impl("pixel_product_backward", TORCH_BOX(&pixel_product_backward));
}

}  // namespace invert
