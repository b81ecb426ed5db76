#include "eval/self_test.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/cancel.h"
#include "engine/engine.h"
#include "engine/frequencies.h"
#include "pack/quantizer.h"

namespace par5 {
namespace {

constexpr std::string_view kVersionName = "arithmetic_version";
constexpr std::size_t kWindows = 2;
constexpr std::int64_t kWindowTokens = 12;

// SplitMix64, the generator of the windows' tokens.
std::uint64_t next_random(std::uint64_t& state) {
  state += 0x9e3779b97f4a7c15u;
  std::uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

std::vector<SelfTestWindow> test_windows(const ModelConfig& model) {
  std::vector<SelfTestWindow> windows(kWindows);
  std::uint64_t state = 5;
  for (SelfTestWindow& window : windows)
    for (std::int64_t i = 0; i < std::min(kWindowTokens, model.context); ++i)
      window.tokens.push_back(static_cast<std::uint16_t>(next_random(state) % static_cast<std::uint64_t>(model.vocab)));
  return windows;
}

struct WindowResult {
  std::vector<float> logits;
  std::uint64_t millibits = 0;
};

Result<WindowResult> run_window(Engine& engine, std::span<const std::uint16_t> tokens, double temperature) {
  WindowResult result;
  if (tokens.size() < 2) return result;
  P5_TRY(Windows windows, engine.make_windows(1, static_cast<std::int64_t>(tokens.size()) - 1));
  const auto vocab = static_cast<std::size_t>(engine.model().vocab);
  std::vector<std::uint64_t> frequencies, totals;
  double bits = 0;
  const WindowInput input{0, tokens.first(tokens.size() - 1), 0};
  P5_OK(engine.append(
      windows, {&input, 1}, [&](std::int64_t first, std::int64_t rows, std::span<const float> logits) -> Status {
        frequencies.resize(logits.size());
        totals.resize(static_cast<std::size_t>(rows));
        engine.frequencies(logits, temperature, kFrequencyBits, frequencies, totals);
        for (std::size_t row = 0; row < totals.size(); ++row)
          bits +=
              claimed_bits(frequencies[row * vocab + tokens[static_cast<std::size_t>(first) + row + 1]], totals[row]);
        result.logits.insert(result.logits.end(), logits.begin(), logits.end());
        return {};
      }));
  result.millibits = static_cast<std::uint64_t>(std::floor(bits * 1000 + 0.5));
  return result;
}

Result<std::vector<WindowResult>> run_windows(const Artifact& artifact, const std::vector<SelfTestWindow>& windows,
                                              const EngineOptions& options) {
  P5_TRY(Engine engine, Engine::create(artifact.model, options));
  std::vector<WindowResult> results;
  for (const SelfTestWindow& window : windows) {
    if (cancelled()) return interrupted();
    P5_TRY(results.emplace_back(), run_window(engine, window.tokens, artifact.temperature));
  }
  return results;
}

std::uint64_t differing(const std::vector<float>& a, const std::vector<float>& b) {
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    count += std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i]);
  return count;
}

}  // namespace

std::vector<SelfTestWindow> unscored_self_test(const ModelConfig& model) {
  std::vector<SelfTestWindow> windows = test_windows(model);
  for (SelfTestWindow& window : windows)
    window.expected_millibits = static_cast<std::uint64_t>(1000 * std::log2(static_cast<double>(model.vocab)) *
                                                           static_cast<double>(window.tokens.size() - 1));
  return windows;
}

Result<std::vector<SelfTestWindow>> make_self_test(const StoredModel& model, double temperature, std::size_t threads) {
  std::vector<SelfTestWindow> windows = test_windows(model.model);
  P5_TRY(Engine engine, Engine::create(model, {Arithmetic::fp32, {}, threads}));
  for (SelfTestWindow& window : windows) {
    P5_TRY(const WindowResult result, run_window(engine, window.tokens, temperature));
    window.expected_millibits = result.millibits;
  }
  return windows;
}

NamedEntry arithmetic_version_entry() { return {std::string(kVersionName), false, std::uint64_t{kArithmeticVersion}}; }

Result<std::optional<std::uint64_t>> arithmetic_version(const std::vector<NamedEntry>& extras) {
  for (const NamedEntry& entry : extras) {
    if (entry.name != kVersionName) continue;
    const auto* version = std::get_if<std::uint64_t>(&entry.value);
    if (version && *version == kArithmeticVersion) return *version;
    return bad_data("the artifact was made for version " + (version ? std::to_string(*version) : std::string("?")) +
                        " of the exact arithmetic, which this par5 does not know (it has version " +
                        std::to_string(kArithmeticVersion) + ")",
                    {}, std::nullopt, std::string(kVersionName));
  }
  return std::nullopt;
}

Result<std::vector<SelfTestResult>> run_self_test(const Artifact& artifact, std::size_t threads) {
  P5_TRY(const auto version, arithmetic_version(artifact.extras));
  const bool stored = version && !artifact.self_test.empty();
  const std::vector<SelfTestWindow> windows = stored ? artifact.self_test : test_windows(artifact.model.model);
  for (const SelfTestWindow& window : windows)
    if (static_cast<std::int64_t>(window.tokens.size()) > artifact.model.model.context + 1)
      return bad_data("a self-test window of " + std::to_string(window.tokens.size()) +
                      " tokens is longer than the model's context of " + std::to_string(artifact.model.model.context));
  std::vector<SelfTestResult> results;
  for (const Arithmetic arithmetic : arithmetics()) {
    if (arithmetic == Arithmetic::fp32_adds && max_code(artifact.model.quantizer.grid) > 2) continue;
    const std::string scalar = "scalar";
    P5_TRY(const std::vector<WindowResult> reference, run_windows(artifact, windows, {arithmetic, scalar, threads}));
    for (const std::string& kernel : kernel_names()) {
      SelfTestResult result;
      result.kernel = kernel;
      result.arithmetic = arithmetic;
      std::vector<WindowResult> other;
      if (kernel != scalar) {
        P5_TRY(other, run_windows(artifact, windows, {arithmetic, kernel, threads}));
      }
      const std::vector<WindowResult>& found = kernel == scalar ? reference : other;
      for (std::size_t w = 0; w < windows.size(); ++w) {
        result.logits += found[w].logits.size();
        result.differing_logits += differing(found[w].logits, reference[w].logits);
        if (stored && arithmetic == Arithmetic::fp32)
          result.wrong_windows += found[w].millibits != windows[w].expected_millibits;
      }
      results.push_back(result);
    }
  }
  return results;
}

}  // namespace par5
