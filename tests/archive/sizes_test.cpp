// The ledger of sizes, tests/regression/sizes.csv: small models, every layout and codec, exact bytes. It changes on
// purpose only: PAR5_REFRESH_SIZES=1 writes it anew, to be read as a diff.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "archive/codec.h"
#include "bench/model_states.h"
#include "core/file.h"
#include "core/text.h"
#include "models.h"

namespace par5 {
namespace {

const std::string kLedger = PAR5_SOURCE_DIR "/tests/regression/sizes.csv";

std::vector<std::pair<std::string, Artifact>> fixtures() {
  std::vector<std::pair<std::string, Artifact>> list;
  for (const auto& [name, grid, bits] :
       {std::tuple{"quinary", Grid::quinary, 5}, std::tuple{"ternary", Grid::ternary, 16},
        std::tuple{"binary", Grid::binary, 8}, std::tuple{"int4", Grid::int4, 4}}) {
    QuantizerConfig quantizer = test::small_quantizer(grid);
    for (const auto structure : {bench::Structure::independent, bench::Structure::columns}) {
      if (structure == bench::Structure::independent && grid != Grid::quinary) continue;
      Artifact artifact;
      artifact.model = bench::random_state(test::small_model(), quantizer, structure, 9, 1, 1).value();
      if (bits < 16) apply_scale_bits(artifact.model, bits);
      list.emplace_back(std::string(name) + (structure == bench::Structure::columns ? "-columns" : "-independent"),
                        std::move(artifact));
    }
  }
  list[0].second.tokenizer = test::small_tokenizer();
  return list;
}

// One line a fixture, kind of stream, layout and codec, summed over the streams; and the whole files.
std::map<std::string, std::uint64_t> measure() {
  std::map<std::string, std::uint64_t> sizes;
  for (const auto& [name, artifact] : fixtures()) {
    for (const int effort : {0, 5, 9}) {
      const auto encoded = encode_artifact(artifact, {effort});
      if (!encoded) {
        ADD_FAILURE() << name << ": " << to_string(encoded.error());
        continue;
      }
      sizes[name + ",file,effort " + std::to_string(effort) + ","] = encoded->bytes.size();
      if (effort == 9)
        for (const Trial& trial : encoded->trials)
          sizes[name + "," + trial.stream.substr(0, trial.stream.find(' ')) + "," + trial.layout + "," + trial.codec] +=
              trial.bytes;
    }
  }
  return sizes;
}

TEST(Sizes, AreThoseOfTheLedger) {
  const std::map<std::string, std::uint64_t> sizes = measure();
  const std::string versions = "# bytes with liblzma, zstd, brotli " + codec_library_versions();
  if (std::getenv("PAR5_REFRESH_SIZES")) {
    std::string text = versions + "\nfixture,part,layout,codec,bytes\n";
    for (const auto& [key, bytes] : sizes) text += key + "," + std::to_string(bytes) + "\n";
    ASSERT_TRUE(write_file(kLedger, text, Overwrite::yes));
  }
  const auto text = read_text_file(kLedger);
  ASSERT_TRUE(text) << to_string(text.error());
  const std::vector<std::string> lines = split(*text, '\n');
  // Other library versions give other bytes; our own coder and packings are ours alone.
  const bool same_libraries = lines[0] == versions;
  if (!same_libraries)
    std::printf("the ledger was made with other libraries (%s): only own and raw sizes are compared\n",
                lines[0].c_str());
  std::size_t compared = 0;
  for (std::size_t i = 2; i < lines.size(); ++i) {
    if (lines[i].empty()) continue;
    const std::size_t comma = lines[i].rfind(',');
    const std::string key = lines[i].substr(0, comma);
    if (!same_libraries && !key.ends_with(",own") && !key.ends_with(",raw")) continue;
    const auto found = sizes.find(key);
    ASSERT_NE(found, sizes.end()) << key << " is in the ledger only";
    EXPECT_EQ(std::to_string(found->second), lines[i].substr(comma + 1)) << key;
    ++compared;
  }
  EXPECT_GT(compared, 50u);
  if (same_libraries) {
    EXPECT_EQ(compared, sizes.size()) << "sizes are missing in the ledger; PAR5_REFRESH_SIZES=1 writes them";
  }
}

}  // namespace
}  // namespace par5
