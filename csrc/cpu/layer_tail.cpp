// clamp(act(x * scale * factor + noise * strength + b) * gain) in one pass; in another, all its gradients.
#include "../kernels/conv_tail.h"

#include "dispatch.h"
#include "plan.h"
#include "rows.h"

namespace invert {
namespace INVERT_ISA {
namespace {

template <class A>
A strength_of(const LayerTailArguments& a) {
  return a.strength == nullptr ? A(1) : *static_cast<const A*>(a.strength);
}

template <class A>
const A* noise_of(const LayerTailArguments& a, int64_t n) {
  return a.noise == nullptr ? nullptr : static_cast<const A*>(a.noise) + (a.shared_noise ? 0 : n * a.pixels);
}

template <class A>
A scale_of(const LayerTailArguments& a, int64_t n, int64_t c) {
  const A factor = A(a.factor);
  return a.scale == nullptr ? factor : static_cast<const A*>(a.scale)[n * a.c + c] * factor;
}

template <class A>
A bias_of(const LayerTailArguments& a, int64_t c) {
  return a.b == nullptr ? A(0) : static_cast<const A*>(a.b)[c];
}

// COUNT is how many channels there are where that is known beforehand, else -1.
template <int COUNT, int ACT, bool NOISY, class T>
void forward_lanes(const LayerTailArguments& a, const PixelBlock& k, int64_t c0, int64_t some,
                   const ActivationSettings<wide<T>> s) {
  using A = wide<T>;
  const int64_t count = COUNT < 0 ? some : COUNT;
  A scale[LANES], bias[LANES];
  for (int64_t i = 0; i < count; i++) scale[i] = scale_of<A>(a, k.n, c0 + i), bias[i] = bias_of<A>(a, c0 + i);
  const A strength = strength_of<A>(a);
  const A* noise = noise_of<A>(a, k.n);
  const T* __restrict__ x = static_cast<const T*>(a.x) + k.n * a.pixels * a.c + c0;
  T* __restrict__ y = static_cast<T*>(a.y) + k.n * a.pixels * a.c + c0;
  for (int64_t p = k.p0; p < k.p1; p++) {
    const A more = NOISY ? noise[p] * strength : A(0);
    for (int64_t i = 0; i < count; i++) {
      y[p * a.c + i] = store<T>(activate<ACT>(tail_input(load(x[p * a.c + i]), scale[i], more, bias[i]), s));
    }
  }
}

// The sums over the block's pixels of du, of du * x and of du * noise, for each channel.
template <int COUNT, int ACT, bool NOISY, class T>
void backward_lanes(const LayerTailArguments& a, const PixelBlock& k, int64_t c0, int64_t some,
                    const ActivationSettings<wide<T>> s, wide<T>* __restrict__ sums) {
  using A = wide<T>;
  const int64_t count = COUNT < 0 ? some : COUNT;
  A scale[LANES], bias[LANES], of_du[LANES], of_x[LANES], of_noise[LANES];
  for (int64_t i = 0; i < count; i++) {
    scale[i] = scale_of<A>(a, k.n, c0 + i), bias[i] = bias_of<A>(a, c0 + i);
    of_du[i] = of_x[i] = of_noise[i] = A(0);
  }
  const A strength = strength_of<A>(a);
  const A* noise = noise_of<A>(a, k.n);
  const int64_t first = k.n * a.pixels * a.c + c0;
  const T* __restrict__ x = static_cast<const T*>(a.x) + first;
  const T* __restrict__ dy = static_cast<const T*>(a.dy) + first;
  T* __restrict__ dx = static_cast<T*>(a.dx) + first;
  for (int64_t p = k.p0; p < k.p1; p++) {
    const A noise_here = NOISY ? noise[p] : A(0);
    const A more = noise_here * strength;
    for (int64_t i = 0; i < count; i++) {
      const A value = load(x[p * a.c + i]);
      const A du = load(dy[p * a.c + i]) * activation_slope<ACT>(tail_input(value, scale[i], more, bias[i]), s);
      dx[p * a.c + i] = store<T>(du * scale[i]);
      of_du[i] += du;
      of_x[i] = multiply_add(du, value, of_x[i]);
      if (NOISY) of_noise[i] = multiply_add(du, noise_here, of_noise[i]);
    }
  }
  for (int64_t i = 0; i < count; i++) {
    sums[c0 + i] = of_du[i];
    sums[a.c + c0 + i] = of_x[i];
    sums[2 * a.c + c0 + i] = of_noise[i];
  }
}

template <int ACT, bool NOISY, class T>
void forward_planes(const LayerTailArguments& a, const PixelBlock& k, const ActivationSettings<wide<T>> s) {
  using A = wide<T>;
  const A strength = strength_of<A>(a);
  const A* noise = noise_of<A>(a, k.n);
  for (int64_t c = 0; c < a.c; c++) {
    const A scale = scale_of<A>(a, k.n, c), bias = bias_of<A>(a, c);
    const T* __restrict__ x = static_cast<const T*>(a.x) + (k.n * a.c + c) * a.pixels;
    T* __restrict__ y = static_cast<T*>(a.y) + (k.n * a.c + c) * a.pixels;
    for (int64_t p = k.p0; p < k.p1; p++) {
      const A more = NOISY ? noise[p] * strength : A(0);
      y[p] = store<T>(activate<ACT>(tail_input(load(x[p]), scale, more, bias), s));
    }
  }
}

template <int ACT, bool NOISY, class T>
void backward_planes(const LayerTailArguments& a, const PixelBlock& k, const ActivationSettings<wide<T>> s,
                     wide<T>* __restrict__ sums) {
  using A = wide<T>;
  const A strength = strength_of<A>(a);
  const A* noise = noise_of<A>(a, k.n);
  for (int64_t c = 0; c < a.c; c++) {
    const A scale = scale_of<A>(a, k.n, c), bias = bias_of<A>(a, c);
    const int64_t first = (k.n * a.c + c) * a.pixels;
    const T* __restrict__ x = static_cast<const T*>(a.x) + first;
    const T* __restrict__ dy = static_cast<const T*>(a.dy) + first;
    T* __restrict__ dx = static_cast<T*>(a.dx) + first;
    A of_du = 0, of_x = 0, of_noise = 0;
#pragma omp simd reduction(+ : of_du, of_x, of_noise)
    for (int64_t p = k.p0; p < k.p1; p++) {
      const A noise_here = NOISY ? noise[p] : A(0);
      const A value = load(x[p]);
      const A du = load(dy[p]) * activation_slope<ACT>(tail_input(value, scale, noise_here * strength, bias), s);
      dx[p] = store<T>(du * scale);
      of_du += du;
      of_x += du * value;
      of_noise += du * noise_here;
    }
    sums[c] = of_du;
    sums[a.c + c] = of_x;
    sums[2 * a.c + c] = of_noise;
  }
}

// Calls f(T(), activation constant, whether there is noise, first unit, end) on every thread.
template <class F>
void over_blocks(const LayerTailArguments& a, const F& f) {
  const int64_t pixels = tail_pixels(a.c, a.pixels, a.channels_last);
  const int64_t units = a.n * blocks(a.pixels, pixels);
  with_type(a.type, [&](auto number) {
    const auto with_act = [&](auto act) {
      parallel(units, least(pixels, a.pixels) * a.c, [&](int64_t begin, int64_t end) {
        for (int64_t unit = begin; unit < end; unit++) {
          if (a.noise == nullptr) {
            f(number, act, ActivationConstant<false>(), unit);
          } else {
            f(number, act, ActivationConstant<true>(), unit);
          }
        }
      });
    };
    if (a.activation.act == LINEAR) return with_act(ActivationConstant<LINEAR>());
    if (a.activation.act == LRELU) return with_act(ActivationConstant<LRELU>());
    with_act(ActivationConstant<ANY>());
  });
}

// The gradients of scale, strength and bias from the sums of all blocks, in the order of the blocks.
template <class A>
void fold(const LayerTailArguments& a) {
  const int64_t per_picture = blocks(a.pixels, tail_pixels(a.c, a.pixels, a.channels_last));
  const A* partial = static_cast<const A*>(a.partial);
  A* db = static_cast<A*>(a.db);
  A* dscale = static_cast<A*>(a.dscale);
  A strength = 0;
  if (db != nullptr) fill_row(db, A(0), a.c);
  if (dscale != nullptr) fill_row(dscale, A(0), a.n * a.c);
  for (int64_t n = 0; n < a.n; n++) {
    for (int64_t block = 0; block < per_picture; block++) {
      const A* sums = partial + (n * per_picture + block) * 3 * a.c;
      if (db != nullptr) add_row(db, sums, a.c);
      if (dscale != nullptr) add_row(dscale + n * a.c, sums + a.c, a.c);
      if (a.dstrength != nullptr) strength += sum_row(sums + 2 * a.c, a.c);
    }
  }
  if (dscale != nullptr && a.factor != 1) {
    for (int64_t i = 0; i < a.n * a.c; i++) dscale[i] *= A(a.factor);
  }
  if (a.dstrength != nullptr) *static_cast<A*>(a.dstrength) = strength;
}

}  // namespace

void run_forward(const LayerTailArguments& a) {
  over_blocks(a, [&](auto number, auto act, auto noisy, int64_t unit) {
    using T = decltype(number);
    constexpr int ACT = decltype(act)::value;
    constexpr bool NOISY = decltype(noisy)::value;
    const auto s = activation_settings<T>(a.activation);
    const PixelBlock k = pixel_block(a.pixels, tail_pixels(a.c, a.pixels, a.channels_last), unit);
    if (!a.channels_last) return forward_planes<ACT, NOISY, T>(a, k, s);
    over_lanes(a.c, [&](auto lanes, int64_t c, int64_t count) {
      forward_lanes<decltype(lanes)::value, ACT, NOISY, T>(a, k, c, count, s);
    });
  });
}

void run_backward(const LayerTailArguments& a) {
  over_blocks(a, [&](auto number, auto act, auto noisy, int64_t unit) {
    using T = decltype(number);
    constexpr int ACT = decltype(act)::value;
    constexpr bool NOISY = decltype(noisy)::value;
    const auto s = activation_settings<T>(a.activation);
    const PixelBlock k = pixel_block(a.pixels, tail_pixels(a.c, a.pixels, a.channels_last), unit);
    wide<T>* sums = static_cast<wide<T>*>(a.partial) + unit * 3 * a.c;
    if (!a.channels_last) return backward_planes<ACT, NOISY, T>(a, k, s, sums);
    over_lanes(a.c, [&](auto lanes, int64_t c, int64_t count) {
      backward_lanes<decltype(lanes)::value, ACT, NOISY, T>(a, k, c, count, s, sums);
    });
  });
  with_type(a.type, [&](auto number) { fold<wide<decltype(number)>>(a); });
}

}  // namespace INVERT_ISA
}  // namespace invert
