#include <chrono>
#include <cmath>
#include <set>

#include "cli/torch/torch_commands.h"
#include "cli/version.h"
#include "core/log.h"
#include "core/text.h"
#include "model/runtime.h"
#include "train/precision.h"
#include "train/trainer.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

const auto kProcessStart = std::chrono::steady_clock::now();

struct Options {
  std::vector<std::string> configs;
  std::vector<std::string> assignments;
  std::string data;
  std::string validation;
  std::string run_folder;
  std::string steps, max_seconds, seed;  // as written: the schema checks them
  std::vector<std::string> seeds;
  std::string device = "cpu";
  std::string replay;
  std::uint64_t cap_bytes = 0;
  bool resume = false;
  bool count_startup = false;
};

Result<LoadedConfig> effective_config(const Options& options, const std::string& file, const std::string& seed) {
  LoadedConfig config;
  const std::string saved = join_path(options.run_folder, "config.toml");
  if (!file.empty())
    P5_OK(config.apply_file(file));
  else if (options.resume && file_exists(saved))
    P5_OK(config.apply_file(saved));
  else if (!options.replay.empty())
    P5_OK(config.apply_file(join_path(options.replay, "config.toml")));
  P5_OK(config.apply_environment());
  for (const std::string& assignment : options.assignments) P5_OK(config.apply_assignment(assignment));
  if (!options.steps.empty()) {
    P5_OK(config.apply_assignment("train.steps=" + options.steps, "--steps"));
    // A bound by steps alone makes the run repeatable; the clock would bend its schedule.
    if (options.max_seconds.empty()) P5_OK(config.apply_assignment("train.max_seconds=0", "--steps"));
  }
  if (!options.max_seconds.empty())
    P5_OK(config.apply_assignment("train.max_seconds=" + options.max_seconds, "--max-seconds"));
  if (!seed.empty()) P5_OK(config.apply_assignment("train.seed=" + seed, "--seed"));
  P5_OK(config.check());
  return config;
}

Result<torch::Device> device_from_name(const std::string& name) {
  const auto device = guarded([&] { return torch::Device(name); });
  if (!device) return usage_error("'" + name + "' is not a device; examples: cpu, cuda, cuda:1", "--device");
  if (device->is_cuda() && !at::hasCUDA())
    return usage_error("this LibTorch or machine has no CUDA device; use --device cpu", "--device");
  return *device;
}

Result<TrainReport> run_one(const Options& options, const CommonOptions& common, const std::string& config_file,
                            const std::string& seed, const std::string& run_folder) {
  TrainRequest request;
  P5_TRY(request.config, effective_config(options, config_file, seed));
  P5_TRY(request.device, device_from_name(options.device));
  request.data = options.data;
  request.validation = options.validation;
  request.run_folder = run_folder;
  request.resume = options.resume;
  request.replay = options.replay;
  request.cap_bytes = options.cap_bytes;
  if (options.count_startup) request.clock_start = kProcessStart;
  request.overwrite = common.overwrite();
  request.version = std::string(kVersion) + " (" + kGitHash + ")";
  return train(request);
}

// Of the machine's rate of products in that type, the share that training reached.
double roofline_share(const TrainReport& report, Precision precision) {
  const ProductRates& rates = report.product_rates;
  return report.flops_per_second / (precision == Precision::bfloat16 ? rates.bfloat16 : rates.float32);
}

// "roofline   143 GFLOP/s in float32: 48 % of 298 in float32, 86 % of 166 in bfloat16; 3 page faults per step"
std::string roofline_text(const TrainReport& report) {
  const auto against = [&](Precision precision) {
    const double rate = precision == Precision::bfloat16 ? report.product_rates.bfloat16 : report.product_rates.float32;
    return fixed(100 * roofline_share(report, precision), 0) + " % of " + fixed(rate * 1e-9, 0) + " in " +
           precision_name(precision);
  };
  std::string text = "roofline             " + fixed(report.flops_per_second * 1e-9, 1) + " GFLOP/s in " +
                     precision_name(report.precision) + ": " + against(report.precision);
  if (report.precision != Precision::bfloat16) text += ", " + against(Precision::bfloat16);
  return text + "; " + fixed(report.page_faults_per_step, 0) + " page faults per step\n";
}

