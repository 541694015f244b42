// Filter at a higher rate, activate, filter back: a block makes a tile of the result, and what lies between the filters
// never leaves its shared memory.
#include "../kernels/upfirdn2d.h"

#include "launch.h"

namespace invert {
namespace INVERT_ISA {
namespace {

constexpr int64_t SHARED_BYTES = 48 * 1024;

// Sizes of a tile: of the result, of what it takes between the filters, and of the picture.
struct Tile {
  int64_t side;
  int64_t middle_h, middle_w;
  int64_t in_h, in_w;
  int64_t down, across;  // how many tiles a plane has
  bool separable1, separable2;
  int64_t taps1, taps2;  // numbers of the filters
};

inline int64_t reach(int64_t middle, int64_t taps, int64_t up) { return (middle + taps - 2) / up + 2; }

Tile tile_of(const FilteredLreluArguments& a, int64_t side) {
  Tile t{};
  t.side = side;
  t.separable1 = a.rows1 == 0, t.separable2 = a.rows2 == 0;
  t.taps1 = most(a.rows1, 1) * a.columns1, t.taps2 = most(a.rows2, 1) * a.columns2;
  // up to where the next tile begins, whether or not the filter reaches so far: the mask has every sample
  t.middle_h = (side - 1) * a.down + most(t.separable2 ? a.columns2 : a.rows2, a.down);
  t.middle_w = (side - 1) * a.down + most(a.columns2, a.down);
  t.in_h = reach(t.middle_h, t.separable1 ? a.columns1 : a.rows1, a.up);
  t.in_w = reach(t.middle_w, a.columns1, a.up);
  t.down = blocks(a.out_h, side), t.across = blocks(a.out_w, side);
  return t;
}

int64_t numbers(const Tile& t) {
  const int64_t lines = t.separable1 ? t.in_h * t.middle_w : 0, columns = t.separable2 ? t.middle_h * t.side : 0;
  return t.taps1 + t.taps2 + t.in_h * t.in_w + lines + t.middle_h * t.middle_w + columns;
}

// Taps in the order in which they meet the samples.
template <class A>
__device__ void load_taps(A* taps, const double* f, int64_t count, bool flip, double scale) {
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) taps[i] = A(f[flip ? i : count - 1 - i]) * A(scale);
}

template <class A>
struct Activation {
  A above, below, limit;

  __device__ explicit Activation(const FilteredLreluArguments& a)
      : above(A(a.gain)), below(A(a.gain * a.slope)), limit(a.clamp < 0 ? A(INFINITY) : A(a.clamp)) {}

