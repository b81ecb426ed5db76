#include "cli/torch/train_command.h"

#include "core/text.h"
#include "model/runtime.h"
#include "train/trainer.h"

namespace par5 {
namespace {

struct Options {
  std::string config;
  std::vector<std::string> assignments;
  std::string data;
  std::string validation;
  std::string run_folder;
  std::string steps, max_seconds, seed;  // as written: the schema checks them
  bool resume = false;
};

Result<LoadedConfig> effective_config(const Options& options) {
  LoadedConfig config;
  const std::string saved = join_path(options.run_folder, "config.toml");
  if (!options.config.empty())
    P5_OK(config.apply_file(options.config));
  else if (options.resume && file_exists(saved))
    P5_OK(config.apply_file(saved));
  P5_OK(config.apply_environment());
  for (const std::string& assignment : options.assignments) P5_OK(config.apply_assignment(assignment));
  if (!options.steps.empty()) {
    P5_OK(config.apply_assignment("train.steps=" + options.steps, "--steps"));
    // A bound by steps alone makes the run repeatable; the clock would bend its schedule.
    if (options.max_seconds.empty()) P5_OK(config.apply_assignment("train.max_seconds=0", "--steps"));
  }
  if (!options.max_seconds.empty())
    P5_OK(config.apply_assignment("train.max_seconds=" + options.max_seconds, "--max-seconds"));
  if (!options.seed.empty()) P5_OK(config.apply_assignment("train.seed=" + options.seed, "--seed"));
  P5_OK(config.check());
  return config;
}

Result<Outcome> run(const Options& options, const CommonOptions& common) {
  if (options.resume && common.force)
    return usage_error("--resume continues a run and --force starts it anew; give one of them", "--resume");
  TrainRequest request;
  P5_TRY(request.config, effective_config(options));
  request.data = options.data;
  request.validation = options.validation;
  request.run_folder = options.run_folder;
  request.resume = options.resume;
  request.overwrite = common.overwrite();
  request.version = PAR5_VERSION " (" PAR5_GIT_HASH ")";
  set_threads(static_cast<int>(common.threads));
  P5_TRY(const TrainReport report, train(request));

  Outcome outcome;
  outcome.report = {{"steps", report.steps},
                    {"tokens", report.tokens},
                    {"train_seconds", report.train_seconds},
                    {"tokens_per_second", report.tokens_per_second},
                    {"final_loss", report.final_loss}};
  outcome.report["val_bpb"] = report.val_bpb ? nlohmann::ordered_json(*report.val_bpb) : nlohmann::ordered_json(nullptr);
  outcome.report["predicted_bytes"] = report.predicted_bytes;
  outcome.report["predicted_by"] = report.predicted_by;
  outcome.report["run_dir"] = options.run_folder;
  outcome.text = "trained " + grouped(report.steps) + " steps, " + grouped(report.tokens) + " tokens in " +
                 duration(report.train_seconds) + " (" + grouped(static_cast<std::int64_t>(report.tokens_per_second)) +
                 " tokens/s)\n" + "loss                 " + fixed(report.final_loss, 4) + " nats per token\n";
  if (report.val_bpb) outcome.text += "validation           " + fixed(*report.val_bpb, 8) + " bits per byte, chunked\n";
  outcome.text += "predicted size       " + grouped(static_cast<std::int64_t>(report.predicted_bytes)) + " bytes (" + report.predicted_by + ")\n";
  outcome.text += "run folder           " + options.run_folder + "\n";
  return outcome;
}

}  // namespace

Command train_command() {
  return {"train", "Train a model on shards; weights, metrics and facts go into a run folder",
          "  par5 train --config configs/demo.toml --data shards/train --val shards/val -o runs/demo\n"
          "  par5 train --config configs/demo.toml --data shards/train -o runs/short --steps 200 --seed 7\n"
          "  par5 train --data shards/train -o runs/demo --resume",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<Options>();
            app.add_option("--config", options->config, "TOML file (with --resume: the run's own unless given)");
            app.add_option("--data", options->data, "Folder of shards to train on")->required();
            app.add_option("--val", options->validation, "Folder of shards to validate on");
            app.add_option("-o,--output", options->run_folder, "Run folder")->required();
            app.add_option("--set", options->assignments, "section.key=value, overrides the file");
            app.add_option("--steps", options->steps, "train.steps; without --max-seconds also no limit by time");
            app.add_option("--max-seconds", options->max_seconds, "train.max_seconds");
            app.add_option("--seed", options->seed, "train.seed");
            app.add_flag("--resume", options->resume, "Continue from the run folder's last checkpoint");
            return [options](const CommonOptions& common) { return run(*options, common); };
          }};
}

}  // namespace par5
