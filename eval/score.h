// Modes of evaluation: from tokens and a scorer to bits per byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "core/file.h"
#include "eval/eval_data.h"
#include "eval/ledger.h"
#include "eval/plan.h"
#include "eval/scorer.h"

namespace par5 {

enum class ModeKind {
  chunked,
  sliding,
  document,
  document_sliding,
  ttt_scalars,
  ttt_model,
  ttt_lora,
  ttt_phased,
  online
};

struct Mode {
  ModeKind kind = ModeKind::chunked;
  bool no_learning = false;       // of a kind that learns: the same windows at learning rate 0
  bool unit_temperature = false;  // of a kind that does not: logits as they are, not divided by the stored temperature
  // Sliding alone, done approximately (eval/approximate.h): with windows every so many tokens instead of every stride …
  std::int64_t approximate_stride = 0;
  // … or as one text whose keys and values are kept (eval/stream_scorer.h).
  bool stream = false;
  bool operator==(const Mode&) const = default;
};

// "chunked", "sliding", "document", "document:sliding"; "ttt:scalars", "ttt:model", "ttt:lora", "ttt:phased", "online",
// each of these also with "@lr=0"; those that do not learn also with "@T=1"; approximations "sliding~256" and
// "sliding~stream".
std::string mode_name(const Mode& mode);
Result<Mode> mode_from_name(std::string_view name);
// Whether the mode needs a learner.
inline bool mode_learns(const Mode& mode) { return mode.kind >= ModeKind::ttt_scalars; }
inline bool mode_approximates(const Mode& mode) { return mode.approximate_stride > 0 || mode.stream; }
// The rows of `eval --ladder`: chunked, sliding, document, document:sliding, then every kind that learns, each behind
// its own arm at learning rate 0. Scalars are left out where the model has none; sliding is there with and without the
// model's temperature where it stores one.
std::vector<Mode> ladder_modes(bool with_scalars, bool with_temperature);

// Where the ledger of an evaluation is written (docs/ledger.md).
struct LedgerOptions {
  std::string path;
  std::string model_sha256;  // of the model's file
  double temperature = 1;    // that the scorer applies
  bool resume = false;
  Overwrite overwrite = Overwrite::no;
  double snapshot_seconds = 60;
};

struct EvalSettings {
  std::int64_t window = 0;  // tokens; resolved, that is not 0
  std::int64_t stride = 64;
  std::int64_t batch_tokens = 16384;
  bool compat = false;  // the leaderboard's dropped tail
  TttConfig ttt;        // scalars only
  TttConfig ttt_model = model_learning();
  LoraConfig ttt_lora;
  PhasedConfig ttt_phased;
  TttConfig online = online_learning();
  std::optional<LedgerOptions> ledger;

  // How a mode that learns does so.
  const TttConfig& learning(ModeKind kind) const;
};

// How far an approximation is from what it stands for, on a sample of targets that both scored.
struct ApproximationError {
  std::int64_t stride = 0;  // of the exact sliding windows
  std::int64_t targets = 0;
  double bpb = 0;                   // approximate less exact, in bits per charged byte of the sample
  std::optional<double> low, high;  // 95 % interval over the sampled windows, where there are two or more
  double exact_bpb = 0;             // of the sample
};

// One evaluated mode.
struct ScoreRow {
  Mode mode;
  std::int64_t window = 0;
  std::int64_t stride = 0;  // equal to window where windows are disjoint
  double nats = 0;          // sum over the targets: the ledger's, exact in any order
  std::int64_t targets = 0;
  std::int64_t bytes = 0;  // charged
  std::int64_t documents = 0;
  std::int64_t dropped_targets = 0;
  std::optional<std::int64_t> source_bytes;  // raw bytes of the same text, where known
  std::string engine;
  double seconds = 0;
  std::optional<double> learning_rate;  // of a mode that learns, before its schedule
  std::int64_t updates = 0;
  std::int64_t adapted_values = 0;
  std::vector<std::uint32_t> target_units;          // the ledger's scores, by target id - 1
  std::optional<ApproximationError> approximation;  // always there in a mode that approximates
  std::string ledger_sha256;                        // head hash of the ledger's file; empty: none was written

  float target_nats(std::int64_t target) const {
    return static_cast<float>(ledger_nats(target_units[static_cast<std::size_t>(target - 1)]));
  }
  // Bits per charged byte: nats / (ln 2 · bytes).
  double bpb() const;
  double nats_per_token() const { return nats / static_cast<double>(targets); }
  // Bits per raw byte of the source.
  std::optional<double> bpb_source() const;
};

// The windows of a mode, in the order in which they are scored. `window` and `stride` as in a ScoreRow: those of
// what is run, also where it is an approximation.
Result<std::vector<Window>> mode_plan(const EvalData& data, const Mode& mode, std::int64_t targets, std::int64_t window,
                                      std::int64_t stride);

// Scores the data in one mode. TTT modes need a learner, which is the scorer's own model; it is reset before and
// after. The window is checked against nothing but 1: whether positions reach that far is the model's to say. Modes
// that approximate go through run_approximate (eval/approximate.h), which measures their error.
Result<ScoreRow> run_mode(const EvalData& data, const Mode& mode, const EvalSettings& settings, Scorer& scorer,
                          Learner* learner);

// eval.window, or the model's context; an error where learned positions end earlier.
Result<std::int64_t> resolve_window(const EvalConfig& eval, const ModelConfig& model);

}  // namespace par5
