#include <tuple>

#include "tensor.h"

namespace invert {
namespace {

// Numbers that the smaller levels of a map's pyramid and their gradients take.
int64_t pyramid_room(int64_t h, int64_t w) {
  int64_t size = 0;
  while ((h < w ? h : w) > 8) {  // PYRAMID_FLOOR
    h /= 2, w /= 2;
    size += 2 * h * w;
  }
  return size;
}

void check(const Tensor& maps) {
  STD_TORCH_CHECK(maps.dim() == 4 && (maps.scalar_type() == ScalarType::Float || maps.scalar_type() == ScalarType::Double),
                  "noise maps are float32 or float64 [N, K, H, W]");
}

std::tuple<Tensor, Tensor> noise_penalty(const Tensor& maps, double pyramid_scale) {
  check(maps);
  const Tensor given = with_layout(maps, false);
  NoisePenaltyArguments a{};
  a.type = number_of(maps);
  a.n = maps.size(0), a.k = maps.size(1), a.h = maps.size(2), a.w = maps.size(3);
  STD_TORCH_CHECK(a.h > 0 && a.w > 0, "noise maps have no pixels");
  a.pyramid_scale = pyramid_scale;
  a.room_size = pyramid_room(a.h, a.w);
  const int64_t sizes[] = {a.n, a.k, a.room_size};
  Tensor penalty = empty({sizes, 1}, maps.scalar_type(), maps);
  Tensor partial = empty({sizes, 2}, ScalarType::Double, maps);
  Tensor room = empty({sizes, 3}, maps.scalar_type(), maps);
  Tensor gradient = empty_with_layout(given, false);
  a.maps = given.const_data_ptr();
  a.gradient = gradient.mutable_data_ptr();
  a.penalty = penalty.mutable_data_ptr();
  a.partial = static_cast<double*>(partial.mutable_data_ptr());
  a.room = room.mutable_data_ptr();
  launch(a, nullptr);
  return {penalty, gradient};
}

void noise_normalise_(Tensor maps) {
  check(maps);
  STD_TORCH_CHECK(maps.is_contiguous(), "noise maps that are normalised in place must be contiguous");
  NoiseNormaliseArguments a{};
  a.type = number_of(maps);
  a.maps_count = maps.size(0) * maps.size(1), a.h = maps.size(2), a.w = maps.size(3);
  a.maps = maps.mutable_data_ptr();
  launch(a, nullptr);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(invert, INVERT_DISPATCH_KEY, m) {
  m.impl("noise_penalty", TORCH_BOX(&noise_penalty));
  m.impl("noise_normalise_", TORCH_BOX(&noise_normalise_));
}

}  // namespace invert
