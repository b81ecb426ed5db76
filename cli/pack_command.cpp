#include <chrono>

#include "archive/artifact.h"
#include "archive/fit.h"
#include "cli/artifact_text.h"
#include "cli/checkpoint_input.h"
#include "cli/commands.h"
#include "cli/text_shards.h"
#include "core/hash.h"
#include "core/text.h"
#include "eval/engine_scorer.h"
#include "eval/self_test.h"
#include "eval/temperature.h"

namespace par5 {
namespace {

struct Options : CheckpointOptions {
  std::string output;
  std::uint64_t fit = 0;  // the most bytes that the artifact may have; 0: any number
  std::string codecs;
  std::optional<double> max_seconds;
  bool matrix = false;
  std::string fit_temperature;  // training data; empty: the temperature is 1
  std::int64_t fit_targets = 16384;
  std::string validation;
};

Result<EncodeOptions> encode_options(const Options& options, int effort, std::size_t threads) {
  EncodeOptions encode;
  encode.effort = effort;
  encode.threads = threads;
  if (!options.codecs.empty()) {
    P5_TRY(encode.codecs, codecs_from_list(options.codecs));
  }
  if (options.max_seconds && !(*options.max_seconds > 0))
    return usage_error("--max-seconds must be positive", "--max-seconds");
  encode.max_seconds = options.max_seconds;
  return encode;
}

// Everything that was tried: stream by stream, smallest first.
std::vector<Trial> by_size(std::vector<Trial> trials) {
  for (auto from = trials.begin(); from != trials.end();) {
    const auto to = std::find_if(from, trials.end(), [&](const Trial& trial) { return trial.stream != from->stream; });
    std::stable_sort(from, to, [](const Trial& a, const Trial& b) { return a.bytes < b.bytes; });
    from = to;
  }
  return trials;
}

nlohmann::ordered_json matrix_json(const std::vector<Trial>& trials) {
  auto rows = nlohmann::ordered_json::array();
  for (const Trial& trial : trials)
    rows.push_back(
        {{"stream", trial.stream}, {"layout", trial.layout}, {"codec", trial.codec}, {"bytes", trial.bytes}});
  return rows;
}

std::string matrix_table(const std::vector<Trial>& trials) {
  std::string text, stream;
  for (const Trial& trial : trials) {
    if (trial.stream != stream) text += trial.stream + "\n";
    stream = trial.stream;
    text += byte_column(trial.bytes) + "  " + left_column(trial.layout, 9) + trial.codec + "\n";
  }
  return text;
}

nlohmann::ordered_json error_json(const WeightError& error) {
  return {{"rms_percent", error.rms_percent}, {"max_percent", error.max_percent}};
}

// The data that --fit-temperature names; nothing where it is not there.
Result<std::optional<EvalData>> temperature_data(const Options& options, const Artifact& artifact,
                                                 std::size_t threads) {
  if (options.fit_temperature.empty()) {
    if (!options.validation.empty())
      return usage_error("--val guards the data of --fit-temperature, which is not asked for", "--val");
    return std::nullopt;
  }
  std::optional<Tokenizer> tokenizer;
  if (artifact.tokenizer) {
    P5_TRY(tokenizer, Tokenizer::from_data(*artifact.tokenizer));
  }
  P5_TRY(const TextShards shards, TextShards::of(options.fit_temperature, tokenizer, threads));
  if (!options.validation.empty()) {
    P5_TRY(const TextShards validation, TextShards::of(options.validation, tokenizer, threads));
    P5_OK(check_no_validation(shards.folder(), options.fit_targets, validation.folder()));
  }
  P5_TRY(EvalData data, load_eval_data(shards.folder(), options.fit_targets));
  P5_OK(check_vocabulary(data, artifact.model.model.vocab, artifact.tokenizer_sha256));
  return data;
}

void add_temperature(Outcome& outcome, const TemperatureFit& fit) {
  outcome.report["temperature_fit"] = {{"targets", fit.targets},
                                       {"nats_per_token_before", fit.nats_before},
                                       {"nats_per_token_after", fit.nats_after},
                                       {"data_sha256", fit.data_sha256}};
  outcome.text += "temperature " + shortest(fit.temperature) + ": " + fixed(fit.nats_before, 6) + " -> " +
                  fixed(fit.nats_after, 6) + " nats a token on the " + grouped(fit.targets) +
                  " training targets that it was fitted on\n";
}

// What was tried to make it fit, and what each step cost.
void add_fit(Outcome& outcome, std::uint64_t cap_bytes, const std::vector<FitTrial>& trials) {
  nlohmann::ordered_json& fit = outcome.report["fit"];
  fit["cap_bytes"] = cap_bytes;
  outcome.text += "fitted into " + grouped(static_cast<std::int64_t>(cap_bytes)) +
                  " bytes; change of the weights, root mean square (largest), as quantised, fp8 and fp16 values\n";
  for (const FitTrial& trial : trials) {
    fit["steps"].push_back({{"loss", loss_name(trial.loss)},
                            {"predicted_bytes", trial.predicted_bytes},
                            {"packed_bytes", trial.packed_bytes ? nlohmann::ordered_json(*trial.packed_bytes)
                                                                : nlohmann::ordered_json(nullptr)},
                            {"quantised", error_json(trial.quantised)},
                            {"fp8", error_json(trial.fp8)},
                            {"vectors", error_json(trial.vectors)}});
    outcome.text += byte_column(trial.packed_bytes.value_or(trial.predicted_bytes)) +
                    (trial.packed_bytes ? "  " : " ~") + left_column(std::string(loss_name(trial.loss)), 29);
    for (const WeightError& error : {trial.quantised, trial.fp8, trial.vectors})
      outcome.text += "  " + fixed(error.rms_percent, 2) + " % (" + fixed(error.max_percent, 1) + ")";
    outcome.text += "\n";
  }
}

Result<Outcome> run(const Options& options, const CommonOptions& common) {
  P5_OK(check_output(options.output, common.overwrite()));
  const auto start = std::chrono::steady_clock::now();
  P5_TRY(CheckpointInput input, read_checkpoint(options, common.threads));
  const Config& values = input.config;
  Artifact& artifact = input.artifact;
  auto bits = static_cast<int>(values.quantizer.scale_bits);
  P5_TRY(const EncodeOptions encode, encode_options(options, static_cast<int>(values.pack.effort), common.threads));
  P5_TRY(const std::optional<EvalData> training, temperature_data(options, artifact, common.threads));
  std::optional<TemperatureFit> temperature;
  // The temperature is the packed model's, and the self-test's bits are at that temperature.
  const auto complete = [&](Artifact& packed) -> Status {
    packed.extras.push_back(arithmetic_version_entry());
    if (training) {
      P5_TRY(const auto scorer, EngineScorer::create(packed.model, {Arithmetic::fp32, {}, common.threads}));
      P5_TRY(temperature, fit_temperature(*training, *scorer, packed.model.model.context, common.threads));
      packed.temperature = temperature->temperature;
      for (NamedEntry& entry : temperature_entries(*temperature)) packed.extras.push_back(std::move(entry));
    }
    P5_TRY(packed.self_test, make_self_test(packed.model, packed.temperature, common.threads));
    return {};
  };
  EncodedArtifact encoded;
  ScaleError cost;
  std::vector<FitTrial> trials;
  if (options.fit > 0) {
    P5_TRY(FittedArtifact fitted, fit_artifact(artifact, bits, options.fit, encode, complete));
    artifact = std::move(fitted.artifact);
    encoded = std::move(fitted.encoded);
    trials = std::move(fitted.trials);
    bits = static_cast<int>(artifact.model.quantizer.scale_bits);
  } else {
    if (bits < 16) cost = apply_scale_bits(artifact.model, bits);
    P5_OK(complete(artifact));
    P5_TRY(encoded, encode_artifact(artifact, encode));
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  P5_OK(write_file(options.output, encoded.bytes, common.overwrite()));

  Outcome outcome;
  outcome.report["checkpoint"] = input.path;
  outcome.report["output"] = options.output;
  add_size_keys(outcome.report, encoded.report);
  outcome.report["tensors"] = encoded.report.tensors.size();
  outcome.report["scale_bits"] = bits;
  if (bits < 16 && trials.empty())
    outcome.report["scale_error"] = {{"max_percent", cost.max_percent()}, {"rms_percent", cost.rms_percent()}};
  outcome.report["temperature"] = artifact.temperature;
  outcome.report["tokenizer"] = artifact.tokenizer ? "stored" : "left out";
  outcome.report["tokenizer_sha256"] = artifact.tokenizer_sha256.empty()
                                           ? nlohmann::ordered_json(nullptr)
                                           : nlohmann::ordered_json(artifact.tokenizer_sha256);
  outcome.report["dropped"] = input.dropped;
  outcome.report["effort"] = values.pack.effort;
  for (const Codec codec : encode.codecs) outcome.report["codecs"].push_back(codec_name(codec));
  outcome.report["codec_versions"] = encoded.report.codec_versions;
  outcome.report["reproducible"] = !encoded.report.time_limited;
  const std::vector<Trial> tried = by_size(encoded.trials);
  if (options.matrix) outcome.report["matrix"] = matrix_json(tried);
  outcome.report["sha256"] = sha256_hex(encoded.bytes);
  outcome.report["encode_seconds"] = seconds;

  if (options.matrix) outcome.text = matrix_table(tried) + "\n";
  outcome.text += describe_model(artifact.model) + "\n" + size_table(encoded.report);
  if (encoded.report.time_limited)
    outcome.text += "--max-seconds cut the search: the same command may give other bytes next time\n";
  if (!trials.empty())
    add_fit(outcome, options.fit, trials);
  else if (bits < 16)
    outcome.text += std::to_string(bits) + "-bit scales change weights by " + fixed(cost.rms_percent(), 2) +
                    " % (root mean square), at most " + fixed(cost.max_percent(), 2) + " %\n";
  if (temperature) add_temperature(outcome, *temperature);
  if (!artifact.tokenizer)
    outcome.text +=
        options.no_tokenizer
            ? "the tokenizer is left out: commands on text will need --tokenizer FILE\n"
            : "no tokenizer.model lies beside the checkpoint, so the artifact has none: commands on text will "
              "need --tokenizer FILE (store one with `par5 pack --tokenizer FILE`)\n";
  outcome.text += "wrote " + options.output + " in " + duration(seconds) + ", decoded again and compared: identical\n";
  return outcome;
}

}  // namespace

Command pack_command() {
  return {
      "pack", "Pack a checkpoint into an artifact (.par5)",
      "  par5 pack runs/demo -o model.par5\n"
      "  par5 pack foreign.safetensors --config configs/quinary-16mb.toml --scale-bits 5 -o model.par5\n"
      "  par5 pack runs/demo --fit 1000000 -o model.par5\n"
      "  par5 pack runs/demo --fit-temperature shards/train --val shards/val -o model.par5\n"
      "  par5 pack runs/demo --codecs own -o model.par5\n"
      "  par5 pack runs/demo --effort 9 --matrix --json -o model.par5",
      [](CLI::App& app) -> Runner {
        auto options = std::make_shared<Options>();
        add_checkpoint_options(app, *options);
        app.add_option("-o,--output", options->output, "The artifact to write")->required();
        app.add_option(
               "--fit", options->fit,
               "Most bytes that the file may have: coarser scales, then vectors, then fp8 tensors until it fits "
               "(docs/sizes.md); exit status 1 and no file where it cannot")
            ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 40));
        app.add_option("--fit-temperature", options->fit_temperature,
                       "Fit the temperature that logits are divided by on this training data (shards, or text where "
                       "the tokenizer is stored), by the exact engine, and store it with the data's hash");
        app.add_option("--fit-targets", options->fit_targets,
                       "Targets at the data's beginning that the temperature is fitted on")
            ->capture_default_str()
            ->check(CLI::Range(std::int64_t{100}, std::int64_t{1000000000}));
        app.add_option("--val", options->validation,
                       "Validation data: refuses to fit where it shares a document with what is fitted on");
        app.add_option(
            "--codecs", options->codecs,
            "What may be used: a list of own, lzma, zstd, brotli, lzma2 (default: all of these) and lrzip, a program "
            "that must be installed here and wherever the artifact is read");
        app.add_option("--max-seconds", options->max_seconds,
                       "Begin no further trial after this time; if that cuts the search short, the artifact says "
                       "that it is not reproducible");
        app.add_flag("--matrix", options->matrix, "Show every trial: stream, layout, codec, bytes");
        return [options](const CommonOptions& common) { return run(*options, common); };
      }};
}

}  // namespace par5
