// Models and calls that cannot be: each is an error value that says what is wrong, never a crash.
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "engine/par5_engine.h"
#include "tests/engine/test_models.h"

namespace par5 {
namespace {

Status ignore(std::int64_t, std::int64_t, std::span<const float>) { return {}; }

StoredModel sound_model() { return testing_support::models_of_every_kind().front().model; }

template <class T>
T& data_of(StoredModel& model, const std::string& name) {
  for (StoredTensor& tensor : model.tensors)
    if (tensor.spec.name == name) return std::get<T>(tensor.data);
  throw std::runtime_error("no tensor " + name);
}

TEST(Errors, ModelsThatContradictThemselves) {
  const std::string matrix = "blocks.1.mlp.fc.weight";
  const std::vector<std::pair<std::string, std::function<void(StoredModel&)>>> damages = {
      {"missing tensor", [](StoredModel& m) { m.tensors.pop_back(); }},
      {"another tensor's place", [](StoredModel& m) { std::swap(m.tensors[3], m.tensors[4]); }},
      {"another shape", [](StoredModel& m) { m.tensors[0].spec.shape[0] += 1; }},
      {"heads", [](StoredModel& m) { m.model.heads = 5; }},
      {"too few codes", [&](StoredModel& m) { data_of<QuantizedTensor>(m, matrix).codes.pop_back(); }},
      {"too many scales", [&](StoredModel& m) { data_of<QuantizedTensor>(m, matrix).scales.push_back(0); }},
      {"code outside the grid", [&](StoredModel& m) { data_of<QuantizedTensor>(m, matrix).codes[5] = 3; }},
      {"lowest code", [&](StoredModel& m) { data_of<QuantizedTensor>(m, matrix).codes[5] = -128; }},
      {"infinite scale", [&](StoredModel& m) { data_of<QuantizedTensor>(m, matrix).scales[2] = 0x7c00; }},
      {"another grid", [&](StoredModel& m) { data_of<QuantizedTensor>(m, matrix).quantizer.grid = Grid::int8; }},
      {"fp8 not a number", [](StoredModel& m) { data_of<Fp8Tensor>(m, "tok_emb.weight").codes[9] = 0xff; }},
      {"fp8 exponent", [](StoredModel& m) { data_of<Fp8Tensor>(m, "tok_emb.weight").exponent = 1000000; }},
      {"fp16 not a number", [](StoredModel& m) { data_of<Fp16Tensor>(m, "blocks.0.attn_scale").codes[0] = 0x7e00; }},
      {"fp16 too short", [](StoredModel& m) { data_of<Fp16Tensor>(m, "vocab_bias").codes.clear(); }},
      {"stored in another way", [](StoredModel& m) { m.tensors[0].data = Fp16Tensor{}; }},
  };
  for (const auto& [what, damage] : damages) {
    StoredModel model = sound_model();
    damage(model);
    for (const std::string& kernel : kernel_names())
      EXPECT_FALSE(Engine::create(model, {Arithmetic::fp32, kernel, 1}).has_value()) << what << " " << kernel;
  }
  EXPECT_TRUE(Engine::create(sound_model(), {}).has_value());
}

TEST(Errors, CallsThatCannotBe) {
  const StoredModel model = sound_model();
  const auto unknown = Engine::create(model, {Arithmetic::fp32, "abacus", 1});
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().code, ErrorCode::usage);
  EXPECT_NE(unknown.error().message.find("scalar"), std::string::npos);

