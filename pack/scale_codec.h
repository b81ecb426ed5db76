// Group scales as small signed steps in log2: per tensor an fp16 anchor and step, per scale an n-bit delta.
// Reconstruction is integer arithmetic, so that every machine gets the same fp16 scales (docs/format.md, "Scales").
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/error.h"

namespace par5 {

struct QuantizedTensor;

// scale = fp16(exp2(anchor + delta · step)).
struct ScaleDeltas {
  int bits = 5;                     // 4, 5, 6 or 8: deltas lie in -2^(bits-1) … 2^(bits-1) - 1
  std::uint16_t anchor = 0;         // fp16 bits, log2 units, finite
  std::uint16_t step = 0;           // fp16 bits, log2 units, finite, not negative
  std::vector<std::int8_t> deltas;  // one per scale, in the order of the scales
};

// The anchor, step and deltas that keep the squared log2 error small. A group is silent where its scale is fp16's
// smallest positive value (bits 1) and all its codes are 0: it takes no part and has delta 0, because any scale
// reconstructs it. Equal scales give step 0; a tensor of silent groups gives anchor -24. `tensor.scales` are positive
// finite fp16 (what quantize makes); `bits` is 4, 5, 6 or 8. Only integers and unfused binary64 + - x / are used, so
// the result is the same on every machine.
ScaleDeltas fit_scale_deltas(const QuantizedTensor& tensor, int bits);

// The fp16 bits of every scale: positive and finite for every anchor, step and delta that check_scale_deltas accepts.
std::vector<std::uint16_t> reconstruct_scales(const ScaleDeltas& deltas);
// One of them.
std::uint16_t reconstruct_scale(std::uint16_t anchor, std::uint16_t step, int delta);

// What a reader of foreign bytes must refuse: bits that are not 4, 5, 6 or 8, an anchor or step that is not finite, a
// negative step (-0 included), deltas outside their bits. bad_data says which.
Status check_scale_deltas(const ScaleDeltas& deltas);

// What reconstruction changes, over the scales of groups that are not silent.
struct ScaleError {
  double max_log2 = 0;  // largest |log2(reconstructed / fp16)|
  double rms_log2 = 0;
  std::int64_t scales = 0;  // compared
  // The same as a factor on the weights: 100 · (2^error - 1).
  double max_percent() const;
  double rms_percent() const;
};
// `tensor` has the fp16 scales still.
ScaleError scale_error(const QuantizedTensor& tensor, const ScaleDeltas& deltas);

}  // namespace par5
