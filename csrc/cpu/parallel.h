// Work shared out over torch's own threads.
#pragma once

#include <stdint.h>

namespace invert {

// Calls body(begin, end, context) on parts of [0, units), each at least `grain` units long.
void run_parallel(int64_t units, int64_t grain, void (*body)(int64_t, int64_t, void*), void* context);

}  // namespace invert
