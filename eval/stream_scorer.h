// Streaming as an approximation of sliding windows: one text whose keys and values are kept, so that every token goes
// through the model once. What it gives is not what the windows give: a kept key was made when tokens could be seen
// that have left the window since.
#pragma once

#include "eval/engine_scorer.h"

namespace par5 {

class StreamScorer final : public Scorer {
 public:
  // Keeps at most `window` tokens. A model with learned positions is a usage error. `scorer` must outlive this.
  static Result<std::unique_ptr<StreamScorer>> create(EngineScorer& scorer, std::int64_t window);

  std::int64_t vocab() const override { return scorer_.vocab(); }
  std::string name() const override { return "streaming, " + scorer_.name(); }
  // Each window of the batch goes on where the one before it, of this batch or an earlier one, ended; all of its
  // positions are wanted. Where it does not fit, the oldest tokens are forgotten.
  Status score(const WindowBatch& batch, const Sink& sink) override;
  // A new text begins.
  void restart() { windows_.truncate(0, 0); }

 private:
  StreamScorer(EngineScorer& scorer, Windows windows) : scorer_(scorer), windows_(std::move(windows)) {}

  EngineScorer& scorer_;
  Windows windows_;
};

}  // namespace par5