  Engine engine = testing_support::make_engine(model, Arithmetic::fp32, "");
  EXPECT_FALSE(engine.make_windows(0, 8).has_value());
  EXPECT_FALSE(engine.make_windows(1, 0).has_value());
  EXPECT_FALSE(engine.make_windows(1, std::numeric_limits<std::int64_t>::max()).has_value());
  Windows windows = engine.make_windows(2, 8).value();
  const auto append = [&](std::vector<WindowInput> inputs) { return engine.append(windows, inputs, ignore); };
  const auto tokens = testing_support::token_ids(9, model.model.vocab, 1);
  const std::vector<std::uint16_t> foreign = {0, static_cast<std::uint16_t>(model.model.vocab)};
  EXPECT_FALSE(append({{0, tokens, 0}}));
  EXPECT_FALSE(append({{2, std::span(tokens).first(1), 0}}));
  EXPECT_FALSE(append({{-1, std::span(tokens).first(1), 0}}));
  EXPECT_FALSE(append({{0, std::span(tokens).first(1), 0}, {0, std::span(tokens).first(1), 0}}));
  const Status bad_token = append({{0, foreign, 0}});
  ASSERT_FALSE(bad_token);
  EXPECT_EQ(bad_token.error().code, ErrorCode::bad_data);
  EXPECT_EQ(windows.length(0), 0);
  EXPECT_TRUE(append({}));
  EXPECT_TRUE(append({{0, std::span(tokens).first(8), 100}, {1, {}, 0}}));
  EXPECT_EQ(windows.length(0), 8);
  EXPECT_EQ(windows.length(1), 0);

  const Status stopped =
      engine.append(windows, std::vector<WindowInput>{{1, std::span(tokens).first(3), 0}},
                    [](std::int64_t, std::int64_t, std::span<const float>) -> Status { return interrupted(); });
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::interrupted);
  EXPECT_EQ(windows.length(1), 0);

  Engine gpt2 = testing_support::make_engine(
      testing_support::random_model(testing_support::small_gpt2(),
                                    testing_support::quantizer_of(Grid::quinary, Granularity::tensor, 1), 1),
      Arithmetic::fp32, "");
  EXPECT_FALSE(gpt2.make_windows(1, gpt2.model().context + 1).has_value());
}

TEST(Errors, ResultsThatAreNotFiniteAreNoLogits) {
  ModelConfig config = testing_support::small_unet();
  config.layers = 16;
  StoredModel model =
      testing_support::random_model(config, testing_support::quantizer_of(Grid::quinary, Granularity::group, 24), 1);
  // The largest values there are, in every residual mix: the state overflows.
  for (StoredTensor& tensor : model.tensors) {
    if (auto* quantized = std::get_if<QuantizedTensor>(&tensor.data))
      std::fill(quantized->scales.begin(), quantized->scales.end(), std::uint16_t{0x7bff});
    if (auto* values = std::get_if<Fp16Tensor>(&tensor.data))
      std::fill(values->codes.begin(), values->codes.end(), std::uint16_t{0x7bff});
  }
  const auto tokens = testing_support::token_ids(20, model.model.vocab, 1);
  for (const Arithmetic arithmetic : {Arithmetic::fp32, Arithmetic::int8})
    for (const std::string& kernel : kernel_names()) {
      Engine engine = testing_support::make_engine(model, arithmetic, kernel);
      Windows windows = engine.make_windows(1, 32).value();
      const WindowInput input{0, tokens, 0};
      const Status status = engine.append(windows, {&input, 1}, ignore);
      ASSERT_FALSE(status.has_value()) << kernel;
      EXPECT_EQ(status.error().code, ErrorCode::bad_data);
    }
}

TEST(CInterface, SaysWhyItCannotOpen) {
  par5_engine* engine = nullptr;
  EXPECT_EQ(par5_engine_open("/nonexistent/model.par5", nullptr, nullptr, 1, 0, &engine), 4);
  ASSERT_NE(engine, nullptr);
  EXPECT_STRNE(par5_engine_message(engine), "");
  EXPECT_EQ(par5_engine_vocab(engine), 0u);
  const std::uint16_t token = 1;
  EXPECT_EQ(par5_engine_eval(engine, &token, 1, nullptr), 2);
  EXPECT_EQ(par5_engine_logits(engine), nullptr);
  par5_engine_close(engine);
  EXPECT_EQ(par5_engine_open("x", "fp8", nullptr, 1, 0, &engine), 2);
  par5_engine_close(engine);
}

}  // namespace
}  // namespace par5
