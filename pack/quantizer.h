// The one quantiser of par5: training's forward pass, the packer, statistics and the engine all call it.
// Bit-defined (docs/format.md, "Quantiser"): |w| is summed in float32 in 16 lanes from the group's first element and
// the lanes are joined by a fixed tree, without fused operations; one IEEE division gives the mean and one each w / s.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/config.h"
#include "core/error.h"
#include "core/tensor.h"
#include "pack/scale_codec.h"

namespace par5 {

// Largest code of a grid: codes are -levels … +levels (binary: -1 and +1, without 0).
int max_code(Grid grid);
// Number of different codes: 2 for binary, 2 · max_code + 1 otherwise.
int level_count(Grid grid);
bool is_absmax(Grid grid);

// A quantised matrix. The weight that counts is code · scale, in float32, with the scale as stored.
struct QuantizedTensor {
  Shape shape;  // [rows, columns]
  QuantizerConfig quantizer;
  std::vector<std::int8_t> codes;     // row-major
  std::vector<std::uint16_t> scales;  // fp16 bits, row-major [rows, groups of a row]; one for granularity tensor
  // Set where scales are stored as log2 deltas: `scales` are then exactly reconstruct_scales(*deltas).
  std::optional<ScaleDeltas> deltas;
};

// Quantises float32 weights [rows, columns], row-major, on up to `threads` threads (the result does not depend on
// them). Scales are fp16 whatever quantizer.scale_bits says (store_tensor applies it). `corrections`, if not empty, are
// learned factors, one per scale: codes are those of the plain scale, and the stored scale is fp16(scale · factor). A
// weight or scale that is not finite, or a factor that makes a scale zero or negative, is bad_data that names `name`
// and the index.
Result<QuantizedTensor> quantize(const std::string& name, const Shape& shape, std::span<const float> weights,
                                 const QuantizerConfig& quantizer, std::size_t threads = 1,
                                 std::span<const float> corrections = {});

// code · scale for every weight; `out` has as many elements as the tensor.
void dequantize(const QuantizedTensor& tensor, std::span<float> out, std::size_t threads = 1);

// The same values as quantize followed by dequantize, without keeping codes: training's forward weights.
Status quantize_dequantize(const std::string& name, const Shape& shape, std::span<const float> weights,
                           const QuantizerConfig& quantizer, std::span<float> out, std::size_t threads = 1);

}  // namespace par5
