#include <tuple>

#include "tensor.h"

namespace invert {
namespace {

// Rows and columns of a filter; a separable one has no rows.
void describe(const Tensor& f, const Tensor& x, int64_t& rows, int64_t& columns) {
  STD_TORCH_CHECK((f.dim() == 1 || f.dim() == 2) && f.numel() > 0, "filtered_lrelu: a filter is [k] or [kh, kw]");
  STD_TORCH_CHECK(f.device() == x.device(), "filtered_lrelu: the filters must be on the device of x");
  rows = f.dim() == 2 ? f.size(0) : 0;
  columns = f.size(f.dim() - 1);
}

int64_t between(int64_t size, int64_t up, int64_t pad0, int64_t pad1, int64_t taps) {
  return size * up + pad0 + pad1 - taps + 1;
}

int64_t result_size(int64_t middle, int64_t down, int64_t pad0, int64_t pad1, int64_t taps) {
  const int64_t padded = middle + pad0 + pad1 - taps;
  STD_TORCH_CHECK(middle > 0 && padded >= 0, "filtered_lrelu: the padded picture is smaller than its filters");
  return padded / down + 1;
}

std::tuple<Tensor, Tensor> filtered_lrelu(const Tensor& x, const OptionalTensor& mask, const Tensor& f1,
                                          const Tensor& f2, const OptionalTensor& b, int64_t up, int64_t down,
                                          int64_t pad_x0, int64_t pad_x1, int64_t pad_y0, int64_t pad_y1,
                                          int64_t more_x0, int64_t more_x1, int64_t more_y0, int64_t more_y1,
                                          bool flip, double scale, double gain, double slope, double clamp,
                                          bool need_mask) {
  STD_TORCH_CHECK(x.dim() == 4, "filtered_lrelu: x is [N, C, H, W]");
  STD_TORCH_CHECK(up >= 1 && down >= 1, "filtered_lrelu: factors are at least one");
  FilteredLreluArguments a{};
  a.type = number_of(x);
  a.channels = x.size(1);
  a.planes = x.size(0) * a.channels;
  a.h = x.size(2), a.w = x.size(3);
  describe(f1, x, a.rows1, a.columns1);
  describe(f2, x, a.rows2, a.columns2);
  a.up = up, a.down = down;
  a.pad_x = pad_x0, a.pad_y = pad_y0;
  a.more_x = more_x0, a.more_y = more_y0;
  const int64_t kh1 = a.rows1 ? a.rows1 : a.columns1, kh2 = a.rows2 ? a.rows2 : a.columns2;
  a.middle_h = between(a.h, up, pad_y0, pad_y1, kh1);
  a.middle_w = between(a.w, up, pad_x0, pad_x1, a.columns1);
  a.out_h = result_size(a.middle_h, down, more_y0, more_y1, kh2);
  a.out_w = result_size(a.middle_w, down, more_x0, more_x1, a.columns2);
  a.flip = flip;
  a.scale = scale, a.gain = gain, a.slope = slope, a.clamp = clamp;
  const bool channels_last = is_channels_last(x);
  const Tensor input = with_layout(x, false);
  const Tensor taps1 = with_layout(torch::stable::to(f1, ScalarType::Double), false);
  const Tensor taps2 = with_layout(torch::stable::to(f2, ScalarType::Double), false);
  Tensor bias = x;
  if (b.has_value()) {
    STD_TORCH_CHECK(b->numel() == a.channels && b->scalar_type() == x.scalar_type() && b->device() == x.device(),
                    "filtered_lrelu: the bias has the type and device of x, and a number for each channel");
    bias = with_layout(*b, false);
    a.b = bias.const_data_ptr();
  }
  const int64_t sizes[] = {x.size(0), a.channels, a.out_h, a.out_w};
  const int64_t middle[] = {x.size(0), a.channels, a.middle_h, a.middle_w};
  const int64_t none[] = {0};
  a.writes_mask = need_mask && !mask.has_value();
  a.reads_mask = mask.has_value();
  Tensor made = a.writes_mask ? empty({middle, 4}, ScalarType::Byte, x) : empty({none, 1}, ScalarType::Byte, x);
  Tensor kept = made;
  if (a.reads_mask) {
    const bool fits = mask->dim() == 4 && mask->size(0) == middle[0] && mask->size(1) == middle[1] &&
                      mask->size(2) == middle[2] && mask->size(3) == middle[3];
    STD_TORCH_CHECK(fits && mask->scalar_type() == ScalarType::Byte && mask->device() == x.device(),
                    "filtered_lrelu: the mask is uint8 and has the size that is between the filters");
    kept = with_layout(*mask, false);
    a.mask = static_cast<uint8_t*>(const_cast<void*>(kept.const_data_ptr()));
  } else if (a.writes_mask) {
    a.mask = static_cast<uint8_t*>(made.mutable_data_ptr());
  }
  Tensor y = empty({sizes, 4}, x.scalar_type(), x);
  a.x = input.const_data_ptr();
  a.f1 = static_cast<const double*>(taps1.const_data_ptr());
  a.f2 = static_cast<const double*>(taps2.const_data_ptr());
  a.y = y.mutable_data_ptr();
  const Launch on(x);
  launch(a, on.stream);
  return {with_layout(y, channels_last), made};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(invert, INVERT_DISPATCH_KEY, m) { m.impl("filtered_lrelu", TORCH_BOX(&filtered_lrelu)); }

}  // namespace invert
