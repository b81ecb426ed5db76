// A mode's scorer and learner on LibTorch's network.
#pragma once

#include <memory>

#include "eval/online.h"
#include "eval/torch/torch_learner.h"
#include "eval/torch/torch_scorer.h"

namespace par5 {

// What `run(Scorer&, Learner*)` returns: the learner is null where the mode does not learn, and gone after the call,
// with the network's weights back as stored.
template <class Run>
auto with_torch_learner(const Mode& mode, const EvalSettings& settings, double z_loss, TorchScorer& scorer,
                        const Run& run) -> decltype(run(scorer, nullptr)) {
  if (!mode_learns(mode)) return run(scorer, nullptr);
  if (mode.kind == ModeKind::online) {
    P5_TRY(const std::unique_ptr<OnlineAdapter> adapter, OnlineAdapter::create(scorer, settings.online));
    return run(*adapter, adapter.get());
  }
  P5_TRY(const std::unique_ptr<TorchLearner> learner,
         TorchLearner::create(scorer.network(), torch_learner_options(mode.kind, settings, z_loss)));
  return run(scorer, learner.get());
}

}  // namespace par5
