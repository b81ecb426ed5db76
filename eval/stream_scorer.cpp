#include "eval/stream_scorer.h"

namespace par5 {

Result<std::unique_ptr<StreamScorer>> StreamScorer::create(EngineScorer& scorer, std::int64_t window) {
  if (scorer.engine().model().backbone == Backbone::gpt2)
    return usage_error("sliding~stream needs a model without learned positions: tokens move as the text goes on");
  P5_TRY(Windows windows, scorer.engine().make_windows(1, window));
  return std::unique_ptr<StreamScorer>(new StreamScorer(scorer, std::move(windows)));
}

Status StreamScorer::score(const WindowBatch& batch, const Sink& sink) {
  std::int64_t scored = 0;
  for (std::int64_t w = 0; w < batch.windows(); ++w) {
    const PositionRange& range = batch.wanted[static_cast<std::size_t>(w)];
    if (range.first != 0 || range.last > windows_.capacity())
      return internal_error("a stream goes on by whole spans of at most its window");
    const std::int64_t excess = windows_.length(0) + range.last - windows_.capacity();
    if (excess > 0) P5_OK(scorer_.engine().forget(windows_, 0, excess));
    const WindowInput input{
        0, batch.inputs.subspan(static_cast<std::size_t>(w * batch.length), static_cast<std::size_t>(range.last)), 0};
    P5_OK(scorer_.append(windows_, {&input, 1}, scored, sink));
    scored += range.last;
  }
  return {};
}

}  // namespace par5
