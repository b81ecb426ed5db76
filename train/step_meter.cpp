#include "train/step_meter.h"

#include <sys/resource.h>

#include "model/network.h"
#include "train/muon.h"
#include "train/optimizer.h"

namespace par5 {

long minor_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

double pass_flops(const ModelConfig& model, std::int64_t tokens, std::int64_t sequence, double vocabulary) {
  double weights = 0;
  for (const TensorSpec& spec : tensor_specs(model)) {
    if (spec.shape.size() != 2 || spec.calibration || spec.name == "transformer.wpe.weight") continue;
    const double rows = spec.name == embedding_name(model) ? vocabulary : static_cast<double>(spec.shape[0]);
    weights += rows * static_cast<double>(spec.shape[1]);
  }
  const double keys = (static_cast<double>(sequence) + 1) / 2;
  const double attention = 7 * 2 * keys * static_cast<double>(model.layers * model.heads * model.head_width());
  return static_cast<double>(tokens) * (6 * weights + attention);
}

double orthogonalization_flops(const std::vector<TensorSpec>& specs, const OptimizerConfig& optimizer) {
  const NewtonSchulz options{optimizer.muon_coefficients, optimizer.muon_iterations, torch::kFloat32,
                             optimizer.muon_form, optimizer.muon_products};
  double flops = 0;
  for (const ParameterGroup& group : parameter_groups(specs, optimizer))
    if (group.rule == UpdateRule::muon)
      for (const std::size_t i : group.members)
        flops += newton_schulz_flops(specs[i].shape[0], specs[i].shape[1], options);
  return flops;
}

void StepMeter::begin() {
  start_ = std::chrono::steady_clock::now();
  start_faults_ = minor_faults();
}

void StepMeter::end(double flops) {
  seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  flops_ += flops;
  if (steps_++ > 0) faults_ += minor_faults() - start_faults_;
}

}  // namespace par5
