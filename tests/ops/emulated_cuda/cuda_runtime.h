// Enough of CUDA to run csrc/cuda/*.cu on a processor: a block's threads are fibers that take turns, so that shuffles
// and barriers work. Slow, and for tests alone.
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
using cudaStream_t = void*;
enum cudaError_t { cudaSuccess };
inline const char* cudaGetErrorString(cudaError_t) { return ""; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  void* attrs;
  unsigned numAttrs;
};

// Dynamic shared memory, under the name the kernels give it.
namespace invert::cuda {
namespace {
alignas(16) double memory[48 * 1024 / sizeof(double)];
}
}  // namespace invert::cuda

namespace emulated {

inline dim3 thread_index, block_index, block_size, grid_size;

struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(256 * 1024);
  bool finished = false;
  int shuffles = 0;
};

inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline unsigned current;
inline int arrived, barriers;
inline double slots[2][1024];
inline void (*body)(void*);
inline void* argument;

inline void yield() { swapcontext(&fibers[current].context, &scheduler); }

inline void enter() {
  body(argument);
  fibers[current].finished = true;
  yield();
}

[[noreturn]] inline void fail(const char* why) {
  fprintf(stderr, "emulated CUDA: %s\n", why);
  abort();
}

// A lane leaves its value, and everyone has by the time it is its turn again: the lanes of a warp take equal steps.
template <class A>
A shuffle(A x, int offset) {
  Fiber& self = fibers[current];
  const int side = self.shuffles++ % 2;
  memcpy(&slots[side][current], &x, sizeof x);
  yield();
  const unsigned other = current ^ static_cast<unsigned>(offset);
  if (fibers[other].shuffles < self.shuffles) fail("a shuffle that not all lanes of a warp take part in");
  A result;
  memcpy(&result, &slots[side][other], sizeof result);
  return result;
}

inline void barrier() {
  const int generation = barriers;
  if (++arrived == static_cast<int>(fibers.size())) {
    arrived = 0;
    barriers++;
  }
  while (barriers == generation) yield();
}

inline void run_block() {
  for (unsigned t = 0; t < fibers.size(); t++) {
    Fiber& fiber = fibers[t];
    fiber.finished = false;
    fiber.shuffles = 0;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
  for (bool running = true; running;) {
    running = false;
    for (current = 0; current < fibers.size(); current++) {
      if (fibers[current].finished) continue;
      thread_index = dim3(current);
      swapcontext(&scheduler, &fibers[current].context);
      running = true;
    }
  }
}

}  // namespace emulated

inline void __syncthreads() { emulated::barrier(); }

template <class A>
A __shfl_xor_sync(unsigned, A x, int offset) {
  return emulated::shuffle(x, offset);
}

template <class... Parameters, class... Values>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* launch, void (*kernel)(Parameters...), Values... values) {
  if (launch->dynamicSmemBytes > sizeof invert::cuda::memory) emulated::fail("too much shared memory");
  auto call = [&] { kernel(values...); };
  emulated::body = [](void* f) { (*static_cast<decltype(call)*>(f))(); };
  emulated::argument = &call;
  emulated::fibers.resize(launch->blockDim.x);
  emulated::block_size = launch->blockDim;
  emulated::grid_size = launch->gridDim;
  for (unsigned b = 0; b < launch->gridDim.x; b++) {
    emulated::block_index = dim3(b);
    emulated::run_block();
  }
  return cudaSuccess;
}

#define threadIdx emulated::thread_index
#define blockIdx emulated::block_index
// These are members of the launch configuration too, which the kernels fill by position.
#define blockDim emulated::block_size
#define gridDim emulated::grid_size
