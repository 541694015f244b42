// Distance of unit-normalised features from a stored target: blocks of pixels that stay in the second-level cache.
#include "../kernels/lpips_tail.h"

#include "dispatch.h"
#include "plan.h"
#include "rows.h"

namespace invert {
namespace INVERT_ISA {
namespace {

struct Pixels {
  int64_t n, p0, p1;
};

// Planes: rows of pixels, one channel after the other.

template <class T>
void add_squares(const T* __restrict__ f, wide<T>* __restrict__ squares, int64_t n) {
  for (int64_t i = 0; i < n; i++) squares[i] = multiply_add(load(f[i]), load(f[i]), squares[i]);
}

template <class T>
void add_distance(
    const T* __restrict__ f, const T* __restrict__ t, const wide<T>* __restrict__ inverse, wide<T> lin,
    wide<T>* __restrict__ sum, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    sum[i] = weighted_square(difference(load(f[i]), inverse[i], load(t[i])), lin, sum[i]);
  }
}

template <class T>
void add_projection(
    const T* __restrict__ f, const T* __restrict__ t, const wide<T>* __restrict__ inverse, wide<T> lin,
    wide<T>* __restrict__ sum, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    const wide<T> d = difference(load(f[i]), inverse[i], load(t[i]));
    sum[i] = multiply_add(d * (lin + lin), load(f[i]), sum[i]);
  }
}

template <class T>
void write_gradient(
    const T* __restrict__ f, const T* __restrict__ t, const wide<T>* __restrict__ inverse,
    const wide<T>* __restrict__ along, wide<T> lin, wide<T> dy, T* __restrict__ df, int64_t n) {
  using A = wide<T>;
  for (int64_t i = 0; i < n; i++) {
    const A d = difference(load(f[i]), inverse[i], load(t[i]));
    df[i] = store<T>(feature_gradient(load(f[i]), d, lin, inverse[i], along[i], dy));
  }
}

template <class T>
struct Planes {
  using A = wide<T>;

  Planes(const LpipsTailArguments& a, const Pixels& k) : a(a), n(k.p1 - k.p0) {
    f = static_cast<const T*>(a.features) + k.n * a.c * a.pixels + k.p0;
    t = static_cast<const T*>(a.target) + (a.shared_target ? 0 : k.n * a.c * a.pixels) + k.p0;
    fill_row(squares, A(0), n);
    for (int64_t c = 0; c < a.c; c++) add_squares(f + c * a.pixels, squares, n);
    for (int64_t i = 0; i < n; i++) inverse[i] = inverse_length(squares[i]);
    fill_row(sum, A(0), n);
  }

  A forward() {
    for (int64_t c = 0; c < a.c; c++) add_distance(f + c * a.pixels, t + c * a.pixels, inverse, lin(c), sum, n);
    return sum_row(sum, n);
  }

  void backward(T* df, A dy) {
    for (int64_t c = 0; c < a.c; c++) add_projection(f + c * a.pixels, t + c * a.pixels, inverse, lin(c), sum, n);
    for (int64_t i = 0; i < n; i++) sum[i] = length_gradient(sum[i], squares[i]);
    for (int64_t c = 0; c < a.c; c++) {
      const int64_t at = c * a.pixels;
      write_gradient(f + at, t + at, inverse, sum, lin(c), dy, df + at, n);
    }
  }

  A lin(int64_t c) const { return static_cast<const A*>(a.lin)[c]; }

  const LpipsTailArguments& a;
  int64_t n;
  const T* f;
  const T* t;
  A squares[ROW], inverse[ROW], sum[ROW];
};

// Channels last: each pixel's vector by itself.

template <class T>
wide<T> vector_squares(const T* f, int64_t n) {
  wide<T> sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) sum += load(f[i]) * load(f[i]);
  return sum;
}

template <class T>
wide<T> vector_distance(const T* f, const T* t, const wide<T>* lin, wide<T> inverse, int64_t n) {
  wide<T> sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) {
    const wide<T> d = difference(load(f[i]), inverse, load(t[i]));
    sum += d * lin[i] * d;
  }
  return sum;
}

