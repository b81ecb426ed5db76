// The exact engine's learner (engine/learner.h) behind evaluation's interface: what it learns is what its engine scores
// next, the same bits on every machine.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/learner.h"
#include "eval/score.h"

namespace par5 {

// Whether the exact learner has this kind with these settings; a usage error that says what it lacks. LoRA and AdamW
// are not defined bit by bit.
Status check_exact_learning(ModeKind kind, const TttConfig& learning);

// What the engine's learner is told in a mode that check_exact_learning accepts; the temperature counts where the
// output learns.
LearnerOptions exact_learner_options(ModeKind kind, const TttConfig& learning, double z_loss, double temperature);

class ExactLearner final : public Learner {
 public:
  // Errors as those of check_exact_learning and EngineLearner::create.
  static Result<std::unique_ptr<ExactLearner>> create(const StoredModel& stored, const EngineOptions& engine,
                                                      ModeKind kind, const TttConfig& learning, double z_loss,
                                                      double temperature);

  // The engine that computes with what has been learnt.
  Engine& engine() { return learner_.engine(); }

  std::int64_t adapted_values() const override { return learner_.learning_values(); }
  // A step at rate 0 changes nothing and is not computed.
  Status step(const ScoredWindows& windows, double learning_rate) override;
  void reset() override { learner_.reset(); }
  std::string description() const override { return description_; }
  Result<std::vector<std::byte>> state() const override { return learner_.state(); }
  Status restore(std::span<const std::byte> state) override { return learner_.restore(state); }

 private:
  ExactLearner(EngineLearner learner, std::string description)
      : learner_(std::move(learner)), description_(std::move(description)) {}

  EngineLearner learner_;
  std::string description_;
};

}  // namespace par5