Json report_of(const TrainReport& report, const std::string& run_folder) {
  Json json = {{"steps", report.steps},
               {"tokens", report.tokens},
               {"train_seconds", report.train_seconds},
               {"tokens_per_second", report.tokens_per_second},
               {"final_loss", report.final_loss}};
  json["val_bpb"] = report.val_bpb ? Json(*report.val_bpb) : Json(nullptr);
  json["predicted_bytes"] = report.predicted_bytes;
  json["predicted_by"] = report.predicted_by;
  json["precision"] = precision_name(report.precision);
  json["flops_per_second"] = report.flops_per_second;
  json["product_flops_per_second"] = {{"float32", report.product_rates.float32},
                                      {"bfloat16", report.product_rates.bfloat16}};
  json["roofline_share"] = {{"precision", roofline_share(report, report.precision)},
                            {"bfloat16", roofline_share(report, Precision::bfloat16)}};
  json["page_faults_per_step"] = report.page_faults_per_step;
  json["unmoved"] = report.unmoved;
  json["run_dir"] = run_folder;
  return json;
}

Result<Outcome> run_single(const Options& options, const CommonOptions& common) {
  const std::string config = options.configs.empty() ? "" : options.configs.front();
  P5_TRY(const TrainReport report, run_one(options, common, config, options.seed, options.run_folder));
  Outcome outcome;
  outcome.report = report_of(report, options.run_folder);
  outcome.text = "trained " + grouped(report.steps) + " steps, " + grouped(report.tokens) + " tokens in " +
                 duration(report.train_seconds) + " (" + grouped(static_cast<std::int64_t>(report.tokens_per_second)) +
                 " tokens/s)\n" + "loss                 " + fixed(report.final_loss, 4) + " nats per token\n";
  if (report.val_bpb) outcome.text += "validation           " + fixed(*report.val_bpb, 8) + " bits per byte, chunked\n";
  outcome.text += "predicted size       " + grouped(static_cast<std::int64_t>(report.predicted_bytes)) + " bytes (" +
                  report.predicted_by + ")\n";
  outcome.text += roofline_text(report);
  outcome.text += "run folder           " + options.run_folder + "\n";
  return outcome;
}

// "configs/ternary-16mb.toml" -> "ternary-16mb"
std::string stem(const std::string& path) {
  const std::string name = file_name(path);
  return name.substr(0, name.rfind('.'));
}

struct Spread {
  double mean = 0, deviation = 0;  // of the sample: n - 1
};
Spread spread_of(const std::vector<double>& values) {
  Spread spread;
  for (const double value : values) spread.mean += value / static_cast<double>(values.size());
  double squares = 0;
  for (const double value : values) squares += (value - spread.mean) * (value - spread.mean);
  if (values.size() > 1) spread.deviation = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return spread;
}

