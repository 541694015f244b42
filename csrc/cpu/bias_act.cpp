// clamp(act(x + b) * gain), its first and its second derivative: rows of a flat array.
#include "dispatch.h"
#include "rows.h"

namespace invert {
namespace INVERT_ISA {
namespace {

constexpr int64_t STRIP = 512;  // elements between two steps: short, so that the steps overlap in the processor

// The bias of element i is b[i / inner % channels].
template <class T>
class BiasRows {
 public:
  explicit BiasRows(const BiasActArguments& a)
      : b_(static_cast<const T*>(a.b)), channels_(a.channels), inner_(a.inner), period_(a.channels * a.inner) {
    if (short_period()) {
      for (int64_t i = 0; i < STRIP + period_; i++) pattern_[i] = load(b_[i / inner_ % channels_]);
    }
  }

  void add(wide<T>* row, int64_t begin, int64_t n) const {
    if (short_period()) return add_row(row, pattern_ + begin % period_, n);
    int64_t channel = begin / inner_ % channels_;
    int64_t left = inner_ - begin % inner_;
    if (inner_ == 1) {
      for (int64_t i = 0; i < n;) {
        const int64_t length = least(channels_ - channel, n - i);
        for (int64_t j = 0; j < length; j++) row[i + j] += load(b_[channel + j]);
        i += length;
        channel = 0;
      }
      return;
    }
    for (int64_t i = 0; i < n;) {
      const int64_t length = least(left, n - i);
      const wide<T> b = load(b_[channel]);
      for (int64_t j = 0; j < length; j++) row[i + j] += b;
      i += length;
      left = inner_;
      channel = channel + 1 == channels_ ? 0 : channel + 1;
    }
  }

 private:
  static constexpr int64_t LIMIT = 1024;
  bool short_period() const { return period_ <= LIMIT; }

  const T* b_;
  int64_t channels_, inner_, period_;
  wide<T> pattern_[STRIP + LIMIT];
};

template <class T>
void rows(const BiasActArguments& a, int64_t begin, int64_t end) {
  using A = wide<T>;
  const auto settings = activation_settings<T>(a.activation);
  const int act = a.activation.act;
  const bool at_output = a.order == FIRST && is_piecewise_linear(act);
  const bool biased = a.b != nullptr && !at_output && a.count > 0;
  BiasActArguments none = a;
  none.channels = none.inner = 1;
  const T zero = store<T>(0);
  none.b = &zero;
  const BiasRows<T> bias(biased ? a : none);
  A row[STRIP];
  for (int64_t unit = begin; unit < end; unit++) {
    const int64_t first = unit * STRIP;
    const int64_t n = least(STRIP, a.count - first);
    load_row(row, static_cast<const T*>(a.x) + first, n);
    if (biased) bias.add(row, first, n);
    if (a.order == VALUE) {
      activate_row(row, n, act, settings);
    } else if (a.order == FIRST) {
      if (at_output) {
        slope_at_output_row(row, n, act, settings);
      } else {
        slope_row(row, n, act, settings);
      }
    } else {
      curvature_row(row, n, act, settings);
      multiply_row(row, static_cast<const T*>(a.v) + first, n);
    }
    if (a.order != VALUE) multiply_row(row, static_cast<const T*>(a.dy) + first, n);
    store_row(static_cast<T*>(a.result) + first, row, n);
  }
}

}  // namespace

void run(const BiasActArguments& a) {
  with_type(a.type, [&](auto number) {
    parallel(blocks(a.count, STRIP), STRIP, [&](int64_t begin, int64_t end) { rows<decltype(number)>(a, begin, end); });
  });
}

}  // namespace INVERT_ISA
}  // namespace invert