  __device__ A slope(uint8_t kind) const { return kind == 0 ? A(0) : kind == 1 ? above : below; }
  __device__ A scaled(A u) const { return u * (u >= A(0) ? above : below); }
  __device__ A value(A u) const {
    const A v = scaled(u);
    return v > limit ? limit : v < -limit ? -limit : v;
  }
  __device__ uint8_t kind(A u) const { return absolute(scaled(u)) <= limit ? (u >= A(0) ? 1 : 2) : 0; }
};

template <class T>
__global__ void kernel(FilteredLreluArguments a, Tile t) {
  using A = wide<T>;
  extern __shared__ double memory[];
  A* taps1 = reinterpret_cast<A*>(memory);
  A* taps2 = taps1 + t.taps1;
  A* input = taps2 + t.taps2;
  A* lines = input + t.in_h * t.in_w;
  A* middle = lines + (t.separable1 ? t.in_h * t.middle_w : 0);
  A* columns = middle + t.middle_h * t.middle_w;
  // a separable filter's factor belongs to one of its two passes
  load_taps(taps1, a.f1, t.taps1, a.flip, t.separable1 ? 1.0 : a.scale);
  load_taps(taps2, a.f2, t.taps2, a.flip, 1.0);
  const A scale = t.separable1 ? A(a.scale) : A(1);
  const int64_t kh1 = t.separable1 ? a.columns1 : a.rows1, kh2 = t.separable2 ? a.columns2 : a.rows2;
  const Activation<A> activation(a);

  const int64_t units = a.planes * t.down * t.across;
  for (int64_t unit = blockIdx.x; unit < units; unit += gridDim.x) {
    const int64_t plane = unit / (t.down * t.across);
    const int64_t oy = unit / t.across % t.down * t.side, ox = unit % t.across * t.side;
    const int64_t my = oy * a.down - a.more_y, mx = ox * a.down - a.more_x;
    const int64_t sy = divide_up(my - a.pad_y, a.up), sx = divide_up(mx - a.pad_x, a.up);
    const T* x = static_cast<const T*>(a.x) + plane * a.h * a.w;
    const A bias = a.b == nullptr ? A(0) : load(static_cast<const T*>(a.b)[plane % a.channels]);
    __syncthreads();
    for (int64_t i = threadIdx.x; i < t.in_h * t.in_w; i += blockDim.x) {
      const int64_t row = sy + i / t.in_w, column = sx + i % t.in_w;
      const bool inside = row >= 0 && row < a.h && column >= 0 && column < a.w;
      input[i] = inside ? load(x[row * a.w + column]) + bias : A(0);
    }
    __syncthreads();
    if (t.separable1) {
      for (int64_t i = threadIdx.x; i < t.in_h * t.middle_w; i += blockDim.x) {
        const int64_t row = i / t.middle_w, origin = mx + i % t.middle_w - a.pad_x;
        const int64_t sample = divide_up(origin, a.up);
        const A* from = input + row * t.in_w + sample - sx;
        A sum = 0;
        for (int64_t k = sample * a.up - origin; k < a.columns1; k += a.up) sum = multiply_add(*from++, taps1[k], sum);
        lines[i] = sum * scale;
      }
      __syncthreads();
    }
    for (int64_t i = threadIdx.x; i < t.middle_h * t.middle_w; i += blockDim.x) {
      const int64_t row = my + i / t.middle_w, column = mx + i % t.middle_w;
      const bool inside = row >= 0 && row < a.middle_h && column >= 0 && column < a.middle_w;
      if (!inside) {
        middle[i] = A(0);
        continue;
      }
      const int64_t origin = row - a.pad_y, sample = divide_up(origin, a.up);
      A sum = 0;
      int64_t at = sample - sy;
      for (int64_t k = sample * a.up - origin; k < kh1; k += a.up, at++) {
        if (t.separable1) {
          sum = multiply_add(lines[at * t.middle_w + i % t.middle_w], taps1[k], sum);
          continue;
        }
        const int64_t left = column - a.pad_x, first = divide_up(left, a.up);
        const A* from = input + at * t.in_w + first - sx;
        for (int64_t l = first * a.up - left; l < a.columns1; l += a.up) {
          sum = multiply_add(*from++, taps1[k * a.columns1 + l], sum);
        }
      }
      const int64_t place = (plane * a.middle_h + row) * a.middle_w + column;
      // neighbouring tiles share samples, and write the same of them
      if (a.writes_mask) a.mask[place] = activation.kind(sum);
      middle[i] = a.reads_mask ? sum * activation.slope(a.mask[place]) : activation.value(sum);
    }
    __syncthreads();
    if (t.separable2) {
      for (int64_t i = threadIdx.x; i < t.middle_h * t.side; i += blockDim.x) {
        const A* from = middle + i / t.side * t.middle_w + i % t.side * a.down;
        A sum = 0;
        for (int64_t k = 0; k < a.columns2; k++) sum = multiply_add(from[k], taps2[k], sum);
        columns[i] = sum;
      }
      __syncthreads();
    }
    for (int64_t i = threadIdx.x; i < t.side * t.side; i += blockDim.x) {
      const int64_t row = i / t.side, column = i % t.side;
      if (oy + row >= a.out_h || ox + column >= a.out_w) continue;
      A sum = 0;
      for (int64_t k = 0; k < kh2; k++) {
        if (t.separable2) {
          sum = multiply_add(columns[(row * a.down + k) * t.side + column], taps2[k], sum);
          continue;
        }
        const A* from = middle + (row * a.down + k) * t.middle_w + column * a.down;
        for (int64_t l = 0; l < a.columns2; l++) sum = multiply_add(from[l], taps2[k * a.columns2 + l], sum);
      }
      static_cast<T*>(a.y)[(plane * a.out_h + oy + row) * a.out_w + ox + column] = store<T>(sum);
    }
  }
}

// What the samples were that the second filter does not reach.
template <class T>
__global__ void mask_beyond(FilteredLreluArguments a, int64_t top, int64_t bottom, int64_t left, int64_t right) {
  using A = wide<T>;
  const bool separable = a.rows1 == 0;
  const int64_t kh = separable ? a.columns1 : a.rows1, count = most(a.rows1, 1) * a.columns1;
  const Activation<A> activation(a);
  for (int64_t i = thread_index(); i < a.planes * a.middle_h * a.middle_w; i += thread_count()) {
    const int64_t column = i % a.middle_w, row = i / a.middle_w % a.middle_h, plane = i / a.middle_w / a.middle_h;
    if (row >= top && row < bottom && column >= left && column < right) continue;
    const T* x = static_cast<const T*>(a.x) + plane * a.h * a.w;
    const A bias = a.b == nullptr ? A(0) : load(static_cast<const T*>(a.b)[plane % a.channels]);
    const TapRange ys = tap_range({a.h, a.up, 1, a.pad_y, kh}, row);
    const TapRange xs = tap_range({a.w, a.up, 1, a.pad_x, a.columns1}, column);
    A sum = 0;
    for (int64_t ty = 0; ty < ys.count; ty++) {
      const int64_t k = ys.first + ty * a.up;
      A line = 0;
      for (int64_t tx = 0; tx < xs.count; tx++) {
        const int64_t l = xs.first + tx * a.up, tap = separable ? l : k * a.columns1 + l;
        const A coefficient = A(a.f1[a.flip ? tap : count - 1 - tap]) * A(a.scale);
        line = multiply_add(load(x[(ys.sample + ty) * a.w + xs.sample + tx]) + bias, coefficient, line);
      }
      sum = separable ? multiply_add(line, A(a.f1[a.flip ? k : count - 1 - k]), sum) : sum + line;
    }
    a.mask[i] = activation.kind(sum);
  }
}

}  // namespace
}  // namespace INVERT_ISA

