// Filter at a higher rate, activate, filter back: one pass over a plane. A sample of the higher rate lives in the row
// that it was computed in, and then in a ring of the rows that the second filter still needs.
#include <new>

#include "../kernels/upfirdn2d.h"
#include "dispatch.h"
#include "rows.h"

namespace invert {
namespace INVERT_ISA {
namespace {

// Zeros on a boundary that vectors of any instruction set fit on.
template <class A>
class Room {
 public:
  explicit Room(int64_t size) {
    const size_t bytes = static_cast<size_t>(most(size, 1)) * sizeof(A);
    p_ = static_cast<A*>(::operator new(bytes, ALIGNMENT));
    memset(static_cast<void*>(p_), 0, bytes);
  }
  ~Room() { ::operator delete(p_, ALIGNMENT); }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  A* data() const { return p_; }

 private:
  static constexpr std::align_val_t ALIGNMENT{64};
  A* p_;
};

// What a row is the weighted sum of.
template <class A>
struct Terms {
  explicit Terms(int64_t most_terms) : sources(most_terms), weights(most_terms) {}
  void clear() { count = 0; }
  void add(const A* source, A weight) {
    sources.data()[count] = source;
    weights.data()[count++] = weight;
  }
  Room<const A*> sources;
  Room<A> weights;
  int64_t count = 0;
};

template <int COUNT, bool ADD, class A>
void weigh_some(A* __restrict__ y, const A* const* s, const A* c, int64_t n) {
  const A *s0 = s[0], *s1 = s[COUNT > 1 ? 1 : 0], *s2 = s[COUNT > 2 ? 2 : 0], *s3 = s[COUNT > 3 ? 3 : 0];
  const A c0 = c[0], c1 = c[COUNT > 1 ? 1 : 0], c2 = c[COUNT > 2 ? 2 : 0], c3 = c[COUNT > 3 ? 3 : 0];
  for (int64_t i = 0; i < n; i++) {
    A sum = ADD ? multiply_add(s0[i], c0, y[i]) : s0[i] * c0;
    if (COUNT > 1) sum = multiply_add(s1[i], c1, sum);
    if (COUNT > 2) sum = multiply_add(s2[i], c2, sum);
    if (COUNT > 3) sum = multiply_add(s3[i], c3, sum);
    y[i] = sum;
  }
}

template <bool ADD, class A>
void weigh_block(A* y, const A* const* s, const A* c, int64_t count, int64_t n) {
  switch (count) {
    case 1:
      return weigh_some<1, ADD>(y, s, c, n);
    case 2:
      return weigh_some<2, ADD>(y, s, c, n);
    case 3:
      return weigh_some<3, ADD>(y, s, c, n);
    default:
      return weigh_some<4, ADD>(y, s, c, n);
  }
}

// y[i] = sum over the terms of weight * source[i], in their order.
template <class A>
void weigh(A* y, const Terms<A>& terms, int64_t n) {
  const A* const* s = terms.sources.data();
  const A* c = terms.weights.data();
  if (terms.count == 0) return fill_row(y, A(0), n);
  weigh_block<false>(y, s, c, least(terms.count, 4), n);
  for (int64_t t = 4; t < terms.count; t += 4) weigh_block<true>(y, s + t, c + t, least(terms.count - t, 4), n);
}

// A filter in the order in which its taps meet the samples: a row for each axis, or [kh, kw] where it is not separable.
template <class A>
struct Taps {
  Taps(const double* f, int64_t rows, int64_t columns, bool flip, double scale)
      : separable(rows == 0), kh(separable ? columns : rows), kw(columns), f_(most(rows, 1) * columns) {
    const int64_t count = most(rows, 1) * columns;
    // of two passes the second one has the factor
    for (int64_t i = 0; i < count; i++) f_.data()[i] = A(f[flip ? i : count - 1 - i]);
    this->scale = A(scale);
  }
  A along_x(int64_t k) const { return f_.data()[k] * scale; }
  A along_y(int64_t k) const { return f_.data()[k]; }
  A at(int64_t y, int64_t x) const { return f_.data()[y * kw + x] * scale; }

  bool separable;
  int64_t kh, kw;
  A scale;

 private:
  Room<A> f_;
};

template <class T>
class Plane {
 public:
  using A = wide<T>;

