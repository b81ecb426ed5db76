#include "eval/score.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <numbers>

#include "core/progress.h"
#include "core/text.h"
#include "eval/broker.h"
#include "eval/ledger_file.h"
#include "eval/plan.h"
#include "eval/ttt.h"

namespace par5 {
namespace {

bool has_disjoint_windows(ModeKind kind) { return kind == ModeKind::chunked || kind == ModeKind::document; }

const std::vector<std::pair<ModeKind, const char*>>& kind_names() {
  static const std::vector<std::pair<ModeKind, const char*>> names = {{ModeKind::chunked, "chunked"},
                                                                      {ModeKind::sliding, "sliding"},
                                                                      {ModeKind::document, "document"},
                                                                      {ModeKind::document_sliding, "document:sliding"},
                                                                      {ModeKind::ttt_scalars, "ttt:scalars"},
                                                                      {ModeKind::ttt_model, "ttt:model"},
                                                                      {ModeKind::ttt_lora, "ttt:lora"},
                                                                      {ModeKind::ttt_phased, "ttt:phased"},
                                                                      {ModeKind::online, "online"}};
  return names;
}

std::vector<Mode> all_modes() {
  std::vector<Mode> modes;
  for (const auto& [kind, name] : kind_names()) {
    modes.push_back({kind});
    modes.push_back(mode_learns({kind}) ? Mode{kind, true} : Mode{kind, false, true});
  }
  return modes;
}

// "sliding~256" or "sliding~stream".
Result<Mode> approximate_mode(std::string_view name, std::size_t wave) {
  const std::string_view how = name.substr(wave + 1);
  Mode mode{ModeKind::sliding};
  mode.stream = how == "stream";
  const auto [end, error] = std::from_chars(how.data(), how.data() + how.size(), mode.approximate_stride);
  const bool number = error == std::errc() && end == how.data() + how.size() && mode.approximate_stride > 0;
  if (name.substr(0, wave) == "sliding" && mode.stream != number) return mode;
  return usage_error("'" + std::string(name) +
                     "' is no approximation; there are sliding~STRIDE (a larger stride) and sliding~stream (keys and "
                     "values are kept)");
}

// Nothing is carried from one document to the next, so their windows may be scored in any order.
bool is_document(ModeKind kind) { return kind == ModeKind::document || kind == ModeKind::document_sliding; }

Result<LedgerFile> open_ledger(const EvalData& data, const ScoreRow& row, const LedgerOptions& options,
                               const Learner* learner) {
  LedgerDeclaration declaration;
  declaration.mode = mode_name(row.mode);
  declaration.window = row.window;
  declaration.stride = row.stride;
  declaration.targets = row.targets;
  declaration.dropped_targets = row.dropped_targets;
  declaration.documents = row.documents;
  declaration.stream_order = !is_document(row.mode.kind);
  declaration.engine = row.engine;
  declaration.temperature = options.temperature;
  declaration.model_sha256 = options.model_sha256;
  declaration.data_sha256 = token_sha256(data, row.targets);
  declaration.tokenizer_sha256 = data.tokenizer_sha256;
  if (learner) declaration.learner = learner->description();
  auto charge = [&data](std::int64_t target) { return target_bytes(data, target); };
  return options.resume ? LedgerFile::resume(options.path, declaration, charge)
                        : LedgerFile::create(options.path, declaration, charge, options.overwrite);
}

Result<std::vector<TttRound>> make_rounds(const EvalData& data, const std::vector<Window>& plan, const ScoreRow& row,
                                          const EvalSettings& settings) {
  switch (row.mode.kind) {
    case ModeKind::ttt_lora:
      return document_rounds(plan, data.tokens, row.targets, data.bos, row.window, settings.ttt_lora.learning,
                             settings.ttt_lora.carry);
    case ModeKind::ttt_phased:
      return phase_rounds(plan, data.tokens, row.targets, data.bos, row.window, settings.ttt_phased);
    default:
      return chunk_rounds(plan, row.targets, row.window, settings.learning(row.mode.kind));
  }
}

}  // namespace

std::string mode_name(const Mode& mode) {
  for (const auto& [kind, name] : kind_names())
    if (kind == mode.kind)
      return name + (mode.stream                   ? std::string("~stream")
                     : mode.approximate_stride > 0 ? "~" + std::to_string(mode.approximate_stride)
                     : mode.no_learning            ? "@lr=0"
                     : mode.unit_temperature       ? "@T=1"
                                                   : "");
  return "";
}

Result<Mode> mode_from_name(std::string_view name) {
  if (const std::size_t wave = name.find('~'); wave != std::string_view::npos) return approximate_mode(name, wave);
  std::vector<std::string> names;
  for (const Mode& mode : all_modes()) {
    names.push_back(mode_name(mode));
    if (names.back() == name) return mode;
  }
  const std::string near = nearest_name(name, names);
  return usage_error("'" + std::string(name) + "' is not a mode of evaluation; there are " + join(names, ", ") +
                     ", sliding~STRIDE, sliding~stream" + (near.empty() ? "" : "; did you mean '" + near + "'?"));
}

std::vector<Mode> ladder_modes(bool with_scalars, bool with_temperature) {
  std::vector<Mode> modes;
  for (const auto& [kind, name] : kind_names()) {
    if (kind == ModeKind::ttt_scalars && !with_scalars) continue;
    if (kind == ModeKind::sliding && with_temperature) modes.push_back({kind, false, true});
    if (mode_learns({kind})) modes.push_back({kind, true});
    modes.push_back({kind});
  }
  return modes;
}

const TttConfig& EvalSettings::learning(ModeKind kind) const {
  switch (kind) {
    case ModeKind::ttt_model:
      return ttt_model;
    case ModeKind::ttt_lora:
      return ttt_lora.learning;
    case ModeKind::ttt_phased:
      return ttt_phased.learning;
    case ModeKind::online:
      return online;
    default:
      return ttt;
  }
}

double ScoreRow::bpb() const { return nats / (std::numbers::ln2 * static_cast<double>(bytes)); }

std::optional<double> ScoreRow::bpb_source() const {
  if (!source_bytes || *source_bytes == 0) return std::nullopt;
  return nats / (std::numbers::ln2 * static_cast<double>(*source_bytes));
}

Result<std::vector<Window>> mode_plan(const EvalData& data, const Mode& mode, std::int64_t targets, std::int64_t window,
                                      std::int64_t stride) {
  if (mode.stream) return chunked_plan(targets, stride);
  if (!is_document(mode.kind) && mode.kind != ModeKind::ttt_lora) return sliding_plan(targets, window, stride);
  P5_TRY(std::vector<Window> windows, document_plan(data.tokens, targets, data.bos, window, stride));
  // What is learnt is carried from window to window: one stream.
  if (mode_learns(mode)) return windows;
  // Windows of like length share batches with little padding.
  std::stable_sort(windows.begin(), windows.end(),
                   [](const Window& a, const Window& b) { return a.length > b.length; });
  return windows;
}

Result<ScoreRow> run_mode(const EvalData& data, const Mode& mode, const EvalSettings& settings, Scorer& scorer,
                          Learner* learner) {
  const auto start = std::chrono::steady_clock::now();
  ScoreRow row;
  row.mode = mode;
  row.window = settings.window;
  row.stride = has_disjoint_windows(mode.kind) ? settings.window
               : mode.approximate_stride > 0   ? mode.approximate_stride
                                               : settings.stride;
  row.engine = scorer.name();
  if (settings.ledger && mode_approximates(mode))
    return usage_error(mode_name(mode) + " is an approximation, and a ledger is a claim: only exact modes have one",
                       "--ledger");
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

  P5_TRY(const std::vector<Window> plan, mode_plan(data, mode, row.targets, row.window, row.stride));
  P5_TRY(TokenBroker broker, TokenBroker::create(data.tokens, row.targets));
  if (mode_learns(mode) && (!learner || learner->adapted_values() == 0))
    return usage_error("this model has no values that " + mode_name(mode) + " could adapt");
  std::optional<LedgerFile> file;
  if (settings.ledger) {
    Learner* kept = mode_learns(mode) ? learner : nullptr;
    P5_TRY(file, open_ledger(data, row, *settings.ledger, kept));
    P5_OK(broker.keep(*file, kept, settings.ledger->snapshot_seconds));
  }
  Progress progress(mode_name(mode), static_cast<std::uint64_t>(row.targets), "targets");
  if (mode_learns(mode)) {
    P5_TRY(std::vector<TttRound> rounds, make_rounds(data, plan, row, settings));
    if (mode.no_learning)
      for (TttRound& round : rounds) round.learning_rate = 0;
    learner->reset();
    const Status done = run_rounds(broker, scorer, *learner, plan, rounds, settings.batch_tokens, &progress);
    learner->reset();
    if (!done) return tl::unexpected(done.error());
    row.learning_rate = mode.no_learning ? 0 : settings.learning(mode.kind).lr;
    row.adapted_values = learner->adapted_values();
  } else {
    P5_OK(broker.score(scorer, plan, settings.batch_tokens, &progress));
  }

  const Ledger& ledger = broker.ledger();
  if (ledger.scored() != row.targets)
    return internal_error(std::to_string(ledger.scored()) + " of " + std::to_string(row.targets) +
                          " targets were scored");
  if (file) {
    P5_TRY(const Digest head, file->seal());
    row.ledger_sha256 = hex(head);
  }
  row.updates = ledger.updates();
  row.target_units.assign(ledger.units().begin(), ledger.units().end());
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
