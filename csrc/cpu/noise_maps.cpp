// The autocorrelation of noise maps over a pyramid of sizes, with its gradient, and their normalisation: a map at a time.
//
// Reference: Karras et al. 2020, appendix D (regularisation and normalisation of the noise maps).
#include "../kernels/noise_maps.h"

#include "dispatch.h"
#include "rows.h"

namespace invert {
namespace INVERT_ISA {
namespace {

// Sums of a row are made in the row's type, those over rows in double.

template <class A>
A products(const A* __restrict__ x, const A* __restrict__ y, int64_t n) {
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
  return sum;
}

template <class A>
A squares_apart(const A* row, A from, int64_t n) {
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) sum += (row[i] - from) * (row[i] - from);
  return sum;
}

template <class A>
struct Level {
  const A* map;
  A* gradient;
  int64_t h, w;

  const A* row(int64_t y) const { return map + (y < 0 ? y + h : y >= h ? y - h : y) * w; }
};

// The mean of the products with the neighbours to the left and above, on a torus.
template <class A>
void correlate(const Level<A>& level, double& x, double& y) {
  double along = 0, across = 0;
  const int64_t w = level.w;
  for (int64_t i = 0; i < level.h; i++) {
    const A* row = level.row(i);
    along += static_cast<double>(row[0] * row[w - 1] + products(row + 1, row, w - 1));
    across += static_cast<double>(products(row, level.row(i - 1), w));
  }
  const double count = static_cast<double>(level.h * w);
  x = along / count;
  y = across / count;
}

template <class A>
void write_gradient(const Level<A>& level, double x, double y) {
  const double count = static_cast<double>(level.h * level.w);
  const A along = static_cast<A>(2 * x / count), across = static_cast<A>(2 * y / count);
  const int64_t w = level.w;
  for (int64_t i = 0; i < level.h; i++) {
    const A* row = level.row(i);
    const A* above = level.row(i - 1);
    const A* below = level.row(i + 1);
    A* __restrict__ out = level.gradient + i * w;
    for (int64_t j = 0; j < w; j++) out[j] = shifted_gradient(above[j], below[j], across, A(0));
    if (w == 1) {
      out[0] = shifted_gradient(row[0], row[0], along, out[0]);
      continue;
    }
    out[0] = shifted_gradient(row[w - 1], row[1], along, out[0]);
    for (int64_t j = 1; j < w - 1; j++) out[j] = shifted_gradient(row[j - 1], row[j + 1], along, out[j]);
    out[w - 1] = shifted_gradient(row[w - 2], row[0], along, out[w - 1]);
  }
}

template <class A>
void halve(const Level<A>& level, A* __restrict__ smaller, A scale) {
  const int64_t h = level.h / 2, w = level.w / 2;
  for (int64_t i = 0; i < h; i++) {
    const A* upper = level.map + 2 * i * level.w;
    const A* lower = upper + level.w;
    for (int64_t j = 0; j < w; j++) {
      smaller[i * w + j] = halved(upper[2 * j], upper[2 * j + 1], lower[2 * j], lower[2 * j + 1], scale);
    }
  }
}

// Adds the gradient of the halved map to that of the map; an odd last row or column is in no mean.
template <class A>
void spread(const Level<A>& level, const Level<A>& smaller, A scale) {
  for (int64_t i = 0; i < 2 * smaller.h; i++) {
    const A* from = smaller.gradient + i / 2 * smaller.w;
    A* __restrict__ to = level.gradient + i * level.w;
    for (int64_t j = 0; j < smaller.w; j++) {
      to[2 * j] = multiply_add(from[j], scale, to[2 * j]);
      to[2 * j + 1] = multiply_add(from[j], scale, to[2 * j + 1]);
    }
  }
}

constexpr int MOST_LEVELS = 64;

// One map's penalty; its gradient is written.
template <class A>
double penalise(const NoisePenaltyArguments& a, int64_t index) {
  const A scale = static_cast<A>(a.pyramid_scale / 4);
  Level<A> levels[MOST_LEVELS];
  levels[0] = {static_cast<const A*>(a.maps) + index * a.h * a.w, static_cast<A*>(a.gradient) + index * a.h * a.w, a.h,
               a.w};
  A* room = static_cast<A*>(a.room) + index * a.room_size;
  double penalty = 0;
  int count = 1;
  for (;; count++) {
    const Level<A>& level = levels[count - 1];
    double x, y;
    correlate(level, x, y);
    penalty += x * x + y * y;
    write_gradient(level, x, y);
    if (least(level.h, level.w) <= PYRAMID_FLOOR) break;
    const int64_t size = (level.h / 2) * (level.w / 2);
    halve(level, room, scale);
    levels[count] = {room, room + size, level.h / 2, level.w / 2};
    room += 2 * size;
  }
  for (int i = count - 1; i > 0; i--) spread(levels[i - 1], levels[i], scale);
  return penalty;
}

template <class A>
void normalise(A* map, int64_t h, int64_t w) {
  const double count = static_cast<double>(h * w);
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < h; i++) sum += static_cast<double>(sum_row(map + i * w, w));
  const A mean = static_cast<A>(sum / count);
  for (int64_t i = 0; i < h; i++) squares += static_cast<double>(squares_apart(map + i * w, mean, w));
  // A constant map stays at zero.
  const A factor = static_cast<A>(1 / square_root(squares / count + 1e-16));
  for (int64_t i = 0; i < h * w; i++) map[i] = (map[i] - mean) * factor;
}

template <class A>
void penalties(const NoisePenaltyArguments& a) {
  double* partial = a.partial;
  parallel(a.n * a.k, 4 * a.h * a.w, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) partial[i] = penalise<A>(a, i);
  });
  for (int64_t n = 0; n < a.n; n++) {
    double sum = 0;
    for (int64_t k = 0; k < a.k; k++) sum += partial[n * a.k + k];
    static_cast<A*>(a.penalty)[n] = static_cast<A>(sum);
  }
}

template <class A>
void normalise_all(const NoiseNormaliseArguments& a) {
  parallel(a.maps_count, 3 * a.h * a.w, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) normalise(static_cast<A*>(a.maps) + i * a.h * a.w, a.h, a.w);
  });
}

}  // namespace

void run(const NoisePenaltyArguments& a) { a.type == FLOAT64 ? penalties<double>(a) : penalties<float>(a); }

void run(const NoiseNormaliseArguments& a) { a.type == FLOAT64 ? normalise_all<double>(a) : normalise_all<float>(a); }

}  // namespace INVERT_ISA
}  // namespace invert