  explicit Plane(const FilteredLreluArguments& a)
      : a_(a),
        first_(a.f1, a.rows1, a.columns1, a.flip, a.scale),
        second_(a.f2, a.rows2, a.columns2, a.flip, 1.0),
        // samples from begin_ to end_ are reached by the first filter, some of them outside the picture
        begin_(least(divide_up(-a.pad_x, a.up), 0)),
        end_(most(divide_up(a.middle_w - 1 - a.pad_x + first_.kw, a.up), a.w)),
        kept_(first_.kh / a.up + 2),
        margin_(most(blocks(a.more_x, a.down), 0) * a.down),
        length_(blocks(margin_ + most(a.middle_w, (a.out_w - 1) * a.down + second_.kw + most(-a.more_x, 0)) + a.down,
                       a.down) + 1),
        input_(kept_ * width()),
        column_(width()),
        part_(a.up * blocks(a.middle_w, a.up)),
        line_(a.middle_w),
        ring_(second_.kh * a.down * length_),
        fallen_(a.down * length_),
        result_(a.out_w),
        terms_(most(first_.kh * first_.kw, second_.kh * second_.kw)) {}

  void run(int64_t plane) {
    const T* x = static_cast<const T*>(a_.x) + plane * a_.h * a_.w;
    T* y = static_cast<T*>(a_.y) + plane * a_.out_h * a_.out_w;
    const A bias = a_.b == nullptr ? A(0) : load(static_cast<const T*>(a_.b)[plane % a_.channels]);
    loaded_ = 0;
    int64_t made = 0;
    for (int64_t o = 0; o < a_.out_h; o++) {
      const int64_t top = o * a_.down - a_.more_y;
      for (; made < least(top + second_.kh, a_.middle_h); made++) middle_row(x, bias, plane, made);
      second_filter(top);
      store_row(y + o * a_.out_w, result_.data(), a_.out_w);
    }
    // the mask says of every sample what it was, also of those that the second filter does not reach
    if (a_.writes_mask) {
      for (; made < a_.middle_h; made++) middle_row(x, bias, plane, made);
    }
  }

 private:
  int64_t width() const { return end_ - begin_; }
  A* input_row(int64_t sample) const { return input_.data() + sample % kept_ * width(); }
  A* ring_row(int64_t t) const { return ring_.data() + t % second_.kh * a_.down * length_; }

  void middle_row(const T* x, A bias, int64_t plane, int64_t t) {
    const TapRange range = tap_range({a_.h, a_.up, 1, a_.pad_y, first_.kh}, t);
    for (loaded_ = most(loaded_, range.sample); loaded_ < range.sample + range.count; loaded_++) {
      A* row = input_row(loaded_) - begin_;
      const T* from = x + loaded_ * a_.w;
      for (int64_t i = 0; i < a_.w; i++) row[i] = load(from[i]) + bias;
    }
    if (first_.separable) {
      terms_.clear();
      for (int64_t j = 0; j < range.count; j++) {
        terms_.add(input_row(range.sample + j), first_.along_y(range.first + j * a_.up));
      }
      weigh(column_.data(), terms_, width());
    }
    const int64_t length = blocks(a_.middle_w, a_.up);
    for (int64_t phase = 0; phase < least(a_.up, a_.middle_w); phase++) {
      const int64_t origin = phase - a_.pad_x, sample = divide_up(origin, a_.up);
      terms_.clear();
      for (int64_t j = 0; j < (first_.separable ? 1 : range.count); j++) {
        const A* row = (first_.separable ? column_.data() : input_row(range.sample + j)) + sample - begin_;
        for (int64_t k = sample * a_.up - origin; k < first_.kw; k += a_.up) {
          terms_.add(row++, first_.separable ? first_.along_x(k) : first_.at(range.first + j * a_.up, k));
        }
      }
      weigh(part_.data() + phase * length, terms_, blocks(a_.middle_w - phase, a_.up));
    }
    interleave(length);
    activate(plane, t);
    spread(ring_row(t));
  }

