// Insert zeros, pad, filter, keep every down-th sample: one thread per output element, the filter in shared memory.
#include "../kernels/upfirdn2d.h"

#include "launch.h"

namespace invert {
namespace INVERT_ISA {
namespace {

constexpr int64_t SHARED_BYTES = 48 * 1024;

// Coefficients in the order they meet the samples.
template <class A>
__device__ A coefficient(const Upfirdn2dArguments& a, int64_t i) {
  return A(a.f[a.flip ? i : a.kh * a.kw - 1 - i] * a.gain);
}

template <class T>
__global__ void kernel(Upfirdn2dArguments a, bool filter_is_shared) {
  using A = wide<T>;
  extern __shared__ double memory[];
  A* taps = reinterpret_cast<A*>(memory);
  if (filter_is_shared) {
    for (int64_t i = threadIdx.x; i < a.kh * a.kw; i += blockDim.x) taps[i] = coefficient<A>(a, i);
    __syncthreads();
  }
  const FilterAxis across{a.w, a.up_x, a.down_x, a.pad_x0, a.kw};
  const FilterAxis down{a.h, a.up_y, a.down_y, a.pad_y0, a.kh};
  const int64_t count = a.n * a.c * a.out_h * a.out_w;
  const int64_t step = a.channels_last ? a.c : 1;
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    // i runs over [n, out_h, out_w, c] or over [n * c, out_h, out_w].
    const int64_t column = i / step % a.out_w;
    const int64_t row = i / step / a.out_w % a.out_h;
    const int64_t picture = i / step / a.out_w / a.out_h;
    const T* x = static_cast<const T*>(a.x) + picture * a.h * a.w * step + i % step;
    const TapRange ys = tap_range(down, row), xs = tap_range(across, column);
    A sum = 0;
    for (int64_t ty = 0; ty < ys.count; ty++) {
      const T* line = x + ((ys.sample + ty) * a.w + xs.sample) * step;
      const int64_t first = (ys.first + ty * a.up_y) * a.kw + xs.first;
      for (int64_t tx = 0; tx < xs.count; tx++) {
        const int64_t k = first + tx * a.up_x;
        sum = multiply_add(load(line[tx * step]), filter_is_shared ? taps[k] : coefficient<A>(a, k), sum);
      }
    }
    static_cast<T*>(a.y)[i] = store<T>(sum);
  }
}

}  // namespace
}  // namespace INVERT_ISA

void launch(const Upfirdn2dArguments& a, void* stream) {
  using namespace INVERT_ISA;
  with_type(a.type, [&](auto number) {
    using T = decltype(number);
    const int64_t bytes = a.kh * a.kw * static_cast<int64_t>(sizeof(wide<T>));
    const bool shared = bytes <= SHARED_BYTES;
    launch_kernel(kernel<T>, a.n * a.c * a.out_h * a.out_w, shared ? bytes : 0, stream, a, shared);
  });
}

}  // namespace invert
