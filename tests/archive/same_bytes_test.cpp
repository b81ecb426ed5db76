// The bytes of an artifact are its own: no number of threads and no instruction set changes them. That they do not
// depend on what is installed, lrzip_test.cpp shows.
#include <gtest/gtest.h>

#include "archive/chains.h"
#include "archive/container.h"
#include "bench/model_states.h"
#include "models.h"

namespace par5 {
namespace {

Artifact artifact(Grid grid, int bits) {
  ModelConfig model = test::small_model();
  model.layers = 1;
  Artifact artifact;
  artifact.model = bench::random_state(model, test::small_quantizer(grid), bench::Structure::columns, 21).value();
  if (bits < 16) apply_scale_bits(artifact.model, bits);
  artifact.tokenizer = test::small_tokenizer();
  artifact.self_test = {{{1, 2, 3}, 1000}};
  return artifact;
}

TEST(SameBytes, ForAnyNumberOfThreads) {
  for (const auto& [grid, bits] : {std::pair{Grid::quinary, 5}, std::pair{Grid::int4, 16}})
    for (const int effort : {0, 5, 7}) {
      const Artifact packed = artifact(grid, bits);
      const auto alone = encode_artifact(packed, {effort, 1});
      ASSERT_TRUE(alone) << to_string(alone.error());
      for (const std::size_t threads : {2, 8})
        EXPECT_EQ(encode_artifact(packed, {effort, threads})->bytes, alone->bytes)
            << grid_name(grid) << ", effort " << effort << ", " << threads << " threads";
    }
}

// Every chain of a whole artifact, coded again by each instruction set. Nothing outside the chains has more than one.
TEST(SameBytes, ForScalarAndVectorPaths) {
  for (const auto& [grid, bits] : {std::pair{Grid::quinary, 5}, std::pair{Grid::int4, 8}}) {
    const Artifact packed = artifact(grid, bits);
    const auto encoded = encode_artifact(packed, {.effort = 5});
    ASSERT_TRUE(encoded) << to_string(encoded.error());
    const Container container = parse_container(encoded->bytes, "test.par5").value();
    std::size_t chains = 0;
    for (const StreamEntry& entry : container.entries) {
      if (entry.codec != Codec::own || chain_kind(container.slots[entry.slots[0]], container.specs) == ChainKind::bytes)
        continue;
      std::vector<StreamSlot> slots;
      for (const std::size_t i : entry.slots) slots.push_back(container.slots[i]);
      for (const coder::Target target : {coder::Target::scalar, coder::Target::avx2, coder::Target::avx512}) {
        if (!coder::target_available(target)) {
          std::printf("this CPU has no %s: not tested\n", std::string(coder::target_name(target)).c_str());
          continue;
        }
        const auto again = encode_chain(packed.model, slots, {coder::Covariance::on, target});
        ASSERT_TRUE(again) << to_string(again.error());
        EXPECT_TRUE(std::equal(again->bytes.begin(), again->bytes.end(),
                               encoded->bytes.begin() + static_cast<std::ptrdiff_t>(entry.offset),
                               encoded->bytes.begin() + static_cast<std::ptrdiff_t>(entry.offset + entry.stored_bytes)))
            << slots[0].name << " by " << coder::target_name(target);
      }
      ++chains;
    }
    EXPECT_GE(chains, 4u);
  }
}

}  // namespace
}  // namespace par5
