#include "tensor.h"

namespace invert {
namespace {

int64_t output_size(int64_t size, int64_t up, int64_t down, int64_t pad0, int64_t pad1, int64_t taps) {
  const int64_t padded = size * up + pad0 + pad1 - taps;
  STD_TORCH_CHECK(padded >= 0, "upfirdn2d: the padded picture is smaller than its filter");
  return padded / down + 1;
}

Tensor upfirdn2d(const Tensor& x, const Tensor& f, int64_t up_x, int64_t up_y, int64_t down_x, int64_t down_y,
                 int64_t pad_x0, int64_t pad_x1, int64_t pad_y0, int64_t pad_y1, bool flip, double gain) {
  STD_TORCH_CHECK(x.dim() == 4 && f.dim() == 2 && f.numel() > 0, "upfirdn2d: x is [N, C, H, W] and f [kh, kw]");
  STD_TORCH_CHECK(up_x >= 1 && up_y >= 1 && down_x >= 1 && down_y >= 1, "upfirdn2d: factors are at least one");
  STD_TORCH_CHECK(f.device() == x.device(), "upfirdn2d: the filter must be on the device of x");
  const bool channels_last = is_channels_last(x);
  const Tensor input = with_layout(x, channels_last);
  const Tensor taps = with_layout(torch::stable::to(f, ScalarType::Double), false);
  Upfirdn2dArguments a{};
  a.type = number_of(x);
  a.channels_last = channels_last;
  a.n = x.size(0), a.c = x.size(1), a.h = x.size(2), a.w = x.size(3);
  a.kh = f.size(0), a.kw = f.size(1);
  a.up_x = up_x, a.up_y = up_y, a.down_x = down_x, a.down_y = down_y;
  a.pad_x0 = pad_x0, a.pad_y0 = pad_y0;
  a.out_h = output_size(a.h, up_y, down_y, pad_y0, pad_y1, a.kh);
  a.out_w = output_size(a.w, up_x, down_x, pad_x0, pad_x1, a.kw);
  a.flip = flip;
  a.gain = gain;
  const int64_t sizes[] = {a.n, a.c, a.out_h, a.out_w};
  Tensor y = empty({sizes, 4}, x.scalar_type(), x, channels_last);
  a.x = input.const_data_ptr();
  a.f = static_cast<const double*>(taps.const_data_ptr());
  a.y = y.mutable_data_ptr();
  const Launch on(x);
  launch(a, on.stream);
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(invert, INVERT_DISPATCH_KEY, m) { m.impl("upfirdn2d", TORCH_BOX(&upfirdn2d)); }

}  // namespace invert
