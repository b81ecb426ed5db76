#include <algorithm>
#include <chrono>

#include "archive/artifact.h"
#include "cli/commands.h"
#include "core/text.h"
#include "engine/engine.h"
#include "engine/peaks.h"

namespace par5 {
namespace {

struct BenchOptions {
  std::string artifact, kernel;
  std::vector<std::string> arithmetics;
  std::int64_t prompt = 0, generated = 32;  // 0: 256, or what the context leaves
};

constexpr int kRepetitions = 5;

struct Rates {
  double prompt = 0, generated = 0, load_seconds = 0;  // tokens per second, best of the repetitions
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Result<Rates> measure(Engine& engine, std::int64_t prompt, std::int64_t generated) {
  P5_TRY(Windows windows, engine.make_windows(1, prompt + generated));
  std::vector<std::uint16_t> tokens(static_cast<std::size_t>(prompt + generated));
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<std::uint16_t>(i * 7919 % static_cast<std::size_t>(engine.model().vocab));
  const auto ignore = [](std::int64_t, std::int64_t, std::span<const float>) { return Status(); };
  Rates rates;
  for (int i = 0; i < kRepetitions; ++i) {
    windows.truncate(0, 0);
    auto start = std::chrono::steady_clock::now();
    const WindowInput all{0, std::span(tokens).first(static_cast<std::size_t>(prompt)), 0};
    P5_OK(engine.append(windows, {&all, 1}, ignore));
    rates.prompt = std::max(rates.prompt, static_cast<double>(prompt) / seconds_since(start));
    start = std::chrono::steady_clock::now();
    for (std::int64_t t = prompt; t < prompt + generated; ++t) {
      const WindowInput one{0, std::span(tokens).subspan(static_cast<std::size_t>(t), 1), 0};
      P5_OK(engine.append(windows, {&one, 1}, ignore));
    }
    rates.generated = std::max(rates.generated, static_cast<double>(generated) / seconds_since(start));
  }
  return rates;
}

// Weights that a token is multiplied with.
double multiplied_weights(const StoredModel& model) {
  double count = 0;
  for (const StoredTensor& tensor : model.tensors)
    if (tensor.spec.shape.size() == 2 && !tensor.spec.calibration)
      count += static_cast<double>(element_count(tensor.spec.shape));
  return count;
}

Result<Outcome> run(BenchOptions options, const CommonOptions& common) {
  P5_TRY(const DecodedArtifact decoded, read_artifact(options.artifact, common.threads));
  const StoredModel& model = decoded.artifact.model;
  const std::int64_t context = model.model.context;
  if (options.prompt == 0) options.prompt = std::min<std::int64_t>(256, context - options.generated);
  if (options.prompt < 1 || options.generated < 1 || options.prompt + options.generated > context)
    return usage_error("prompt and generation are at least 1 token each and together at most the model's context of " +
                           std::to_string(context) + " tokens",
                       "--prompt-tokens");
  std::vector<std::string> kernels = {options.kernel};
  if (options.kernel == "all") kernels = kernel_names();
  std::vector<Arithmetic> wanted;
  for (const std::string& name : options.arithmetics) {
    P5_TRY(const Arithmetic arithmetic, arithmetic_from_name(name));
    wanted.push_back(arithmetic);
  }
  if (wanted.empty())
    for (const Arithmetic arithmetic : arithmetics())
      if (arithmetic != Arithmetic::fp32_adds || max_code(model.quantizer.grid) <= 2) wanted.push_back(arithmetic);

  Outcome outcome;
  outcome.report["rows"] = nlohmann::ordered_json::array();
  outcome.text = "kernel         arithmetic   prompt tok/s   % peak   generated tok/s   % read   resident bytes\n";
  for (const std::string& kernel : kernels)
    for (const Arithmetic arithmetic : wanted) {
      const auto start = std::chrono::steady_clock::now();
      P5_TRY(Engine engine, Engine::create(model, {arithmetic, kernel, common.threads}));
      const double load = seconds_since(start);
      P5_TRY(const Rates rates, measure(engine, options.prompt, options.generated));
      const Peaks peaks =
          measure_peaks(static_cast<std::size_t>(std::max<std::uint64_t>(engine.weight_bytes(), 1 << 20)));
      const auto threads = static_cast<double>(engine.threads());
      const double operations = arithmetic == Arithmetic::int8 && peaks.int8 > 0 ? peaks.int8
                                : engine.kernel() == "avx2"                      ? peaks.fp32_avx2
                                                                                 : peaks.fp32;
      const auto share = [](double value, double peak) { return peak > 0 ? value / peak : 0.0; };
      const double of_peak = share(2 * multiplied_weights(model) * rates.prompt, operations * threads);
      const double of_read = share(static_cast<double>(engine.weight_bytes()) * rates.generated, peaks.read * threads);
      const std::string name(arithmetic_name(arithmetic));
      outcome.report["kernel"] = engine.kernel();
      outcome.report["rows"].push_back({{"kernel", engine.kernel()},
                                        {"arithmetic", name},
                                        {"prompt_tokens_per_second", rates.prompt},
                                        {"share_of_peak", of_peak},
                                        {"generated_tokens_per_second", rates.generated},
                                        {"share_of_reading", of_read},
                                        {"quantised_bytes", engine.quantized_bytes()},
                                        {"weight_bytes", engine.weight_bytes()},
                                        {"load_seconds", load}});
      const auto column = [](const std::string& text, std::size_t width) {
        return std::string(width > text.size() ? width - text.size() : 1, ' ') + text;
      };
      const std::string first(engine.kernel());
      outcome.text += first + std::string(15 - std::min<std::size_t>(first.size(), 14), ' ') + name +
                      column(fixed(rates.prompt, 1), 25 - name.size()) + column(fixed(100 * of_peak, 1), 9) +
                      column(fixed(rates.generated, 1), 18) + column(fixed(100 * of_read, 1), 9) +
                      column(grouped(static_cast<std::int64_t>(engine.weight_bytes())), 17) + "\n";
    }
  outcome.text +=
      "peak: what the machine's threads can multiply; read: what they can read from memory, both measured\n";
  return outcome;
}

}  // namespace

Command bench_command() {
  return {"bench", "Measure how fast the exact engine runs an artifact's model here",
          "  par5 bench model.par5\n  par5 bench model.par5 --kernel all --arithmetic int8 --threads 1",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<BenchOptions>();
            app.add_option("artifact", options->artifact, "Artifact (.par5)")->required();
            app.add_option("--kernel", options->kernel, "Kernel to run, or all; without it the best of this CPU");
            app.add_option("--arithmetic", options->arithmetics,
                           "fp32, int8 or fp32-adds; without it each that the model can have");
            app.add_option("--prompt-tokens", options->prompt,
                           "Tokens that come at once; without it 256, or what the context leaves");
            app.add_option("--generated-tokens", options->generated, "Tokens that then come one by one");
            return [options](const CommonOptions& common) { return run(*options, common); };
          }};
}

}  // namespace par5
