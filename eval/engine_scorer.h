// The exact engine (engine/) behind evaluation's Scorer interface. A token's probability is what coding it would
// charge: frequency / total (engine/frequencies.h), so that a score is a claim that a bitstream can be held to.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/frequencies.h"
#include "eval/frequency_scorer.h"

namespace par5 {

class EngineScorer final : public FrequencyScorer {
 public:
  // Logits are divided by `temperature`.
  static Result<std::unique_ptr<EngineScorer>> create(const StoredModel& stored, const EngineOptions& options,
                                                      double temperature = 1.0);
  // With the engine of someone else who keeps it, a learner perhaps, which may change it between calls.
  EngineScorer(Engine& engine, double temperature) : engine_(engine), temperature_(temperature) {}

  std::int64_t vocab() const override { return engine_.model().vocab; }
  std::string name() const override;  // "exact fp32"
  std::string_view kernel() const { return engine_.kernel(); }
  Arithmetic arithmetic() const { return engine_.arithmetic(); }
  // Rows are ln(frequency / total), rounded to binary32.
  Status score(const WindowBatch& batch, const Sink& sink) override;
  Status score_frequencies(const WindowBatch& batch, const FrequencySink& sink) override;

  // The same rows for texts that go on (Engine::append); the sink's rows are counted from `first_row`.
  Status append(Windows& windows, std::span<const WindowInput> inputs, std::int64_t first_row, const Sink& sink);
  const Engine& engine() const { return engine_; }

 private:
  EngineScorer(std::unique_ptr<Engine> engine, double temperature)
      : own_(std::move(engine)), engine_(*own_), temperature_(temperature) {}
  // Takes frequencies and hands their logarithms on; lives no longer than `sink`.
  FrequencySink logs_to(const Sink& sink);
  Status append_frequencies(Windows& windows, std::span<const WindowInput> inputs, std::int64_t first_row,
                            const FrequencySink& sink);

  std::unique_ptr<Engine> own_;
  Engine& engine_;
  double temperature_;
  Windows windows_;
  std::vector<std::uint64_t> frequencies_, totals_;
  std::vector<float> log_probabilities_;
};

}  // namespace par5
