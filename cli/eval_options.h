// The options of `par5 eval`, which par5 and par5-torch share: the front checks them, makes shards of text where
// needed, and hands everything on.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "core/config.h"
#include "core/hash.h"
#include "eval/score.h"

namespace par5 {

struct EvalOptions {
  std::string model;
  std::string data;
  std::string shards;  // of data that is text: from the front to par5-torch
  std::string config;
  std::vector<std::string> assignments;
  std::vector<std::string> modes;
  std::string engine = "torch";
  std::string arithmetic = "fp32";
  std::string kernel;
  std::string tokenizer;
  std::int64_t window = 0;
  std::int64_t stride = 0;
  std::int64_t max_targets = 0;
  bool ladder = false;
  bool compat = false;
  std::string ledger;
  bool resume = false;
  std::string by;
  std::string csv;
  std::int64_t sample = 4096;
  bool probe = false;
  std::int64_t probe_windows = 8;
};

inline constexpr const char* kEvalSummary =
    "Score a model on text or shards: bits per byte, in one mode or as a ladder";
inline constexpr const char* kEvalExamples =
    "  par5 eval model.par5 --data shards/val\n"
    "  par5 eval run/model.safetensors --data val.jsonl.xz --tokenizer bpe.model --mode sliding --stride 64\n"
    "  par5 eval model.par5 --data shards/val --engine exact --mode chunked,sliding\n"
    "  par5 eval model.par5 --data shards/val --ladder --json\n"
    "  par5 eval model.par5 --data shards/val --mode sliding --ledger val.ledger\n"
    "  par5 eval model.par5 --data shards/val --mode sliding --by document --csv documents.csv\n"
    "  par5 eval model.par5 --data shards/val --mode sliding~256,sliding --stride 64\n"
    "  par5 eval model.par5 --data shards/val --probe";

inline constexpr const char* kShardsHelp = "Shards of --data's text, which par5 hands to par5-torch";

inline void add_eval_options(CLI::App& app, EvalOptions& options) {
  app.add_option("MODEL", options.model, "Artifact (.par5) or checkpoint (.safetensors)")->required();
  app.add_option("--data", options.data, "Folder of shards, or text: .txt, .jsonl, each also .xz or .zst")->required();
  app.add_option("--shards", options.shards, kShardsHelp)->group("");
  app.add_option("--config", options.config,
                 "TOML file: eval and ttt sections; the architecture of foreign safetensors");
  app.add_option("--set", options.assignments, "section.key=value, overrides the file");
  app.add_option(
         "--mode", options.modes,
         "chunked (default), sliding, document, document:sliding, ttt:scalars, ttt:model, ttt:lora, ttt:phased, "
         "online; "
         "behind a kind that learns @lr=0 for the same without learning; sliding~STRIDE and sliding~stream (exact "
         "engine) are approximations, shown with their difference from the exact scores; several with commas")
      ->delimiter(',');
  app.add_option("--window", options.window, "Tokens of context in a window (default: the model's context)")
      ->check(CLI::Range(1, 1048576));
  app.add_option("--stride", options.stride, "Targets scored per sliding window (default: 64)")
      ->check(CLI::Range(1, 1048576));
  app.add_option(
         "--engine", options.engine,
         "torch (default), or exact: par5's own, the same bits on every machine; its bits are what coding costs")
      ->check(CLI::IsMember({"torch", "exact"}));
  app.add_option("--arithmetic", options.arithmetic, "Of the exact engine: fp32 (default), int8, fp32-adds");
  app.add_option("--kernel", options.kernel, "Of the exact engine: one of this CPU's kernels (default: the best)");
  app.add_option("--tokenizer", options.tokenizer, "SentencePiece model for text where the artifact holds none");
  app.add_option("--max-targets", options.max_targets, "Score only the first N targets")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1000000000000000}));
  app.add_flag("--ladder", options.ladder,
               "Every mode side by side, each kind that learns also at learning rate 0, with paired differences");
  app.add_option("--ledger", options.ledger,
                 "Write the score ledger to this file as the evaluation goes (several modes: a folder, a file each)");
  app.add_flag("--resume", options.resume, "Go on with the ledger of an evaluation that was interrupted");
  app.add_option("--by", options.by,
                 "Break every mode's score down by document, position (in the window) or token: as CSV in place of the "
                 "table, or in the report with --json");
  app.add_option("--csv", options.csv, "Write the breakdown to this file instead");
  app.add_option("--sample", options.sample,
                 "Targets on which an approximation is compared with the exact scores (default: 4096)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1000000000000}));
  app.add_flag("--probe", options.probe,
               "Do not score: change targets, futures and later documents of some windows and see whether earlier "
               "probabilities stay the same bits and sum to 1");
  app.add_option("--probe-windows", options.probe_windows, "Windows that --probe looks at (default: 8)")
      ->check(CLI::Range(1, 1000000));
  app.add_flag("--compat", options.compat, "Drop the tail behind the last full window, as the leaderboard does");
}

