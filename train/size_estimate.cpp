#include "train/size_estimate.h"

#include <algorithm>

#include "archive/size_prediction.h"

namespace par5 {

Result<SizeEstimate> estimate_size(const StoredModel& stored) {
  Artifact artifact;
  artifact.model = stored;
  PredictOptions options;
  options.symbols = 0;
  P5_TRY(const PredictedSize predicted, predict_size(artifact, options));
  std::size_t zeros = 0, weights = 0;
  for (const StoredTensor& tensor : stored.tensors)
    if (const auto* quantized = std::get_if<QuantizedTensor>(&tensor.data)) {
      zeros += static_cast<std::size_t>(std::count(quantized->codes.begin(), quantized->codes.end(), 0));
      weights += quantized->codes.size();
    }
  const double zero_share = weights > 0 ? static_cast<double>(zeros) / static_cast<double>(weights) : 0;
  return SizeEstimate{predicted.file_bytes, zero_share};
}

}  // namespace par5
