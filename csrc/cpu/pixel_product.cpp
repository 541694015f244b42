// Images of feature maps: each pixel's channels times a few rows of weights, and its gradients, in one pass each way.
// A product of matrices would read the pixels well for many rows, and here there are three.
#include "dispatch.h"
#include "plan.h"
#include "rows.h"

namespace invert {
namespace INVERT_ISA {
namespace {

template <int K, class T>
void forward_block(const PixelProductArguments& a, const PixelBlock& b) {
  using A = wide<T>;
  const T* __restrict__ weight = static_cast<const T*>(a.weight) + b.n * K * a.c;
  for (int64_t p = b.p0; p < b.p1; p++) {
    const T* __restrict__ x = static_cast<const T*>(a.x) + (b.n * a.pixels + p) * a.c;
    T* __restrict__ y = static_cast<T*>(a.y) + (b.n * a.pixels + p) * K;
    for (int64_t k = 0; k < K; k++) {
      A sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < a.c; c++) sum += load(x[c]) * load(weight[k * a.c + c]);
      y[k] = store<T>(sum);
    }
  }
}

// Gradients of some channels of a block's pixels, and the block's sums for those of the weights.
template <int COUNT, int K, class T>
void backward_lanes(const PixelProductArguments& a, const PixelBlock& b, int64_t c0, int64_t some,
                    wide<T>* __restrict__ sums) {
  using A = wide<T>;
  const int64_t count = COUNT < 0 ? some : COUNT;
  A weight[K][LANES], sum[K][LANES];
  for (int64_t k = 0; k < K; k++) {
    const T* row = static_cast<const T*>(a.weight) + (b.n * K + k) * a.c + c0;
    for (int64_t i = 0; i < count; i++) weight[k][i] = load(row[i]), sum[k][i] = A(0);
  }
  for (int64_t p = b.p0; p < b.p1; p++) {
    const T* __restrict__ x = static_cast<const T*>(a.x) + (b.n * a.pixels + p) * a.c + c0;
    T* __restrict__ dx = static_cast<T*>(a.dx) + (b.n * a.pixels + p) * a.c + c0;
    const T* dy = static_cast<const T*>(a.dy) + (b.n * a.pixels + p) * K;
    A gradient[K];
    for (int64_t k = 0; k < K; k++) gradient[k] = load(dy[k]);
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
      const A value = load(x[i]);
      A result = 0;
      for (int64_t k = 0; k < K; k++) {
        result = multiply_add(gradient[k], weight[k][i], result);
        sum[k][i] = multiply_add(gradient[k], value, sum[k][i]);
      }
      dx[i] = store<T>(result);
    }
  }
  for (int64_t k = 0; k < K; k++) {
    for (int64_t i = 0; i < count; i++) sums[k * a.c + c0 + i] = sum[k][i];
  }
}

// The gradient of a picture's weights from the sums of its blocks, in their order.
template <class T>
void fold(const PixelProductArguments& a, int64_t n) {
  const int64_t per_picture = blocks(a.pixels, tail_pixels(a.c, a.pixels, true)), count = a.k * a.c;
  wide<T>* sums = static_cast<wide<T>*>(a.partial) + n * per_picture * count;
  for (int64_t block = 1; block < per_picture; block++) add_row(sums, sums + block * count, count);
  T* dweight = static_cast<T*>(a.dweight) + n * count;
  if (per_picture > 0) {
    store_row(dweight, sums, count);
  } else {
    for (int64_t i = 0; i < count; i++) dweight[i] = store<T>(wide<T>(0));
  }
}

template <int ROWS>
struct Rows {
  static constexpr int value = ROWS;
};

// Calls f(T(), number of rows, block, unit) for every block, on every thread.
template <class F>
void over_blocks(const PixelProductArguments& a, const F& f) {
  const int64_t size = tail_pixels(a.c, a.pixels, true);
  with_type(a.type, [&](auto number) {
    const auto with_rows = [&](auto rows) {
      parallel(a.n * blocks(a.pixels, size), least(size, a.pixels) * a.c, [&](int64_t begin, int64_t end) {
        for (int64_t unit = begin; unit < end; unit++) f(number, rows, pixel_block(a.pixels, size, unit), unit);
      });
    };
    switch (a.k) {
      case 1:
        return with_rows(Rows<1>());
      case 2:
        return with_rows(Rows<2>());
      case 3:
        return with_rows(Rows<3>());
      default:
        return with_rows(Rows<4>());
    }
  });
}

}  // namespace

void run_forward(const PixelProductArguments& a) {
  over_blocks(a, [&](auto number, auto rows, const PixelBlock& b, int64_t) {
    forward_block<decltype(rows)::value, decltype(number)>(a, b);
  });
}

void run_backward(const PixelProductArguments& a) {
  over_blocks(a, [&](auto number, auto rows, const PixelBlock& b, int64_t unit) {
    using T = decltype(number);
    constexpr int K = decltype(rows)::value;
    wide<T>* sums = static_cast<wide<T>*>(a.partial) + unit * K * a.c;
    over_lanes(a.c, [&](auto lanes, int64_t c, int64_t count) {
      backward_lanes<decltype(lanes)::value, K, T>(a, b, c, count, sums);
    });
  });
  with_type(a.type, [&](auto number) {
    for (int64_t n = 0; n < a.n; n++) fold<decltype(number)>(a, n);
  });
}

}  // namespace INVERT_ISA
}  // namespace invert