template <class T>
wide<T> vector_projection(const T* f, const T* t, const wide<T>* lin, wide<T> inverse, int64_t n) {
  wide<T> sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) {
    const wide<T> d = difference(load(f[i]), inverse, load(t[i]));
    sum += d * (lin[i] + lin[i]) * load(f[i]);
  }
  return sum;
}

template <class T>
void vector_gradient(
    const T* __restrict__ f, const T* __restrict__ t, const wide<T>* __restrict__ lin, wide<T> inverse, wide<T> along,
    wide<T> dy, T* __restrict__ df, int64_t n) {
  using A = wide<T>;
  for (int64_t i = 0; i < n; i++) {
    const A d = difference(load(f[i]), inverse, load(t[i]));
    df[i] = store<T>(feature_gradient(load(f[i]), d, lin[i], inverse, along, dy));
  }
}

template <class T>
wide<T> forward(const LpipsTailArguments& a, const Pixels& k) {
  using A = wide<T>;
  if (!a.channels_last) return Planes<T>(a, k).forward();
  const A* lin = static_cast<const A*>(a.lin);
  A total = 0;
  for (int64_t p = k.p0; p < k.p1; p++) {
    const T* f = static_cast<const T*>(a.features) + (k.n * a.pixels + p) * a.c;
    const T* t = static_cast<const T*>(a.target) + ((a.shared_target ? 0 : k.n) * a.pixels + p) * a.c;
    total += vector_distance(f, t, lin, inverse_length(vector_squares(f, a.c)), a.c);
  }
  return total;
}

template <class T>
void backward(const LpipsTailArguments& a, const Pixels& k) {
  using A = wide<T>;
  const A dy = static_cast<const A*>(a.dy)[k.n] / A(a.pixels);
  T* df = static_cast<T*>(a.dfeatures);
  if (!a.channels_last) return Planes<T>(a, k).backward(df + k.n * a.c * a.pixels + k.p0, dy);
  const A* lin = static_cast<const A*>(a.lin);
  for (int64_t p = k.p0; p < k.p1; p++) {
    const int64_t at = (k.n * a.pixels + p) * a.c;
    const T* f = static_cast<const T*>(a.features) + at;
    const T* t = static_cast<const T*>(a.target) + ((a.shared_target ? 0 : k.n) * a.pixels + p) * a.c;
    const A squares = vector_squares(f, a.c);
    const A inverse = inverse_length(squares);
    const A along = length_gradient(vector_projection(f, t, lin, inverse, a.c), squares);
    vector_gradient(f, t, lin, inverse, along, dy, df + at, a.c);
  }
}

// Calls f(pixels, block) over all pictures.
template <class F>
void over_pixels(const LpipsTailArguments& a, const F& f) {
  const int64_t block = lpips_pixels(a.c);
  const int64_t per_picture = blocks(a.pixels, block);
  parallel(a.n * per_picture, least(block, a.pixels) * a.c, [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; unit++) {
      const int64_t p0 = unit % per_picture * block;
      f(Pixels{unit / per_picture, p0, least(p0 + block, a.pixels)}, unit);
    }
  });
}

}  // namespace

void run_forward(const LpipsTailArguments& a) {
  with_type(a.type, [&](auto number) {
    using T = decltype(number);
    using A = wide<T>;
    A* partial = static_cast<A*>(a.partial);
    over_pixels(a, [&](const Pixels& k, int64_t unit) { partial[unit] = forward<T>(a, k); });
    const int64_t per_picture = blocks(a.pixels, lpips_pixels(a.c));
    for (int64_t n = 0; n < a.n; n++) {
      double sum = 0;
      for (int64_t i = 0; i < per_picture; i++) sum += static_cast<double>(partial[n * per_picture + i]);
      static_cast<A*>(a.y)[n] = static_cast<A>(sum / static_cast<double>(a.pixels));
    }
  });
}

void run_backward(const LpipsTailArguments& a) {
  with_type(a.type, [&](auto number) {
    over_pixels(a, [&](const Pixels& k, int64_t) { backward<decltype(number)>(a, k); });
  });
}

}  // namespace INVERT_ISA
}  // namespace invert
