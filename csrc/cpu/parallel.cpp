#include "parallel.h"

#include <torch/csrc/stable/ops.h>

namespace invert {

void run_parallel(int64_t units, int64_t grain, void (*body)(int64_t, int64_t, void*), void* context) {
  if (units <= 0) return;
  if (units <= grain) return body(0, units, context);
  STABLE_TORCH_ERROR_CODE_CHECK(torch_parallel_for(0, units, grain, body, context));
}

}  // namespace invert
