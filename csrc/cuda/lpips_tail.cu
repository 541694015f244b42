// Distance of unit-normalised features from a stored target, without an intermediate the size of the features.
#include "../kernels/lpips_tail.h"

#include "launch.h"

namespace invert {
namespace INVERT_ISA {
namespace {

// One pixel's features, target and weights. Planes: one thread has them all. Channels last: a warp shares them, lane
// by lane, and `together` adds up what the lanes have.
template <class T, bool CHANNELS_LAST>
struct Pixel {
  using A = wide<T>;

  __device__ Pixel(const LpipsTailArguments& a, int64_t n, int64_t pixel) : a(a) {
    const int64_t target_n = a.shared_target ? 0 : n;
    at = CHANNELS_LAST ? (n * a.pixels + pixel) * a.c : n * a.c * a.pixels + pixel;
    f = static_cast<const T*>(a.features) + at;
    t = static_cast<const T*>(a.target) +
        (CHANNELS_LAST ? (target_n * a.pixels + pixel) * a.c : target_n * a.c * a.pixels + pixel);
    A sum = 0;
    for (int64_t c = first(); c < a.c; c += step()) sum = multiply_add(feature(c), feature(c), sum);
    squares = together(sum);
    inverse = inverse_length(squares);
  }

  __device__ A distance() const {
    A sum = 0;
    for (int64_t c = first(); c < a.c; c += step()) sum = weighted_square(apart(c), lin(c), sum);
    return together(sum);
  }

  __device__ void write_gradient(T* df, A dy) const {
    A sum = 0;
    for (int64_t c = first(); c < a.c; c += step()) {
      sum = multiply_add(apart(c) * (lin(c) + lin(c)), feature(c), sum);
    }
    const A along = length_gradient(together(sum), squares);
    for (int64_t c = first(); c < a.c; c += step()) {
      df[at + c * stride()] = store<T>(feature_gradient(feature(c), apart(c), lin(c), inverse, along, dy));
    }
  }

 private:
  __device__ int64_t first() const { return CHANNELS_LAST ? threadIdx.x % WARP : 0; }
  __device__ int64_t step() const { return CHANNELS_LAST ? WARP : 1; }
  __device__ int64_t stride() const { return CHANNELS_LAST ? 1 : a.pixels; }
  __device__ A feature(int64_t c) const { return load(f[c * stride()]); }
  __device__ A apart(int64_t c) const { return difference(feature(c), inverse, load(t[c * stride()])); }
  __device__ A lin(int64_t c) const { return static_cast<const A*>(a.lin)[c]; }
  __device__ A together(A x) const { return CHANNELS_LAST ? warp_sum(x) : x; }

  const LpipsTailArguments& a;
  int64_t at;
  const T* f;
  const T* t;
  A squares, inverse;
};

// A warp adds up 32 pixels: each lane one, or (channels last) all lanes one after the other.
constexpr int64_t PIXELS = WARP;

template <class T, bool CHANNELS_LAST>
__global__ void forward(LpipsTailArguments a) {
  using A = wide<T>;
  const int64_t per_picture = blocks(a.pixels, PIXELS);
  const int lane = threadIdx.x % WARP;
  for (int64_t unit = thread_index() / WARP; unit < a.n * per_picture; unit += thread_count() / WARP) {
    const int64_t n = unit / per_picture, p0 = unit % per_picture * PIXELS, p1 = least(p0 + PIXELS, a.pixels);
    A sum = 0;
    if (CHANNELS_LAST) {
      for (int64_t p = p0; p < p1; p++) sum += Pixel<T, true>(a, n, p).distance();
    } else {
      sum = warp_sum(p0 + lane < p1 ? Pixel<T, false>(a, n, p0 + lane).distance() : A(0));
    }
    if (lane == 0) static_cast<A*>(a.partial)[unit] = sum;
  }
}

template <class A>
__global__ void mean(A* y, const A* partial, int64_t n, int64_t per_picture, int64_t pixels) {
  const int lane = threadIdx.x % WARP;
  for (int64_t unit = thread_index() / WARP; unit < n; unit += thread_count() / WARP) {
    double sum = 0;
    for (int64_t i = lane; i < per_picture; i += WARP) sum += static_cast<double>(partial[unit * per_picture + i]);
    sum = warp_sum(sum);
    if (lane == 0) y[unit] = static_cast<A>(sum / static_cast<double>(pixels));
  }
}

template <class T, bool CHANNELS_LAST>
__global__ void backward(LpipsTailArguments a) {
  using A = wide<T>;
  const int64_t lanes = CHANNELS_LAST ? WARP : 1;
  for (int64_t i = thread_index() / lanes; i < a.n * a.pixels; i += thread_count() / lanes) {
    const int64_t n = i / a.pixels;
    const A dy = static_cast<const A*>(a.dy)[n] / A(a.pixels);
    Pixel<T, CHANNELS_LAST>(a, n, i % a.pixels).write_gradient(static_cast<T*>(a.dfeatures), dy);
  }
}

}  // namespace
}  // namespace INVERT_ISA

int64_t lpips_tail_blocks(int64_t, int64_t pixels) { return INVERT_ISA::blocks(pixels, INVERT_ISA::PIXELS); }

void launch_forward(const LpipsTailArguments& a, void* stream) {
  using namespace INVERT_ISA;
  const int64_t per_picture = lpips_tail_blocks(a.c, a.pixels);
  with_type(a.type, [&](auto number) {
    using T = decltype(number);
    using A = wide<T>;
    launch_kernel(a.channels_last ? forward<T, true> : forward<T, false>, a.n * per_picture * WARP, 0, stream, a);
    launch_kernel(mean<A>, a.n * WARP, 0, stream, static_cast<A*>(a.y), static_cast<const A*>(a.partial), a.n,
                  per_picture, a.pixels);
  });
}

void launch_backward(const LpipsTailArguments& a, void* stream) {
  using namespace INVERT_ISA;
  with_type(a.type, [&](auto number) {
    using T = decltype(number);
    const int64_t threads = a.n * a.pixels * (a.channels_last ? WARP : 1);
    launch_kernel(a.channels_last ? backward<T, true> : backward<T, false>, threads, 0, stream, a);
  });
}

}  // namespace invert
