// clamp(act(x * scale + noise * strength + b) * gain) in one pass, and its gradients in another.
#include "../kernels/activation.h"
#include "../kernels/conv_tail.h"
#include "launch.h"

namespace invert {
namespace INVERT_ISA {
namespace {

template <class A>
__device__ A side(const void* p, int64_t i, A missing) {
  return p == nullptr ? missing : static_cast<const A*>(p)[i];
}

template <class A>
__device__ A input(const ConvTailArguments& a, A x, int64_t n, int64_t c, int64_t pixel) {
  const A noise = side(a.noise, (a.shared_noise ? 0 : n * a.pixels) + pixel, A(0)) * side(a.strength, 0, A(1));
  return tail_input(x, side(a.scale, n * a.c + c, A(1)), noise, side(a.b, c, A(0)));
}

template <class T>
__global__ void forward(ConvTailArguments a) {
  using A = wide<T>;
  const ActivationSettings<A> s = activation_settings<A>(a.activation);
  const int64_t count = a.n * a.c * a.pixels;
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const int64_t c = a.channels_last ? i % a.c : i / a.pixels % a.c;
    const int64_t pixel = a.channels_last ? i / a.c % a.pixels : i % a.pixels;
    const A u = input<A>(a, load(static_cast<const T*>(a.x)[i]), i / a.c / a.pixels, c, pixel);
    static_cast<T*>(a.y)[i] = store<T>(activate<ANY>(u, s));
  }
}

// One warp per block of the plan. Its lanes lie along the inner axis in memory (pixels, or channels if those are
// last), PER_LANE elements each, and walk along the outer axis together: sums per inner element stay in registers,
// sums per outer element are made across the lanes.
constexpr int PER_LANE = 4;
constexpr int64_t INNER = WARP * PER_LANE;
constexpr int64_t OUTER = 64;

template <class T, bool CHANNELS_LAST>
__global__ void backward(ConvTailArguments a) {
  using A = wide<T>;
  const ActivationSettings<A> s = activation_settings<A>(a.activation);
  const int64_t inner_size = CHANNELS_LAST ? a.c : a.pixels, outer_size = CHANNELS_LAST ? a.pixels : a.c;
  const int64_t inner_blocks = blocks(inner_size, INNER), outer_blocks = blocks(outer_size, OUTER);
  // [n, outer blocks, inner] and [n, inner blocks, outer]
  A* inner_sums = static_cast<A*>(CHANNELS_LAST ? a.channel_sums : a.pixel_sums);
  A* outer_sums = static_cast<A*>(CHANNELS_LAST ? a.pixel_sums : a.channel_sums);
  const int lane = threadIdx.x % WARP;
  for (int64_t unit = thread_index() / WARP; unit < a.n * inner_blocks * outer_blocks; unit += thread_count() / WARP) {
    const int64_t inner_block = unit % inner_blocks, outer_block = unit / inner_blocks % outer_blocks;
    const int64_t n = unit / inner_blocks / outer_blocks;
    const int64_t end = least((outer_block + 1) * OUTER, outer_size);
    A sums[PER_LANE] = {};
    for (int64_t outer = outer_block * OUTER; outer < end; outer++) {
      A across = 0;
      for (int k = 0; k < PER_LANE; k++) {
        const int64_t inner = inner_block * INNER + k * WARP + lane;
        if (inner >= inner_size) continue;
        const int64_t c = CHANNELS_LAST ? inner : outer, pixel = CHANNELS_LAST ? outer : inner;
        const int64_t i = (n * outer_size + outer) * inner_size + inner;
        const A x = load(static_cast<const T*>(a.x)[i]);
        const A du = load(static_cast<const T*>(a.dy)[i]) * activation_slope<ANY>(input<A>(a, x, n, c, pixel), s);
        static_cast<T*>(a.dx)[i] = store<T>(du * side(a.scale, n * a.c + c, A(1)));
        sums[k] += CHANNELS_LAST ? du * x : du;
        across += CHANNELS_LAST ? du : du * x;
      }
      across = warp_sum(across);
      if (lane == 0) outer_sums[(n * inner_blocks + inner_block) * outer_size + outer] = across;
    }
    for (int k = 0; k < PER_LANE; k++) {
      const int64_t inner = inner_block * INNER + k * WARP + lane;
      if (inner < inner_size) inner_sums[(n * outer_blocks + outer_block) * inner_size + inner] = sums[k];
    }
  }
}

// result[n, i] = factor * sum over the lines of parts[n, line, i], one warp each.
template <class A>
__global__ void fold(A* result, const A* parts, int64_t n, int64_t lines, int64_t size, const A* factor) {
  const int lane = threadIdx.x % WARP;
  for (int64_t unit = thread_index() / WARP; unit < n * size; unit += thread_count() / WARP) {
    A sum = 0;
    for (int64_t l = lane; l < lines; l += WARP) sum += parts[(unit / size * lines + l) * size + unit % size];
    sum = warp_sum(sum);
    if (lane == 0) result[unit] = factor == nullptr ? sum : sum * *factor;
  }
}

}  // namespace
}  // namespace INVERT_ISA

ReductionPlan conv_tail_plan(int64_t, int64_t, bool channels_last) {
  using namespace INVERT_ISA;
  return channels_last ? ReductionPlan{INNER, OUTER} : ReductionPlan{OUTER, INNER};
}

void launch_forward(const ConvTailArguments& a, void* stream) {
  using namespace INVERT_ISA;
  with_type(a.type, [&](auto number) {
    launch_kernel(forward<decltype(number)>, a.n * a.c * a.pixels, 0, stream, a);
  });
}

void launch_backward(const ConvTailArguments& a, void* stream) {
  using namespace INVERT_ISA;
  const ReductionPlan plan = conv_tail_plan(a.c, a.pixels, a.channels_last);
  const int64_t channel_lines = blocks(a.pixels, plan.pixel_block), pixel_lines = blocks(a.c, plan.channel_block);
  with_type(a.type, [&](auto number) {
    using T = decltype(number);
    using A = wide<T>;
    const int64_t threads = a.n * channel_lines * pixel_lines * WARP;
    launch_kernel(a.channels_last ? backward<T, true> : backward<T, false>, threads, 0, stream, a);
    if (a.dscale != nullptr) {
      launch_kernel(fold<A>, a.n * a.c * WARP, 0, stream, static_cast<A*>(a.dscale),
                    static_cast<const A*>(a.channel_sums), a.n, channel_lines, a.c, static_cast<const A*>(nullptr));
    }
    if (a.dnoise != nullptr) {
      launch_kernel(fold<A>, a.n * a.pixels * WARP, 0, stream, static_cast<A*>(a.dnoise),
                    static_cast<const A*>(a.pixel_sums), a.n, pixel_lines, a.pixels,
                    static_cast<const A*>(a.strength));
    }
  });
}

}  // namespace invert