void launch(const FilteredLreluArguments& a, void* stream) {
  using namespace INVERT_ISA;
  if (a.planes * a.out_h * a.out_w == 0) return;
  with_type(a.type, [&](auto number) {
    using T = decltype(number);
    constexpr int64_t size = sizeof(wide<T>);
    int64_t side = 16;
    while (side > 1 && numbers(tile_of(a, side)) * size > SHARED_BYTES) side /= 2;
    const Tile tile = tile_of(a, side);
    const int64_t bytes = numbers(tile) * size;
    if (bytes > SHARED_BYTES) throw std::runtime_error("filtered_lrelu: filters too large for a GPU's shared memory");
    launch_kernel(kernel<T>, a.planes * tile.down * tile.across * THREADS, bytes, stream, a, tile);
    const int64_t top = -a.more_y, left = -a.more_x;
    const int64_t bottom = top + (tile.down - 1) * side * a.down + tile.middle_h;
    const int64_t right = left + (tile.across - 1) * side * a.down + tile.middle_w;
    if (a.writes_mask && (top > 0 || left > 0 || bottom < a.middle_h || right < a.middle_w)) {
      launch_kernel(mask_beyond<T>, a.planes * a.middle_h * a.middle_w, 0, stream, a, top, bottom, left, right);
    }
  });
}

}  // namespace invert
