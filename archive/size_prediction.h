// How large the artifact of a model will be, in seconds and without packing it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "archive/artifact.h"

namespace par5 {

struct PredictedSize {
  std::uint64_t file_bytes = 0;  // the sum of the others, which mean what they mean in ArtifactReport
  std::uint64_t quantised_bytes = 0;
  std::uint64_t float_bytes = 0;
  std::uint64_t scale_bytes = 0;
  std::uint64_t tokenizer_bytes = 0;
  std::uint64_t metadata_bytes = 0;
  std::uint64_t checksum_bytes = 0;
  // Of the codes and fp8 values, how many were coded for the estimate: 1 means that nothing was extrapolated.
  double coded_share = 1;
};

struct PredictOptions {
  // Work, in symbols coded: codes and fp8 values beyond that are extrapolated. 0: closed forms alone, for every step of
  // a training run.
  std::uint64_t symbols = 8000000;
  std::size_t threads = 0;  // 0: one per core; the estimate does not depend on it
};

// The size that encode_artifact gives with its default options. Scales and vectors are coded for real, and so are codes
// and fp8 values of models up to `symbols`. Of larger ones a sample is coded and compared with the closed form of a
// code that adapts to columns or rows (the Dirichlet-multinomial distribution of their magnitudes); what the coder
// saves over it is carried on to the rest, whose closed form is computed. The sample is whole matrices of some layers,
// so that the coder learns from them as it does when packing, or rows of every matrix where a whole layer is too much.
Result<PredictedSize> predict_size(const Artifact& artifact, const PredictOptions& options = {});

}  // namespace par5
