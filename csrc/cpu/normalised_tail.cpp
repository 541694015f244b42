// (act(x + noise * strength + b) * gain, each feature map to mean 0 and variance 1) * (1 + scale) + shift. Forward and
// backward read the feature maps twice: once for sums over the pixels, once for the result, which is from the cache where
// a picture is small.
#include "../kernels/conv_tail.h"

#include "dispatch.h"
#include "plan.h"
#include "rows.h"

namespace invert {
namespace INVERT_ISA {
namespace {

inline int64_t blocks_of(const NormalisedTailArguments& a) { return blocks(a.pixels, normalised_pixels(a.c)); }

template <class A>
const A* numbers(const void* p) {
  return static_cast<const A*>(p);
}

template <class A>
const A* noise_of(const NormalisedTailArguments& a, int64_t n) {
  return a.noise == nullptr ? nullptr : numbers<A>(a.noise) + (a.shared_noise ? 0 : n * a.pixels);
}

// What goes into the activation at a pixel.
template <class A>
INVERT_INLINE A input(A x, A noise, A strength, A b) {
  return multiply_add(noise, strength, x + b);
}

// What comes out of the activation at a pixel, of some channels. A loop of its own: within another it would be branches.
template <int COUNT, int ACT, class T>
INVERT_INLINE void activate_lanes(const T* __restrict__ x, wide<T> noise, const wide<T>* __restrict__ strength,
                                  const wide<T>* __restrict__ bias, int64_t some, const ActivationSettings<wide<T>>& s,
                                  wide<T>* __restrict__ row) {
  const int64_t count = COUNT < 0 ? some : COUNT;
#pragma omp simd
  for (int64_t i = 0; i < count; i++) row[i] = activate<ACT>(input(load(x[i]), noise, strength[i], bias[i]), s);
}

// For each channel, of a block's activations: the sum, and that of squared differences from the block's own mean.
template <int COUNT, int ACT, class T>
void moments_of_lanes(const NormalisedTailArguments& a, const PixelBlock& k, int64_t c0, int64_t some,
                      const ActivationSettings<wide<T>> s, wide<T>* __restrict__ sums) {
  using A = wide<T>;
  const int64_t count = COUNT < 0 ? some : COUNT;
  A strength[LANES], bias[LANES], sum[LANES], squares[LANES], mean[LANES], row[LANES];
  for (int64_t i = 0; i < count; i++) {
    strength[i] = numbers<A>(a.strength)[c0 + i], bias[i] = numbers<A>(a.b)[c0 + i];
    sum[i] = squares[i] = A(0);
  }
  const A* noise = noise_of<A>(a, k.n);
  const T* __restrict__ x = static_cast<const T*>(a.x) + k.n * a.pixels * a.c + c0;
  for (int64_t p = k.p0; p < k.p1; p++) {
    const A more = noise == nullptr ? A(0) : noise[p];
    activate_lanes<COUNT, ACT>(x + p * a.c, more, strength, bias, count, s, row);
    for (int64_t i = 0; i < count; i++) sum[i] += row[i];
  }
  const A pixels = A(k.p1 - k.p0);
  for (int64_t i = 0; i < count; i++) mean[i] = sum[i] / pixels;
  for (int64_t p = k.p0; p < k.p1; p++) {
    const A more = noise == nullptr ? A(0) : noise[p];
    activate_lanes<COUNT, ACT>(x + p * a.c, more, strength, bias, count, s, row);
    for (int64_t i = 0; i < count; i++) {
      const A off = row[i] - mean[i];
      squares[i] = multiply_add(off, off, squares[i]);
    }
  }
  for (int64_t i = 0; i < count; i++) sums[c0 + i] = sum[i], sums[a.c + c0 + i] = squares[i];
}

// For each channel of a block: the sums of dy and of dy * (activation - mean).
template <int COUNT, int ACT, class T>
void gradients_of_lanes(const NormalisedTailArguments& a, const PixelBlock& k, int64_t c0, int64_t some,
                        const ActivationSettings<wide<T>> s, wide<T>* __restrict__ sums) {
  using A = wide<T>;
  const int64_t count = COUNT < 0 ? some : COUNT;
  A strength[LANES], bias[LANES], mean[LANES], of_dy[LANES], of_both[LANES], row[LANES];
  for (int64_t i = 0; i < count; i++) {
    strength[i] = numbers<A>(a.strength)[c0 + i], bias[i] = numbers<A>(a.b)[c0 + i];
    mean[i] = numbers<A>(a.moments)[2 * k.n * a.c + c0 + i];
    of_dy[i] = of_both[i] = A(0);
  }
  const A* noise = noise_of<A>(a, k.n);
  const int64_t first = k.n * a.pixels * a.c + c0;
  const T* __restrict__ x = static_cast<const T*>(a.x) + first;
  const T* __restrict__ dy = static_cast<const T*>(a.dy) + first;
  for (int64_t p = k.p0; p < k.p1; p++) {
    const A more = noise == nullptr ? A(0) : noise[p];
    activate_lanes<COUNT, ACT>(x + p * a.c, more, strength, bias, count, s, row);
    for (int64_t i = 0; i < count; i++) {
      const A off = row[i] - mean[i];
      const A gradient = load(dy[p * a.c + i]);
      of_dy[i] += gradient;
      of_both[i] = multiply_add(gradient, off, of_both[i]);
    }
  }
  for (int64_t i = 0; i < count; i++) sums[c0 + i] = of_dy[i], sums[a.c + c0 + i] = of_both[i];
}

// Moments and factors of a picture's channels from the sums of its blocks, in their order.
template <class A>
void fold_forward(const NormalisedTailArguments& a, int64_t n) {
  const int64_t size = normalised_pixels(a.c), per_picture = blocks_of(a);
  const A* sums = numbers<A>(a.partial) + n * per_picture * 2 * a.c;
  A* moments = static_cast<A*>(a.moments) + 2 * n * a.c;
  A* factors = static_cast<A*>(a.factors) + 4 * n * a.c;
  const A* style = a.style == nullptr ? nullptr : numbers<A>(a.style) + 2 * n * a.c;
  for (int64_t c0 = 0; c0 < a.c; c0 += LANES) {
    const int64_t count = least(LANES, a.c - c0);
    double mean[LANES], squares[LANES];
    for (int64_t i = 0; i < count; i++) mean[i] = squares[i] = 0;
    for (int64_t block = 0; block < per_picture; block++) {
      for (int64_t i = 0; i < count; i++) mean[i] += double(sums[2 * block * a.c + c0 + i]);
    }
    for (int64_t i = 0; i < count; i++) mean[i] /= double(a.pixels);
    for (int64_t block = 0; block < per_picture; block++) {
      const double pixels = double(least(size, a.pixels - block * size));
      for (int64_t i = 0; i < count; i++) {
        const double off = double(sums[2 * block * a.c + c0 + i]) / pixels - mean[i];
        squares[i] += double(sums[(2 * block + 1) * a.c + c0 + i]) + pixels * off * off;
      }
    }
    for (int64_t i = 0; i < count; i++) {
      const int64_t c = c0 + i;
      const double inverse = 1 / square_root(squares[i] / double(a.pixels) + a.epsilon);
      moments[c] = A(mean[i]), moments[a.c + c] = A(inverse);
      factors[c] = A(mean[i]);
      factors[a.c + c] = style == nullptr ? A(inverse) : A(inverse * (1 + double(style[c])));
      factors[2 * a.c + c] = style == nullptr ? A(0) : style[a.c + c];
    }
  }
}

// The gradient of a picture's style, and what that of each pixel is made with.
template <class A>
void fold_backward(const NormalisedTailArguments& a, int64_t n) {
  const int64_t per_picture = blocks_of(a);
  const A* sums = numbers<A>(a.partial) + n * per_picture * 2 * a.c;
  const A* moments = numbers<A>(a.moments) + 2 * n * a.c;
  const A* style = a.style == nullptr ? nullptr : numbers<A>(a.style) + 2 * n * a.c;
  A* dstyle = static_cast<A*>(a.dstyle) + 2 * n * a.c;
  A* factors = static_cast<A*>(a.factors) + 4 * n * a.c;
  for (int64_t c0 = 0; c0 < a.c; c0 += LANES) {
    const int64_t count = least(LANES, a.c - c0);
    double of_dy[LANES], of_both[LANES];
    for (int64_t i = 0; i < count; i++) of_dy[i] = of_both[i] = 0;
    for (int64_t block = 0; block < per_picture; block++) {
      for (int64_t i = 0; i < count; i++) {
        of_dy[i] += double(sums[2 * block * a.c + c0 + i]);
        of_both[i] += double(sums[(2 * block + 1) * a.c + c0 + i]);
      }
    }
    for (int64_t i = 0; i < count; i++) {
      const int64_t c = c0 + i;
      const double inverse = double(moments[a.c + c]), scale = style == nullptr ? 1 : 1 + double(style[c]);
      dstyle[c] = A(of_both[i] * inverse), dstyle[a.c + c] = A(of_dy[i]);
      factors[c] = moments[c];
      factors[a.c + c] = A(inverse * scale);
      factors[2 * a.c + c] = A(of_dy[i] / double(a.pixels));
      factors[3 * a.c + c] = A(of_both[i] * inverse * inverse / double(a.pixels));
    }
  }
}

template <int ACT, class T>
void forward_block(const NormalisedTailArguments& a, const PixelBlock& k, const ActivationSettings<wide<T>> s) {
  using A = wide<T>;
  const A* __restrict__ mean = numbers<A>(a.factors) + 4 * k.n * a.c;
  const A* __restrict__ factor = mean + a.c;
  const A* __restrict__ shift = factor + a.c;
  const A* __restrict__ strength = numbers<A>(a.strength);
  const A* __restrict__ bias = numbers<A>(a.b);
  const A* noise = noise_of<A>(a, k.n);
  for (int64_t p = k.p0; p < k.p1; p++) {
    const T* __restrict__ x = static_cast<const T*>(a.x) + (k.n * a.pixels + p) * a.c;
    T* __restrict__ y = static_cast<T*>(a.y) + (k.n * a.pixels + p) * a.c;
    const A more = noise == nullptr ? A(0) : noise[p];
#pragma omp simd
    for (int64_t c = 0; c < a.c; c++) {
      const A off = activate<ACT>(input(load(x[c]), more, strength[c], bias[c]), s) - mean[c];
      y[c] = store<T>(multiply_add(off, factor[c], shift[c]));
    }
  }
}

template <int ACT, class T>
void backward_block(const NormalisedTailArguments& a, const PixelBlock& k, const ActivationSettings<wide<T>> s) {
  using A = wide<T>;
  const A* __restrict__ mean = numbers<A>(a.factors) + 4 * k.n * a.c;
  const A* __restrict__ factor = mean + a.c;
  const A* __restrict__ of_dy = factor + a.c;
  const A* __restrict__ of_both = of_dy + a.c;
  const A* __restrict__ strength = numbers<A>(a.strength);
  const A* __restrict__ bias = numbers<A>(a.b);
  const A* noise = noise_of<A>(a, k.n);
  A* dnoise = a.dnoise == nullptr ? nullptr : static_cast<A*>(a.dnoise) + k.n * a.pixels;
  for (int64_t p = k.p0; p < k.p1; p++) {
    const int64_t first = (k.n * a.pixels + p) * a.c;
    const T* __restrict__ x = static_cast<const T*>(a.x) + first;
    const T* __restrict__ dy = static_cast<const T*>(a.dy) + first;
    T* __restrict__ dx = static_cast<T*>(a.dx) + first;
    const A more = noise == nullptr ? A(0) : noise[p];
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < a.c; c++) {
      const A u = input(load(x[c]), more, strength[c], bias[c]);
      const A off = activate<ACT>(u, s) - mean[c];
      const A da = (load(dy[c]) - of_dy[c] - off * of_both[c]) * factor[c];
      const A du = da * activation_slope<ACT>(u, s);
      dx[c] = store<T>(du);
      sum += du * strength[c];
    }
    if (dnoise != nullptr) dnoise[p] = sum;
  }
}

// Runs sum(block, unit) for every block, fold(picture), and then map(block); each of them is called on any thread, with
// T() and the activation constant before the rest.
template <class Sum, class Fold, class Map>
void run_all(const NormalisedTailArguments& a, const Sum& sum, const Fold& fold, const Map& map) {
  const int64_t size = normalised_pixels(a.c), units = a.n * blocks_of(a), numbers_each = least(size, a.pixels) * a.c;
  const auto with_act = [&](auto number, auto act) {
    const auto block = [&](int64_t unit) { return pixel_block(a.pixels, size, unit); };
    if (units == a.n) {
      return parallel(units, numbers_each, [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; n++) {
          sum(number, act, block(n), n);
          fold(number, n);
          map(number, act, block(n));
        }
      });
    }
    parallel(units, numbers_each, [&](int64_t begin, int64_t end) {
      for (int64_t unit = begin; unit < end; unit++) sum(number, act, block(unit), unit);
    });
    for (int64_t n = 0; n < a.n; n++) fold(number, n);
    parallel(units, numbers_each, [&](int64_t begin, int64_t end) {
      for (int64_t unit = begin; unit < end; unit++) map(number, act, block(unit));
    });
  };
  with_type(a.type, [&](auto number) {
    if (a.activation.act == LINEAR) return with_act(number, ActivationConstant<LINEAR>());
    if (a.activation.act == LRELU) return with_act(number, ActivationConstant<LRELU>());
    with_act(number, ActivationConstant<ANY>());
  });
}

}  // namespace

