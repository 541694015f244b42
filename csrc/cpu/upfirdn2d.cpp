// Insert zeros, pad, filter, keep every down-th sample: a vertical pass into a row that stays in the first-level
// cache, and a horizontal pass from there into the result.
//
// A filter is a sum of terms column * row. An outer product is one term; any other filter has one term per row of it.
#include "../kernels/upfirdn2d.h"

#include <new>

#include "dispatch.h"
#include "rows.h"

namespace invert {
namespace INVERT_ISA {
namespace {

// Zeros, on a boundary that vectors of any instruction set fit on.
template <class A>
class Buffer {
 public:
  explicit Buffer(int64_t size) {
    const size_t bytes = static_cast<size_t>(most(size, 1)) * sizeof(A);
    p_ = static_cast<A*>(::operator new(bytes, ALIGNMENT));
    memset(static_cast<void*>(p_), 0, bytes);
  }
  ~Buffer() { ::operator delete(p_, ALIGNMENT); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  A* data() const { return p_; }
  A& operator[](int64_t i) const { return p_[i]; }

 private:
  static constexpr std::align_val_t ALIGNMENT{64};
  A* p_;
};

template <class A>
struct Filter {
  explicit Filter(const Upfirdn2dArguments& a) : kh(a.kh), kw(a.kw), columns(kh * kh), rows(kh * kw) {
    for (int64_t y = 0; y < kh; y++) {
      for (int64_t x = 0; x < kw; x++) {
        const int64_t from = a.flip ? y * kw + x : (kh - 1 - y) * kw + (kw - 1 - x);
        rows[y * kw + x] = A(a.f[from] * a.gain);
      }
    }
    terms = separate() ? 1 : kh;
    for (int64_t y = 0; terms > 1 && y < kh; y++) columns[y * kh + y] = 1;
  }

  // If all rows are multiples of the one with the largest coefficient, makes that row the only one.
  bool separate() {
    int64_t best = 0;
    for (int64_t i = 1; i < kh * kw; i++) {
      if (absolute(rows[i]) > absolute(rows[best])) best = i;
    }
    const A* pivot = rows.data() + best / kw * kw;
    const A largest = rows[best];
    const A tolerance = absolute(largest) * (sizeof(A) == 4 ? A(2.4e-7) : A(4.5e-16));  // two units in the last place
    for (int64_t y = 0; y < kh; y++) {
      columns[y] = largest == A(0) ? A(0) : rows[y * kw + best % kw] / largest;
      for (int64_t x = 0; x < kw; x++) {
        if (absolute(rows[y * kw + x] - columns[y] * pivot[x]) > tolerance) {
          for (int64_t i = 0; i <= y; i++) columns[i] = 0;
          return false;
        }
      }
    }
    for (int64_t x = 0; x < kw; x++) rows[x] = pivot[x];
    return true;
  }

  const A* column(int64_t term) const { return columns.data() + term * kh; }
  const A* row(int64_t term) const { return rows.data() + term * kw; }

  int64_t kh, kw, terms;
  Buffer<A> columns, rows;
};

// y[i] = sum over `count` sources of coefficient * source[i].
template <int COUNT, class T, class S>
void combine_some(T* __restrict__ y, const S* const* sources, const wide<T>* coefficients, int64_t n) {
  const S *s0 = sources[0], *s1 = sources[COUNT > 1 ? 1 : 0], *s2 = sources[COUNT > 2 ? 2 : 0],
          *s3 = sources[COUNT > 3 ? 3 : 0];
  const wide<T> c0 = coefficients[0], c1 = coefficients[COUNT > 1 ? 1 : 0], c2 = coefficients[COUNT > 2 ? 2 : 0],
                c3 = coefficients[COUNT > 3 ? 3 : 0];
  for (int64_t i = 0; i < n; i++) {
    wide<T> sum = load(s0[i]) * c0;
    if (COUNT > 1) sum = multiply_add(load(s1[i]), c1, sum);
    if (COUNT > 2) sum = multiply_add(load(s2[i]), c2, sum);
    if (COUNT > 3) sum = multiply_add(load(s3[i]), c3, sum);
    y[i] = store<T>(sum);
  }
}

template <class T, class S>
void combine(T* y, const S* const* sources, const wide<T>* coefficients, int64_t count, int64_t n) {
  using A = wide<T>;
  switch (count) {
    case 0:
      for (int64_t i = 0; i < n; i++) y[i] = store<T>(A(0));
      return;
    case 1:
      return combine_some<1>(y, sources, coefficients, n);
    case 2:
      return combine_some<2>(y, sources, coefficients, n);
    case 3:
      return combine_some<3>(y, sources, coefficients, n);
    case 4:
      return combine_some<4>(y, sources, coefficients, n);
    default:
      for (int64_t i = 0; i < n; i++) {
        A sum = load(sources[0][i]) * coefficients[0];
        for (int64_t t = 1; t < count; t++) sum = multiply_add(load(sources[t][i]), coefficients[t], sum);
        y[i] = store<T>(sum);
      }
  }
}

// A tile is `width` output columns of one picture (channels last: with all their channels) or plane.
template <class T>
class Tiles {
 public:
  using A = wide<T>;

