// conv_tail, and modulate, which is the same with a scale alone.
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
  Prepared(const Tensor& x, const Sides& p, const ActivationArguments& activation)
      : input(x), scale(x), noise(x), strength(x), b(x) {
    STD_TORCH_CHECK(x.dim() == 4, "conv_tail: x is [N, C, H, W]");
    a.type = number_of(x);
    a.channels_last = is_channels_last(x);
    a.activation = activation;
    a.n = x.size(0), a.c = x.size(1), a.pixels = x.size(2) * x.size(3);
    a.shared_noise = p.noise.has_value() && p.noise->dim() == 4 && p.noise->size(0) == 1;
    input = with_layout(x, a.channels_last);
    a.x = input.const_data_ptr();
    a.scale = small(p.scale, x, a.n * a.c, "conv_tail: the scale", scale);
    a.noise = small(p.noise, x, (a.shared_noise ? 1 : a.n) * a.pixels, "conv_tail: the noise", noise);
    a.strength = small(p.strength, x, 1, "conv_tail: the noise strength", strength);
    a.b = small(p.b, x, a.c, "conv_tail: the bias", b);
  }

  Tensor forward() {
    Tensor y = empty_with_layout(input, a.channels_last);
    a.y = y.mutable_data_ptr();
    const Launch on(input);
    launch_forward(a, on.stream);
    return y;
  }

  std::tuple<Tensor, Tensor, Tensor> backward(const Tensor& gradient, bool need_scale, bool need_noise) {
    check_same(input, gradient, "conv_tail: the gradient");
    const Tensor dy = with_layout(gradient, a.channels_last);
    const ReductionPlan plan = conv_tail_plan(a.c, a.pixels, a.channels_last);
    const auto lines = [](int64_t size, int64_t block) { return (size + block - 1) / block; };
    Tensor dx = empty_with_layout(input, a.channels_last);
    Tensor dscale = sums(need_scale ? std::initializer_list<int64_t>{a.n, a.c} : std::initializer_list<int64_t>{0});
    Tensor dnoise = sums(need_noise ? std::initializer_list<int64_t>{a.n, 1, input.size(2), input.size(3)}
                                    : std::initializer_list<int64_t>{0});
    Tensor channel_sums = sums({a.n, lines(a.pixels, plan.pixel_block), a.c});
    Tensor pixel_sums = sums({a.n, lines(a.c, plan.channel_block), a.pixels});
    a.dy = dy.const_data_ptr();
    a.dx = dx.mutable_data_ptr();
    a.dscale = need_scale ? dscale.mutable_data_ptr() : nullptr;
    a.dnoise = need_noise ? dnoise.mutable_data_ptr() : nullptr;
    a.channel_sums = channel_sums.mutable_data_ptr();
    a.pixel_sums = pixel_sums.mutable_data_ptr();
    const Launch on(input);
    launch_backward(a, on.stream);
    return {dx, dscale, dnoise};
  }

  Tensor sums(std::initializer_list<int64_t> sizes) const {
    return empty({sizes.begin(), sizes.size()}, sum_type(input), input);
  }

  ConvTailArguments a{};
  Tensor input, scale, noise, strength, b;
};

Tensor conv_tail(const Tensor& x, const OptionalTensor& scale, const OptionalTensor& noise,
                 const OptionalTensor& strength, const OptionalTensor& b, int64_t act, double alpha, double gain,
                 double clamp) {
  return Prepared(x, {scale, noise, strength, b}, {static_cast<int>(act), alpha, gain, clamp}).forward();
}

std::tuple<Tensor, Tensor, Tensor> conv_tail_backward(const Tensor& dy, const Tensor& x, const OptionalTensor& scale,
                                                      const OptionalTensor& noise, const OptionalTensor& strength,
                                                      const OptionalTensor& b, int64_t act, double alpha, double gain,
                                                      double clamp, bool need_scale, bool need_noise) {
  Prepared prepared(x, {scale, noise, strength, b}, {static_cast<int>(act), alpha, gain, clamp});
  return prepared.backward(dy, need_scale, need_noise);
}

constexpr ActivationArguments NO_ACTIVATION{0, 0.0, 1.0, -1.0};

Tensor modulate(const Tensor& x, const Tensor& styles) {
  return Prepared(x, {styles, std::nullopt, std::nullopt, std::nullopt}, NO_ACTIVATION).forward();
}

std::tuple<Tensor, Tensor> modulate_backward(const Tensor& dy, const Tensor& x, const Tensor& styles) {
  Prepared prepared(x, {styles, std::nullopt, std::nullopt, std::nullopt}, NO_ACTIVATION);
  auto [dx, dstyles, unused] = prepared.backward(dy, true, false);
  return {dx, dstyles};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(invert, INVERT_DISPATCH_KEY, m) {
  m.impl("conv_tail", TORCH_BOX(&conv_tail));
  m.impl("conv_tail_backward", TORCH_BOX(&conv_tail_backward));
  m.impl("modulate", TORCH_BOX(&modulate));
  m.impl("modulate_backward", TORCH_BOX(&modulate_backward));
}

}  // namespace invert
