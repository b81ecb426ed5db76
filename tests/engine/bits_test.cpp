// Bit-identity: instruction sets, threads, batches, and one by one against all at once.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/engine/test_models.h"

namespace par5 {
namespace {

using testing_support::all_logits;
using testing_support::make_engine;
using testing_support::token_ids;

// The number of values whose bits differ.
std::size_t differing_bits(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return std::max(a.size(), b.size());
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += std::memcmp(&a[i], &b[i], sizeof(float)) != 0;
  return count;
}

TEST(Bits, EveryKernelEqualsScalar) {
  const std::vector<std::string> kernels = kernel_names();
  ASSERT_EQ(kernels.back(), "scalar");
  std::string tested;
  for (const std::string& kernel : kernels) tested += kernel + " ";
  RecordProperty("kernels", tested);
  for (const auto& [name, model] : testing_support::models_of_every_kind())
    for (const Arithmetic arithmetic : testing_support::arithmetics_of(model)) {
      const auto tokens = token_ids(77, model.model.vocab, 11);
      Engine scalar = make_engine(model, arithmetic, "scalar");
      const std::vector<float> expected = all_logits(scalar, tokens);
      for (std::size_t k = 0; k + 1 < kernels.size(); ++k) {
        Engine engine = make_engine(model, arithmetic, kernels[k]);
        EXPECT_EQ(engine.kernel(), kernels[k]);
        EXPECT_EQ(differing_bits(all_logits(engine, tokens), expected), 0u)
            << name << " " << arithmetic_name(arithmetic) << " " << kernels[k];
      }
    }
}

// Windows of `lengths` fed in steps of `step` tokens each, all windows together.
std::vector<std::vector<float>> stepwise(Engine& engine, const std::vector<std::vector<std::uint16_t>>& texts,
                                         std::size_t step) {
  std::vector<std::vector<float>> logits(texts.size());
  std::size_t longest = 0;
  for (const auto& text : texts) longest = std::max(longest, text.size());
  Windows windows =
      engine.make_windows(static_cast<std::int64_t>(texts.size()), static_cast<std::int64_t>(longest)).value();
  const auto vocab = static_cast<std::size_t>(engine.model().vocab);
  for (std::size_t done = 0; done < longest; done += step) {
    std::vector<WindowInput> inputs;
    std::vector<std::size_t> owner;
    for (std::size_t w = 0; w < texts.size(); ++w) {
      if (done >= texts[w].size()) continue;
      const std::size_t count = std::min(step, texts[w].size() - done);
      inputs.push_back({static_cast<std::int64_t>(w), std::span(texts[w]).subspan(done, count), 0});
      owner.insert(owner.end(), count, w);
    }
    const Status status = engine.append(windows, inputs, [&](std::int64_t first, std::int64_t rows, auto z) {
      for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r) {
        auto& out = logits[owner[static_cast<std::size_t>(first) + r]];
        out.insert(out.end(), z.begin() + static_cast<std::ptrdiff_t>(r * vocab),
                   z.begin() + static_cast<std::ptrdiff_t>((r + 1) * vocab));
      }
      return Status();
    });
    EXPECT_TRUE(status.has_value());
  }
  return logits;
}

// Against the best kernel on one thread, each window by itself and all at once. Returns how many logits were compared.
std::size_t check_invariance(const StoredModel& model, Arithmetic arithmetic, const std::string& kernel,
                             std::size_t longest, const std::string& what) {
  std::size_t compared = 0;
  for (const std::size_t batch : {1u, 5u, 32u}) {
    std::vector<std::vector<std::uint16_t>> texts;
    for (std::size_t w = 0; w < batch; ++w) {
      const std::size_t length = 1 + (w * 37 + longest - 1) % longest;
      texts.push_back(token_ids(static_cast<std::int64_t>(length), model.model.vocab, 100 + w));
    }
    Engine single = make_engine(model, arithmetic, "", 1);
    std::vector<std::vector<float>> expected;
    for (const auto& text : texts) expected.push_back(all_logits(single, text));
    for (const std::size_t threads : {1u, 2u, 3u, 8u}) {
      Engine engine = make_engine(model, arithmetic, kernel, threads);
      for (const std::size_t step : {std::size_t{1}, std::size_t{7}, longest}) {
        if (step == 1 && threads == 8 && batch > 5) continue;
        const auto logits = stepwise(engine, texts, step);
        for (std::size_t w = 0; w < batch; ++w) {
          EXPECT_EQ(differing_bits(logits[w], expected[w]), 0u)
              << what << " batch " << batch << " threads " << threads << " step " << step << " window " << w;
          compared += expected[w].size();
        }
      }
    }
  }
  return compared;
}

TEST(Bits, ThreadsBatchesAndStepsChangeNothing) {
  for (const auto& [name, model] : testing_support::models_of_every_kind()) {
    if (name != "unet" && name != "gpt2") continue;
    for (const Arithmetic arithmetic : testing_support::arithmetics_of(model))
      check_invariance(model, arithmetic, "", 90, name);
  }
}

TEST(Bits, LongThreadsBatchesAndStepsForEveryModelAndKernel) {
  std::size_t compared = 0;
  for (const std::string& kernel : kernel_names())
    for (const auto& [name, model] : testing_support::models_of_every_kind())
      for (const Arithmetic arithmetic : testing_support::arithmetics_of(model))
        compared += check_invariance(model, arithmetic, kernel, 140, name + " " + kernel);
  EXPECT_GE(compared, 10'000'000u);
  RecordProperty("logits", std::to_string(compared));
}

TEST(Bits, SeveralPassesAndWantedRowsOnly) {
  ModelConfig config = testing_support::small_unet();
  config.context = 1024;
  config.rope_max_context = 2048;
  const StoredModel model =
      testing_support::random_model(config, testing_support::quantizer_of(Grid::quinary, Granularity::group, 24), 3);
  const auto tokens = token_ids(700, config.vocab, 12);
  const auto vocab = static_cast<std::size_t>(config.vocab);
  std::vector<std::string> kernels = kernel_names();
  kernels.pop_back();  // scalar code is slow, and its rows know nothing of each other
  for (const Arithmetic arithmetic : testing_support::arithmetics_of(model))
    for (const std::string& kernel : kernels) {
      // Only int8 has forms that depend on the number of rows.
      if (kernel != kernels.front() && arithmetic != Arithmetic::int8) continue;
      Engine engine = make_engine(model, arithmetic, kernel, 2);
      const std::vector<float> all = all_logits(engine, tokens);
      for (const std::size_t length : {1u, 255u, 256u, 257u, 600u}) {
        const std::vector<float> prefix = all_logits(engine, std::span(tokens).first(length));
        EXPECT_EQ(differing_bits(prefix, std::span(all).first(length * vocab)), 0u) << kernel << " " << length;
      }
      for (const std::int64_t first : {1, 300, 690, 699, 700}) {
        const std::vector<float> wanted = all_logits(engine, tokens, first);
        EXPECT_EQ(differing_bits(wanted, std::span(all).subspan(static_cast<std::size_t>(first) * vocab)), 0u)
            << kernel << " " << first;
      }
    }
}

TEST(Bits, TruncatedWindowsForget) {
  const StoredModel model = testing_support::models_of_every_kind().front().model;
  Engine engine = make_engine(model, Arithmetic::fp32, "");
  const auto first = token_ids(40, model.model.vocab, 1), second = token_ids(30, model.model.vocab, 2);
  const std::vector<float> expected = all_logits(engine, second);
  Windows windows = engine.make_windows(1, 64).value();
  const auto ignore = [](std::int64_t, std::int64_t, std::span<const float>) { return Status(); };
  const WindowInput old_input{0, first, 40}, new_input{0, second, 0};
  ASSERT_TRUE(engine.append(windows, {&old_input, 1}, ignore).has_value());
  EXPECT_EQ(windows.length(0), 40);
  windows.truncate(0, 0);
  std::vector<float> logits;
  ASSERT_TRUE(engine
                  .append(windows, {&new_input, 1},
                          [&](std::int64_t, std::int64_t, std::span<const float> z) {
                            logits.insert(logits.end(), z.begin(), z.end());
                            return Status();
                          })
                  .has_value());
  EXPECT_EQ(differing_bits(logits, expected), 0u);
}

}  // namespace
}  // namespace par5
