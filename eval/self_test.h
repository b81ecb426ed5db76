// An artifact's self-test: a few short windows whose exact bits stand in the file, so that any machine can show that it
// computes what the packing machine computed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "archive/artifact.h"
#include "engine/arithmetic.h"

namespace par5 {

// The windows that `pack` stores: token ids from a fixed generator, so that no data are needed, and the bits that the
// exact fp32 engine claims for them at the artifact's temperature, in thousandths, rounded to nearest.
Result<std::vector<SelfTestWindow>> make_self_test(const StoredModel& model, double temperature, std::size_t threads);

// The same windows with the bits that guessing takes: as many bytes in a file, without running the model.
std::vector<SelfTestWindow> unscored_self_test(const ModelConfig& model);

// Names the arithmetic's version that self-test and temperature were made with. Readers that predate it keep it.
NamedEntry arithmetic_version_entry();
// The version that an artifact names; none: it names none. bad_data where it is one that this par5 does not know.
Result<std::optional<std::uint64_t>> arithmetic_version(const std::vector<NamedEntry>& extras);

// What one kernel made of the windows.
struct SelfTestResult {
  std::string kernel;
  Arithmetic arithmetic = Arithmetic::fp32;
  std::uint64_t differing_logits = 0;  // from the scalar kernel's, bit for bit
  std::uint64_t logits = 0;
  std::uint64_t wrong_windows = 0;  // whose bits are not the expected ones (fp32 only)
  bool ok() const { return differing_logits == 0 && wrong_windows == 0; }
};

// Runs the windows (where there are none, those that make_self_test would store) under every kernel of this CPU and
// every arithmetic that the model's grid has; the scalar kernel comes last of each. Expected bits are compared where
// the artifact names the version of the arithmetic.
Result<std::vector<SelfTestResult>> run_self_test(const Artifact& artifact, std::size_t threads);

}  // namespace par5
