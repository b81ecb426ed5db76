#include "pack/quantization_study.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "core/half.h"
#include "pack/levels.h"
#include "pack/quantizer.h"
#include "pack/quantizer_kernels.h"
#include "pack/statistics.h"

namespace par5 {
namespace {

constexpr double kScaleBits = 16;

// Bits of a weight in the layout that `pack` starts from: 5 ternary or 3 quinary symbols a byte, else whole bits.
double packed_bits_per_weight(Grid grid) {
  if (grid == Grid::ternary) return 8.0 / 5;
  if (grid == Grid::quinary) return 8.0 / 3;
  return std::ceil(std::log2(level_count(grid)));
}

float scale_of(const QuantizerKernels& kernels, std::span<const float> weights, const StudySetting& setting) {
  const float scale = setting.rule == ScaleRule::absmax
                          ? std::bit_cast<float>(kernels.absolute_max_bits(weights.data(), weights.size())) /
                                static_cast<float>(max_code(setting.grid))
                          : kernels.absolute_sum(weights.data(), weights.size()) / static_cast<float>(weights.size());
  return round_to_half(std::max(scale, 0x1p-24f));
}

}  // namespace

std::string_view scale_rule_name(ScaleRule rule) { return rule == ScaleRule::absmean ? "absmean" : "absmax"; }

std::vector<StudySetting> study_settings(std::span<const std::int64_t> groups) {
  std::vector<StudySetting> settings;
  for (const ScaleRule rule : {ScaleRule::absmean, ScaleRule::absmax}) {
    for (const Granularity granularity : {Granularity::tensor, Granularity::row})
      for (const Grid grid : kAllGrids) settings.push_back({grid, rule, granularity, 0});
    for (const std::int64_t group : groups)
      for (const Grid grid : kAllGrids) settings.push_back({grid, rule, Granularity::group, group});
  }
  return settings;
}

void StudyResult::add(const StudyResult& other) {
  weights += other.weights;
  scales += other.scales;
  signal += other.signal;
  error += other.error;
  product += other.product;
  quantized += other.quantized;
  entropy_bits += other.entropy_bits;
  packed_bits += other.packed_bits;
}

double StudyResult::mse() const { return weights ? error / static_cast<double>(weights) : 0; }
double StudyResult::cosine() const { return signal > 0 && quantized > 0 ? product / std::sqrt(signal * quantized) : 1; }
double StudyResult::snr_db() const { return 10 * std::log10(signal / error); }
double StudyResult::entropy_per_weight() const { return weights ? entropy_bits / static_cast<double>(weights) : 0; }
double StudyResult::bits_per_weight() const {
  return weights ? (entropy_bits + kScaleBits * static_cast<double>(scales)) / static_cast<double>(weights) : 0;
}
double StudyResult::db_per_bit() const { return snr_db() / bits_per_weight(); }
double StudyResult::packed_bytes_per_weight() const {
  return weights ? (packed_bits + kScaleBits * static_cast<double>(scales)) / 8 / static_cast<double>(weights) : 0;
}

Result<StudyResult> study_tensor(const std::string& name, std::size_t rows, std::size_t columns,
                                 std::span<const float> weights, const StudySetting& setting) {
  if (weights.size() != rows * columns)
    return internal_error("tensor '" + name + "' does not have the weights that its shape needs");
  static const QuantizerKernels kernels = fast_quantizer_kernels();
  const int limit = setting.grid == Grid::binary ? 0 : max_code(setting.grid);
  // Units of whole rows, or pieces of one.
  const std::size_t line = setting.granularity == Granularity::tensor ? weights.size() : columns;
  const std::size_t unit = setting.granularity == Granularity::group ? static_cast<std::size_t>(setting.group) : line;
  StudyResult result;
  result.weights = static_cast<std::int64_t>(weights.size());
  std::array<std::uint64_t, 256> counts{};
  std::vector<std::int8_t> codes(std::min(unit, line));
  for (std::size_t start = 0; start < weights.size(); start += line)
    for (std::size_t at = 0; at < line; at += unit) {
      const auto piece = weights.subspan(start + at, std::min(unit, line - at));
      const float scale = scale_of(kernels, piece, setting);
      if (!std::isfinite(scale))
        return bad_data("tensor '" + name + "' holds a weight that is not finite, or too large for an fp16 scale", {},
                        std::nullopt, name);
      kernels.encode(piece.data(), piece.size(), scale, limit, codes.data());
      ++result.scales;
      for (std::size_t i = 0; i < piece.size(); ++i) {
        const double w = piece[i], q = static_cast<double>(codes[i]) * scale;
        result.signal += w * w;
        result.error += (w - q) * (w - q);
        result.product += w * q;
        result.quantized += q * q;
        ++counts[static_cast<std::size_t>(codes[i] + 128)];
      }
    }
  result.entropy_bits = 8 * order0_bytes(std::span<const std::uint64_t>(counts));
  result.packed_bits = packed_bits_per_weight(setting.grid) * static_cast<double>(weights.size());
  return result;
}

std::string layer_kind(std::string_view tensor_name) {
  const auto has = [&](std::initializer_list<std::string_view> parts) {
    return std::any_of(parts.begin(), parts.end(),
                       [&](std::string_view part) { return tensor_name.find(part) != std::string_view::npos; });
  };
  if (has({"emb", "wte", "wpe", "lm_head"})) return "embedding";
  const bool mlp = has({"mlp", "ffn", "feed_forward"});
  if (mlp) return has({"proj.", "down", "w2", "fc2"}) && !has({"up_proj", "gate_proj"}) ? "mlp output" : "mlp input";
  if (has({"attn", "attention"}))
    return has({"c_proj", "attn.proj", "o_proj", "out_proj", "wo."}) ? "attention output" : "attention input";
  return "other";
}

}  // namespace par5
