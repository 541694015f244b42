// What follows a convolution while its layer is trained, and the gradients of all that goes into it.
#include <tuple>

#include "tensor.h"

namespace invert {
namespace {

struct Sides {
  const OptionalTensor& scale;
  const OptionalTensor& noise;
  const OptionalTensor& strength;
  const OptionalTensor& b;
};

// The arguments of both directions, and what their pointers are into.
struct Prepared {
  Prepared(const Tensor& x, const Sides& p, double factor, const ActivationArguments& activation)
      : input(x), scale(x), noise(x), strength(x), b(x) {
    STD_TORCH_CHECK(x.dim() == 4 || x.dim() == 2, "layer_tail: x is [N, C, H, W] or [N, C]");
    a.type = number_of(x);
    // without neighbours, pixels and channels lie alike: the line that has numbers in it is that of the channels
    a.n = x.size(0), a.c = x.size(1), a.pixels = x.dim() == 4 ? x.size(2) * x.size(3) : 1;
    layout = x.dim() == 4 && is_channels_last(x);
    a.channels_last = layout || a.pixels == 1;
    a.factor = factor;
    a.activation = activation;
    // a tensor without elements has no address, and is there all the same
    has_scale = p.scale.has_value(), has_strength = p.noise.has_value() && p.strength.has_value();
    has_bias = p.b.has_value();
    a.shared_noise = p.noise.has_value() && p.noise->size(0) == 1;
    input = with_layout(x, layout);
    a.x = input.const_data_ptr();
    a.scale = small(p.scale, x, a.n * a.c, "layer_tail: the scale", scale);
    a.noise = small(p.noise, x, (a.shared_noise ? 1 : a.n) * a.pixels, "layer_tail: the noise", noise);
    a.strength = small(p.strength, x, 1, "layer_tail: the noise strength", strength);
    a.b = small(p.b, x, a.c, "layer_tail: the bias", b);
  }

  Tensor forward() {
    Tensor y = empty_with_layout(input, layout);
    a.y = y.mutable_data_ptr();
    const Launch on(input);
    launch_forward(a, on.stream);
    return y;
  }

  std::tuple<Tensor, Tensor, Tensor, Tensor> backward(const Tensor& gradient) {
    check_same(input, gradient, "layer_tail: the gradient");
    const Tensor dy = with_layout(gradient, layout);
    Tensor dx = empty_with_layout(input, layout);
    Tensor dscale = sums({has_scale ? a.n : 0, a.c});
    Tensor dstrength = sums({has_strength ? 1 : 0});
    Tensor db = sums({has_bias ? a.c : 0});
    Tensor partial = sums({a.n, layer_tail_blocks(a.c, a.pixels, a.channels_last), 3, a.c});
    a.dy = dy.const_data_ptr();
    a.dx = dx.mutable_data_ptr();
    a.dscale = has_scale ? dscale.mutable_data_ptr() : nullptr;
    a.dstrength = has_strength ? dstrength.mutable_data_ptr() : nullptr;
    a.db = has_bias ? db.mutable_data_ptr() : nullptr;
    a.partial = partial.mutable_data_ptr();
    const Launch on(input);
    launch_backward(a, on.stream);
    return {dx, dscale, dstrength, db};
  }

  Tensor sums(std::initializer_list<int64_t> sizes) const {
    return empty({sizes.begin(), sizes.size()}, sum_type(input), input);
  }

  LayerTailArguments a{};
  bool layout = false, has_scale = false, has_strength = false, has_bias = false;
  Tensor input, scale, noise, strength, b;
};

Tensor layer_tail(const Tensor& x, const OptionalTensor& scale, double factor, const OptionalTensor& noise,
                  const OptionalTensor& strength, const OptionalTensor& b, int64_t act, double alpha, double gain,
                  double clamp) {
  return Prepared(x, {scale, noise, strength, b}, factor, {static_cast<int>(act), alpha, gain, clamp}).forward();
}

std::tuple<Tensor, Tensor, Tensor, Tensor> layer_tail_backward(const Tensor& dy, const Tensor& x,
                                                               const OptionalTensor& scale, double factor,
                                                               const OptionalTensor& noise,
                                                               const OptionalTensor& strength, const OptionalTensor& b,
                                                               int64_t act, double alpha, double gain, double clamp) {
  return Prepared(x, {scale, noise, strength, b}, factor, {static_cast<int>(act), alpha, gain, clamp}).backward(dy);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(invert, INVERT_DISPATCH_KEY, m) {
  m.impl("layer_tail", TORCH_BOX(&layer_tail));
  m.impl("layer_tail_backward", TORCH_BOX(&layer_tail_backward));
}

}  // namespace invert
