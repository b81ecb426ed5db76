#include "pack/quantizer.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>

#include "core/half.h"
#include "core/parallel.h"
#include "pack/architecture.h"
#include "pack/quantizer_kernels.h"

namespace par5 {
namespace {

constexpr std::uint16_t kInfiniteHalf = 0x7c00;
constexpr float kSmallestScale = 0x1p-24f;  // fp16's smallest positive value

// How a tensor's weights fall into groups: `count` groups of `size` weights, one after the other in memory.
struct Groups {
  std::size_t count = 0;
  std::size_t size = 0;
};

Result<Groups> groups_of(const std::string& name, const Shape& shape, std::size_t elements,
                         const QuantizerConfig& quantizer) {
  if (shape.size() != 2 || shape[0] <= 0 || shape[1] <= 0)
    return bad_data(
        "tensor '" + name + "' has the shape " + to_string(shape) + "; only matrices with weights are quantised", {},
        std::nullopt, name);
  if (static_cast<std::size_t>(element_count(shape)) != elements)
    return internal_error("tensor '" + name + "' has " + std::to_string(elements) + " values, which its shape " +
                          to_string(shape) + " does not need");
  if (quantizer.granularity == Granularity::group && (quantizer.group <= 0 || shape[1] % quantizer.group != 0))
    return usage_error("quantizer.group " + std::to_string(quantizer.group) + " does not divide the " +
                           std::to_string(shape[1]) + " columns of '" + name + "'",
                       "quantizer.group");
  const auto count = static_cast<std::size_t>(scale_count(shape, quantizer));
  return Groups{count, elements / count};
}

// fp16 bits of a group's scale; kInfiniteHalf or more where a weight or the scale is not finite (a sum or maximum that
// has met such a weight is not finite itself).
std::uint16_t group_scale(const QuantizerKernels& kernels, const float* weights, std::size_t count, Grid grid) {
  float scale = 0.0f;
  if (is_absmax(grid))
    scale = std::bit_cast<float>(kernels.absolute_max_bits(weights, count)) / static_cast<float>(max_code(grid));
  else
    scale = kernels.absolute_sum(weights, count) / static_cast<float>(count);
  if (!std::isfinite(scale)) return kInfiniteHalf;
  return half_from_float(std::max(scale, kSmallestScale));
}

// The error for the first bad group, in the order of the weights.
tl::unexpected<Error> describe_bad_group(const std::string& name, std::span<const float> weights, Groups groups,
                                         Grid grid) {
  for (std::size_t i = 0; i < weights.size(); ++i)
    if (!std::isfinite(weights[i]))
      return bad_data("weight " + std::to_string(i) + " of tensor '" + name + "' is not finite", {}, i, name);
  const QuantizerKernels kernels = scalar_quantizer_kernels();
  for (std::size_t g = 0; g < groups.count; ++g)
    if (group_scale(kernels, weights.data() + g * groups.size, groups.size, grid) >= kInfiniteHalf)
      return bad_data("scale " + std::to_string(g) + " of tensor '" + name + "' (weights from index " +
                          std::to_string(g * groups.size) + ") is too large for fp16",
                      {}, g, name);
  return internal_error("tensor '" + name + "' has a bad group in the vector kernels only");
}

// Multiplies the scales by learned factors.
Status apply_corrections(const std::string& name, std::span<const float> corrections, QuantizedTensor& tensor) {
  if (corrections.size() != tensor.scales.size())
    return bad_data("tensor '" + name + "' has " + std::to_string(tensor.scales.size()) + " scales and " +
                        std::to_string(corrections.size()) + " scale corrections",
                    {}, std::nullopt, name);
  for (std::size_t g = 0; g < corrections.size(); ++g) {
    const float scale = float_from_half(tensor.scales[g]) * corrections[g];
    tensor.scales[g] = std::isfinite(scale) ? half_from_float(scale) : kInfiniteHalf;
    // Zero, negative, infinite or NaN.
    if (tensor.scales[g] == 0 || tensor.scales[g] >= kInfiniteHalf)
      return bad_data("scale correction " + std::to_string(g) + " of tensor '" + name + "' is " +
                          std::to_string(corrections[g]) + ", which leaves no positive fp16 scale",
                      {}, g, name);
  }
  return {};
}

// Calls work(first, last) on blocks of groups; a block is large enough to be worth handing to a thread.
template <class Work>
void for_each_block(Groups groups, std::size_t threads, Work&& work) {
  const std::size_t block = std::max<std::size_t>(1, 65536 / groups.size);
  parallel_for((groups.count + block - 1) / block, threads,
               [&](std::size_t b) { work(b * block, std::min(groups.count, (b + 1) * block)); });
}

int kernel_limit(Grid grid) { return grid == Grid::binary ? 0 : max_code(grid); }

}  // namespace

int max_code(Grid grid) {
  switch (grid) {
    case Grid::binary:
    case Grid::ternary:
      return 1;
    case Grid::quinary:
      return 2;
    case Grid::septenary:
      return 3;
    case Grid::int4:
      return 7;
    case Grid::int5:
      return 15;
    case Grid::int6:
      return 31;
    case Grid::int7:
      return 63;
    case Grid::int8:
      return 127;
  }
  return 0;
}

int level_count(Grid grid) { return grid == Grid::binary ? 2 : 2 * max_code(grid) + 1; }

bool is_absmax(Grid grid) { return grid >= Grid::int4; }

Result<QuantizedTensor> quantize(const std::string& name, const Shape& shape, std::span<const float> weights,
                                 const QuantizerConfig& quantizer, std::size_t threads,
                                 std::span<const float> corrections) {
  P5_TRY(const Groups groups, groups_of(name, shape, weights.size(), quantizer));
  QuantizedTensor tensor;
  tensor.shape = shape;
  tensor.quantizer = quantizer;
  tensor.codes.resize(weights.size());
  tensor.scales.resize(groups.count);
  const QuantizerKernels kernels = fast_quantizer_kernels();
  const int limit = kernel_limit(quantizer.grid);
  std::atomic<bool> bad{false};
  for_each_block(groups, threads, [&](std::size_t first, std::size_t last) {
    for (std::size_t g = first; g < last; ++g) {
      const float* group = weights.data() + g * groups.size;
      tensor.scales[g] = group_scale(kernels, group, groups.size, quantizer.grid);
      if (tensor.scales[g] >= kInfiniteHalf) {
        bad = true;
        return;
      }
      kernels.encode(group, groups.size, float_from_half(tensor.scales[g]), limit,
                     tensor.codes.data() + g * groups.size);
    }
  });
  if (bad) return describe_bad_group(name, weights, groups, quantizer.grid);
  if (!corrections.empty()) P5_OK(apply_corrections(name, corrections, tensor));
  return tensor;
}

void dequantize(const QuantizedTensor& tensor, std::span<float> out, std::size_t threads) {
  if (tensor.scales.empty()) return;
  const Groups groups{tensor.scales.size(), tensor.codes.size() / tensor.scales.size()};
  for_each_block(groups, threads, [&](std::size_t first, std::size_t last) {
    for (std::size_t g = first; g < last; ++g) {
      const float scale = float_from_half(tensor.scales[g]);
      for (std::size_t i = g * groups.size; i < (g + 1) * groups.size; ++i)
        out[i] = static_cast<float>(tensor.codes[i]) * scale;
    }
  });
}

Status quantize_dequantize(const std::string& name, const Shape& shape, std::span<const float> weights,
                           const QuantizerConfig& quantizer, std::span<float> out, std::size_t threads) {
  P5_TRY(const Groups groups, groups_of(name, shape, weights.size(), quantizer));
  if (out.size() != weights.size())
    return internal_error("tensor '" + name + "' has " + std::to_string(weights.size()) + " weights and room for " +
                          std::to_string(out.size()));
  const QuantizerKernels kernels = fast_quantizer_kernels();
  const int limit = kernel_limit(quantizer.grid);
  std::atomic<bool> bad{false};
  for_each_block(groups, threads, [&](std::size_t first, std::size_t last) {
    for (std::size_t g = first; g < last; ++g) {
      const float* group = weights.data() + g * groups.size;
      const std::uint16_t scale = group_scale(kernels, group, groups.size, quantizer.grid);
      if (scale >= kInfiniteHalf) {
        bad = true;
        return;
      }
      kernels.round_to_grid(group, groups.size, float_from_half(scale), limit, out.data() + g * groups.size);
    }
  });
  if (bad) return describe_bad_group(name, weights, groups, quantizer.grid);
  return {};
}

}  // namespace par5
