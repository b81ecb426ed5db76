// Sampling, and `par5 generate`: a seed gives one text, whatever the kernel.
#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdio>

#include "archive/artifact.h"
#include "core/file.h"
#include "tests/engine/test_models.h"
#include "tokenizer/tokenizer.h"

namespace par5 {
namespace {

std::vector<float> some_logits(std::size_t vocab) {
  std::vector<float> logits(vocab);
  for (std::size_t i = 0; i < vocab; ++i) logits[i] = static_cast<float>(i * 37 % vocab) * 0.07f;
  return logits;
}

// How often each token comes in `draws`.
std::vector<int> counts(Engine& engine, const SamplingOptions& options, std::span<const float> logits, int draws) {
  Sampler sampler = Sampler::create(options).value();
  std::vector<int> result(logits.size());
  for (int i = 0; i < draws; ++i) ++result[sampler.draw(engine, logits)];
  return result;
}

TEST(Sampler, DrawsWhatTheDistributionSays) {
  const StoredModel model = testing_support::models_of_every_kind().front().model;
  Engine engine = testing_support::make_engine(model, Arithmetic::fp32, "");
  const auto vocab = static_cast<std::size_t>(model.model.vocab);
  const std::vector<float> logits = some_logits(vocab);
  constexpr int kDraws = 20000;
  for (const double temperature : {0.5, 1.0, 3.0}) {
    std::vector<double> expected(vocab);
    double total = 0;
    for (std::size_t i = 0; i < vocab; ++i)
      total += expected[i] = std::exp(static_cast<double>(logits[i]) / temperature);
    SamplingOptions options;
    options.temperature = temperature;
    const std::vector<int> found = counts(engine, options, logits, kDraws);
    for (std::size_t i = 0; i < vocab; ++i) {
      const double mean = kDraws * expected[i] / total;
      EXPECT_NEAR(found[i], mean, 5 * std::sqrt(mean) + 1) << temperature << " " << i;
    }
  }
}

TEST(Sampler, LimitsKeepTheLikeliest) {
  const StoredModel model = testing_support::models_of_every_kind().front().model;
  Engine engine = testing_support::make_engine(model, Arithmetic::fp32, "");
  const std::vector<float> logits = some_logits(static_cast<std::size_t>(model.model.vocab));
  const auto best = static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  const auto kinds = [&](const SamplingOptions& options) {
    const std::vector<int> found = counts(engine, options, logits, 3000);
    EXPECT_GT(found[best], 0);
    return std::count_if(found.begin(), found.end(), [](int n) { return n > 0; });
  };
  SamplingOptions greedy, three, half, close, one;
  greedy.temperature = 0;
  EXPECT_EQ(kinds(greedy), 1);
  three.top_k = 3;
  EXPECT_EQ(kinds(three), 3);
  one.top_p = 1e-9;
  EXPECT_EQ(kinds(one), 1);
  half.top_p = 0.5;  // steps of e^-0.07: ln 2 / 0.07 = 9.9 of them
  EXPECT_EQ(kinds(half), 10);
  close.min_p = 0.5;
  EXPECT_EQ(kinds(close), 10);
}

TEST(Sampler, RefusesWhatCannotBe) {
  for (const auto& [temperature, top_p, min_p] :
       {std::array{-1.0, 1.0, 0.0}, {std::nan(""), 1.0, 0.0}, {1.0, 0.0, 0.0}, {1.0, 1.1, 0.0}, {1.0, 1.0, -0.1}}) {
    SamplingOptions options;
    options.temperature = temperature, options.top_p = top_p, options.min_p = min_p;
    EXPECT_EQ(Sampler::create(options).error().code, ErrorCode::usage);
  }
}

std::string output_of(const std::string& command) {
  std::string out;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::array<char, 4096> buffer;
  for (std::size_t n; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) out.append(buffer.data(), n);
  ::pclose(pipe);
  return out;
}

TEST(Generate, OneSeedOneTextForEveryKernelAndThreadCount) {
  const TemporaryFolder folder = TemporaryFolder::create().value();
  const std::string text = join_path(folder.path(), "text.txt"), tokens = join_path(folder.path(), "t.model");
  std::string words;
  for (int i = 0; i < 400; ++i) words += "five levels and " + std::to_string(i * i) + " more words of a small text\n";
  ASSERT_TRUE(write_file(text, words, Overwrite::no).has_value());
  const std::string program = PAR5_PROGRAM;
  output_of(program + " tokenizer train " + text + " -o " + tokens + " --vocab 320");
  const auto tokenizer = Tokenizer::load(tokens);
  ASSERT_TRUE(tokenizer.has_value()) << tokenizer.error().message;

  ModelConfig config = testing_support::small_unet();
  config.vocab = static_cast<std::int64_t>(tokenizer->vocab());
  Artifact artifact;
  artifact.model =
      testing_support::random_model(config, testing_support::quantizer_of(Grid::quinary, Granularity::group, 24), 4);
  artifact.tokenizer = tokenizer->data();
  artifact.tokenizer_sha256 = tokenizer->sha256();
  const std::string path = join_path(folder.path(), "model.par5");
  ASSERT_TRUE(write_file(path, encode_artifact(artifact, {0, 1}).value().bytes, Overwrite::no).has_value());

  const std::string command = program + " generate " + path + " --prompt 'five levels' --past-end";
  // Longer than the context of 64 tokens.
  const std::string expected = output_of(command + " --seed 5 --max-tokens 100 --kernel scalar");
  ASSERT_TRUE(expected.starts_with("five levels")) << expected;
  for (const std::string& kernel : kernel_names())
    EXPECT_EQ(output_of(command + " --seed 5 --max-tokens 100 --threads 2 --kernel " + kernel), expected) << kernel;
  EXPECT_NE(output_of(command + " --seed 6 --max-tokens 100"), expected);
  const std::string json = output_of(command + " --seed 5 --max-tokens 100 --json");
  EXPECT_NE(json.find("\"stopped_by\": \"length\""), std::string::npos) << json;
  // A stop string that the text has ends it before.
  const std::string stop = expected.substr(20, 3);
  const std::string stopped = output_of(command + " --seed 5 --max-tokens 100 --stop '" + stop + "'");
  ASSERT_EQ(stop.find('\''), std::string::npos) << expected;
  EXPECT_EQ(stopped, expected.substr(0, expected.find(stop, 11)) + "\n");
}

}  // namespace
}  // namespace par5