// The settings of evaluation and TTT: defaults < file < environment < --set < flags.
inline Result<Config> eval_config(const EvalOptions& options) {
  LoadedConfig config;
  if (!options.config.empty()) P5_OK(config.apply_file(options.config));
  P5_OK(config.apply_environment());
  for (const std::string& assignment : options.assignments) P5_OK(config.apply_assignment(assignment));
  if (options.window > 0) P5_OK(config.apply_assignment("eval.window=" + std::to_string(options.window), "--window"));
  if (options.stride > 0) P5_OK(config.apply_assignment("eval.stride=" + std::to_string(options.stride), "--stride"));
  return config.values();
}

inline Result<EvalSettings> eval_settings(const EvalOptions& options, const Config& config, const ModelConfig& model) {
  EvalSettings settings;
  P5_TRY(settings.window, resolve_window(config.eval, model));
  settings.stride = config.eval.stride;
  settings.batch_tokens = config.eval.batch_tokens;
  settings.compat = options.compat;
  settings.ttt = config.ttt;
  settings.ttt_model = config.ttt_model;
  settings.ttt_lora = config.ttt_lora;
  settings.ttt_phased = config.ttt_phased;
  settings.online = config.online;
  return settings;
}

// The ledger of one of `modes` modes; nothing where none is asked for. Several modes have a file each in a folder.
inline Result<std::optional<LedgerOptions>> ledger_options(const EvalOptions& options, const CommonOptions& common,
                                                           const Mode& mode, std::size_t modes, double temperature) {
  if (options.resume && options.ledger.empty())
    return usage_error("--resume goes on with a ledger; name it with --ledger FILE", "--resume");
  if (options.ledger.empty()) return std::nullopt;
  LedgerOptions ledger;
  ledger.path = options.ledger;
  if (modes > 1) {
    P5_OK(make_folders(options.ledger));
    std::string name = mode_name(mode) + ".ledger";
    std::replace(name.begin(), name.end(), ':', '-');
    ledger.path = join_path(options.ledger, name);
  }
  P5_TRY(ledger.model_sha256, sha256_hex_of_file(options.model));
  ledger.temperature = temperature;
  ledger.resume = options.resume;
  ledger.overwrite = common.overwrite();
  if (!ledger.resume) P5_OK(check_output(ledger.path, ledger.overwrite));
  return ledger;
}

// The modes that are asked for, in order.
inline Result<std::vector<Mode>> eval_modes(const EvalOptions& options) {
  if (options.ladder && !options.modes.empty()) return usage_error("--ladder has its own modes; leave --mode out");
  if (options.ladder) return ladder_modes(true, false);
  if (options.modes.empty()) return std::vector<Mode>{{ModeKind::chunked}};
  std::vector<Mode> modes;
  for (const std::string& name : options.modes) {
    P5_TRY(modes.emplace_back(), mode_from_name(name));
  }
  return modes;
}

}  // namespace par5
