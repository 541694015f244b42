// What the torch-facing side (binding/) hands to a backend (cpu/ or cuda/): raw pointers and sizes, no tensors.
//
// "channels_last" says in which order the elements of an [N, C, H, W] tensor lie; there are no gaps between them.
#pragma once

#include <stdint.h>

namespace invert {

enum Number : int { FLOAT32, FLOAT64, FLOAT16, BFLOAT16 };

struct ActivationArguments {
  int act;
  double alpha;
  double gain;
  double clamp;  // negative: none
};

enum Order : int { VALUE, FIRST, SECOND };

// Elements lie as [outer, channels, inner].
struct BiasActArguments {
  Number type;
  Order order;
  ActivationArguments activation;
  int64_t count;     // of elements
  int64_t channels;  // 1 where there is no bias
  int64_t inner;
  const void* x;   // the input; for FIRST of a piecewise linear activation the output
  const void* b;   // or null
  const void* dy;  // FIRST and SECOND
  const void* v;   // SECOND
  void* result;
};

struct Upfirdn2dArguments {
  Number type;
  bool channels_last;
  int64_t n, c, h, w;
  int64_t out_h, out_w;
  int64_t up_x, up_y, down_x, down_y;
  int64_t pad_x0, pad_y0;
  int64_t kh, kw;
  bool flip;
  double gain;
  const void* x;
  const double* f;  // [kh, kw], on the backend's device
  void* y;
};

// The small tensors and the sums are float, beside double activations double.
struct ConvTailArguments {
  Number type;
  bool channels_last;
  ActivationArguments activation;
  int64_t n, c, pixels;
  bool shared_noise;  // one noise map for all pictures
  const void* x;
  const void* scale;     // [n, c] or null
  const void* noise;     // [n or 1, pixels] or null
  const void* strength;  // one number or null
  const void* b;         // [c] or null
  void* y;               // forward
  const void* dy;        // backward, as everything below
  void* dx;
  void* dscale;  // [n, c] or null
  void* dnoise;  // [n, pixels] or null
  // Room for partial sums, see ReductionPlan.
  void* channel_sums;
  void* pixel_sums;
};

// A layer in training, on the CPU alone. The small tensors and the sums are float, beside double activations double.
struct LayerTailArguments {
  Number type;
  bool channels_last;
  ActivationArguments activation;
  int64_t n, c, pixels;
  bool shared_noise;  // one noise map for all pictures
  double factor;
  const void* x;
  const void* scale;     // [n, c] or null
  const void* noise;     // [n or 1, pixels] or null
  const void* strength;  // one number or null
  const void* b;         // [c] or null
  void* y;               // forward
  const void* dy;        // backward, as everything below
  void* dx;
  void* dscale;     // [n, c] or null
  void* dstrength;  // one number or null
  void* db;         // [c] or null
  void* partial;    // room for [n, blocks, 3, c]
};

// A frozen layer that normalises each feature map, on the CPU alone; always channels-last. Small tensors and sums are
// float, beside double activations double.
struct NormalisedTailArguments {
  Number type;
  ActivationArguments activation;
  int64_t n, c, pixels;
  bool shared_noise;  // one noise map for all pictures
  double epsilon;
  const void* x;
  const void* noise;     // [n or 1, pixels] or null
  const void* strength;  // [c]
  const void* b;         // [c]
  const void* style;     // [n, 2, c], scale counted from one and shift, or null
  void* y;               // forward
  void* moments;         // [n, 2, c], mean and inverse deviation: written forward, read backward
  const void* dy;        // backward, as everything below
  void* dx;
  void* dstyle;   // [n, 2, c]
  void* dnoise;   // [n, pixels] or null
  void* partial;  // room for [n, blocks, 2, c]
  void* factors;  // room for [n, 4, c]
};

// Each pixel's channels times a few rows of weights, on the CPU alone. Sums are float, beside double numbers double.
struct PixelProductArguments {
  Number type;
  int64_t n, pixels, c, k;  // k rows, at most MOST_ROWS
  const void* x;        // [n, pixels, c]
  const void* weight;   // [n, k, c]
  void* y;              // forward: [n, pixels, k]
  const void* dy;       // backward: [n, pixels, k]
  void* dx;             // backward: [n, pixels, c]
  void* dweight;        // backward: [n, k, c]
  void* partial;        // backward: room for [n, blocks, k, c]
};
constexpr int64_t MOST_ROWS = 4;

struct LpipsTailArguments {
  Number type;
  bool channels_last;
  int64_t n, c, pixels;
  bool shared_target;
  const void* features;
  const void* target;
  const void* lin;   // [c]
  void* y;           // forward: [n]
  void* partial;     // forward: room for [n, blocks]
  const void* dy;    // backward: [n]
  void* dfeatures;   // backward
};

// Numbers lie as [planes, H, W]; between the filters there are middle_h x middle_w of them.
struct FilteredLreluArguments {
  Number type;
  bool reads_mask, writes_mask;
  int64_t planes, channels, h, w;
  int64_t middle_h, middle_w;
  int64_t out_h, out_w;
  int64_t up, down;
  int64_t pad_x, pad_y;    // before the first filter
  int64_t more_x, more_y;  // before the second one
  int64_t rows1, columns1, rows2, columns2;  // of the filters; no rows: columns1 taps along each axis
  bool flip;
  double scale;  // of the first filter
  double gain, slope, clamp;  // clamp is negative for none
  const void* x;
  const void* b;     // [channels] or null
  const double* f1;
  const double* f2;
  uint8_t* mask;     // [planes, middle_h, middle_w] or null; 0 cut off, 1 above zero, 2 below
  void* y;
};

// Random numbers of many seeds; on the CPU alone.
struct SeededNormalArguments {
  Number type;  // FLOAT32 or FLOAT64
  int64_t n, count;
  const int64_t* seeds;  // [n], below 2^32
  void* result;          // [n, count]
};

// Noise maps [n, k, H, W]; on the CPU alone.
struct NoisePenaltyArguments {
  Number type;  // FLOAT32 or FLOAT64
  int64_t n, k, h, w;
  double pyramid_scale;
  const void* maps;
  void* penalty;   // [n]
  void* gradient;  // [n, k, H, W], of an image's penalty by its maps
  double* partial; // room for [n, k]
  void* room;      // [n, k, room_size], for the smaller levels and their gradients
  int64_t room_size;
};

// Noise maps [maps_count, H, W], changed in place; on the CPU alone.
enum DemodulationStage { DEMODULATION_SQUARE, DEMODULATION_ROOT, DEMODULATION_CUBE, DEMODULATION_REST };
struct DemodulationArguments {
  Number type;  // FLOAT32 or FLOAT64
  int stage;
  int64_t count;
  double epsilon;    // ROOT: y = 1 / sqrt(x + epsilon)
  const void* x;     // SQUARE: y = x^2
  const void* by;    // CUBE: y = x^3 by
  const void* from;  // REST: y = from - x by
  void* y;
};
struct NoiseNormaliseArguments {
  Number type;  // FLOAT32 or FLOAT64
  int64_t maps_count, h, w;
  void* maps;
};

// How a backend cuts [channels, pixels] of one picture into blocks of work. The blocks follow from the shape alone,
// so that sums come out the same for any number of threads.
struct ReductionPlan {
  int64_t channel_block;
  int64_t pixel_block;
};

}  // namespace invert
