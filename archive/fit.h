// Making an artifact fit a size: declared losses in a fixed order, each shown with what it costs, until the file fits.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "archive/artifact.h"

namespace par5 {

// The losses, from the least to the greatest harm for the bytes that they save. Each includes those before it. What
// comes out is an ordinary artifact: the values are rounded, the format is the same.
enum class Loss {
  none,      // fp16 scales, or the bits that the checkpoint was trained with
  scales_8,  // scales as 8-bit log2 deltas; then 6, 5 and 4 bits
  scales_6,
  scales_5,
  vectors_7,  // fp16 vectors rounded to 7 bits of mantissa, as bfloat16 has
  scales_4,
  vectors_4,    // to 4 bits
  embedding_2,  // fp8 tensors rounded to 2 bits of mantissa
  embedding_1,  // to 1 bit
};
inline constexpr int kLosses = static_cast<int>(Loss::embedding_1) + 1;
std::string_view loss_name(Loss loss);

// What rounding changed, over all values that it may change: 100 · sqrt(sum (w' - w)^2 / sum w^2), and the largest
// |w' - w| / |w|.
struct WeightError {
  double rms_percent = 0;
  double max_percent = 0;
};

struct FitTrial {
  Loss loss = Loss::none;
  std::uint64_t predicted_bytes = 0;          // size_prediction.h
  std::optional<std::uint64_t> packed_bytes;  // of those that were packed
  WeightError quantised, fp8, vectors;        // by how the tensors are stored
};

// `artifact` has fp16 scales; losses before `scale_bits` are skipped. check_failed, which names the smallest size that
// was reached, where nothing fits `cap_bytes`. `prepare` completes what is about to be packed (self-test windows).
struct FittedArtifact {
  Artifact artifact;
  EncodedArtifact encoded;
  std::vector<FitTrial> trials;  // the last one is what was chosen
};
Result<FittedArtifact> fit_artifact(const Artifact& artifact, int scale_bits, std::uint64_t cap_bytes,
                                    const EncodeOptions& options, const std::function<Status(Artifact&)>& prepare);

// `artifact` with this loss and those before it. Exposed for tests.
Artifact with_loss(const Artifact& artifact, int scale_bits, Loss loss);

}  // namespace par5