  void interleave(int64_t length) const {
    const A* part = part_.data();
    A* line = line_.data();
    if (a_.up == 2) {
      const A* odd = part + length;
      for (int64_t i = 0; i < a_.middle_w / 2; i++) {
        line[2 * i] = part[i];
        line[2 * i + 1] = odd[i];
      }
      if (a_.middle_w % 2 == 1) line[a_.middle_w - 1] = part[length - 1];
      return;
    }
    for (int64_t phase = 0; phase < a_.up; phase++) {
      for (int64_t i = 0, x = phase; x < a_.middle_w; i++, x += a_.up) line[x] = part[phase * length + i];
    }
  }

  void activate(int64_t plane, int64_t t) const {
    const int64_t n = a_.middle_w;
    A* line = line_.data();
    uint8_t* mask = a_.mask == nullptr ? nullptr : a_.mask + (plane * a_.middle_h + t) * n;
    const A above = A(a_.gain), below = A(a_.gain * a_.slope);
    if (a_.reads_mask) {
      for (int64_t i = 0; i < n; i++) line[i] *= mask[i] == 0 ? A(0) : mask[i] == 1 ? above : below;
      return;
    }
    const A limit = a_.clamp < 0 ? A(INFINITY) : A(a_.clamp);
    if (a_.writes_mask) {
      for (int64_t i = 0; i < n; i++) {
        const A u = line[i], v = u * (u >= A(0) ? above : below);
        mask[i] = absolute(v) <= limit ? (u >= A(0) ? 1 : 2) : 0;
      }
    }
    for (int64_t i = 0; i < n; i++) {
      const A u = line[i], v = u * (u >= A(0) ? above : below);
      line[i] = v > limit ? limit : v < -limit ? -limit : v;
    }
  }

  // Splits a row by phase, so that the taps of the second filter meet consecutive numbers.
  void spread(A* row) const {
    const A* line = line_.data();
    const int64_t skip = margin_ / a_.down;
    if (a_.down == 2) {
      A *even = row + skip, *odd = row + length_ + skip;
      for (int64_t i = 0; i < a_.middle_w / 2; i++) {
        even[i] = line[2 * i];
        odd[i] = line[2 * i + 1];
      }
      if (a_.middle_w % 2 == 1) even[a_.middle_w / 2] = line[a_.middle_w - 1];
      return;
    }
    for (int64_t phase = 0; phase < a_.down; phase++) {
      for (int64_t i = 0, x = phase; x < a_.middle_w; i++, x += a_.down) row[phase * length_ + skip + i] = line[x];
    }
  }

  // Where tap k of output column 0 finds its sample in a row that is split by phase.
  int64_t place(int64_t k) const {
    const int64_t at = k - a_.more_x + margin_;
    return at % a_.down * length_ + at / a_.down;
  }

  void second_filter(int64_t top) {
    const int64_t from = most(-top, 0), to = least(second_.kh, a_.middle_h - top);
    terms_.clear();
    if (!second_.separable) {
      for (int64_t y = from; y < to; y++) {
        const A* row = ring_row(top + y);
        for (int64_t k = 0; k < second_.kw; k++) terms_.add(row + place(k), second_.at(y, k));
      }
      return weigh(result_.data(), terms_, a_.out_w);
    }
    for (int64_t y = from; y < to; y++) terms_.add(ring_row(top + y), second_.along_y(y));
    weigh(fallen_.data(), terms_, a_.down * length_);
    terms_.clear();
    for (int64_t k = 0; k < second_.kw; k++) terms_.add(fallen_.data() + place(k), second_.along_x(k));
    weigh(result_.data(), terms_, a_.out_w);
  }

  const FilteredLreluArguments& a_;
  const Taps<A> first_, second_;
  const int64_t begin_, end_, kept_, margin_, length_;
  const Room<A> input_, column_, part_, line_, ring_, fallen_, result_;
  Terms<A> terms_;
  int64_t loaded_ = 0;
};

}  // namespace

void run(const FilteredLreluArguments& a) {
  if (a.planes * a.out_h * a.out_w == 0) return;
  with_type(a.type, [&](auto number) {
    using T = decltype(number);
    parallel(a.planes, a.middle_h * a.middle_w, [&](int64_t begin, int64_t end) {
      Plane<T> plane(a);
      for (int64_t i = begin; i < end; i++) plane.run(i);
    });
  });
}

}  // namespace INVERT_ISA
}  // namespace invert
