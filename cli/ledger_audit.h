// `par5 audit --ledger`: the offline audit of a score ledger, and with the model some of its blocks scored anew. Both
// halves of the program have it: par5 scores by the exact engine, par5-torch on LibTorch's network.
#pragma once

#include <functional>
#include <string>

#include "cli/command.h"
#include "cli/eval_options.h"
#include "eval/eval_data.h"
#include "eval/ledger_sample.h"
#include "eval/model_file.h"

namespace par5 {

struct LedgerAuditOptions {
  std::string file;
  std::string head;
  // To score blocks anew: model and data (or empty), engine, and the settings of the evaluation; max_targets bounds
  // where blocks are drawn, and `sample` counts them.
  EvalOptions evaluation;
  std::uint64_t seed = 1;
};

inline constexpr const char* kLedgerAuditExamples =
    "  par5 audit --ledger val.ledger --head 5c1e…\n"
    "  par5 audit --ledger val.ledger --model model.par5 --data shards/val --sample 8\n"
    "  par5 audit --ledger val.ledger --model model.par5 --data shards/val --engine torch\n";

inline constexpr const char* kAuditTokenizerHelp =
    "Tokenizer that is shipped beside the artifact; of --ledger, the one of the text";

void add_ledger_audit_options(CLI::App& app, LedgerAuditOptions& options);

// What blocks are scored anew with.
struct RescoreRequest {
  std::span<const std::byte> ledger;
  const LedgerDeclaration& declared;
  const EvalData& data;
  const EvalModel& model;
  Mode mode;
  const Config& config;
  const EvalSettings& learning;
  LedgerSampleSettings sample;
};
using Rescore = std::function<Result<LedgerSample>(const RescoreRequest&)>;

// `load_data` gives the text that was scored; neither is called where no model is named.
Result<Outcome> run_ledger_audit(const LedgerAuditOptions& options, const CommonOptions& common,
                                 const std::function<Result<EvalData>()>& load_data, const Rescore& rescore);

}  // namespace par5
