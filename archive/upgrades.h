// What more bytes would buy: finer scales, a wider grid, finer embeddings, another layer, each with the bytes that it
// would take and the weight error that it would remove. Computed from the artifact alone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "archive/artifact.h"

namespace par5 {

struct Upgrade {
  std::string what;        // "scales at 8 bits"
  std::int64_t bytes = 0;  // more than now
  // Root mean square of what rounding takes from the weights that this upgrade concerns, relative to them; both 0 where
  // it makes the model larger instead of finer.
  double error_before_percent = 0;
  double error_after_percent = 0;
};

// Scales: a finer delta's extra bits are as good as random, so each of them costs one bit a scale; fp16's cost the
// logarithm of the number of fp16 values in a delta's reach. Grids: the weights are taken to be a generalised Gaussian
// whose shape gives each tensor's measured share of zeros; a wider grid splits its outermost levels, at the entropy of
// the split. fp16 embeddings: fp8's three bits of mantissa become ten, the seven new ones as good as random.
std::vector<Upgrade> upgrades(const Artifact& artifact, const ArtifactReport& report);

// A generalised Gaussian with density ∝ exp(-|x|^shape) and mean |x| = 1: the units of an absmean grid's scale.
class GeneralizedGaussian {
 public:
  explicit GeneralizedGaussian(double shape);
  // The shape, 0.5 … 16, that puts this share of values below half the mean magnitude.
  static GeneralizedGaussian with_zero_share(double zero_share);
  double shape() const { return shape_; }
  double share_above(double magnitude) const;
  // Root mean square error of rounding to the integers -levels … levels, relative to the root mean square.
  double rounding_error(int levels) const;

 private:
  double shape_, scale_, norm_;
};

}  // namespace par5