void run_forward(const NormalisedTailArguments& a) {
  const auto sum = [&](auto number, auto act, const PixelBlock& k, int64_t unit) {
    using T = decltype(number);
    wide<T>* sums = static_cast<wide<T>*>(a.partial) + unit * 2 * a.c;
    over_lanes(a.c, [&](auto lanes, int64_t c, int64_t count) {
      moments_of_lanes<decltype(lanes)::value, decltype(act)::value, T>(a, k, c, count,
                                                                        activation_settings<T>(a.activation), sums);
    });
  };
  const auto fold = [&](auto number, int64_t n) { fold_forward<wide<decltype(number)>>(a, n); };
  const auto map = [&](auto number, auto act, const PixelBlock& k) {
    using T = decltype(number);
    forward_block<decltype(act)::value, T>(a, k, activation_settings<T>(a.activation));
  };
  run_all(a, sum, fold, map);
}

void run_backward(const NormalisedTailArguments& a) {
  const auto sum = [&](auto number, auto act, const PixelBlock& k, int64_t unit) {
    using T = decltype(number);
    wide<T>* sums = static_cast<wide<T>*>(a.partial) + unit * 2 * a.c;
    over_lanes(a.c, [&](auto lanes, int64_t c, int64_t count) {
      gradients_of_lanes<decltype(lanes)::value, decltype(act)::value, T>(a, k, c, count,
                                                                          activation_settings<T>(a.activation), sums);
    });
  };
  const auto fold = [&](auto number, int64_t n) { fold_backward<wide<decltype(number)>>(a, n); };
  const auto map = [&](auto number, auto act, const PixelBlock& k) {
    using T = decltype(number);
    backward_block<decltype(act)::value, T>(a, k, activation_settings<T>(a.activation));
  };
  run_all(a, sum, fold, map);
}

}  // namespace INVERT_ISA
}  // namespace invert