// Every configuration with every seed: the same data order for the same seed.
Result<Outcome> run_paired(const Options& options, const CommonOptions& common) {
  if (options.resume || !options.replay.empty())
    return usage_error("--resume and --replay are for single runs; name the run folder of one", "--resume");
  if (options.count_startup) return usage_error("--count-startup is for single runs", "--count-startup");
  if (!options.seed.empty()) return usage_error("give --seed or --seeds, not both", "--seeds");
  std::vector<std::string> configs = options.configs, seeds = options.seeds;
  if (configs.empty()) configs = {""};
  if (seeds.empty()) seeds = {""};
  std::set<std::string> names;
  for (const std::string& config : configs)
    if (!names.insert(stem(config)).second)
      return usage_error("two configurations are called '" + stem(config) + "'; their run folders would be one",
                         "--config");

  Json runs = Json::array(), configurations = Json::array();
  std::vector<std::vector<double>> scores(configs.size());
  Outcome outcome;
  for (const std::string& seed : seeds) {
    for (std::size_t c = 0; c < configs.size(); ++c) {
      const std::string name =
          (configs[c].empty() ? "default" : stem(configs[c])) + (seed.empty() ? "" : "-seed" + seed);
      const std::string folder = join_path(options.run_folder, name);
      log_info("run " + name);
      P5_TRY(const TrainReport report, run_one(options, common, configs[c], seed, folder));
      Json run = {{"config", configs[c]}, {"seed", seed}};
      run.update(report_of(report, folder));
      runs.push_back(std::move(run));
      if (report.val_bpb) scores[c].push_back(*report.val_bpb);
      outcome.text += name + std::string(name.size() < 32 ? 32 - name.size() : 1, ' ') +
                      (report.val_bpb ? fixed(*report.val_bpb, 8) : std::string("no validation")) + "  " +
                      grouped(static_cast<std::int64_t>(report.predicted_bytes)) + " bytes  " + grouped(report.steps) +
                      " steps\n";
    }
  }
  for (std::size_t c = 0; c < configs.size() && scores[c].size() == seeds.size(); ++c) {
    const Spread spread = spread_of(scores[c]);
    Json entry = {{"config", configs[c]}, {"n", seeds.size()}, {"mean", spread.mean}, {"std", spread.deviation}};
    outcome.text +=
        "\n" + stem(configs[c]) + ": mean " + fixed(spread.mean, 6) + ", std " + fixed(spread.deviation, 6) + " bpb";
    if (c > 0) {
      std::vector<double> differences;
      for (std::size_t i = 0; i < seeds.size(); ++i) differences.push_back(scores[c][i] - scores[0][i]);
      const Spread paired = spread_of(differences);
      entry["difference"] = paired.mean;
      entry["difference_std"] = paired.deviation;
      outcome.text += "; against " + stem(configs[0]) + " " + fixed(paired.mean, 6) +
                      ", std of the paired differences " + fixed(paired.deviation, 6);
    }
    configurations.push_back(std::move(entry));
  }
  if (!configurations.empty()) outcome.text += "\n`par5 compare` tests the difference.\n";
  outcome.report = {
      {"runs", std::move(runs)}, {"configurations", std::move(configurations)}, {"run_dir", options.run_folder}};
  return outcome;
}

Result<Outcome> run(const Options& options, const CommonOptions& common) {
  if (options.resume && common.force)
    return usage_error("--resume continues a run and --force starts it anew; give one of them", "--resume");
  set_threads(static_cast<int>(common.threads));
  return options.configs.size() > 1 || !options.seeds.empty() ? run_paired(options, common)
                                                              : run_single(options, common);
}

}  // namespace

Command train_command() {
  return {
      "train", "Train a model on shards; weights, metrics and facts go into a run folder",
      "  par5 train --config configs/demo.toml --data shards/train --val shards/val -o runs/demo\n"
      "  par5 train --config configs/demo.toml --data shards/train -o runs/short --steps 200 --seed 7\n"
      "  par5 train --data shards/train -o runs/demo --resume\n"
      "  par5 train --replay runs/demo --data shards/train -o runs/again\n"
      "  par5 train --config a.toml --config b.toml --seeds 42,1337,2026 --steps 500 --data shards/train --val "
      "shards/val -o runs/ab",
      [](CLI::App& app) -> Runner {
        auto options = std::make_shared<Options>();
        app.add_option(
            "--config", options->configs,
            "TOML file (with --resume: the run's own unless given); several: a run of each, in folders of their own");
        app.add_option("--data", options->data, "Folder of shards to train on")->required();
        app.add_option("--val", options->validation, "Folder of shards to validate on");
        app.add_option("-o,--output", options->run_folder, "Run folder")->required();
        app.add_option("--set", options->assignments, "section.key=value, overrides the file");
        app.add_option("--steps", options->steps, "train.steps; without --max-seconds also no limit by time");
        app.add_option("--max-seconds", options->max_seconds, "train.max_seconds");
        app.add_option("--seed", options->seed, "train.seed");
        app.add_option("--seeds", options->seeds,
                       "A run for each of these seeds, with every --config: a paired comparison")
            ->delimiter(',');
        app.add_option("--device", options->device, "Where to compute: cpu, cuda, cuda:1")->capture_default_str();
        app.add_option("--replay", options->replay,
                       "Run folder whose realised schedule is repeated step by step, whatever the clock says");
        app.add_option("--cap", options->cap_bytes, "Budget in bytes that progress shows the estimated size against");
        app.add_flag("--count-startup", options->count_startup,
                     "Start the clock of --max-seconds with the process, not with the first step (single runs)");
        app.add_flag("--resume", options->resume, "Continue from the run folder's last checkpoint");
        return [options](const CommonOptions& common) { return run(*options, common); };
      }};
}

}  // namespace par5
