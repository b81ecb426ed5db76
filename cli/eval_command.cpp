#include "archive/artifact.h"
#include "cli/commands.h"
#include "cli/eval_options.h"
#include "cli/torch_front.h"
#include "eval/model_file.h"
#include "tokenizer/sharding.h"

namespace par5 {
namespace {

// The tokenizer for raw text: --tokenizer, else the artifact's own, else tokenizer.model beside the model.
Result<Tokenizer> find_tokenizer(const EvalOptions& options, const CommonOptions& common) {
  if (!options.tokenizer.empty()) return Tokenizer::load(options.tokenizer);
  P5_TRY(const bool checkpoint, looks_like_safetensors(options.model));
  if (!checkpoint) {
    P5_TRY(DecodedArtifact decoded, read_artifact(options.model, common.threads));
    if (decoded.artifact.tokenizer) return Tokenizer::from_data(std::move(*decoded.artifact.tokenizer));
  }
  const std::string beside = join_path(parent_folder(options.model), "tokenizer.model");
  if (file_exists(beside)) return Tokenizer::load(beside);
  return usage_error("'" + options.model + "' holds no tokenizer, which raw text needs; name it with --tokenizer FILE",
                     "--tokenizer");
}

std::vector<std::string> arguments_for_shards(const EvalOptions& options, const CommonOptions& common,
                                              const std::string& program, const std::string& shards) {
  std::vector<std::string> arguments = {program, "eval", options.model, "--data", shards, "--engine", options.engine};
  const auto add = [&arguments](const char* flag, const std::string& value) {
    arguments.emplace_back(flag);
    arguments.push_back(value);
  };
  if (!options.config.empty()) add("--config", options.config);
  for (const std::string& assignment : options.assignments) add("--set", assignment);
  for (const std::string& mode : options.modes) add("--mode", mode);
  if (options.window > 0) add("--window", std::to_string(options.window));
  if (options.stride > 0) add("--stride", std::to_string(options.stride));
  if (options.max_targets > 0) add("--max-targets", std::to_string(options.max_targets));
  add("--threads", std::to_string(common.threads));
  if (options.ladder) arguments.emplace_back("--ladder");
  if (options.compat) arguments.emplace_back("--compat");
  if (common.json) arguments.emplace_back("--json");
  if (common.quiet) arguments.emplace_back("--quiet");
  if (common.verbose) arguments.emplace_back("--verbose");
  return arguments;
}

Result<Outcome> run(const EvalOptions& options, const CommonOptions& common) {
  P5_TRY(const std::vector<Mode> modes, eval_modes(options));
  if (options.engine == "exact")
    return missing_tool("the exact engine is not part of this build yet; leave --engine out to score with LibTorch");
  const std::string program = sibling_program("par5-torch");
  const bool shards = is_folder(options.data) && file_exists(join_path(options.data, kManifestName));
  if (shards || !file_exists(program)) return tl::unexpected(hand_over_to_torch());

  P5_TRY(const Tokenizer tokenizer, find_tokenizer(options, common));
  P5_TRY(TextSource text, TextSource::open({options.data}));
  P5_TRY(const TemporaryFolder folder, TemporaryFolder::create());
  ShardOptions shard_options;
  shard_options.threads = common.threads;
  P5_OK(shard_text(text, tokenizer, folder.path(), shard_options));
  set_torch_environment();
  P5_TRY(const int status, run_child(arguments_for_shards(options, common, program, folder.path())));
  return Outcome{nullptr, "", status};
}

}  // namespace

Command eval_command() {
  return {"eval", kEvalSummary, kEvalExamples, [](CLI::App& app) -> Runner {
            auto options = std::make_shared<EvalOptions>();
            add_eval_options(app, *options);
            return [options](const CommonOptions& common) { return run(*options, common); };
          }};
}

}  // namespace par5
