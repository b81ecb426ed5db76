// What each grid, scale rule and granularity costs: error against bits, over the tensors of a file.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "core/error.h"

namespace par5 {

enum class ScaleRule { absmean, absmax };
std::string_view scale_rule_name(ScaleRule rule);

// absmean: s = mean|w|; absmax: s = max|w| / max_code; both rounded to fp16 and at least 2^-24, as the quantiser does.
// Each grid has one of the two in the quantiser; the study tries both.
struct StudySetting {
  Grid grid = Grid::quinary;
  ScaleRule rule = ScaleRule::absmean;
  Granularity granularity = Granularity::group;
  std::int64_t group = 128;  // for granularity group; the last group of a row may be shorter

  auto operator<=>(const StudySetting&) const = default;
};
std::vector<StudySetting> study_settings(std::span<const std::int64_t> groups);

// Sums over the weights of one or more tensors.
struct StudyResult {
  std::int64_t weights = 0;
  std::int64_t scales = 0;
  double signal = 0;        // sum of w²
  double error = 0;         // sum of (w - w')²
  double product = 0;       // sum of w · w'
  double quantized = 0;     // sum of w'²
  double entropy_bits = 0;  // order-0 entropy of the codes, tensor by tensor
  double packed_bits = 0;   // of the plain layout: base 3, base 5 or bits

  void add(const StudyResult& other);
  double mse() const;
  double cosine() const;  // 1 where everything is zero
  double snr_db() const;  // infinite without error
  double entropy_per_weight() const;
  double bits_per_weight() const;  // entropy and 16-bit scales
  double db_per_bit() const;
  double packed_bytes_per_weight() const;  // plain layout and scales
};

// One matrix, row-major [rows, columns]; weights must be finite (bad_data names the tensor).
Result<StudyResult> study_tensor(const std::string& name, std::size_t rows, std::size_t columns,
                                 std::span<const float> weights, const StudySetting& setting);

// "attention input", "attention output", "mlp input", "mlp output", "embedding", "other": from the names that the field
// uses.
std::string layer_kind(std::string_view tensor_name);

}  // namespace par5
