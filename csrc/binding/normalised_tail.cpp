// What follows a convolution in a frozen layer that normalises each feature map, and the gradients of what it takes.
#include <tuple>

#include "tensor.h"

namespace invert {
namespace {

// The arguments of both directions, and what their pointers are into.
struct Prepared {
  Prepared(const Tensor& x, const OptionalTensor& noise_maps, const OptionalTensor& strengths,
           const OptionalTensor& bias, const OptionalTensor& styles, const ActivationArguments& activation)
      : input(x), noise(x), strength(x), b(x), style(x) {
    STD_TORCH_CHECK(x.dim() == 4, "normalised_tail: x is [N, C, H, W]");
    a.type = number_of(x);
    a.n = x.size(0), a.c = x.size(1), a.pixels = x.size(2) * x.size(3);
    a.activation = activation;
    layout = is_channels_last(x);
    a.shared_noise = noise_maps.has_value() && noise_maps->size(0) == 1;
    input = with_layout(x, true);
    a.x = input.const_data_ptr();
    a.noise = small(noise_maps, x, (a.shared_noise ? 1 : a.n) * a.pixels, "normalised_tail: the noise", noise);
    a.strength = small(strengths, x, a.c, "normalised_tail: the noise strength", strength);
    a.b = small(bias, x, a.c, "normalised_tail: the bias", b);
    a.style = small(styles, x, a.n * 2 * a.c, "normalised_tail: the style", style);
  }

  std::tuple<Tensor, Tensor> forward(double epsilon) {
    Tensor y = empty_with_layout(input, true);
    Tensor moments = sums({a.n, 2, a.c}), partial = room(), factors = sums({a.n, 4, a.c});
    a.epsilon = epsilon;
    a.y = y.mutable_data_ptr();
    a.moments = moments.mutable_data_ptr();
    a.partial = partial.mutable_data_ptr();
    a.factors = factors.mutable_data_ptr();
    const Launch on(input);
    launch_forward(a, on.stream);
    return {with_layout(y, layout), moments};
  }

  std::tuple<Tensor, Tensor, Tensor> backward(const Tensor& gradient, const Tensor& of_forward, bool need_noise) {
    check_same(input, gradient, "normalised_tail: the gradient");
    const Tensor dy = with_layout(gradient, true);
    Tensor moments = input;
    a.moments = const_cast<void*>(small(of_forward, input, a.n * 2 * a.c, "normalised_tail: the moments", moments));
    Tensor dx = empty_with_layout(input, true);
    Tensor dstyle = sums({a.n, 2 * a.c});
    Tensor dnoise = sums({need_noise ? a.n : 0, 1, input.size(2), input.size(3)});
    Tensor partial = room(), factors = sums({a.n, 4, a.c});
    a.dy = dy.const_data_ptr();
    a.dx = dx.mutable_data_ptr();
    a.dstyle = dstyle.mutable_data_ptr();
    a.dnoise = need_noise ? dnoise.mutable_data_ptr() : nullptr;
    a.partial = partial.mutable_data_ptr();
    a.factors = factors.mutable_data_ptr();
    const Launch on(input);
    launch_backward(a, on.stream);
    return {with_layout(dx, layout), dstyle, dnoise};
  }

  Tensor room() const { return sums({a.n, normalised_tail_blocks(a.c, a.pixels), 2, a.c}); }

  Tensor sums(std::initializer_list<int64_t> sizes) const {
    return empty({sizes.begin(), sizes.size()}, sum_type(input), input);
  }

  NormalisedTailArguments a{};
  bool layout = false;
  Tensor input, noise, strength, b, style;
};

std::tuple<Tensor, Tensor> normalised_tail(const Tensor& x, const OptionalTensor& noise, const Tensor& strength,
                                           const Tensor& b, const OptionalTensor& style, double epsilon, int64_t act,
                                           double alpha, double gain, double clamp) {
  return Prepared(x, noise, strength, b, style, {static_cast<int>(act), alpha, gain, clamp}).forward(epsilon);
}

std::tuple<Tensor, Tensor, Tensor> normalised_tail_backward(const Tensor& dy, const Tensor& x, const Tensor& moments,
                                                            const OptionalTensor& noise, const Tensor& strength,
                                                            const Tensor& b, const OptionalTensor& style, int64_t act,
                                                            double alpha, double gain, double clamp, bool need_noise) {
  return Prepared(x, noise, strength, b, style, {static_cast<int>(act), alpha, gain, clamp})
      .backward(dy, moments, need_noise);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(invert, INVERT_DISPATCH_KEY, m) {
  m.impl("normalised_tail", TORCH_BOX(&normalised_tail));
  m.impl("normalised_tail_backward", TORCH_BOX(&normalised_tail_backward));
}

}  // namespace invert
