#include "eval/score.h"

#include <algorithm>
#include <chrono>
#include <numbers>

#include "core/progress.h"
#include "core/text.h"
#include "eval/broker.h"
#include "eval/plan.h"
#include "eval/ttt.h"

namespace par5 {
namespace {

bool is_sliding(ModeKind kind) { return kind != ModeKind::chunked && kind != ModeKind::document; }

const std::vector<Mode>& all_modes() {
  static const std::vector<Mode> modes = {{ModeKind::chunked},     {ModeKind::sliding},
                                          {ModeKind::document},    {ModeKind::document_sliding},
                                          {ModeKind::ttt_scalars}, {ModeKind::ttt_scalars, true}};
  return modes;
}

Result<std::vector<Window>> make_plan(const EvalData& data, std::int64_t targets, const ScoreRow& row) {
  switch (row.mode.kind) {
    case ModeKind::document:
    case ModeKind::document_sliding: {
      P5_TRY(std::vector<Window> windows, document_plan(data.tokens, targets, data.bos, row.window, row.stride));
      // Windows of like length share batches with little padding; nothing is carried over, so order means nothing.
      std::stable_sort(windows.begin(), windows.end(),
                       [](const Window& a, const Window& b) { return a.length > b.length; });
      return windows;
    }
    default:
      return sliding_plan(targets, row.window, row.stride);
  }
}

}  // namespace

std::string mode_name(const Mode& mode) {
  switch (mode.kind) {
    case ModeKind::chunked:
      return "chunked";
    case ModeKind::sliding:
      return "sliding";
    case ModeKind::document:
      return "document";
    case ModeKind::document_sliding:
      return "document:sliding";
    case ModeKind::ttt_scalars:
      return mode.no_learning ? "ttt:scalars@lr=0" : "ttt:scalars";
  }
  return "";
}

Result<Mode> mode_from_name(std::string_view name) {
  std::vector<std::string> names;
  for (const Mode& mode : all_modes()) {
    names.push_back(mode_name(mode));
    if (names.back() == name) return mode;
  }
  const std::string near = nearest_name(name, names);
  return usage_error("'" + std::string(name) + "' is not a mode of evaluation; there are " + join(names, ", ") +
                     (near.empty() ? "" : "; did you mean '" + near + "'?"));
}

std::vector<Mode> ladder_modes() {
  return {{ModeKind::chunked},
          {ModeKind::sliding},
          {ModeKind::document},
          {ModeKind::ttt_scalars, true},
          {ModeKind::ttt_scalars}};
}

double ScoreRow::bpb() const { return nats / (std::numbers::ln2 * static_cast<double>(bytes)); }

std::optional<double> ScoreRow::bpb_source() const {
  if (!source_bytes || *source_bytes == 0) return std::nullopt;
  return nats / (std::numbers::ln2 * static_cast<double>(*source_bytes));
}

Result<ScoreRow> run_mode(const EvalData& data, const Mode& mode, const EvalSettings& settings, Scorer& scorer,
                          Learner* learner) {
  const auto start = std::chrono::steady_clock::now();
  ScoreRow row;
  row.mode = mode;
  row.window = settings.window;
  row.stride = is_sliding(mode.kind) ? settings.stride : settings.window;
  row.engine = scorer.name();
  if (row.window < 1) return usage_error("the window must be at least 1 token", "eval.window");
  row.targets = settings.compat ? compat_targets(data.targets(), row.window) : data.targets();
  row.dropped_targets = data.targets() - row.targets;
  if (row.targets < 1)
    return bad_data("--compat leaves nothing to score: " + std::to_string(data.targets()) +
                    " targets are less than one window of " + std::to_string(row.window));
  row.bytes = charged_bytes(data, row.targets);
  if (row.bytes < 1) return bad_data("the targets are charged no bytes, so there is no bpb");
  row.documents = document_count(data, row.targets);
  if (row.dropped_targets == 0) row.source_bytes = data.source_bytes;

  P5_TRY(const std::vector<Window> plan, make_plan(data, row.targets, row));
  P5_TRY(TokenBroker broker, TokenBroker::create(data.tokens, row.targets));
  Progress progress(mode_name(mode), static_cast<std::uint64_t>(row.targets), "targets");
  if (mode.kind == ModeKind::ttt_scalars) {
    if (!learner || learner->adapted_values() == 0)
      return usage_error("this model has no calibration values that " + mode_name(mode) + " could adapt");
    TttConfig ttt = settings.ttt;
    if (mode.no_learning) ttt.lr = 0;
    learner->reset();
    const Status done =
        run_chunk_ttt(broker, scorer, *learner, plan, row.window, ttt, settings.batch_tokens, &progress);
    learner->reset();
    if (!done) return tl::unexpected(done.error());
    row.learning_rate = ttt.lr;
    row.adapted_values = learner->adapted_values();
  } else {
    P5_OK(broker.score(scorer, plan, settings.batch_tokens, &progress));
  }

  const Ledger& ledger = broker.ledger();
  if (ledger.scored() != row.targets)
    return internal_error(std::to_string(ledger.scored()) + " of " + std::to_string(row.targets) +
                          " targets were scored");
  row.updates = ledger.updates();
  row.target_nats.reserve(ledger.units().size());
  for (const std::uint32_t units : ledger.units()) row.target_nats.push_back(static_cast<float>(ledger_nats(units)));
  row.nats = ledger_nats(ledger.total_units());
  row.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return row;
}

Result<std::int64_t> resolve_window(const EvalConfig& eval, const ModelConfig& model) {
  const std::int64_t window = eval.window > 0 ? eval.window : model.context;
  if (model.backbone == Backbone::gpt2 && window > model.context)
    return usage_error("a window of " + std::to_string(window) + " is longer than the model's " +
                           std::to_string(model.context) + " learned positions",
                       "eval.window");
  return window;
}

}  // namespace par5