  Tiles(const Upfirdn2dArguments& a, const Filter<A>& filter)
      : a_(a),
        filter_(filter),
        down_{a.h, a.up_y, a.down_y, a.pad_y0, a.kh},
        step_(a.channels_last ? a.c : 1),
        taps_(most(a.kh, a.kw)) {
    const int64_t fits = LINE / step_ - a.kw;
    width_ = least(a.out_w, most(fits * a.up_x / a.down_x, 16));
    width_ = blocks(a.out_w, blocks(a.out_w, width_));  // of about the same size
    const int64_t tile = least(TILE, blocks(a.n * a.c * a.out_h * a.out_w, 8));  // even one picture gives several
    height_ = most(least(a.out_h, tile / (width_ * step_)), 1);
  }

  int64_t per_picture() const { return blocks(a_.out_w, width_) * blocks(a_.out_h, height_); }
  int64_t units() const { return (a_.channels_last ? a_.n : a_.n * a_.c) * per_picture(); }
  int64_t size() const { return width_ * height_ * step_; }

  void run(int64_t begin, int64_t end) const {
    const int64_t samples = (width_ - 1) * a_.down_x / a_.up_x + a_.kw / a_.up_x + 2;
    Scratch s(samples * step_, width_ * step_, taps_, 2 * (a_.up_x + a_.down_x));
    for (int64_t unit = begin; unit < end; unit++) {
      const int64_t tile = unit % per_picture();
      const int64_t y0 = tile / blocks(a_.out_w, width_) * height_;
      const int64_t x0 = tile % blocks(a_.out_w, width_) * width_;
      columns(s, unit / per_picture(), y0, least(y0 + height_, a_.out_h), x0, least(x0 + width_, a_.out_w));
    }
  }

 private:
  static constexpr int64_t LINE = 4096;    // numbers in a row of a tile
  static constexpr int64_t TILE = 131072;  // and at most in a tile

  struct Scratch {
    Scratch(int64_t samples, int64_t results, int64_t taps, int64_t phases)
        : vertical(samples), sources(taps), wide_sources(taps), coefficients(taps), spread(samples + results + phases),
          line(results), sum(results) {}
    Buffer<A> vertical;             // the vertical pass's result, zero where there is no sample
    Buffer<const T*> sources;       // of the vertical pass
    Buffer<const A*> wide_sources;  // of the horizontal pass
    Buffer<A> coefficients;
    Buffer<A> spread;  // samples or results by phase
    Buffer<A> line, sum;
  };

  // The samples that columns x0 to x1 reach, some perhaps outside the picture.
  int64_t first_sample(int64_t x0) const { return divide_up(x0 * a_.down_x - a_.pad_x0, a_.up_x); }
  int64_t end_sample(int64_t x1) const {
    return divide_up((x1 - 1) * a_.down_x - a_.pad_x0 + a_.kw, a_.up_x);
  }

  void columns(const Scratch& s, int64_t picture, int64_t y0, int64_t y1, int64_t x0, int64_t x1) const {
    const T* x = static_cast<const T*>(a_.x) + picture * a_.h * a_.w * step_;
    T* y = static_cast<T*>(a_.y) + (picture * a_.out_h * a_.out_w + x0) * step_;
    const int64_t begin = first_sample(x0), end = most(end_sample(x1), begin);
    const int64_t from = least(most(begin, 0), end), to = most(least(end, a_.w), from);
    fill_row(s.vertical.data(), A(0), (end - begin) * step_);
    for (int64_t o = y0; o < y1; o++) {
      T* row = y + o * a_.out_w * step_;
      for (int64_t term = 0; term < filter_.terms; term++) {
        vertical(s, x + from * step_, o, term, s.vertical.data() + (from - begin) * step_, (to - from) * step_);
        if (filter_.terms == 1) {
          horizontal(s, term, x0, x1, begin, row);
        } else {
          horizontal(s, term, x0, x1, begin, s.line.data());
          if (term == 0) fill_row(s.sum.data(), A(0), (x1 - x0) * step_);
          add_row(s.sum.data(), s.line.data(), (x1 - x0) * step_);
        }
      }
      if (filter_.terms > 1) store_row(row, s.sum.data(), (x1 - x0) * step_);
    }
  }

