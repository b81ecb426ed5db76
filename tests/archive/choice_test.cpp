// The choice of layouts and codecs: complete at effort 9, the same for any number of threads, and honest about a clock.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "archive/codec.h"
#include "archive/limited_program.h"
#include "archive/streams.h"
#include "bench/model_states.h"
#include "core/parallel.h"
#include "models.h"
#include "reference.h"

namespace par5 {
namespace {

constexpr std::uint8_t properties(int lc, int lp, int pb) { return static_cast<std::uint8_t>((pb * 5 + lp) * 9 + lc); }

Artifact small_artifact(Grid grid = Grid::quinary) {
  ModelConfig model = test::small_model();
  model.layers = 1;
  QuantizerConfig quantizer = test::small_quantizer(grid);
  quantizer.scale_bits = 5;
  return test::random_artifact(model, quantizer);
}

// Stored bytes of every stream, by its name in Trial.
std::map<std::string, std::uint64_t> stored_by_stream(const ArtifactReport& report) {
  std::map<std::string, std::uint64_t> stored;
  for (const TensorReport& tensor : report.tensors)
    for (const StreamReport& stream : tensor.streams) {
      const std::size_t colon = stream.part.find(':');
      const std::string kind = stream.part.substr(0, colon);
      const std::string rows = colon == std::string::npos ? "" : stream.part.substr(colon);
      stored[kind + " of '" + tensor.name + rows + "'"] = stream.stored_bytes;
    }
  return stored;
}

// Every layout with LZMA-9, tuned LZMA, LZMA2, brotli-11, zstd-22 and, where it is installed, lrzip, coded here:
// nothing is smaller than what was chosen, the directory's few bytes a stream apart.
void expect_nothing_smaller(const Artifact& artifact, bool with_lrzip) {
  const auto encoded = encode_artifact(artifact, {.effort = 9});
  ASSERT_TRUE(encoded) << to_string(encoded.error());
  const auto stored = stored_by_stream(encoded->report);
  const auto specs = tensor_specs(artifact.model.model);
  std::vector<CodecChoice> codecs = {{Codec::lzma, properties(3, 0, 2), false},
                                     {Codec::lzma, properties(0, 0, 0)},
                                     {Codec::lzma, properties(0, 2, 2)},
                                     {Codec::lzma, properties(4, 0, 0)},
                                     {Codec::lzma2, properties(0, 0, 0)},
                                     {Codec::brotli, 0},
                                     {Codec::zstd, 0}};
  if (with_lrzip) codecs.push_back({Codec::lrzip});
  const auto slots = stream_slots(artifact.model.model, artifact.model.quantizer, specs, false, false);
  std::vector<std::string> smaller(slots.size());
  parallel_for(slots.size(), 0, [&](std::size_t i) {
    const StreamSlot& slot = slots[i];
    for (const Layout layout : layouts_of(slot, &specs[slot.tensor], artifact.model.quantizer)) {
      const auto raw = lay_out(artifact.model.tensors[slot.tensor], slot, layout);
      for (const CodecChoice& codec : codecs) {
        const auto bytes = raw ? compress(codec, std::as_bytes(std::span(*raw))) : Result<std::vector<std::byte>>();
        if (!bytes || stored.at(slot.name) > bytes->size() + 7)
          smaller[i] += std::string(layout_name(layout)) + " " + to_string(codec) + "; ";
      }
    }
  });
  for (std::size_t i = 0; i < slots.size(); ++i) EXPECT_EQ(smaller[i], "") << slots[i].name;
}

bool lrzip_is_installed() {
  if (!find_program("lrzip").empty()) return true;
  std::printf("lrzip is not installed: the choice is not compared with it\n");
  return false;
}

TEST(Choice, EffortNineBeatsEveryLayoutAndCodec) {
  expect_nothing_smaller(small_artifact(Grid::quinary), lrzip_is_installed());
  expect_nothing_smaller(small_artifact(Grid::int4), false);
}

// Matrices of full size, of two of the ten layers: all ten would take more than an hour of processor time and show the
// same of every kind of stream.
TEST(Choice, EffortNineOnFullSizeMatricesLong) {
  LoadedConfig config;
  ASSERT_TRUE(config.apply_file(std::string(PAR5_SOURCE_DIR) + "/configs/quinary-16mb.toml"));
  ModelConfig model = config.values().model;
  model.layers = 2;
  auto state = bench::random_state(model, config.values().quantizer, bench::Structure::columns, 2);
  ASSERT_TRUE(state) << to_string(state.error());
  Artifact artifact;
  artifact.model = std::move(*state);
  apply_scale_bits(artifact.model, 5);
  expect_nothing_smaller(artifact, lrzip_is_installed());
}

TEST(Choice, TrialsSayWhatWasTried) {
  const auto encoded = encode_artifact(small_artifact(), {.effort = 9});
  ASSERT_TRUE(encoded);
  const auto stored = stored_by_stream(encoded->report);
  std::map<std::string, std::uint64_t> least;
  std::map<std::string, int> codecs;
  for (const Trial& trial : encoded->trials) {
    const auto at = least.try_emplace(trial.stream, trial.bytes).first;
    at->second = std::min(at->second, trial.bytes);
    ++codecs[trial.codec.substr(0, trial.codec.find(' '))];
  }
  EXPECT_EQ(least.size(), stored.size());
  for (const char* codec : {"own", "raw", "lzma", "zstd", "brotli", "lzma2"}) EXPECT_GT(codecs[codec], 0) << codec;
}

TEST(Choice, CodecsLimitWhatIsUsed) {
  Artifact artifact = small_artifact();
  artifact.tokenizer = test::small_tokenizer();
  for (const auto& [codecs, allowed] :
       std::vector<std::pair<std::vector<Codec>, std::vector<std::string>>>{{{Codec::own}, {"own", "raw"}},
                                                                            {{Codec::brotli}, {"brotli", "raw"}},
                                                                            {{Codec::lzma2}, {"lzma2", "raw"}},
                                                                            {{Codec::lzma}, {"lzma", "raw"}},
                                                                            {{}, {"raw"}}}) {
    EncodeOptions options{.effort = 7};
    options.codecs = codecs;
    const auto encoded = encode_artifact(artifact, options);
    ASSERT_TRUE(encoded) << to_string(encoded.error());
    test::expect_reference_agrees(encoded->bytes, artifact);
    std::vector<StreamReport> streams = encoded->report.other_streams;
    for (const TensorReport& tensor : encoded->report.tensors)
      streams.insert(streams.end(), tensor.streams.begin(), tensor.streams.end());
    for (const StreamReport& stream : streams)
      EXPECT_NE(std::find(allowed.begin(), allowed.end(), stream.codec), allowed.end()) << stream.codec;
    EXPECT_EQ(encoded->report.codec_versions.empty(), allowed.size() == 1 || allowed[0] == "own");
  }
  EXPECT_FALSE(codecs_from_list("own,zip"));
  EXPECT_EQ(codecs_from_list("own,brotli").value(), (std::vector<Codec>{Codec::own, Codec::brotli}));
}

TEST(Choice, AClockThatCutsIsToldInTheFile) {
  EncodeOptions options{.effort = 9, .threads = 1};
  options.max_seconds = 1e-9;
  const Artifact artifact = small_artifact();
  const auto cut = encode_artifact(artifact, options);
  ASSERT_TRUE(cut) << to_string(cut.error());
  EXPECT_TRUE(decode_artifact(cut->bytes, "cut.par5")->report.time_limited);
  options.max_seconds = 1e9;
  const auto whole = encode_artifact(artifact, options);
  ASSERT_TRUE(whole);
  EXPECT_FALSE(whole->report.time_limited);
  EXPECT_EQ(whole->bytes, encode_artifact(artifact, {.effort = 9, .threads = 2})->bytes);
}

// Repeated rows are what byte codecs are better at: such a stream leaves its chain.
TEST(Choice, RepetitionsLeaveTheChain) {
  Artifact artifact = small_artifact();
  auto& codes = std::get<QuantizedTensor>(artifact.model.tensors[3].data).codes;
  for (std::size_t i = 480; i < codes.size(); ++i) codes[i] = codes[i - 480];
  for (const int effort : {1, 5}) {
    const auto encoded = encode_artifact(artifact, {.effort = effort});
    ASSERT_TRUE(encoded) << to_string(encoded.error());
    EXPECT_NE(encoded->report.tensors[3].streams[0].codec, "own");
    EXPECT_EQ(encoded->report.tensors[4].streams[0].codec, "own");
    test::expect_reference_agrees(encoded->bytes, artifact);
  }
}

}  // namespace
}  // namespace par5
