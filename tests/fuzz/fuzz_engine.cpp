// The engine on whatever a file decodes to: every arithmetic and kernel, and one step of learning. An error is a good
// answer; numbers that are not finite are not.
#include <cmath>

#include "archive/artifact.h"
#include "engine/learner.h"
#include "tests/fuzz/target.h"
#include "tests/support/reseal.h"

namespace {

constexpr std::int64_t kMostWeights = std::int64_t{1} << 18;  // more take longer, not other paths

void run_tokens(par5::Engine& engine) {
  auto windows = engine.make_windows(1, 8);
  if (!windows) return;
  const std::uint16_t tokens[5] = {0, 1, 2, static_cast<std::uint16_t>(engine.model().vocab - 1), 1};
  const par5::WindowInput input{0, tokens, 1};
  (void)engine.append(*windows, {&input, 1}, [](std::int64_t, std::int64_t, std::span<const float> logits) {
    for (const float z : logits) par5::fuzz::require(std::isfinite(z));
    return par5::Status();
  });
}

}  // namespace

PAR5_FUZZ_TARGET(engine) {
  par5::fuzz::Input input(bytes);
  const auto kernels = par5::kernel_names();
  const auto arithmetic = par5::arithmetics()[input.below(3)];
  const std::string kernel = kernels[input.byte() % kernels.size()];
  par5::fuzz::Bytes sealed(input.rest().begin(), input.rest().end());
  par5::test::reseal(sealed);
  const auto decoded = par5::decode_artifact(sealed, "fuzz", 1, par5::ExternalPrograms::refused);
  if (!decoded) return;
  const par5::StoredModel& model = decoded->artifact.model;
  if (par5::count_parameters(model.model).total() > kMostWeights) return;
  auto engine = par5::Engine::create(model, {arithmetic, kernel, 1});
  if (engine) run_tokens(*engine);
  if (arithmetic != par5::Arithmetic::fp32) return;
  par5::LearnerOptions options;
  options.rate_factor = par5::learns_everything;
  auto learner = par5::EngineLearner::create(model, {arithmetic, kernel, 1}, options);
  if (!learner) return;
  const std::uint16_t tokens[3] = {1, 0, 1};
  (void)learner->step(tokens, tokens, 1, 0.01);
  run_tokens(learner->engine());
}