  void vertical(const Scratch& s, const T* x, int64_t o, int64_t term, A* result, int64_t n) const {
    const TapRange range = tap_range(down_, o);
    int64_t count = 0;
    for (int64_t t = 0; t < range.count; t++) {
      const A coefficient = filter_.column(term)[range.first + t * down_.up];
      if (coefficient == A(0)) continue;
      s.coefficients[count] = coefficient;
      s.sources[count++] = x + (range.sample + t) * a_.w * step_;
    }
    combine(result, s.sources.data(), s.coefficients.data(), count, n);
  }

  // The taps of output column o that meet samples; `begin` is the row's first sample.
  int64_t taps_at(const Scratch& s, int64_t o, int64_t term, int64_t begin) const {
    const int64_t origin = o * a_.down_x - a_.pad_x0;
    const int64_t sample = divide_up(origin, a_.up_x);
    int64_t count = 0;
    for (int64_t k = sample * a_.up_x - origin; k < a_.kw; k += a_.up_x, count++) {
      s.coefficients[count] = filter_.row(term)[k];
      s.wide_sources[count] = s.vertical.data() + (sample - begin + count) * step_;
    }
    return count;
  }

  template <class R>
  void horizontal(const Scratch& s, int64_t term, int64_t x0, int64_t x1, int64_t begin, R* row) const {
    const int64_t width = x1 - x0;
    if (a_.up_x == 1 && a_.down_x == 1) {
      const int64_t count = taps_at(s, x0, term, begin);
      combine(row, s.wide_sources.data(), s.coefficients.data(), count, width * step_);
    } else if (step_ > 1 || (a_.up_x > 1 && a_.down_x > 1)) {
      for (int64_t o = x0; o < x1; o++) {
        const int64_t count = taps_at(s, o, term, begin);
        combine(row + (o - x0) * step_, s.wide_sources.data(), s.coefficients.data(), count, step_);
      }
    } else if (a_.up_x > 1) {
      upsampled(s, term, x0, width, begin, row);
    } else {
      downsampled(s, term, width, row);
    }
  }

  // Each of `up` phases is a filter of its own; their results are interleaved.
  template <class R>
  void upsampled(const Scratch& s, int64_t term, int64_t x0, int64_t width, int64_t begin, R* row) const {
    const int64_t up = a_.up_x, length = blocks(width, up);
    for (int64_t phase = 0; phase < least(up, width); phase++) {
      A* part = up == 2 ? s.spread.data() + phase * length : s.spread.data();
      const int64_t n = blocks(width - phase, up);
      const int64_t count = taps_at(s, x0 + phase, term, begin);
      combine(part, s.wide_sources.data(), s.coefficients.data(), count, n);
      if (up == 2) continue;
      for (int64_t i = 0; i < n; i++) row[phase + i * up] = store<R>(part[i]);
    }
    if (up != 2) return;
    const A* even = s.spread.data();
    const A* odd = even + length;
    for (int64_t i = 0; i < width / 2; i++) {
      row[2 * i] = store<R>(even[i]);
      row[2 * i + 1] = store<R>(odd[i]);
    }
    if (width % 2 == 1) row[width - 1] = store<R>(even[length - 1]);
  }

  // The samples are split by phase; then the taps meet consecutive ones.
  template <class R>
  void downsampled(const Scratch& s, int64_t term, int64_t width, R* row) const {
    const int64_t down = a_.down_x, length = width + blocks(a_.kw, down);
    const int64_t samples = (width - 1) * down + a_.kw;
    for (int64_t phase = 0; phase < least(down, a_.kw); phase++) {
      A* part = s.spread.data() + phase * length;
      const A* from = s.vertical.data() + phase;
      const int64_t n = blocks(samples - phase, down);
      if (down == 2) {
        for (int64_t i = 0; i < n; i++) part[i] = from[2 * i];
      } else {
        for (int64_t i = 0; i < n; i++) part[i] = from[i * down];
      }
    }
    for (int64_t k = 0; k < a_.kw; k++) {
      s.coefficients[k] = filter_.row(term)[k];
      s.wide_sources[k] = s.spread.data() + k % down * length + k / down;
    }
    combine(row, s.wide_sources.data(), s.coefficients.data(), a_.kw, width);
  }

  const Upfirdn2dArguments& a_;
  const Filter<A>& filter_;
  FilterAxis down_;
  int64_t step_, taps_;
  int64_t width_, height_;
};

}  // namespace

void run(const Upfirdn2dArguments& a) {
  if (a.n * a.c * a.out_h * a.out_w == 0) return;
  with_type(a.type, [&](auto number) {
    using T = decltype(number);
    const Filter<wide<T>> filter(a);
    const Tiles<T> tiles(a, filter);
    parallel(tiles.units(), tiles.size(), [&](int64_t begin, int64_t end) { tiles.run(begin, end); });
  });
}

}  // namespace INVERT_ISA
}  // namespace invert
