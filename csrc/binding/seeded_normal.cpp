#include "tensor.h"

namespace invert {
namespace {

Tensor seeded_normal(const Tensor& seeds, int64_t count, bool is_double) {
  STD_TORCH_CHECK(seeds.dim() == 1 && seeds.scalar_type() == ScalarType::Long, "seeded_normal: seeds are int64 [N]");
  STD_TORCH_CHECK(count >= 0, "seeded_normal: the count is negative");
  const Tensor given = with_layout(seeds, false);
  const int64_t* numbers = static_cast<const int64_t*>(given.const_data_ptr());
  for (int64_t i = 0; i < given.numel(); i++) {
    STD_TORCH_CHECK(numbers[i] >= 0 && numbers[i] <= 0xffffffff, "seeded_normal: a seed is not in 0..2^32 - 1");
  }
  const int64_t sizes[] = {seeds.size(0), count};
  Tensor result = empty({sizes, 2}, is_double ? ScalarType::Double : ScalarType::Float, seeds);
  SeededNormalArguments a{};
  a.type = is_double ? FLOAT64 : FLOAT32;
  a.n = seeds.size(0);
  a.count = count;
  a.seeds = numbers;
  a.result = result.mutable_data_ptr();
  if (result.numel() > 0) launch(a, nullptr);
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(invert, INVERT_DISPATCH_KEY, m) { m.impl("seeded_normal", TORCH_BOX(&seeded_normal)); }

}  // namespace invert
