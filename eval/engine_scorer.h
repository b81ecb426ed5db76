// The exact engine (engine/) behind evaluation's Scorer interface.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "eval/scorer.h"

namespace par5 {

class EngineScorer final : public Scorer {
 public:
  // Logits are divided by `temperature`.
  static Result<std::unique_ptr<EngineScorer>> create(const StoredModel& stored, const EngineOptions& options,
                                                      double temperature = 1.0);

  std::int64_t vocab() const override { return engine_.model().vocab; }
  std::string name() const override;  // "exact fp32"
  std::string_view kernel() const { return engine_.kernel(); }
  Status score(const WindowBatch& batch, const Sink& sink) override;

 private:
  EngineScorer(Engine engine, double temperature) : engine_(std::move(engine)), temperature_(temperature) {}

  Engine engine_;
  double temperature_;
  Windows windows_;
  std::vector<float> probabilities_;
};

}  // namespace par5
