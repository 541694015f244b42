// Launching: enough threads for the work up to a limit, the rest by striding; every launch is checked.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "../binding/backend.h"
#include "../kernels/number.h"

namespace invert {
namespace INVERT_ISA {

constexpr int THREADS = 256;
constexpr int WARP = 32;
constexpr int64_t MOST_BLOCKS = 65536;

template <class... Parameters, class... Values>
void launch_kernel(void (*kernel)(Parameters...), int64_t threads, int64_t shared, void* stream, Values... values) {
  if (threads == 0) return;
  const unsigned int grid = static_cast<unsigned int>(least(blocks(threads, THREADS), MOST_BLOCKS));
  const cudaLaunchConfig_t launch{
      dim3(grid), dim3(THREADS), static_cast<size_t>(shared), static_cast<cudaStream_t>(stream), nullptr, 0};
  cudaError_t error = cudaLaunchKernelEx(&launch, kernel, values...);
  if (error == cudaSuccess) error = cudaGetLastError();
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA kernel launch: ") + cudaGetErrorString(error));
}

__device__ inline int64_t thread_index() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t thread_count() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

// The sum over the 32 lanes, in an order that is always the same; every lane gets it.
template <class A>
__device__ inline A warp_sum(A x) {
  for (int offset = WARP / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}

}  // namespace INVERT_ISA
}  // namespace invert
